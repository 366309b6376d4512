//! A network as steps over feature maps, compiled once, computed by any thread. Each step writes one slot and
//! reads others; the last slot holds the logits.

use std::{mem, sync::Mutex};

use super::{
    isa::{Block, Bytes, Isa, Row, Sums, Vector, Words, Work, flat},
    layout::{Layout, Maps, MapsMut},
    ops::{
        ByteLayer, ByteStem, ByteWinograd, Matrix, Nonzero, Room, SparseDense, Stem, Winograd,
        byte_pool, byte_stem, byte_winograd, multiply, sparse_dense, stem, winograd,
    },
    target::Target,
};
use crate::image::Image;

/// Which of a plan's feature maps.
pub(super) type Slot = usize;

/// One step from feature maps to feature maps.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) output: Slot,
    pub(super) op: Op,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Pixels to the first maps.
    Stem(Stem),
    /// A 3×3 convolution and what follows.
    Winograd { layer: Winograd, input: Slot, residual: Option<Slot> },
    /// A 1×1 convolution.
    Pointwise { layer: Matrix, input: Slot },
    /// A dense layer without ReLU.
    Dense { layer: Matrix, input: Slot },
    /// A dense layer with ReLU, behind a ReLU.
    SparseDense { layer: SparseDense, input: Slot },
    /// Pixels to the first maps of bytes.
    ByteStem(ByteStem),
    /// A convolution or a dense layer from bytes to bytes, ReLU included; `positions` are those of
    /// its output.
    Quanta { layer: ByteLayer, input: Slot, residual: Option<Slot>, positions: Box<[usize]> },
    /// A 3×3 convolution from bytes to bytes, the same.
    ByteWinograd {
        layer: ByteWinograd,
        input: Slot,
        residual: Option<Slot>,
        positions: Box<[usize]>,
    },
    /// A 1×1 convolution or a dense layer from bytes to numbers.
    Numbers { layer: ByteLayer, input: Slot },
    /// A 2×2 maximum of bytes.
    BytePool { input: Slot },
}

/// One of a plan's feature maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feature {
    pub(super) layout: Layout,
    /// Bytes, not numbers.
    pub(super) bytes: bool,
}

impl Feature {
    fn size_bytes(&self) -> usize {
        self.layout.len() * if self.bytes { size_of::<Bytes>() } else { size_of::<Block>() }
    }
}

/// A network, compiled for one instruction set; threads share it.
///
/// After a thread's first call nothing is allocated; what it computes with is
/// [`Plan::scratch_bytes`] large.
#[derive(Debug)]
pub struct Plan {
    target: Target,
    classes: usize,
    steps: Box<[Step]>,
    features: Box<[Feature]>,
    /// Images that go through a step together, so that its weights are read once for all.
    chunk: usize,
    idle: Mutex<Vec<Scratch>>,
}

/// What one thread computes with.
#[derive(Debug)]
struct Scratch {
    /// For each slot, a chunk's feature maps, if they are numbers.
    numbers: Vec<Vec<Block>>,
    /// For each slot, a chunk's feature maps, if they are bytes.
    bytes: Vec<Vec<Bytes>>,
    room: Room<Block, Block>,
    byte_room: Room<Words, Row>,
    nonzero: Vec<Nonzero>,
}

impl Plan {
    /// Bytes of feature maps that a chunk may have, so that they stay in the second cache.
    const CHUNK_BYTES: usize = 512 << 10;
    const MAX_CHUNK: usize = 32;

    /// The last slot holds the logits.
    pub(super) fn new(
        target: Target,
        classes: usize,
        steps: Vec<Step>,
        features: Vec<Feature>,
    ) -> Self {
        let bytes: usize = features.iter().map(Feature::size_bytes).sum();
        let chunk = (Self::CHUNK_BYTES / bytes).clamp(1, Self::MAX_CHUNK);
        let (steps, features) = (steps.into(), features.into());
        Self { target, classes, steps, features, chunk, idle: Mutex::default() }
    }

    /// The instruction set that it was compiled for.
    pub fn kernel(&self) -> Isa {
        self.target.isa
    }

    /// Logits of an image.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What an image costs, about, in multiply-adds of numbers with AVX-512.
    pub fn multiply_adds(&self) -> usize {
        let [numbers, bytes] = self.target.costs();
        let side = |slot: Slot| self.features[slot].layout.side;
        let each = self.steps.iter().map(|step| {
            let (cost, multiply_adds) = match &step.op {
                Op::Stem(layer) => (numbers, layer.multiply_adds()),
                Op::Winograd { layer, input, .. } => (numbers, layer.multiply_adds(side(*input))),
                Op::Pointwise { layer, input } => {
                    (numbers, side(*input).pow(2) * layer.multiply_adds())
                }
                Op::Dense { layer, .. } => (numbers, layer.multiply_adds()),
                Op::SparseDense { layer, .. } => (numbers, layer.multiply_adds()),
                Op::ByteStem(layer) => (bytes, layer.multiply_adds()),
                Op::ByteWinograd { layer, input, .. } => (bytes, layer.multiply_adds(side(*input))),
                Op::Quanta { layer, .. } | Op::Numbers { layer, .. } => {
                    (bytes, layer.multiply_adds())
                }
                Op::BytePool { .. } => (bytes, 0),
            };
            cost * multiply_adds as f64
        });
        each.sum::<f64>() as usize
    }

    /// Computes the logits, on this thread.
    ///
    /// # Shapes
    /// - `logits`: `[images, classes]` `f32`, any range; not finite if the network overflows
    ///
    /// # Panics
    /// If `logits` has another length.
    pub fn logits(&self, images: &[Image], logits: &mut [f32]) {
        assert_eq!(logits.len(), images.len() * self.classes, "one logit for each class");
        let idle = || self.idle.lock().expect("no thread panics while it holds this lock");
        let scratch = idle().pop();
        let mut scratch = scratch.unwrap_or_else(|| self.scratch());
        let chunks = images.chunks(self.chunk).zip(logits.chunks_mut(self.chunk * self.classes));
        for (images, logits) in chunks {
            let forward = Forward { plan: self, images, logits, scratch: &mut scratch };
            self.target.isa.run(forward);
        }
        idle().push(scratch);
    }

    /// The largest number in each of the maps that these images leave behind.
    pub(super) fn largest(&self, images: &[Image]) -> Vec<f32> {
        let mut largest = vec![0.0_f32; self.features.len()];
        let mut scratch = self.scratch();
        let mut logits = vec![0.0; self.chunk * self.classes];
        for images in images.chunks(self.chunk) {
            let logits = &mut logits[..images.len() * self.classes];
            self.target.isa.run(Forward { plan: self, images, logits, scratch: &mut scratch });
            for ((largest, feature), maps) in
                largest.iter_mut().zip(&self.features).zip(&scratch.numbers)
            {
                let maps = &maps[..images.len() * feature.layout.len()];
                *largest = flat(maps).iter().copied().fold(*largest, f32::max);
            }
        }
        largest
    }

    /// Bytes that each thread computes with, beside the plan that all share.
    pub fn scratch_bytes(&self) -> usize {
        self.chunk * self.features.iter().map(Feature::size_bytes).sum::<usize>()
            + Room::<Block, Block>::bytes(self.width(false))
            + Room::<Words, Row>::bytes(self.width(true))
            + self.chunk * Nonzero::bytes(self.sparse_depth())
    }

    fn scratch(&self) -> Scratch {
        let length = |feature: &Feature, bytes: bool| {
            if feature.bytes == bytes { self.chunk * feature.layout.len() } else { 0 }
        };
        let numbers = |feature| vec![Block::ZERO; length(feature, false)];
        let bytes = |feature| vec![Bytes::ZERO; length(feature, true)];
        Scratch {
            numbers: self.features.iter().map(numbers).collect(),
            bytes: self.features.iter().map(bytes).collect(),
            room: Room::with_blocks(self.width(false), (Block::ZERO, Block::ZERO)),
            byte_room: Room::with_blocks(self.width(true), (Words::ZERO, Row::ZERO)),
            nonzero: vec![Nonzero::with_depth(self.sparse_depth()); self.chunk],
        }
    }

    /// Blocks of the widest 3×3 convolution, of numbers or of bytes.
    fn width(&self, bytes: bool) -> usize {
        let layers = self.steps.iter().filter_map(|step| match &step.op {
            Op::Winograd { layer, input, .. } if !bytes => Some((layer.blocks(), *input)),
            Op::ByteWinograd { layer, input, .. } if bytes => Some((layer.blocks(), *input)),
            _ => None,
        });
        let widths = layers.map(|(blocks, input)| blocks.max(self.features[input].layout.blocks));
        widths.max().unwrap_or(0)
    }

    /// Inputs of the largest sparse layer.
    fn sparse_depth(&self) -> usize {
        let depths = self.steps.iter().map(|step| match &step.op {
            Op::SparseDense { layer, .. } => layer.depth(),
            _ => 0,
        });
        depths.max().unwrap_or(0)
    }
}

/// One chunk's way through a plan.
struct Forward<'a> {
    plan: &'a Plan,
    images: &'a [Image],
    logits: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn run<S: Sums, const ROWS: usize, const POSITIONS: usize>(self) {
        let Self { plan, images, logits, scratch } = self;
        let Scratch { numbers, bytes, room, byte_room, nonzero } = scratch;
        let layout_of = |slot: Slot| plan.features[slot].layout;
        for Step { output: slot, op } in &plan.steps {
            // The output leaves its place while it is computed from what lies in the others.
            let (slot, layout) = (*slot, layout_of(*slot));
            let mut new_numbers = mem::take(&mut numbers[slot]);
            let mut new_bytes = mem::take(&mut bytes[slot]);
            let numbers_in = |slot| Maps::first(images.len(), layout_of(slot), &numbers[slot]);
            let bytes_in = |slot| Maps::first(images.len(), layout_of(slot), &bytes[slot]);
            let numbers_out = MapsMut::first(images.len(), layout, &mut new_numbers);
            let bytes_out = MapsMut::first(images.len(), layout, &mut new_bytes);
            match op {
                Op::Stem(layer) => {
                    stem_of_each::<S::Vector>(layer, images, numbers_out);
                }
                Op::Winograd { layer, input, residual } => {
                    let residual = residual.map(numbers_in);
                    let input = numbers_in(*input);
                    winograd::<S::Vector, ROWS>(layer, input, residual, numbers_out, room);
                }
                Op::Pointwise { layer, input } => {
                    pointwise::<S::Vector, ROWS>(layer, numbers_in(*input), numbers_out);
                }
                Op::Dense { layer, input } => {
                    let (input, output) = (numbers_in(*input).blocks, numbers_out.blocks);
                    multiply::<S::Vector, ROWS>(input, layer, output);
                }
                Op::SparseDense { layer, input } => {
                    let (input, output) = (numbers_in(*input).blocks, numbers_out.blocks);
                    let nonzero = &mut nonzero[..images.len()];
                    sparse_dense::<S::Vector, { SparseDense::BLOCKS }>(
                        layer, input, nonzero, output,
                    );
                }
                Op::ByteStem(layer) => {
                    byte_stem_of_each::<S>(layer, images, bytes_out);
                }
                Op::Quanta { layer, input, residual, positions } => {
                    let residual = residual.map(numbers_in);
                    let input = bytes_in(*input);
                    layer.quanta::<S, POSITIONS>(input, residual, bytes_out, positions);
                }
                Op::ByteWinograd { layer, input, residual, positions } => {
                    let (input, residual) = (bytes_in(*input), residual.map(numbers_in));
                    byte_winograd::<S, ROWS>(
                        layer, input, residual, bytes_out, positions, byte_room,
                    );
                }
                Op::Numbers { layer, input } => {
                    layer.numbers::<S, POSITIONS>(bytes_in(*input), numbers_out);
                }
                Op::BytePool { input } => byte_pool(bytes_in(*input), bytes_out),
            }
            (numbers[slot], bytes[slot]) = (new_numbers, new_bytes);
        }
        let last = plan.features.len() - 1;
        let rows = numbers[last].chunks_exact(layout_of(last).len());
        for (row, logits) in rows.zip(logits.chunks_exact_mut(plan.classes)) {
            logits.copy_from_slice(&flat(row)[..plan.classes]);
        }
    }
}

#[inline(always)]
fn stem_of_each<V: Vector>(layer: &Stem, images: &[Image], mut output: MapsMut<'_, Block>) {
    for (index, image) in images.iter().enumerate() {
        match output.layout.blocks {
            1 => stem::<V, 1>(layer, image, output.image(index)),
            _ => stem::<V, 2>(layer, image, output.image(index)),
        }
    }
}

#[inline(always)]
fn byte_stem_of_each<S: Sums>(layer: &ByteStem, images: &[Image], mut output: MapsMut<'_, Bytes>) {
    for (index, image) in images.iter().enumerate() {
        match output.layout.blocks {
            1 => byte_stem::<S, 1>(layer, image, output.image(index)),
            _ => byte_stem::<S, 2>(layer, image, output.image(index)),
        }
    }
}

#[inline(always)]
fn pointwise<V: Vector, const ROWS: usize>(
    layer: &Matrix,
    input: Maps<'_, Block>,
    mut output: MapsMut<'_, Block>,
) {
    for image in 0..input.images() {
        let (input, mut output) = (input.image(image), output.image(image));
        for row in 0..input.layout.side {
            multiply::<V, ROWS>(input.row(row), layer, output.row(row));
        }
    }
}
