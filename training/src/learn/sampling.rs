//! Which images a step sees.
//!
//! Every random choice is a function of the seed and of the step or epoch, so that a resumed run
//! chooses as an uninterrupted one does.

use fmnist_core::{dataset::Dataset, weights};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Purposes that draw from the same seed, each from a stream of its own.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Split,
    Order,
    Step,
    Weights,
    Folds,
    Corruption,
    Composite,
    Flip,
}

/// The generator of one purpose at one epoch or step.
pub(crate) fn generator(seed: u64, stream: Stream, position: usize) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(((stream as u64) << 48) | position as u64);
    generator
}

/// The images of one epoch in random order.
pub(crate) fn order(seed: u64, epoch: usize, images: &[usize]) -> Vec<usize> {
    shuffled(images.to_vec(), generator(seed, Stream::Order, epoch))
}

fn shuffled(mut indices: Vec<usize>, mut random: ChaCha8Rng) -> Vec<usize> {
    indices.shuffle(&mut random);
    indices
}

/// Tosses a coin for each of `count` images.
pub(crate) fn coins(seed: u64, stream: Stream, count: usize) -> Vec<bool> {
    let mut random = generator(seed, stream, 0);
    (0..count).map(|_| random.random()).collect()
}

/// Indices to train on and indices held out: the same share of every class, as good as possible.
pub(crate) fn stratified_split(
    labels: &[u8],
    held_out: usize,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    let shuffled = shuffled((0..labels.len()).collect(), generator(seed, Stream::Split, 0));
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

/// `count` parts of shuffled indices, as equally large as possible.
pub(crate) fn folds(images: usize, count: usize, seed: u64) -> Vec<Vec<usize>> {
    let shuffled = shuffled((0..images).collect(), generator(seed, Stream::Folds, 0));
    let bound = |fold: usize| fold * images / count;
    (0..count).map(|fold| shuffled[bound(fold)..bound(fold + 1)].to_vec()).collect()
}

/// SHA-256 of some images' pixels, then of their labels: 64 lower-case hexadecimal digits.
pub(crate) fn sha256(data: &Dataset, indices: &[usize]) -> String {
    let pixels = indices.iter().flat_map(|&index| data.images[index].pixels()).copied();
    let labels = indices.iter().map(|&index| data.labels[index]);
    weights::sha256(&pixels.chain(labels).collect::<Vec<u8>>())
}
