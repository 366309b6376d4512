//! One step's gradient, computed on every core.
//!
//! The batch is cut into as many parts as there are workers, each part goes through a replica of
//! the network on one thread, and what they find is added up in the order of the parts: the result
//! depends on the number of workers, not on which is done first. Batch normalisation sees its own
//! part alone, as in PyTorch's `DistributedDataParallel`; running statistics are averaged.

use std::{collections::HashMap, num::NonZeroUsize, thread};

use anyhow::{Context, Result};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Tensor, TensorData},
};
use fmnist_core::model::Network;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads that compute gradients, each by itself.
pub(crate) struct Workers(Vec<ThreadPool>);

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
    pub(crate) fn new(count: NonZeroUsize) -> Result<Self> {
        // Flex shares its work out over the pool that calls it: a pool of one thread is one core.
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build().context("cannot start");
        Ok(Self((0..count.get()).map(pool).collect::<Result<_>>()?))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Computes the gradient of a loss, the mean over one part, weighted by the parts' images.
    ///
    /// `parts` come with their numbers of images; `loss` answers how many answers were right, too.
    pub(crate) fn gradient<Part: Send>(
        &self,
        network: &Network,
        parts: Vec<(usize, Part)>,
        loss: impl Fn(&Network, Part) -> (Tensor<1>, usize) + Sync,
    ) -> Gradient {
        let images: usize = parts.iter().map(|(images, _)| images).sum();
        let loss = &loss;
        let found: Vec<_> = thread::scope(|scope| {
            let spawned: Vec<_> = parts
                .into_iter()
                .zip(&self.0)
                .map(|((count, part), pool)| {
                    let share = count as f64 / images as f64;
                    let replica = network.valid().train();
                    scope.spawn(move || {
                        pool.install(|| {
                            let (loss, right) = loss(&replica, part);
                            let loss = loss * share;
                            let value = f64::from(loss.clone().into_scalar::<f32>());
                            let gradients = GradientsParams::from_grads(loss.backward(), &replica);
                            (value, right, gradients, Statistics::of(&replica, share as f32))
                        })
                    })
                })
                .collect();
            spawned.into_iter().map(|t| t.join().expect("a step does not panic")).collect()
        });

        let mut sum = GradientsAccumulator::new();
        let (mut loss, mut right, mut statistics) = (0.0, 0, Statistics::default());
        for (value, hits, gradients, part) in found {
            loss += value;
            right += hits;
            sum.accumulate(network, gradients);
            statistics.add(part);
        }
        Gradient { loss, right, parameters: sum.grads(), statistics }
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
