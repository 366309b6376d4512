//! Where the activations of one image lie between two steps of a plan.

use super::kernel::{Block, PATCH, TILE};

/// Rows, columns and channels of a feature map in memory: `[rows, columns, blocks]`, in blocks of
/// sixteen channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Rows, and columns, that mean something.
    pub(super) side: usize,
    /// Blocks of channels of a position.
    pub(super) blocks: usize,
    /// Rows, and columns, in memory.
    stored: usize,
    /// Row, and column, in memory of the first that means something.
    inset: usize,
}

impl Layout {
    /// Positions one after the other.
    pub(super) const fn dense(side: usize, blocks: usize) -> Self {
        Self { side, blocks, stored: side, inset: 0 }
    }

    /// Zeros around, as far as the tiles of a 3×3 convolution reach.
    pub(super) const fn bordered(side: usize, blocks: usize) -> Self {
        let stored = side.div_ceil(TILE) * TILE + PATCH - TILE;
        Self { side, blocks, stored, inset: 1 }
    }

    /// Blocks of one image.
    pub(super) const fn len(&self) -> usize {
        self.stored * self.row()
    }

    /// Blocks of one row in memory.
    pub(super) const fn row(&self) -> usize {
        self.stored * self.blocks
    }

    /// The index of the first block of a position that means something.
    pub(super) const fn index(&self, row: usize, column: usize) -> usize {
        ((row + self.inset) * self.stored + column + self.inset) * self.blocks
    }

    /// The index of the first block that a tile of a convolution sees.
    pub(super) const fn patch(&self, row: usize, column: usize) -> usize {
        debug_assert!(self.inset == 1);
        (row * self.stored + column) * self.blocks
    }
}

/// The feature maps of one or more images.
#[derive(Clone, Copy)]
pub(super) struct Maps<'a> {
    pub(super) layout: Layout,
    pub(super) blocks: &'a [Block],
}

impl<'a> Maps<'a> {
    /// How many images.
    pub(super) fn images(self) -> usize {
        self.blocks.len() / self.layout.len()
    }

    /// One image's.
    pub(super) fn image(self, index: usize) -> Self {
        let blocks = &self.blocks[index * self.layout.len()..][..self.layout.len()];
        Self { layout: self.layout, blocks }
    }

    /// One row's positions that mean something, of the only image.
    pub(super) fn row(self, row: usize) -> &'a [Block] {
        &self.blocks[self.layout.index(row, 0)..][..self.layout.side * self.layout.blocks]
    }
}

/// Feature maps that are being computed.
pub(super) struct MapsMut<'a> {
    pub(super) layout: Layout,
    pub(super) blocks: &'a mut [Block],
}

impl MapsMut<'_> {
    /// One image's.
    pub(super) fn image(&mut self, index: usize) -> MapsMut<'_> {
        let blocks = &mut self.blocks[index * self.layout.len()..][..self.layout.len()];
        MapsMut { layout: self.layout, blocks }
    }
    /// One row's positions that mean something, of the only image.
    pub(super) fn row(&mut self, row: usize) -> &mut [Block] {
        &mut self.blocks[self.layout.index(row, 0)..][..self.layout.side * self.layout.blocks]
    }
}
