//! Layers over bytes by products of whole matrices, where the instruction set has them (AMX): up to sixteen
//! positions that lie one after the other in memory, or as many images of a dense layer, are the rows of one.

use std::ops::Range;

use super::byte_output::{Place, Store};
use crate::engine::{
    isa::{Bytes, Factors, Packed, Products, Square, Sums, Weights},
    layout::{Layout, Maps},
};

/// How a layer's positions become rows of matrices.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    /// What a position sees lies in runs: where each begins, in blocks, behind where the first does.
    runs: Box<[usize]>,
    /// Blocks of a run.
    length: usize,
    /// Those of them that are taken in at a time.
    depth: usize,
    positions: Positions,
}

#[derive(Clone, Debug)]
enum Positions {
    /// One an image: images are the rows, each from that block of its own.
    One { origin: usize },
    /// The rows of matrices of an image's positions.
    Spans { rows: usize, stride: usize, spans: Box<[Span]> },
}

/// Rows of a matrix, not all of which are positions: some lie on the border, or were in the span before.
#[derive(Clone, Debug)]
struct Span {
    /// Of the first row, the block at which it begins.
    first: usize,
    pieces: Box<[Piece]>,
}

/// Rows of a matrix that are positions one after the other in a row of a map.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// The first row.
    row: usize,
    /// Its position.
    position: usize,
    count: usize,
}

impl Tiling {
    /// What a matrix costs beside its rows, in rows: its weights are loaded and its sums stored.
    const OVERHEAD: usize = 8;
    /// With fewer a dense layer's weights are read faster than tiles take them.
    const LEAST_IMAGES: usize = 4;

    /// Of a layer with so many rows, and columns, of taps, whose first position sees what begins at the block
    /// `origin`.
    pub(super) fn new(taps: usize, input: &Layout, origin: usize) -> Self {
        let length = taps * input.blocks;
        let depth = (1..=4).rev().find(|blocks| length.is_multiple_of(*blocks));
        Self {
            runs: (0..taps).map(|row| row * input.row()).collect(),
            length,
            depth: depth.expect("one block divides any number"),
            positions: match input.side {
                1 => Positions::One { origin },
                _ => Positions::spans(input, origin),
            },
        }
    }

    /// Whether there are enough rows for it to be worth while.
    pub(super) fn suits(&self, images: usize) -> bool {
        matches!(self.positions, Positions::Spans { .. }) || images >= Self::LEAST_IMAGES
    }
}

impl Positions {
    fn spans(input: &Layout, origin: usize) -> Self {
        // Positions in memory, of which those on the border are none.
        let (side, stored) = (input.side, input.row() / input.blocks);
        let extent = (side - 1) * stored + side;
        let is_position = |index: &usize| index % stored < side;
        let cut = |rows: usize| {
            let mut spans = Vec::new();
            let mut next = 0;
            while let Some(start) = (next..extent).find(is_position) {
                next = extent.min(start + rows);
                spans.push(start..next);
            }
            spans
        };
        let cost = |rows: &usize| cut(*rows).len() * (rows + Tiling::OVERHEAD);
        let rows = (1..=Square::ROWS.min(extent)).min_by_key(cost).expect("there are rows");
        let spans = cut(rows).into_iter().map(|span| {
            // The last begins earlier, so that it ends within the map.
            let first = span.end.saturating_sub(rows);
            let pieces = (span.start / stored..=(span.end - 1) / stored).filter_map(|row| {
                let start = span.start.max(row * stored);
                let end = span.end.min(row * stored + side);
                let position = row * side + start - row * stored;
                let piece = || Piece { row: start - first, position, count: end - start };
                (start < end).then(piece)
            });
            Span { first: origin + first * input.blocks, pieces: pieces.collect() }
        });
        Self::Spans { rows, stride: input.blocks, spans: spans.collect() }
    }
}

/// Computes a layer for every position of every image of a chunk.
#[inline(always)]
pub(super) fn byte_tiles<S: Sums>(
    groups: &[(usize, Packed)],
    tiling: &Tiling,
    input: Maps<'_, Bytes>,
    output: &mut impl Store,
) {
    let mut first = 0;
    for (width, weights) in groups {
        let group = Group { tiling, input, weights: &weights.bytes, first };
        match width {
            1 => group.compute::<S, 2, 1>(output),
            2 => group.compute::<S, 2, 2>(output),
            _ => group.compute::<S, 1, 3>(output),
        }
        first += width;
    }
}

/// A group of a layer's outputs for a chunk.
struct Group<'a> {
    tiling: &'a Tiling,
    input: Maps<'a, Bytes>,
    weights: &'a [Weights],
    /// The first block of outputs.
    first: usize,
}

impl Group<'_> {
    #[inline(always)]
    fn compute<S: Sums, const SPANS: usize, const WIDTH: usize>(&self, output: &mut impl Store) {
        match &self.tiling.positions {
            Positions::One { origin } => self.images::<S, WIDTH>(*origin, output),
            Positions::Spans { rows, stride, spans } => {
                self.spans::<S, SPANS, WIDTH>(*rows, *stride, spans, output);
            }
        }
    }

    /// Images as rows.
    #[inline(always)]
    fn images<S: Sums, const WIDTH: usize>(&self, origin: usize, output: &mut impl Store) {
        let (images, stride) = (self.input.images(), self.input.layout.len());
        let rows = images.min(Square::ROWS);
        let products = S::Products::new(rows, self.tiling.depth);
        let mut sums = [[Square::ZERO; WIDTH]];
        for first in (0..images).step_by(rows) {
            // The last matrix begins earlier, so that it ends within the chunk.
            let first = first.min(images - rows);
            products.multiply(self.factors(stride), [origin + first * stride], &mut sums);
            for row in 0..rows {
                let at = Place { image: first + row, position: 0 };
                output.store(at, self.first, row_sums::<S, WIDTH>(&sums[0], row..row + 1));
            }
        }
    }

    /// Positions as rows, `SPANS` matrices at a time.
    #[inline(always)]
    fn spans<S: Sums, const SPANS: usize, const WIDTH: usize>(
        &self,
        rows: usize,
        stride: usize,
        spans: &[Span],
        output: &mut impl Store,
    ) {
        let (images, image_blocks) = (self.input.images(), self.input.layout.len());
        let products = S::Products::new(rows, self.tiling.depth);
        let factors = self.factors(stride);
        let mut sums = [[Square::ZERO; WIDTH]; SPANS];
        let (mut image, mut span) = (0, 0);
        while image < images {
            // Behind the last it is the last once more.
            let mut matrices = [(image, &spans[span]); SPANS];
            let mut count = 0;
            while count < SPANS && image < images {
                matrices[count..].fill((image, &spans[span]));
                (count, span) = (count + 1, span + 1);
                if span == spans.len() {
                    (image, span) = (image + 1, 0);
                }
            }
            let starts = matrices.map(|(image, span)| image * image_blocks + span.first);
            products.multiply(factors, starts, &mut sums);
            for ((image, span), sums) in matrices[..count].iter().zip(&sums) {
                for piece in &span.pieces {
                    let at = Place { image: *image, position: piece.position };
                    let rows = piece.row..piece.row + piece.count;
                    output.store(at, self.first, row_sums::<S, WIDTH>(sums, rows));
                }
            }
        }
    }

    fn factors<const WIDTH: usize>(&self, stride: usize) -> Factors<'_, WIDTH> {
        let Tiling { runs, length, .. } = self.tiling;
        let (weights, _) = self.weights.as_chunks::<WIDTH>();
        Factors { input: self.input.blocks, stride, runs, length: *length, weights }
    }
}

/// Of each row, the sums of its blocks.
#[inline(always)]
fn row_sums<S: Sums, const WIDTH: usize>(
    sums: &[Square; WIDTH],
    rows: Range<usize>,
) -> impl Iterator<Item = [S; WIDTH]> {
    rows.map(move |row| {
        let mut loaded = [S::zero(); WIDTH];
        for (loaded, square) in loaded.iter_mut().zip(sums) {
            *loaded = S::load(&square.0[row]);
        }
        loaded
    })
}
