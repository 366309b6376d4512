//! Garments of the test set laid into photographs: larger, off the centre, on grounds as people
//! photograph them, with the camera's noise.

use fmnist_core::Image;
use image::{
    GrayImage, Rgb, RgbImage,
    imageops::{self, FilterType},
};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};

/// What lies under the garment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// A light sheet; the garment is its image's negative.
    Light,
    /// A dark table; the garment is light.
    Dark,
    /// One colour; the garment has another.
    Coloured,
    /// Cloth or wood: waves and grain.
    Textured,
    /// A sheet that is lit from one side.
    Shaded,
}

impl Ground {
    pub(super) const ALL: [Self; 5] =
        [Self::Light, Self::Dark, Self::Coloured, Self::Textured, Self::Shaded];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::Coloured => "coloured",
            Self::Textured => "textured",
            Self::Shaded => "shaded",
        }
    }

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Light => "negative garment on a light grey sheet",
            Self::Dark => "light garment on a dark ground",
            Self::Coloured => "coloured garment on a coloured ground, at either brightness",
            Self::Textured => "ground with waves and grain of up to 12 grey levels",
            Self::Shaded => {
                "light sheet, by up to 40 grey levels darker from one end of the garment to the other"
            }
        }
    }

    /// Lays a garment, 2 to 8 times its size, somewhere on a larger ground.
    pub(super) fn compose(self, garment: &Image, random: &mut impl Rng) -> RgbImage {
        let scale: f64 = random.random_range(2.0..=8.0);
        let edge = (28.0 * scale).round() as u32;
        let small = GrayImage::from_raw(28, 28, garment.pixels().to_vec()).expect("784 pixels");
        let large = imageops::resize(&small, edge, edge, FilterType::CatmullRom);

        let mut margin = || (f64::from(edge) * random.random_range(0.06..0.6)).ceil() as u32;
        let [left, top, right, bottom] = std::array::from_fn(|_| margin());
        let paint = Paint::of(self, random);
        let noise = Normal::new(0.0, 2.0).expect("a deviation of 2");
        RgbImage::from_fn(left + edge + right, top + edge + bottom, |x, y| {
            let inside = (left..left + edge).contains(&x) && (top..top + edge).contains(&y);
            let ink = if inside { large.get_pixel(x - left, y - top).0[0] } else { 0 };
            let ground = paint.ground(f64::from(x), f64::from(y), f64::from(edge), random);
            let share = f64::from(ink) / 255.0;
            let mut colour = |channel: usize| {
                let value = ground[channel] * (1.0 - share) + paint.garment[channel] * share;
                (value + noise.sample(random)).round() as u8 // saturates
            };
            Rgb([colour(0), colour(1), colour(2)])
        })
    }
}

/// The colours of one photo.
struct Paint {
    /// What the brightest pixel of a garment becomes, 0–255 a channel.
    garment: [f64; 3],
    ground: [f64; 3],
    /// How far waves go up and down, grey levels.
    waves: f64,
    /// Deviation of the grain, grey levels.
    grain: f64,
    /// Waves for each edge of the garment along both axes.
    frequency: [f64; 2],
    /// How much darker it becomes along both axes for each edge of the garment, grey levels.
    fall: [f64; 2],
}

impl Paint {
    fn of(kind: Ground, random: &mut impl Rng) -> Self {
        let grey = |value: f64| [value; 3];
        let mut between = |low: f64, high: f64| random.random_range(low..high);
        let plain = |garment, ground| Self {
            garment,
            ground,
            waves: 0.0,
            grain: 0.0,
            frequency: [0.0; 2],
            fall: [0.0; 2],
        };
        let light = |between: &mut dyn FnMut(f64, f64) -> f64| {
            (grey(between(0.0, 40.0)), grey(between(200.0, 250.0)))
        };
        match kind {
            Ground::Light => {
                let (garment, ground) = light(&mut between);
                plain(garment, ground)
            }
            Ground::Dark => plain(grey(between(215.0, 255.0)), grey(between(5.0, 50.0))),
            Ground::Coloured => {
                let mut colour = |low: f64, high: f64| [0; 3].map(|_| between(low, high));
                let (dark, bright) = (colour(0.0, 70.0), colour(170.0, 250.0));
                if between(0.0, 1.0) < 0.5 { plain(dark, bright) } else { plain(bright, dark) }
            }
            Ground::Textured => {
                let (garment, ground) = light(&mut between);
                let swapped = between(0.0, 1.0) < 0.5;
                let (garment, ground) = if swapped { (ground, garment) } else { (garment, ground) };
                Self {
                    waves: between(4.0, 8.0),
                    grain: between(2.0, 4.0),
                    frequency: [between(2.0, 14.0), between(2.0, 14.0)],
                    ..plain(garment, ground)
                }
            }
            Ground::Shaded => {
                let (garment, ground) = light(&mut between);
                let fall = [between(-20.0, 20.0), between(-20.0, 20.0)];
                Self { fall, ..plain(garment, ground) }
            }
        }
    }

    /// The ground's colour at a place, for a garment of this edge.
    fn ground(&self, x: f64, y: f64, edge: f64, random: &mut impl Rng) -> [f64; 3] {
        let (x, y) = (x / edge, y / edge);
        let wave = (x * self.frequency[0] * 6.0).sin() + (y * self.frequency[1] * 6.0).sin();
        let grain = if self.grain > 0.0 {
            Normal::new(0.0, self.grain).expect("a positive deviation").sample(random)
        } else {
            0.0
        };
        let change = self.waves * wave / 2.0 + grain + self.fall[0] * x + self.fall[1] * y;
        self.ground.map(|channel| channel + change)
    }
}

#[cfg(test)]
mod tests {
    use fmnist_core::dataset::{Split, synthetic};

    use super::*;
    use crate::sampling::{Stream, generator};

    fn composed(ground: Ground, seed: u64) -> RgbImage {
        let garment = &synthetic(Split::Test, 1, 1).images[0];
        ground.compose(garment, &mut generator(seed, Stream::Composite, 0))
    }

    #[test]
    fn composites_are_larger_than_their_garments_and_of_many_sizes() {
        let widths: Vec<u32> = (0..40).map(|seed| composed(Ground::Light, seed).width()).collect();
        assert!(widths.iter().all(|width| (60..=28 * 8 * 3).contains(width)), "{widths:?}");
        let (least, most) = (widths.iter().min(), widths.iter().max());
        assert!(most.expect("a width") > &(3 * least.expect("a width")), "{widths:?}");
    }

    #[test]
    fn a_seed_decides_the_picture() {
        for ground in Ground::ALL {
            assert_eq!(composed(ground, 3), composed(ground, 3));
            assert_ne!(composed(ground, 3), composed(ground, 4));
        }
    }

    #[test]
    fn grounds_are_what_their_names_say() {
        let corner = |ground, seed| composed(ground, seed).get_pixel(0, 0).0;
        for seed in 0..20 {
            assert!(corner(Ground::Light, seed).iter().all(|&channel| channel > 190));
            assert!(corner(Ground::Dark, seed).iter().all(|&channel| channel < 60));
        }
        let spread = |seed| {
            let [red, green, blue] = corner(Ground::Coloured, seed);
            red.max(green).max(blue) - red.min(green).min(blue)
        };
        assert!((0..20).filter(|&seed| spread(seed) > 20).count() > 10);
    }
}
