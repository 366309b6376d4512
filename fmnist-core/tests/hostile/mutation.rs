//! Damage: what a fuzzer does to a corpus, from a seed.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Calls `check` with `count` damaged copies of the seeds, and with noise.
pub(crate) fn damaged(
    seeds: &[Vec<u8>],
    count: u64,
    mut check: impl FnMut(&mut ChaCha8Rng, Vec<u8>),
) {
    for number in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        for _ in 0..rng.random_range(1..=6) {
            damage(&mut rng, &mut bytes, seeds);
        }
        check(&mut rng, bytes);
    }
}

fn damage(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    const TOKENS: [&[u8]; 12] = [
        b"{",
        b"}",
        b"[[[[[[[[",
        b"\"",
        b"-1",
        b"1e999",
        b"18446744073709551616",
        b"null",
        b"\\u0000",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\x7f\xff\xff\xff",
    ];
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..6) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => {
            let token = TOKENS[rng.random_range(0..TOKENS.len())];
            bytes.splice(at..at, token.iter().copied());
        }
        3 => {
            let end = (at + rng.random_range(0..16)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let other = &seeds[rng.random_range(0..seeds.len())];
            let tail = other[rng.random_range(0..=other.len())..].to_vec();
            bytes.splice(at.., tail);
        }
        _ => {
            let end = (at + rng.random_range(0..8)).min(bytes.len());
            rng.fill_bytes(&mut bytes[at..end]);
        }
    }
}
