//! One step's gradient, computed on every core.
//!
//! The batch is cut into as many parts as there are workers, each part goes through a replica of
//! the network on one thread, and what they find is added up in the order of the parts: the result
//! depends on the number of workers, not on which is done first. Batch normalisation sees its own
//! part alone, as in PyTorch's `DistributedDataParallel`; running statistics are averaged.
//!
//! Features and their gradient come from the fast engine's [`Tape`] where there is one for the
//! network, else from Burn's autodiff, which differentiates the last layer and the loss in any case.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    thread,
};

use anyhow::{Context, Result};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    nn::{BatchNormConfig, Linear},
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Tensor, TensorData},
};
use fmnist_core::{
    Image,
    engine::{Kernel, Tape},
    model::{Architecture, Network},
    weights::{Tensors, ids_of, tensors_of},
};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads that compute gradients, each by itself.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    pool: ThreadPool,
    tape: Option<Tape>,
}

/// What one worker computes on.
pub(crate) struct Part<T> {
    /// Normalised images, `[images, 28, 28]`.
    pub(crate) pixels: Vec<f32>,
    /// What else the loss has to know.
    pub(crate) rest: T,
}

/// What all parts of a batch came to.
pub(crate) struct Gradient {
    /// The mean loss of the batch.
    pub(crate) loss: f64,
    /// How many answers were right.
    pub(crate) right: usize,
    pub(crate) parameters: GradientsParams,
    pub(crate) statistics: Statistics,
}

impl Workers {
    /// Starts them; given a kernel, they use the architecture's tape if there is one.
    pub(crate) fn new(
        count: NonZeroUsize,
        architecture: Architecture,
        kernel: Option<Kernel>,
    ) -> Result<Self> {
        // Flex shares its work out over the pool that calls it: a pool of one thread is one core.
        let worker = |_| {
            let pool = ThreadPoolBuilder::new().num_threads(1).build().context("cannot start")?;
            let tape = kernel.and_then(|kernel| Tape::new(architecture, kernel));
            Ok(Worker { pool, tape })
        };
        Ok(Self((0..count.get()).map(worker).collect::<Result<_>>()?))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Computes the gradient of a loss, the mean over one part, weighted by the parts' images.
    ///
    /// `loss` sees the last layer and the features, and returns how many answers were right, too.
    pub(crate) fn gradient<T: Send>(
        &mut self,
        network: &Network,
        parts: Vec<Part<T>>,
        device: &Device,
        loss: impl Fn(&Linear, Tensor<2>, T) -> (Tensor<1>, usize) + Sync,
    ) -> Gradient {
        let images: usize = parts.iter().map(|part| part.pixels.len()).sum();
        let on_tapes = self.0.iter().any(|worker| worker.tape.is_some());
        let named = on_tapes.then(|| Named { tensors: tensors_of(network), ids: ids_of(network) });
        let (named, loss) = (named.as_ref(), &loss);
        let found: Vec<_> = thread::scope(|scope| {
            let spawned: Vec<_> = parts
                .into_iter()
                .zip(&mut self.0)
                .map(|(part, Worker { pool, tape })| {
                    let share = part.pixels.len() as f64 / images as f64;
                    let replica = network.valid().train();
                    let step = Step { replica, share, device };
                    let tape = tape.as_mut().zip(named);
                    scope.spawn(move || pool.install(|| step.gradient(tape, part, loss)))
                })
                .collect();
            spawned.into_iter().map(|t| t.join().expect("a step does not panic")).collect()
        });

        let mut sum = GradientsAccumulator::new();
        let (mut loss, mut right, mut statistics) = (0.0, 0, Statistics::default());
        for part in found {
            loss += part.loss;
            right += part.right;
            sum.accumulate(network, part.parameters);
            statistics.add(part.statistics);
        }
        Gradient { loss, right, parameters: sum.grads(), statistics }
    }
}

/// What a tape knows of a network: its tensors and their identities, by name.
struct Named {
    tensors: Tensors,
    ids: BTreeMap<String, ParamId>,
}

/// One worker's share of a step.
struct Step<'a> {
    replica: Network,
    /// Of the batch, 0.0–1.0.
    share: f64,
    device: &'a Device,
}

impl Step<'_> {
    /// By a tape, where there is one for the network, else by Burn.
    fn gradient<T>(
        self,
        mut tape: Option<(&mut Tape, &Named)>,
        part: Part<T>,
        loss: impl Fn(&Linear, Tensor<2>, T) -> (Tensor<1>, usize),
    ) -> Gradient {
        let images = part.pixels.len() / Image::PIXELS;
        let features = if let Some((tape, named)) = &mut tape {
            let values = tape.forward(&named.tensors, &part.pixels);
            let shape = [images, self.replica.head().weight.dims()[0]];
            let data = TensorData::new(values.expect("the network's own tensors"), shape);
            Tensor::from_data(data, self.device).require_grad()
        } else {
            let data = TensorData::new(part.pixels, [images, 1, Image::HEIGHT, Image::WIDTH]);
            self.replica.features(Tensor::from_data(data, self.device))
        }; // [part, features]
        let (loss, right) = loss(self.replica.head(), features.clone(), part.rest);
        let loss = loss * self.share;
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let gradients = loss.backward();
        let Some((tape, named)) = tape else {
            let parameters = GradientsParams::from_grads(gradients, &self.replica);
            let statistics = Statistics::of(&self.replica, self.share as f32);
            return Gradient { loss: value, right, parameters, statistics };
        };
        let outer = features.grad(&gradients).expect("the loss depends on the features");
        let outer: Vec<f32> = outer.into_data().iter::<f32>().collect();
        let mut parameters = GradientsParams::from_grads(gradients, &self.replica);
        let device = self.device.clone().without_autodiff();
        for (name, tensor) in tape.backward(&outer) {
            let (id, rank) = (named.ids[&name], tensor.shape.len());
            let data = TensorData::new(tensor.values, tensor.shape);
            match rank {
                4 => parameters.register::<4>(id, Tensor::from_data(data, &device)),
                _ => parameters.register::<1>(id, Tensor::from_data(data, &device)),
            }
        }
        let statistics = self.moved(tape.statistics(), named);
        Gradient { loss: value, right, parameters, statistics }
    }

    /// The network's running statistics, moved towards a part's as Burn moves them.
    fn moved(&self, part: impl Iterator<Item = (String, Vec<f32>)>, named: &Named) -> Statistics {
        let momentum = BatchNormConfig::new(1).momentum as f32;
        let values = part.map(|(name, part)| {
            let running = &named.tensors[&name].values;
            let moved = running.iter().zip(part).map(|(running, part)| {
                ((1.0 - momentum) * running + momentum * part) * self.share as f32
            });
            (named.ids[&name], moved.collect())
        });
        Statistics { share: self.share as f32, values: values.collect() }
    }
}

/// The running means and variances of a network, by their ids.
#[derive(Default)]
pub(crate) struct Statistics {
    share: f32,
    values: HashMap<ParamId, Vec<f32>>,
}

impl Statistics {
    fn of(network: &Network, share: f32) -> Self {
        // Copying to a network without autodiff folds in the statistics of the last forward pass.
        let _ = network.valid();
        let mut statistics = Self { share, values: HashMap::new() };
        network.visit(&mut statistics);
        statistics
    }

    fn add(&mut self, part: Self) {
        for (id, values) in part.values {
            let sum = self.values.entry(id).or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Puts them in the place of a network's.
    pub(crate) fn into_network(mut self, network: Network) -> Network {
        network.map(&mut self)
    }
}

impl ModuleVisitor for Statistics {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if !tensor.is_require_grad() {
            let data = tensor.into_data();
            let values = data.iter::<f32>().map(|value| value * self.share).collect();
            self.values.insert(param.id, values);
        }
    }
}

impl ModuleMapper for Statistics {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.values.remove(&param.id) {
            Some(values) => {
                let (shape, device) = (param.lazy_shape(), param.lazy_device());
                let data = TensorData::new(values, shape);
                Param::initialized(param.id, Tensor::from_data(data, &device))
            }
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::tensor::Distribution;
    use rand::RngExt;

    use super::*;
    use crate::learn::sampling::{self, Stream};

    /// Every gradient and moved statistic of a batch, by name.
    fn gradient(architecture: Architecture, kernel: Option<Kernel>) -> BTreeMap<String, Vec<f32>> {
        let device = Device::flex().autodiff();
        device.seed(7);
        let network = Network::new(architecture, 10, &device);
        let tensors = tensors_of(&network); // draws them
        let mut random = sampling::generator(1, Stream::Step, 0);
        let mut part = |images: usize| Part {
            pixels: (0..images * Image::PIXELS).map(|_| random.random_range(-1.0..2.0)).collect(),
            rest: images,
        };
        let parts = vec![part(6), part(4)];
        let threads = NonZeroUsize::new(2).expect("two");
        let mut workers = Workers::new(threads, architecture, kernel).expect("threads");
        let weights = Tensor::<2>::random([6, 10], Distribution::Default, &device);
        let loss = |head: &Linear, features, images| {
            let weights = weights.clone().narrow(0, 0, images);
            ((head.forward(features).powf_scalar(2.0) * weights).mean(), images)
        };
        let found = workers.gradient(&network, parts, &device, loss);
        assert_eq!(found.right, 10);

        let ids = ids_of(&network);
        let of = |name: &String| match (found.statistics.values.get(&ids[name]), &tensors[name]) {
            (Some(values), _) => values.clone(),
            (None, tensor) => match tensor.shape.len() {
                4 => values(found.parameters.get::<4>(ids[name])),
                2 => values(found.parameters.get::<2>(ids[name])),
                _ => values(found.parameters.get::<1>(ids[name])),
            },
        };
        let mut all: BTreeMap<_, _> = ids.keys().map(|name| (name.clone(), of(name))).collect();
        all.insert("loss".to_owned(), vec![found.loss as f32]);
        all
    }

    fn values<const D: usize>(tensor: Option<Tensor<D>>) -> Vec<f32> {
        tensor.expect("a gradient of each parameter").into_data().iter::<f32>().collect()
    }

    #[test]
    fn the_tapes_gradient_is_that_of_burns_autodiff() {
        let _lock = crate::learn::tests::lock_device_generator();
        for architecture in [Architecture::Tiny, Architecture::Base, Architecture::Large] {
            let expected = gradient(architecture, None);
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                let found = gradient(architecture, Some(kernel));
                assert!(found.keys().eq(expected.keys()));
                for (name, expected) in &expected {
                    let length = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
                    let difference: Vec<f32> =
                        expected.iter().zip(&found[name]).map(|(e, f)| e - f).collect();
                    let (off, whole) = (length(&difference), length(expected));
                    assert!(
                        expected.len() == found[name].len() && whole > 0.0 && off < 1e-3 * whole,
                        "{architecture}, {kernel}: {name} is off by {off} of {whole}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_notebooks_gradient_is_burns() {
        assert!(Tape::new(Architecture::Notebook, Kernel::Portable).is_none());
    }
}
