//! The training loop, one step at a time.

use std::{num::NonZeroUsize, path::Path, time::Instant};

use anyhow::Result;
use burn::{
    nn::Linear,
    optim::{
        AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::{Device, Distribution, Tensor},
};
use fmnist_core::{
    Image,
    dataset::Dataset,
    engine::Kernel,
    model::Network,
    weights::{Tensors, tensors_of, with_tensors},
};
use rand::RngExt;

use crate::learn::{
    augment, average,
    checkpoint::{self, Plan, State},
    history::Epoch,
    objective::{Targets, Teacher},
    recipe::{Optimiser, Recipe},
    sampling::{self, Stream},
    schedule::{Plateau, one_cycle},
    score::Judged,
    shards::{Gradient, Part, Workers},
};

/// What a run is made of.
#[derive(Clone)]
pub(crate) struct Setup<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) data: &'a Dataset,
    /// The indices of the images that steps see.
    pub(crate) train: &'a [usize],
    pub(crate) seed: u64,
    pub(crate) threads: NonZeroUsize,
    /// Whether Burn's autodiff computes everything, even where the fast engine could.
    pub(crate) burn: bool,
    pub(crate) teacher: Option<Teacher>,
}

/// A run between two steps.
pub(crate) struct Trainer<'a> {
    setup: Setup<'a>,
    device: Device,
    workers: Workers,
    network: Network,
    optimiser: ModuleOptimizer,
    average: Option<Tensors>,
    state: State,
    order: (usize, Vec<usize>),
    /// Whether an image is mirrored in the first epoch, where flips alternate.
    mirrored: Vec<bool>,
}

impl<'a> Trainer<'a> {
    pub(crate) fn new(setup: Setup<'a>) -> Result<Self> {
        let Setup { recipe, data, train, seed, threads, burn, .. } = setup;
        let device = Device::flex().autodiff();
        device.seed(sampling::generator(seed, Stream::Weights, 0).random());
        let network = Network::new(recipe.architecture, data.classes.len(), &device);
        // Replicas share what is drawn here; each would draw its own otherwise.
        let drawn = tensors_of(&network);
        let plan = Plan {
            recipe: recipe.clone(),
            seed,
            threads: threads.get(),
            burn,
            teacher: setup.teacher.as_ref().map(Teacher::identity),
            data_sha256: sampling::sha256(data, train),
        };
        let (optimiser, plateau) = optimiser(recipe.optimiser);
        let kernel = if burn { None } else { Some(Kernel::from_env()?) };
        Ok(Self {
            workers: Workers::new(threads, recipe.architecture, kernel)?,
            average: recipe.average_decay.map(|_| drawn),
            order: (0, sampling::order(seed, 0, train)),
            mirrored: sampling::coins(seed, Stream::Flip, data.images.len()),
            state: State {
                plan,
                step: 0,
                loss_sum: 0.0,
                right: 0,
                plateau,
                history: Vec::new(),
                seconds: 0.0,
            },
            setup,
            device,
            network,
            optimiser,
        })
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

    pub(crate) const fn setup(&self) -> &Setup<'a> {
        &self.setup
    }

    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.setup.train.len().div_ceil(self.setup.recipe.batch)
    }

    pub(crate) fn step_count(&self) -> usize {
        self.state.step
    }

    pub(crate) fn epoch(&self) -> usize {
        self.state.step / self.steps_per_epoch()
    }

    pub(crate) fn epochs(&self) -> usize {
        self.setup.recipe.epochs
    }

    pub(crate) fn is_done(&self) -> bool {
        self.epoch() >= self.epochs()
    }

    pub(crate) fn rate(&self) -> f64 {
        match self.setup.recipe.optimiser {
            Optimiser::AdamW { peak_rate, .. } | Optimiser::Nesterov { peak_rate, .. } => {
                let steps = self.steps_per_epoch() * self.epochs();
                one_cycle(peak_rate, self.setup.recipe.warm_up, self.state.step, steps)
            }
            Optimiser::Sgd { rate, .. } => self.state.plateau.map_or(rate, |plateau| plateau.rate),
        }
    }

    /// Does one step and returns its mean loss.
    pub(crate) fn step(&mut self) -> Result<f64> {
        let begun = Instant::now();
        let parts = self.next_batch()?;
        let Setup { recipe, teacher, .. } = &self.setup;
        let keep = 1.0 - recipe.dropout;
        let loss = |head: &Linear, mut features: Tensor<2>, Aims { targets, kept }| {
            if let Some(kept) = kept {
                features = features * kept * (1.0 / keep);
            }
            let logits = head.forward(features); // [part, classes]
            let right = targets.right(&logits);
            (targets.loss(logits, teacher.as_ref(), &self.device), right)
        };
        let Gradient { loss, right, parameters, statistics } =
            self.workers.gradient(&self.network, parts, &self.device, loss);
        self.network = self.optimiser.step(self.rate(), self.network.clone(), parameters);
        if let (Some(average), Some(decay)) = (&mut self.average, recipe.average_decay) {
            average::update(average, &tensors_of(&self.network), decay, self.state.step);
        }
        self.network = statistics.into_network(self.network.clone());
        self.state.step += 1;
        self.state.loss_sum += loss;
        self.state.right += right;
        self.state.seconds += begun.elapsed().as_secs_f64();
        Ok(loss)
    }

    /// Judges the epoch that has ended, and takes note of it.
    pub(crate) fn end_epoch(&mut self, held_out: &[usize]) -> Result<Epoch> {
        let judged = self.judge(held_out)?;
        let held_out_loss = judged.loss(1.0);
        if let Some(plateau) = &mut self.state.plateau {
            plateau.observe(held_out_loss);
        }
        let epoch = Epoch {
            epoch: self.epoch(),
            steps: self.state.step,
            loss: std::mem::take(&mut self.state.loss_sum) / self.steps_per_epoch() as f64,
            accuracy: std::mem::take(&mut self.state.right) as f64 / self.setup.train.len() as f64,
            held_out_accuracy: judged.accuracy(),
            held_out_loss,
            rate: self.rate(),
        };
        self.state.history.push(epoch.clone());
        Ok(epoch)
    }

    /// The epochs that have ended.
    pub(crate) fn history(&self) -> &[Epoch] {
        &self.state.history
    }

    /// What the steps took so far, interruptions not counted.
    pub(crate) fn seconds(&self) -> f64 {
        self.state.seconds
    }

    /// The weights that the run would leave behind now.
    pub(crate) fn tensors(&self) -> Tensors {
        self.average.clone().unwrap_or_else(|| tensors_of(&self.network))
    }

    /// Computes the logits of images of the data set.
    pub(crate) fn judge(&self, indices: &[usize]) -> Result<Judged> {
        let data = self.setup.data;
        let images: Vec<Image> = indices.iter().map(|&i| data.images[i].clone()).collect();
        let labels = indices.iter().map(|&i| data.labels[i]).collect();
        Ok(Judged { logits: self.logits(&images)?, labels })
    }

    /// Computes the logits that the run would leave behind now: a row for each image.
    pub(crate) fn logits(&self, images: &[Image]) -> Result<Vec<Vec<f32>>> {
        const CHUNK: usize = 250;
        let Setup { recipe, data, .. } = self.setup;
        let classes = data.classes.len();
        let device = self.device.clone().without_autodiff();
        let network = Network::new(recipe.architecture, classes, &device);
        let network = with_tensors(network, self.tensors())?;
        let mut rows = Vec::with_capacity(images.len());
        for chunk in images.chunks(CHUNK) {
            let logits = network.forward(recipe.normalisation.tensor(chunk, &device));
            let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
            rows.extend(values.chunks(classes).map(<[f32]>::to_vec));
        }
        Ok(rows)
    }

    /// The next images with what is to be said of them, cut into parts for the workers.
    fn next_batch(&mut self) -> Result<Vec<Part<Aims>>> {
        let (epoch, seed) = (self.epoch(), self.setup.seed);
        let Setup { recipe, data, train, .. } = self.setup;
        if self.order.0 != epoch {
            self.order = (epoch, sampling::order(seed, epoch, train));
        }
        let start = self.state.step % self.steps_per_epoch() * recipe.batch;
        let end = (start + recipe.batch).min(train.len());
        let indices = &self.order.1[start..end];
        let mut random = sampling::generator(seed, Stream::Step, self.state.step);
        self.device.seed(random.random()); // of dropout

        let augmentation = &recipe.augmentation;
        let mirrored = |index: usize| augmentation.flip.mirrored(self.mirrored[index], epoch);
        let changed = |&i: &usize| augmentation.apply(&data.images[i], mirrored(i), &mut random);
        let mut images: Vec<Image> = indices.iter().map(changed).collect();
        let labels = indices.iter().map(|&i| data.labels[i]);
        let mut targets = Targets::of_labels(labels, data.classes.len(), recipe.label_smoothing);
        if let Some(share) = augmentation.share(&mut random) {
            let others = images.iter().rev();
            images = images.iter().zip(others).map(|(a, b)| augment::mix(a, b, share)).collect();
            targets.mix(share);
        }
        if let Some(teacher) = &self.setup.teacher {
            targets.teacher = Some(teacher.probabilities(&images)?);
        }

        let [features, _] = self.network.head().weight.dims();
        let keep = Distribution::Bernoulli(1.0 - recipe.dropout);
        let size = images.len().div_ceil(self.workers.count());
        let part = |(index, images): (usize, &[Image])| {
            let kept = (recipe.dropout > 0.0)
                .then(|| Tensor::random([images.len(), features], keep, &self.device));
            let targets = targets.part(index * size..index * size + images.len());
            Part { pixels: recipe.normalisation.values(images), rest: Aims { targets, kept } }
        };
        Ok(images.chunks(size).enumerate().map(part).collect())
    }
}

/// What a part's images are to give.
struct Aims {
    targets: Targets,
    /// 1 for each feature that dropout keeps, else 0: `[images, features]`.
    kept: Option<Tensor<2>>,
}

fn optimiser(optimiser: Optimiser) -> (ModuleOptimizer, Option<Plateau>) {
    let momentum = MomentumConfig::new().with_dampening(0.0);
    match optimiser {
        Optimiser::Sgd { rate, momentum: factor } => {
            let momentum = momentum.with_momentum(factor);
            (SgdConfig::new().with_momentum(Some(momentum)).init(), Some(Plateau::new(rate)))
        }
        Optimiser::Nesterov { weight_decay, .. } => {
            let config = SgdConfig::new()
                .with_momentum(Some(momentum.with_momentum(0.9).with_nesterov(true)))
                .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)));
            (config.init(), None)
        }
        Optimiser::AdamW { weight_decay, beta2, .. } => {
            let config = AdamWConfig::new().with_weight_decay(weight_decay).with_epsilon(1e-8);
            let config = config.with_beta_2(beta2);
            (config.init(), None)
        }
    }
}
