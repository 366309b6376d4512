//! What came of it.

use fmnist_core::Image;
use image::RgbImage;

use super::composite::Ground;
use crate::learn::corrupt::{Corruption, SEVERITIES};

/// Everything that a report shows. Accuracies are 0.0–1.0.
pub(super) struct Outcome {
    pub(super) model: String,
    pub(super) command: String,
    pub(super) images: usize,
    pub(super) clean: f64,
    pub(super) corruptions: Vec<(Corruption, [f64; SEVERITIES])>,
    pub(super) composites: Vec<Composites>,
}

/// One kind of ground.
pub(super) struct Composites {
    pub(super) ground: Ground,
    /// Of the garments as they are in the test set.
    pub(super) clean: f64,
    pub(super) accuracy: f64,
    /// The first pictures, and what preparation made of them.
    pub(super) shown: Vec<(RgbImage, Image)>,
}

impl Composites {
    /// How far behind the garments themselves, in points.
    pub(super) fn lost_points(&self) -> f64 {
        100.0 * (self.clean - self.accuracy)
    }
}
