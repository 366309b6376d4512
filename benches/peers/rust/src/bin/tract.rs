//! tract: the ONNX model, optimised for each batch size.

use std::{collections::HashMap, sync::Arc};

use fmnist_core::Image;
use fmnist_peers::{Description, Load, Peer, locked_version};
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, TValue, TVec, Tensor,
    TypedRunnableModel, multithread, tvec,
};

type Plan = Arc<TypedRunnableModel>;

struct Tract {
    load: Load,
    plans: HashMap<usize, Plan>,
}

fn main() -> anyhow::Result<()> {
    fmnist_peers::serve::<Tract>()
}

impl Tract {
    fn plan(&mut self, batch: usize) -> anyhow::Result<Plan> {
        if let Some(plan) = self.plans.get(&batch) {
            return Ok(Arc::clone(plan));
        }
        let input = InferenceFact::dt_shape(f32::datum_type(), tvec!(batch, 1, 28, 28));
        let model =
            tract_onnx::onnx().model_for_path(&self.load.file)?.with_input_fact(0, input)?;
        let plan = model.into_optimized()?.into_runnable()?;
        self.plans.insert(batch, Arc::clone(&plan));
        Ok(plan)
    }
}

impl Peer for Tract {
    type Input = (Plan, TValue);
    type Output = TVec<TValue>;

    fn load(load: Load) -> anyhow::Result<Self> {
        if load.threads > 1 {
            let executor = multithread::Executor::multithread(load.threads);
            multithread::set_default_executor(executor);
        }
        Ok(Self { load, plans: HashMap::new() })
    }

    fn description(&self) -> Description {
        Description { name: format!("tract {}", locked_version("tract-onnx")), precision: "f32" }
    }

    fn prepare(&mut self, images: &[Image]) -> anyhow::Result<Self::Input> {
        let shape = [images.len(), 1, Image::HEIGHT, Image::WIDTH];
        let values = Tensor::from_shape(&shape, &self.load.normalised(images))?;
        Ok((self.plan(images.len())?, values.into()))
    }

    fn run(&mut self, (plan, values): &Self::Input) -> anyhow::Result<Self::Output> {
        plan.run(tvec!(values.clone()))
    }

    fn logits(&mut self, input: &Self::Input) -> anyhow::Result<Vec<f32>> {
        let output = self.run(input)?;
        Ok(output[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }
}
