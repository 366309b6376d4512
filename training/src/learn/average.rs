//! The exponential moving average of the weights, which is what a run leaves behind.

use fmnist_core::weights::Tensors;

/// Moves `average` towards `current` after step `step` (from 0).
///
/// `decay` is reached only after many steps, so that the first, random weights are soon forgotten.
pub(crate) fn update(average: &mut Tensors, current: &Tensors, decay: f64, step: usize) {
    let step = step as f64;
    let keep = decay.min((1.0 + step) / (10.0 + step)) as f32;
    for (average, current) in average.values_mut().zip(current.values()) {
        for (average, current) in average.values.iter_mut().zip(&current.values) {
            *average = keep * *average + (1.0 - keep) * current;
        }
    }
}
