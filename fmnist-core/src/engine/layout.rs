//! Where the activations of one image lie between two steps of a plan. Compiler and operations agree by it on
//! where a map's border is, which stays zero.

/// Outputs along a side of a tile of a 3×3 convolution.
pub(super) const TILE: usize = 4;
/// Inputs along a side of a tile.
pub(super) const PATCH: usize = TILE + 2;

/// Rows, columns and channels of a feature map in memory: `[rows, columns, blocks]`, in blocks of
/// sixteen channels, which are numbers or bytes.
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

    /// Zeros around, one wide.
    pub(super) const fn framed(side: usize, blocks: usize) -> Self {
        Self { side, blocks, stored: side + 2, inset: 1 }
    }

    /// Zeros around, as far as the tiles of a 3×3 convolution reach.
    pub(super) const fn bordered(side: usize, blocks: usize) -> Self {
        let stored = side.div_ceil(TILE) * TILE + PATCH - TILE;
        Self { side, blocks, stored, inset: 1 }
    }

    /// A map without a border as one position.
    pub(super) const fn flattened(&self) -> Self {
        Self::dense(1, self.len())
    }

    /// The index of the first block of each position that means something.
    pub(super) fn positions(self) -> impl Iterator<Item = usize> {
        (0..self.side * self.side).map(move |i| self.index(i / self.side, i % self.side))
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

    /// The index of the first block that a 3×3 convolution sees for a position, or for a tile whose
    /// upper left position it is.
    pub(super) const fn patch(&self, row: usize, column: usize) -> usize {
        debug_assert!(self.inset == 1);
        (row * self.stored + column) * self.blocks
    }
}

/// The feature maps of one or more images.
pub(super) struct Maps<'a, B> {
    pub(super) layout: Layout,
    pub(super) blocks: &'a [B],
}

impl<B> Clone for Maps<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Maps<'_, B> {}

impl<'a, B> Maps<'a, B> {
    /// The first images' of those in memory.
    pub(super) fn first(images: usize, layout: Layout, blocks: &'a [B]) -> Self {
        Self { layout, blocks: &blocks[..images * layout.len()] }
    }

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
    pub(super) fn row(self, row: usize) -> &'a [B] {
        &self.blocks[self.layout.index(row, 0)..][..self.layout.side * self.layout.blocks]
    }
}

/// Feature maps that are being computed.
pub(super) struct MapsMut<'a, B> {
    pub(super) layout: Layout,
    pub(super) blocks: &'a mut [B],
}

impl<'a, B> MapsMut<'a, B> {
    /// The first images' of those in memory, if any are there.
    pub(super) fn first(images: usize, layout: Layout, blocks: &'a mut [B]) -> Self {
        let end = blocks.len().min(images * layout.len());
        Self { layout, blocks: &mut blocks[..end] }
    }

    /// One image's.
    pub(super) fn image(&mut self, index: usize) -> MapsMut<'_, B> {
        let blocks = &mut self.blocks[index * self.layout.len()..][..self.layout.len()];
        MapsMut { layout: self.layout, blocks }
    }

    /// One row's positions that mean something, of the only image.
    pub(super) fn row(&mut self, row: usize) -> &mut [B] {
        &mut self.blocks[self.layout.index(row, 0)..][..self.layout.side * self.layout.blocks]
    }
}
