//! The learning rate over a run.

use std::f64::consts::PI;

/// Learning rate of step `step` of `steps`: a cosine up from 1/25 of `peak` over the first `warm_up`
/// of them, then a cosine down to nothing (Smith and Topin 2018, as PyTorch's `OneCycleLR` does it).
pub(crate) fn one_cycle(peak: f64, warm_up: f64, step: usize, steps: usize) -> f64 {
    let (start, end) = (peak / 25.0, peak / 1e5);
    let warm_up = steps as f64 * warm_up;
    let step = step as f64;
    let (from, to, progress) = if step < warm_up {
        (start, peak, step / warm_up)
    } else {
        (peak, end, (step - warm_up) / (steps as f64 - 1.0 - warm_up).max(1.0))
    };
    to + (from - to) * (1.0 + (PI * progress.min(1.0)).cos()) / 2.0
}

/// Keras' `ReduceLROnPlateau` as the notebook sets it: a tenth of the rate after five epochs
/// without an improvement of the held-out loss by more than 1e-4.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Plateau {
    pub(crate) rate: f64,
    best_loss: Option<f64>,
    epochs_since_best: u32,
}

impl Plateau {
    const FACTOR: f64 = 0.1;
    const PATIENCE: u32 = 5;
    const MIN_DELTA: f64 = 1e-4;

    pub(crate) fn new(rate: f64) -> Self {
        Self { rate, best_loss: None, epochs_since_best: 0 }
    }

    /// Takes note of an epoch's held-out loss.
    pub(crate) fn observe(&mut self, loss: f64) {
        if self.best_loss.is_none_or(|best| loss < best - Self::MIN_DELTA) {
            self.best_loss = Some(loss);
            self.epochs_since_best = 0;
            return;
        }
        self.epochs_since_best += 1;
        if self.epochs_since_best >= Self::PATIENCE {
            self.rate *= Self::FACTOR;
            self.epochs_since_best = 0;
        }
    }
}
