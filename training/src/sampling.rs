//! Which images a step sees, and what becomes of them.
//!
//! Every random choice is a function of the seed and of the step or epoch, so that a resumed run
//! chooses as an uninterrupted one does.

use fmnist_core::Image;
use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Purposes that draw from the same seed, each from a stream of its own.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Split,
    Order,
    Step,
    Weights,
}

/// The generator of one purpose at one epoch or step.
pub(crate) fn generator(seed: u64, stream: Stream, position: usize) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(((stream as u64) << 48) | position as u64);
    generator
}

/// The images of one epoch in random order.
pub(crate) fn order(seed: u64, epoch: usize, images: &[usize]) -> Vec<usize> {
    let mut order = images.to_vec();
    order.shuffle(&mut generator(seed, Stream::Order, epoch));
    order
}

/// Indices to train on and indices held out: the same share of every class, as good as possible.
pub(crate) fn stratified_split(
    labels: &[u8],
    held_out: usize,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    let mut shuffled: Vec<usize> = (0..labels.len()).collect();
    shuffled.shuffle(&mut generator(seed, Stream::Split, 0));
    // A stable sort by rank within the class puts one image of every class in each layer.
    let mut seen = [0_usize; 256];
    let mut ranked: Vec<(usize, u8, usize)> = shuffled
        .into_iter()
        .map(|index| {
            let label = labels[index];
            seen[usize::from(label)] += 1;
            (seen[usize::from(label)], label, index)
        })
        .collect();
    ranked.sort_unstable();
    let mut indices: Vec<usize> = ranked.into_iter().map(|(_, _, index)| index).collect();
    let train = indices.split_off(held_out.min(indices.len()));
    (train, indices)
}

/// Mirrors every other image and shifts each by up to two pixels along both axes.
pub(crate) fn augment(image: &Image, random: &mut impl Rng) -> Image {
    const SHIFT: i32 = 2;
    let mirror: bool = random.random();
    let down = random.random_range(-SHIFT..=SHIFT);
    let right = random.random_range(-SHIFT..=SHIFT);

    let mut pixels = [0; Image::PIXELS];
    let (width, height) = (Image::WIDTH as i32, Image::HEIGHT as i32);
    for row in down.max(0)..(height + down).min(height) {
        for column in right.max(0)..(width + right).min(width) {
            let from = column - right;
            let from = if mirror { width - 1 - from } else { from };
            pixels[(row * width + column) as usize] =
                image.pixels()[((row - down) * width + from) as usize];
        }
    }
    Image::new(pixels)
}
