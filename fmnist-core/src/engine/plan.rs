use std::sync::Mutex;

use super::{
    kernel::{
        Block, Kernel, Matrix, Nonzero, SparseDense, Stem, Tiles, Vector, Winograd, Work, dispatch,
        flat, multiply, sparse_dense, stem, winograd,
    },
    layout::{Layout, Maps, MapsMut},
};
use crate::image::Image;

/// Which of a plan's feature maps.
pub(super) type Slot = usize;

/// One step from feature maps to feature maps.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Pixels to the first maps.
    Stem { layer: Stem, output: Slot },
    /// A 3×3 convolution and what follows.
    Winograd { layer: Winograd, input: Slot, residual: Option<Slot>, output: Slot },
    /// A 1×1 convolution.
    Pointwise { layer: Matrix, input: Slot, output: Slot },
    /// A dense layer without ReLU.
    Dense { layer: Matrix, input: Slot, output: Slot },
    /// A dense layer with ReLU, behind a ReLU.
    SparseDense { layer: SparseDense, input: Slot, output: Slot },
}

/// A network, compiled for one kernel; threads share it.
///
/// After a thread's first call nothing is allocated; what it computes with is
/// [`Plan::scratch_bytes`] large.
#[derive(Debug)]
pub struct Plan {
    kernel: Kernel,
    classes: usize,
    steps: Box<[Step]>,
    layouts: Box<[Layout]>,
    /// Images that go through a step together, so that its weights are read once for all.
    chunk: usize,
    idle: Mutex<Vec<Scratch>>,
}

/// What one thread computes with.
#[derive(Debug)]
struct Scratch {
    /// For each slot, a chunk's feature maps.
    maps: Vec<Vec<Block>>,
    tiles: Tiles,
    nonzero: Vec<Nonzero>,
}

impl Plan {
    /// Bytes of feature maps that a chunk may have, so that they stay in the second cache.
    const CHUNK_BYTES: usize = 512 << 10;
    const MAX_CHUNK: usize = 32;

    /// The last slot holds the logits.
    pub(super) fn new(
        kernel: Kernel,
        classes: usize,
        steps: Vec<Step>,
        layouts: Vec<Layout>,
    ) -> Self {
        let bytes: usize = layouts.iter().map(|layout| layout.len() * size_of::<Block>()).sum();
        let chunk = (Self::CHUNK_BYTES / bytes).clamp(1, Self::MAX_CHUNK);
        let (steps, layouts) = (steps.into(), layouts.into());
        Self { kernel, classes, steps, layouts, chunk, idle: Mutex::default() }
    }

    /// The kernel that it was compiled for.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Logits of an image.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Images that are computed together; a batch is best split between multiples of it.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Multiply-adds of an image, as the steps compute it: what a batch costs, about.
    pub fn multiply_adds(&self) -> usize {
        let each = self.steps.iter().map(|step| match step {
            Step::Stem { layer, .. } => layer.multiply_adds(),
            Step::Winograd { layer, input, .. } => layer.multiply_adds(self.layouts[*input].side),
            Step::Pointwise { layer, input, .. } => {
                self.layouts[*input].side.pow(2) * layer.multiply_adds()
            }
            Step::Dense { layer, .. } => layer.multiply_adds(),
            Step::SparseDense { layer, .. } => layer.multiply_adds(),
        });
        each.sum()
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
            dispatch(self.kernel, forward);
        }
        idle().push(scratch);
    }

    /// Bytes that each thread computes with, beside the plan that all share.
    pub fn scratch_bytes(&self) -> usize {
        let maps = self.layouts.iter().map(|layout| self.chunk * layout.len() * size_of::<Block>());
        maps.sum::<usize>()
            + Tiles::bytes(self.tile_blocks())
            + self.chunk * Nonzero::bytes(self.sparse_depth())
    }

    fn scratch(&self) -> Scratch {
        let maps = |layout: &Layout| vec![Block::ZERO; self.chunk * layout.len()];
        Scratch {
            maps: self.layouts.iter().map(maps).collect(),
            tiles: Tiles::with_blocks(self.tile_blocks()),
            nonzero: vec![Nonzero::with_depth(self.sparse_depth()); self.chunk],
        }
    }

    /// Blocks of the widest convolution.
    fn tile_blocks(&self) -> usize {
        let blocks = self.steps.iter().map(|step| match step {
            Step::Winograd { layer, input, .. } => layer.blocks().max(self.layouts[*input].blocks),
            _ => 0,
        });
        blocks.max().unwrap_or(0)
    }

    /// Inputs of the largest sparse layer.
    fn sparse_depth(&self) -> usize {
        let depths = self.steps.iter().map(|step| match step {
            Step::SparseDense { layer, .. } => layer.depth(),
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
    fn run<V: Vector, const ROWS: usize>(self) {
        let Self { plan, images, logits, scratch } = self;
        let Scratch { maps, tiles, nonzero } = scratch;
        let length = |slot: Slot| images.len() * plan.layouts[slot].len();
        for step in &plan.steps {
            let slot = step.output();
            let mut computed = std::mem::take(&mut maps[slot]);
            let read = |slot: Slot| Maps {
                layout: plan.layouts[slot],
                blocks: &maps[slot][..length(slot)],
            };
            let mut output =
                MapsMut { layout: plan.layouts[slot], blocks: &mut computed[..length(slot)] };
            match step {
                Step::Stem { layer, .. } => {
                    for (index, image) in images.iter().enumerate() {
                        match output.layout.blocks {
                            1 => stem::<V, 1>(layer, image, output.image(index)),
                            _ => stem::<V, 2>(layer, image, output.image(index)),
                        }
                    }
                }
                Step::Winograd { layer, input, residual, .. } => {
                    let residual = residual.map(read);
                    winograd::<V, ROWS>(layer, read(*input), residual, output, tiles);
                }
                Step::Pointwise { layer, input, .. } => {
                    let input = read(*input);
                    for image in 0..images.len() {
                        let (input, mut output) = (input.image(image), output.image(image));
                        for row in 0..input.layout.side {
                            multiply::<V, ROWS>(input.row(row), layer, output.row(row));
                        }
                    }
                }
                Step::Dense { layer, input, .. } => {
                    multiply::<V, ROWS>(read(*input).blocks, layer, output.blocks);
                }
                Step::SparseDense { layer, input, .. } => {
                    let (input, nonzero) = (read(*input).blocks, &mut nonzero[..images.len()]);
                    sparse_dense::<V, { SparseDense::BLOCKS }>(
                        layer,
                        input,
                        nonzero,
                        output.blocks,
                    );
                }
            }
            maps[slot] = computed;
        }
        let last = plan.layouts.len() - 1;
        let rows = maps[last].chunks_exact(plan.layouts[last].len());
        for (row, logits) in rows.zip(logits.chunks_exact_mut(plan.classes)) {
            logits.copy_from_slice(&flat(row)[..plan.classes]);
        }
    }
}

impl Step {
    fn output(&self) -> Slot {
        match *self {
            Self::Stem { output, .. }
            | Self::Winograd { output, .. }
            | Self::Pointwise { output, .. }
            | Self::Dense { output, .. }
            | Self::SparseDense { output, .. } => output,
        }
    }
}
