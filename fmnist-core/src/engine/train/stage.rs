//! Branches that are summed, ReLU, and perhaps a pool.

use super::{
    branch::{Branch, Input, Totals},
    normalise::{Activate, Route, Shape},
};
use crate::{
    engine::isa::{Block, Isa, flat},
    weights::{Tensors, WeightsError},
};

/// `relu(Σ norm(conv(input)))`, then 2×2 maxima if it is pooled.
pub(super) struct Stage {
    branches: Vec<Branch>,
    shape: Shape,
    /// What the normalisations add, together: `[blocks]`.
    shift: Vec<Block>,
    /// What comes out, framed, for each image.
    output: Vec<Block>,
    /// By what comes out, `[images, output side, output side, blocks]`.
    gradient: Vec<Block>,
    /// Whether `gradient` is this step's.
    begun: bool,
    /// By the normalised sum, `[images, side, side, blocks]`.
    inner: Vec<Block>,
}

impl Stage {
    pub(super) fn new(branches: Vec<Branch>, side: usize, pooled: bool) -> Self {
        let blocks = branches.iter().map(Branch::blocks).max().unwrap_or(0);
        Self {
            branches,
            shape: Shape { side, blocks, pooled },
            shift: Vec::new(),
            output: Vec::new(),
            gradient: Vec::new(),
            begun: false,
            inner: Vec::new(),
        }
    }

    /// Blocks of one image's output and its frame.
    const fn framed(&self) -> usize {
        let side = self.shape.output_side() + 2;
        side * side * self.shape.blocks
    }

    /// Blocks of one image's output.
    const fn size(&self) -> usize {
        let side = self.shape.output_side();
        side * side * self.shape.blocks
    }

    /// What comes out for an image, framed.
    fn image(&self, image: usize) -> &[f32] {
        flat(&self.output[image * self.framed()..][..self.framed()])
    }

    /// What comes out for an image as Burn flattens it: `[channels, side, side]`.
    pub(super) fn features(&self, image: usize, channels: usize) -> impl Iterator<Item = f32> {
        let (image, side, blocks) =
            (self.image(image), self.shape.output_side(), self.shape.blocks);
        (0..channels * side * side).map(move |i| {
            let (channel, row, column) = (i / (side * side), i / side % side, i % side);
            image[((row + 1) * (side + 2) + column + 1) * blocks * Block::LANES + channel]
        })
    }

    /// Takes the gradient by an image's features, as Burn flattens them.
    pub(super) fn begin(&mut self, channels: usize, features: &[f32]) {
        let (side, blocks) = (self.shape.output_side(), self.shape.blocks);
        let positions = side * side;
        self.gradient.clear();
        for features in features.chunks_exact(channels * positions) {
            self.gradient.extend((0..positions * blocks).map(|i| {
                let (position, block) = (i / blocks, i % blocks);
                Block::from_fn(block, channels, |channel| features[channel * positions + position])
            }));
        }
        self.begun = true;
    }

    pub(super) fn forward(
        &mut self,
        isa: Isa,
        tensors: &Tensors,
        earlier: &[Self],
        pixels: &[f32],
    ) -> Result<(), WeightsError> {
        let mut shift = vec![0.0; self.shape.blocks * Block::LANES];
        for branch in &mut self.branches {
            let beta = branch.take(tensors)?;
            branch.forward(
                isa,
                match branch.source {
                    Input::Pixels => pixels,
                    Input::Stage(stage) => flat(&earlier[stage].output),
                },
            );
            shift.iter_mut().zip(branch.shift(&beta)).for_each(|(sum, shift)| *sum += shift);
        }
        self.shift = Block::pack(shift.len(), |i| shift[i]).into_vec();
        let framed = self.framed();
        self.output.resize(self.branches[0].images() * framed, Block::ZERO);
        let (shape, shift) = (self.shape, &self.shift);
        for (image, output) in self.output.chunks_exact_mut(framed).enumerate() {
            let branches: Vec<_> = self.branches.iter().map(|b| b.normalised(image)).collect();
            isa.run(Activate { shape, branches: &branches, shift, output });
        }
        self.begun = false;
        Ok(())
    }

    /// Goes back from `gradient` to the gradients of the sources, and returns those of the
    /// parameters.
    pub(super) fn backward(&mut self, isa: Isa, earlier: &mut [Self], pixels: &[f32]) -> Tensors {
        let (shape, size, images) = (self.shape, self.size(), self.branches[0].images());
        let whole = shape.side * shape.side * shape.blocks;
        self.inner.resize(images * whole, Block::ZERO);
        let mut totals = Totals::new((1 + self.branches.len()) * shape.blocks);
        let inner = self.inner.chunks_exact_mut(whole);
        for (image, (inner, outer)) in inner.zip(self.gradient.chunks_exact(size)).enumerate() {
            let branches: Vec<_> = self.branches.iter().map(|b| b.normalised(image)).collect();
            let (branches, shift) = (branches.as_slice(), self.shift.as_slice());
            totals.add(|sums| {
                isa.run(Route { shape, branches, shift, outer, inner, sums });
            });
        }
        let (sums, products) = totals.0.split_at(shape.blocks * Block::LANES);
        let products = products.chunks_exact(shape.blocks * Block::LANES);
        let mut gradients = Tensors::new();
        for (branch, products) in self.branches.iter_mut().zip(products) {
            let (inputs, outer) = match branch.source {
                Input::Pixels => (pixels, None),
                Input::Stage(stage) => {
                    let source = &mut earlier[stage];
                    source.gradient.resize(images * source.size(), Block::ZERO);
                    let add = std::mem::replace(&mut source.begun, true);
                    (flat(&source.output), Some((source.gradient.as_mut_slice(), add)))
                }
            };
            let sums = [sums, products];
            gradients.append(&mut branch.backward(isa, &self.inner, sums, inputs, outer));
        }
        gradients
    }

    /// Batch mean and variance of each normalisation.
    pub(super) fn statistics(&self) -> impl Iterator<Item = (String, Vec<f32>)> {
        self.branches.iter().flat_map(Branch::statistics)
    }
}
