//! Ten kinds of clothes drawn by rule, for machines without the data set.
//!
//! Only operations that IEEE 754 defines exactly are used (no sine, no exponential), so that a
//! seed gives the same bytes on every platform.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Dataset, Origin, Split};
use crate::{image::Image, label::LABELS};

/// Synthetic test images that stand for the official 10,000.
pub const SYNTHETIC_TEST_IMAGES: usize = 1_000;

/// Draws `count` labelled images; the classes take turns, so any prefix is balanced.
///
/// Every image has its own place, size, turn, brightness, pattern and noise. The two splits
/// differ, and so do two seeds.
pub fn synthetic(split: Split, count: usize, seed: u64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(split as u64);
    let labels: Arc<[u8]> = (0..count).map(|i| (i % LABELS.len()) as u8).collect();
    let images = labels.iter().map(|&label| draw(label, &mut rng)).collect();
    let classes = LABELS.map(str::to_owned).into();
    Dataset { images, labels, classes, origin: Origin::Synthetic }
}

/// How one garment lies on the ground.
struct Pose {
    centre: [f32; 2],
    half_size: [f32; 2],
    cosine: f32,
    sine: f32,
    mirror: f32,
}

impl Pose {
    fn random(rng: &mut ChaCha8Rng) -> Self {
        // The rational circle: no sine needed. The tangent of half the angle, so up to ±14°.
        let t: f32 = rng.random_range(-0.12..0.12);
        let size: f32 = rng.random_range(7.5..11.5);
        let slack = 13.5 - size;
        Self {
            centre: [
                13.5 + rng.random_range(-slack..slack),
                13.5 + rng.random_range(-slack..slack),
            ],
            half_size: [size * rng.random_range(0.85..1.15), size],
            cosine: (1.0 - t * t) / (1.0 + t * t),
            sine: 2.0 * t / (1.0 + t * t),
            mirror: if rng.random() { 1.0 } else { -1.0 },
        }
    }

    /// From pixels to the garment's own square, -1 to 1 with y downwards.
    fn garment_point(&self, column: f32, row: f32) -> (f32, f32) {
        let (x, y) = (column - self.centre[0], row - self.centre[1]);
        let turned = (x * self.cosine + y * self.sine, y * self.cosine - x * self.sine);
        (self.mirror * turned.0 / self.half_size[0], turned.1 / self.half_size[1])
    }
}

/// What it is made of.
struct Cloth {
    brightness: f32,
    stripe_period: f32,
    stripe_depth: f32,
    noise: f32,
}

impl Cloth {
    fn random(rng: &mut ChaCha8Rng) -> Self {
        Self {
            brightness: rng.random_range(70.0..230.0),
            stripe_period: rng.random_range(0.2..0.6),
            stripe_depth: if rng.random_bool(0.4) { rng.random_range(0.2..0.7) } else { 0.0 },
            noise: rng.random_range(8.0..40.0),
        }
    }

    fn at(&self, y: f32) -> f32 {
        let phase = (y + 2.0) / self.stripe_period;
        let dark = phase - phase.floor() < 0.5;
        self.brightness * if dark { 1.0 - self.stripe_depth } else { 1.0 }
    }
}

fn draw(label: u8, rng: &mut ChaCha8Rng) -> Image {
    const SAMPLES: [f32; 3] = [-1.0 / 3.0, 0.0, 1.0 / 3.0];
    let (pose, cloth) = (Pose::random(rng), Cloth::random(rng));
    let cut: f32 = rng.random_range(-1.0..1.0);
    Image::from_fn(|row, column| {
        let noise: f32 = rng.random_range(-1.0..1.0);
        let (mut ink, mut covered) = (0.0, 0.0);
        for (dy, dx) in SAMPLES.iter().flat_map(|dy| SAMPLES.map(|dx| (dy, dx))) {
            let (x, y) = pose.garment_point(column as f32 + dx, row as f32 + dy);
            if covers(label, cut, x, y) {
                ink += cloth.at(y) / 9.0;
                covered += 1.0 / 9.0;
            }
        }
        (ink + covered * noise * cloth.noise).clamp(0.0, 255.0) as u8
    })
}

/// Whether a garment of the class covers a point of its square; `cut`, -1 to 1, varies its shape.
fn covers(label: u8, cut: f32, x: f32, y: f32) -> bool {
    let wide = x.abs();
    let within = |low: f32, high: f32| (low..high).contains(&y);
    let body = |half: f32| wide < half + 0.05 * cut && within(-0.9, 0.9);
    // Sleeves hang outwards from the shoulder to `hem`.
    let sleeves = |hem: f32| {
        let middle = 0.5 + 0.25 * (y + 0.9);
        within(-0.9, hem) && (wide - middle).abs() < 0.17
    };
    let neck = |depth: f32| wide < 0.2 && y < -0.9 + depth * (1.0 - wide / 0.2);
    match label {
        0 => (body(0.45) || sleeves(-0.35 + 0.1 * cut)) && !neck(0.2),
        1 => wide < 0.42 && within(-0.95, 0.95) && (y < -0.55 + 0.1 * cut || wide > 0.1),
        2 => (body(0.45) || sleeves(0.75)) && !neck(0.15),
        3 => within(-0.95, 0.95) && wide < 0.22 + 0.16 * (y + 0.95) + 0.05 * cut && !neck(0.3),
        4 => (body(0.5) || sleeves(0.65)) && !neck(0.4) && (wide > 0.05 || y < -0.5),
        5 => {
            let sole = (0.35 - 0.25 * x..0.5 - 0.25 * x).contains(&y) && wide < 0.95;
            let strap = |at: f32| (x - at - 0.3 * y).abs() < 0.08 && within(-0.4 - 0.3 * x, 0.4);
            sole || strap(-0.55) || strap(0.0 + 0.1 * cut) || strap(0.5)
        }
        6 => {
            let button = wide < 0.06 && ((y + 2.0) * 4.0).fract() < 0.35;
            (body(0.42) || sleeves(0.35 + 0.25 * cut)) && !neck(0.3) && !button
        }
        7 => {
            let sole = within(0.3, 0.5) && wide < 0.95;
            let upper = within(-0.25 + 0.35 * (x + 0.6).max(0.0), 0.35) && x > -0.9 && x < 0.9;
            sole || upper
        }
        8 => {
            let handle = wide * wide / 0.25 + (y + 0.2) * (y + 0.2) / 0.4;
            let panel = within(-0.2, 0.75) && wide < 0.85 + 0.1 * cut;
            panel || (within(-0.9, -0.2) && (0.6..1.1).contains(&handle))
        }
        _ => {
            let shaft = within(-0.95 + 0.15 * cut, 0.6) && x > -0.75 && x < 0.0;
            let foot = within(0.05 + 0.3 * x.max(0.0), 0.75) && x > -0.75 && x < 0.9;
            shaft || foot
        }
    }
}
