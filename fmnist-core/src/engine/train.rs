//! Training's side of the engine: a network's features of a batch, and on the way back the gradient
//! of its parameters.
//!
//! It computes what Burn's autodiff computes through
//! [`Network::features`](crate::model::Network::features), with
//! batch statistics, on this engine's instructions: maps are `[rows, columns, blocks of channels]`, a
//! convolution reads a frame of zeros, and normalisation, ReLU and pool are one pass forward and one
//! back.

mod branch;
mod convolve;
mod normalise;
mod stage;

use branch::{Branch, Input};
use stage::Stage;

use super::isa::Isa;
use crate::{
    image::Image,
    model::{Architecture, Kind, Unit},
    weights::{Tensors, WeightsError},
};

/// A network whose last forward pass is remembered.
pub struct Tape {
    isa: Isa,
    stages: Vec<Stage>,
    /// Channels of the last stage's output.
    channels: usize,
    /// Normalised images, each in a frame of zeros.
    pixels: Vec<f32>,
}

impl Tape {
    /// For a network of units, which [`Architecture::Notebook`] is not.
    pub fn new(architecture: Architecture, isa: Isa) -> Option<Self> {
        let units = architecture.units();
        let channels = units.last()?.channels[1];
        Some(Self { isa, stages: stages(&units), channels, pixels: Vec::new() })
    }

    /// Computes the features of a batch with its own statistics.
    ///
    /// # Shapes
    /// - `images`: `[batch, 28, 28]`, normalised; more than none
    /// - output: `[batch, features]`, at least 0, in Burn's order
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`] or [`WeightsError::Shape`] where `parameters` are not the
    /// architecture's. Others, as running statistics and the last layer's, are not looked at.
    pub fn forward(
        &mut self,
        parameters: &Tensors,
        images: &[f32],
    ) -> Result<Vec<f32>, WeightsError> {
        const FRAMED: usize = Image::WIDTH + 2;
        let count = images.len() / Image::PIXELS;
        self.pixels.resize(count * FRAMED * FRAMED, 0.0);
        let framed = self.pixels.chunks_exact_mut(FRAMED * FRAMED);
        for (framed, image) in framed.zip(images.chunks_exact(Image::PIXELS)) {
            let rows = framed.chunks_exact_mut(FRAMED).skip(1);
            for (framed, row) in rows.zip(image.chunks_exact(Image::WIDTH)) {
                framed[1..=Image::WIDTH].copy_from_slice(row);
            }
        }
        for stage in 0..self.stages.len() {
            let (earlier, rest) = self.stages.split_at_mut(stage);
            rest[0].forward(self.isa, parameters, earlier, &self.pixels)?;
        }
        let last = self.last();
        Ok((0..count).flat_map(|image| last.features(image, self.channels)).collect())
    }

    /// Computes the gradient of every parameter, by name, of the last forward pass.
    ///
    /// # Shapes
    /// - `features`: the gradient by the features, `[batch, features]`
    pub fn backward(&mut self, features: &[f32]) -> Tensors {
        let channels = self.channels;
        self.stages.last_mut().expect("a network has stages").begin(channels, features);
        let mut gradients = Tensors::new();
        for stage in (0..self.stages.len()).rev() {
            let (earlier, rest) = self.stages.split_at_mut(stage);
            gradients.append(&mut rest[0].backward(self.isa, earlier, &self.pixels));
        }
        gradients
    }

    /// Batch mean and biased variance of the last forward pass, under the names of the running
    /// ones.
    pub fn statistics(&self) -> impl Iterator<Item = (String, Vec<f32>)> {
        self.stages.iter().flat_map(Stage::statistics)
    }

    fn last(&self) -> &Stage {
        self.stages.last().expect("a network has stages")
    }
}

/// The stages of a network in order: one of a plain unit, two of a residual one.
fn stages(units: &[Unit]) -> Vec<Stage> {
    let mut stages = Vec::new();
    for &Unit { ref name, kind, channels: [inputs, outputs], side, pooled } in units {
        let input = stages.len().checked_sub(1).map_or(Input::Pixels, Input::Stage);
        let branch = |part: &str, source, inputs, size| {
            Branch::new(format!("{name}{part}"), source, [inputs, outputs], size, side)
        };
        let last = match kind {
            Kind::Plain => vec![branch("", input, inputs, 3)],
            Kind::Residual => {
                let middle = Input::Stage(stages.len());
                stages.push(Stage::new(vec![branch(".first", input, inputs, 3)], side, false));
                vec![branch(".second", middle, outputs, 3), branch(".skip", input, inputs, 1)]
            }
        };
        stages.push(Stage::new(last, side, pooled));
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::NamedTensor;

    #[test]
    fn parameters_of_another_network_are_refused_by_name() {
        let mut tape = Tape::new(Architecture::Base, Isa::Portable).expect("a tape");
        let image = [0.0; Image::PIXELS];
        let refused = |tape: &mut Tape, tensors: &Tensors| {
            tape.forward(tensors, &image).expect_err("refused").to_string()
        };
        let message = refused(&mut tape, &Tensors::new());
        assert!(message.contains("stem.conv.weight"), "{message}");
        let narrow = NamedTensor { shape: vec![8, 1, 3, 3], values: vec![0.0; 72] };
        let message = refused(&mut tape, &Tensors::from([("stem.conv.weight".into(), narrow)]));
        assert!(message.contains("[16, 1, 3, 3]") && message.contains("[8, 1, 3, 3]"), "{message}");
    }
}
