//! The training loop, one step at a time.

use std::path::Path;

use anyhow::Result;
use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Int, Tensor, TensorData},
};
use fmnist_core::{
    Image,
    dataset::Dataset,
    model::Network,
    weights::{Tensors, tensors_of, with_tensors},
};
use rand::RngExt;

use crate::{
    average,
    checkpoint::{self, State},
    recipe::{Optimiser, Plateau, Recipe, one_cycle},
    sampling::{self, Stream},
    score::Judged,
};

/// A run between two steps.
pub(crate) struct Trainer<'a> {
    recipe: &'a Recipe,
    data: &'a Dataset,
    train: &'a [usize],
    device: Device,
    network: Network,
    optimiser: ModuleOptimizer,
    average: Option<Tensors>,
    state: State,
    order: (usize, Vec<usize>),
}

impl<'a> Trainer<'a> {
    pub(crate) fn new(
        recipe: &'a Recipe,
        data: &'a Dataset,
        train: &'a [usize],
        seed: u64,
    ) -> Self {
        let device = Device::flex().autodiff();
        device.seed(sampling::generator(seed, Stream::Weights, 0).random());
        let network = Network::new(recipe.architecture, fmnist_core::label::CLASSES, &device);
        let initial = tensors_of(&network);
        let (optimiser, plateau) = match recipe.optimiser {
            Optimiser::Sgd { rate, momentum } => {
                let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
                let optimiser = SgdConfig::new().with_momentum(Some(momentum)).init();
                (optimiser, Some(Plateau::new(rate)))
            }
            Optimiser::AdamW { weight_decay, .. } => {
                let config = AdamWConfig::new().with_weight_decay(weight_decay).with_epsilon(1e-8);
                (config.init(), None)
            }
        };
        let state = State {
            architecture: recipe.architecture.to_string(),
            seed,
            epochs: recipe.epochs,
            batch: recipe.batch,
            step: 0,
            plateau,
        };
        let average = recipe.average_decay.map(|_| initial);
        let order = (0, sampling::order(seed, 0, train));
        Self { recipe, data, train, device, network, optimiser, average, state, order }
    }

    /// Goes back to the newest checkpoint of a folder.
    pub(crate) fn resume(self, folder: &Path) -> Result<Self> {
        let (network, optimiser, average, state) =
            checkpoint::load(folder, self.network, self.optimiser, &self.state)?;
        Ok(Self { network, optimiser, average, state, ..self })
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        checkpoint::save(folder, &self.network, &self.optimiser, self.average.as_ref(), &self.state)
    }

    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.train.len().div_ceil(self.recipe.batch)
    }

    pub(crate) fn step_count(&self) -> usize {
        self.state.step
    }

    pub(crate) fn epoch(&self) -> usize {
        self.state.step / self.steps_per_epoch()
    }

    pub(crate) fn epochs(&self) -> usize {
        self.recipe.epochs
    }

    pub(crate) fn is_done(&self) -> bool {
        self.epoch() >= self.recipe.epochs
    }

    pub(crate) fn rate(&self) -> f64 {
        match (self.recipe.optimiser, &self.state.plateau) {
            (Optimiser::AdamW { peak_rate, .. }, _) => {
                one_cycle(peak_rate, self.state.step, self.steps_per_epoch() * self.recipe.epochs)
            }
            (Optimiser::Sgd { .. }, Some(plateau)) => plateau.rate,
            (Optimiser::Sgd { rate, .. }, None) => rate,
        }
    }

    /// Does one step and answers its mean loss.
    pub(crate) fn step(&mut self) -> f64 {
        let (images, labels) = self.next_batch();
        let images = self.recipe.normalisation.tensor(&images, &self.device);
        let labels = Tensor::<1, Int>::from_data(TensorData::from(labels.as_slice()), &self.device);

        let logits = self.network.forward(images); // [batch, classes]
        let loss = CrossEntropyLossConfig::new().init(&self.device).forward(logits, labels);
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.optimiser.step(self.rate(), self.network.clone(), gradients);

        if let (Some(average), Some(decay)) = (&mut self.average, self.recipe.average_decay) {
            average::update(average, &tensors_of(&self.network), decay, self.state.step);
        }
        self.state.step += 1;
        value
    }

    /// Takes note of the held-out loss at the end of an epoch.
    pub(crate) fn end_epoch(&mut self, held_out_loss: f64) {
        if let Some(plateau) = &mut self.state.plateau {
            plateau.observe(held_out_loss);
        }
    }

    /// The weights that the run would leave behind now.
    pub(crate) fn tensors(&self) -> Tensors {
        match &self.average {
            Some(average) => average.clone(),
            None => {
                use burn::module::Module;
                tensors_of(&self.network.valid())
            }
        }
    }

    /// Computes the logits of images of the data set.
    pub(crate) fn judge(&self, indices: &[usize]) -> Result<Judged> {
        const CHUNK: usize = 250;
        let device = self.device.clone().without_autodiff();
        let network = Network::new(self.recipe.architecture, fmnist_core::label::CLASSES, &device);
        let network = with_tensors(network, self.tensors())?;
        let mut judged = Judged::default();
        for chunk in indices.chunks(CHUNK) {
            let images: Vec<Image> = chunk.iter().map(|&i| self.data.images[i].clone()).collect();
            let logits = network.forward(self.recipe.normalisation.tensor(&images, &device));
            let [_, classes] = logits.dims();
            let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
            judged.logits.extend(values.chunks(classes).map(<[f32]>::to_vec));
            judged.labels.extend(chunk.iter().map(|&i| self.data.labels[i]));
        }
        Ok(judged)
    }

    fn next_batch(&mut self) -> (Vec<Image>, Vec<i32>) {
        let (epoch, seed) = (self.epoch(), self.state.seed);
        if self.order.0 != epoch {
            self.order = (epoch, sampling::order(seed, epoch, self.train));
        }
        let start = self.state.step % self.steps_per_epoch() * self.recipe.batch;
        let end = (start + self.recipe.batch).min(self.train.len());
        let mut random = sampling::generator(seed, Stream::Step, self.state.step);
        self.device.seed(random.random()); // of dropout
        let indices = &self.order.1[start..end];
        let images = indices.iter().map(|&index| {
            let image = &self.data.images[index];
            if self.recipe.augment { sampling::augment(image, &mut random) } else { image.clone() }
        });
        (images.collect(), indices.iter().map(|&i| i32::from(self.data.labels[i])).collect())
    }
}
