//! From sums of products of bytes to what lies in memory: a layer's ending, as numbers or as bytes.

use crate::engine::{
    isa::{Block, Bytes, Sums, Vector},
    layout::{Maps, MapsMut},
};

/// How sums become the numbers, or quanta, of a layer's output.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// `[blocks]`, what a sum of one is worth.
    pub(super) scale: Box<[Block]>,
    /// `[blocks]`
    pub(super) bias: Box<[Block]>,
}

impl Ending {
    /// Blocks of a position.
    pub(super) fn blocks(&self) -> usize {
        self.bias.len()
    }

    /// Scale and bias of blocks one after the other.
    #[inline(always)]
    fn of<V: Vector, const WIDTH: usize>(&self, first: usize) -> ([V; WIDTH], [V; WIDTH]) {
        let (scale, bias) = (&self.scale[first..][..WIDTH], &self.bias[first..][..WIDTH]);
        let (mut scales, mut biases) = ([V::splat(0.0); WIDTH], [V::splat(0.0); WIDTH]);
        for column in 0..WIDTH {
            scales[column] = V::load(&scale[column]);
            biases[column] = V::load(&bias[column]);
        }
        (scales, biases)
    }
}

/// A position of an image of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) image: usize,
    pub(super) position: usize,
}

/// Where the outputs of a layer go.
pub(super) trait Store {
    /// Takes the sums of some blocks, from the block `first` on, at positions one after the other in a row of a
    /// map.
    fn store<S: Sums, const WIDTH: usize>(
        &mut self,
        at: Place,
        first: usize,
        sums: impl Iterator<Item = [S; WIDTH]>,
    );
}

/// As numbers.
pub(super) struct Numbers<'a> {
    pub(super) ending: &'a Ending,
    pub(super) output: MapsMut<'a, Block>,
}

impl Store for Numbers<'_> {
    #[inline(always)]
    fn store<S: Sums, const WIDTH: usize>(
        &mut self,
        at: Place,
        first: usize,
        sums: impl Iterator<Item = [S; WIDTH]>,
    ) {
        let (scale, bias) = self.ending.of::<S::Vector, WIDTH>(first);
        let blocks = self.ending.blocks();
        let index = at.image * self.output.layout.len() + at.position * blocks + first;
        let output = &mut self.output.blocks[index..];
        for (position, sums) in sums.enumerate() {
            let output = &mut output[position * blocks..][..WIDTH];
            for column in 0..WIDTH {
                let scaled = sums[column].numbers().mul(scale[column]);
                scaled.add(bias[column]).store(&mut output[column]);
            }
        }
    }
}

/// As quanta, what is negative at 0.
pub(super) struct Quanta<'a> {
    pub(super) ending: &'a Ending,
    /// Instead of the bias, for each position and channel, in quanta of the output.
    pub(super) residual: Option<Maps<'a, Block>>,
    pub(super) output: MapsMut<'a, Bytes>,
    /// For each position, its first block of the output.
    pub(super) positions: &'a [usize],
}

impl Store for Quanta<'_> {
    #[inline(always)]
    fn store<S: Sums, const WIDTH: usize>(
        &mut self,
        at: Place,
        first: usize,
        sums: impl Iterator<Item = [S; WIDTH]>,
    ) {
        let (scale, bias) = self.ending.of::<S::Vector, WIDTH>(first);
        let blocks = self.ending.blocks();
        let index = at.image * self.output.layout.len() + self.positions[at.position] + first;
        let output = &mut self.output.blocks[index..];
        match &self.residual {
            None => {
                for (position, sums) in sums.enumerate() {
                    let output = &mut output[position * blocks..][..WIDTH];
                    for column in 0..WIDTH {
                        let scaled = sums[column].numbers().mul(scale[column]);
                        scaled.add(bias[column]).store_bytes(&mut output[column].0);
                    }
                }
            }
            Some(residual) => {
                let index = at.image * residual.layout.len() + at.position * blocks + first;
                let residual = &residual.blocks[index..];
                for (position, sums) in sums.enumerate() {
                    let output = &mut output[position * blocks..][..WIDTH];
                    let residual = &residual[position * blocks..][..WIDTH];
                    for column in 0..WIDTH {
                        let addend = S::Vector::load(&residual[column]);
                        let scaled = sums[column].numbers().mul(scale[column]);
                        scaled.add(addend).store_bytes(&mut output[column].0);
                    }
                }
            }
        }
    }
}
