//! Garments of the test set laid into photographs: larger, off the centre, on grounds as people
//! photograph them, with the camera's noise.

use fmnist_core::Image;
use image::{
    GrayImage, Rgb, RgbImage,
    imageops::{self, FilterType},
};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};

/// What lies under the garment, in the words of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Ground {
    /// negative garment on a light grey sheet
    Light,
    /// light garment on a dark ground
    Dark,
    /// coloured garment on a coloured ground, at either brightness
    Coloured,
    /// ground with waves and grain of up to 12 grey levels
    Textured,
    /// light sheet, by up to 40 grey levels darker from one end of the garment to the other
    Shaded,
    /// any grey from black to white, the garment 80 to 255 levels darker or lighter
    Grey,
    /// any grey from black to white, the garment 40 to 60 levels darker or lighter
    Faint,
    /// red, blue, lawn, wood, beige or sky, garment black, white or 40 levels away in one channel
    Saturated,
    /// planks with dark joints, each of its own shade, garment black or white
    Boards,
    /// any grey, corners a third darker, the garment's own shadow beside it
    Vignetted,
    /// any grey, the garment touches a side of the picture
    Cropped,
    /// stripes 6 to 16 levels above and below any grey, fine to broad, upright or slanting
    Striped,
    /// squares in turns, as the stripes
    Checked,
    /// stripes across stripes, as the stripes
    Gingham,
    /// squares with joints around them, as the stripes
    Tiled,
}

impl Ground {
    /// How far composites may fall behind their garments, as they are in the test set, in points.
    pub(super) const fn goal_points(self) -> f64 {
        match self {
            Self::Textured
            | Self::Boards
            | Self::Vignetted
            | Self::Striped
            | Self::Checked
            | Self::Gingham
            | Self::Tiled => 10.0,
            _ => 5.0,
        }
    }

    /// Lays a garment, 2 to 8 times its size, somewhere on a larger ground.
    pub(super) fn compose(self, garment: &Image, random: &mut impl Rng) -> RgbImage {
        let scale: f64 = random.random_range(2.0..=8.0);
        let edge = (28.0 * scale).round() as u32;
        let small = GrayImage::from_raw(28, 28, garment.pixels().to_vec()).expect("784 pixels");
        let large = imageops::resize(&small, edge, edge, FilterType::CatmullRom);

        let mut margin = || (f64::from(edge) * random.random_range(0.06..0.6)).ceil() as u32;
        let mut margins: [u32; 4] = std::array::from_fn(|_| margin());
        if self == Self::Cropped {
            margins[random.random_range(0..4)] = 0;
        }
        let [left, top, right, bottom] = margins;
        let (width, height) = (left + edge + right, top + edge + bottom);
        let paint = Paint::of(self, random);
        let ink_at = |x: u32, y: u32| {
            let inside = (left..left + edge).contains(&x) && (top..top + edge).contains(&y);
            if inside { large.get_pixel(x - left, y - top).0[0] } else { 0 }
        };
        let noise = Normal::new(0.0, 2.0).expect("a deviation of 2");
        RgbImage::from_fn(width, height, |x, y| {
            let ground = paint.ground(f64::from(x), f64::from(y), f64::from(edge), random);
            let [across, down] = [(x, width), (y, height)]
                .map(|(at, side)| 2.0 * f64::from(at) / f64::from(side) - 1.0);
            let mut light = 1.0 - paint.vignette / 2.0 * (across * across + down * down);
            // Light comes from above: the shadow lies below.
            if paint.shadow > 0.0 && y > edge / 12 && ink_at(x, y - edge / 12) > 12 {
                light *= 1.0 - paint.shadow;
            }
            let share = f64::from(ink_at(x, y)) / 255.0;
            let mut colour = |channel: usize| {
                let ground = ground[channel] * light;
                let value = ground * (1.0 - share) + paint.garment[channel] * share;
                (value + noise.sample(random)).round() as u8 // saturates
            };
            Rgb([colour(0), colour(1), colour(2)])
        })
    }
}

/// The colours of one photo.
#[derive(Default)]
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
    /// How much darker the corners are, 0.0–1.0.
    vignette: f64,
    /// How much darker the garment's shadow is, 0.0–1.0.
    shadow: f64,
    planks: Option<Planks>,
    pattern: Option<Pattern>,
}

/// What is woven, printed or laid in two or three levels.
struct Pattern {
    /// Striped, checked, gingham or tiled.
    kind: Ground,
    /// How far it goes up and down, grey levels.
    depth: f64,
    /// Side of a square, in edges of the garment.
    side: f64,
    /// Sine and cosine of how far it slants.
    slant: (f64, f64),
    /// Where it begins, in squares.
    start: [f64; 2],
}

impl Pattern {
    fn of(kind: Ground, between: &mut dyn FnMut(f64, f64) -> f64) -> Self {
        let slants = between(0.0, 1.0) < 0.5;
        let angle = if slants { between(0.1, 1.4) } else { 0.0 };
        Self {
            kind,
            depth: between(6.0, 16.0),
            side: between(0.05, 0.35),
            slant: angle.sin_cos(),
            start: [between(0.0, 2.0), between(0.0, 2.0)],
        }
    }

    /// By how much it is lighter than the ground's colour at a place in edges of the garment.
    fn at(&self, [x, y]: [f64; 2]) -> f64 {
        /// Of a square with its joint.
        const JOINT: f64 = 0.2;
        let (sine, cosine) = self.slant;
        let across = (x * cosine + y * sine) / self.side + self.start[0];
        let down = (y * cosine - x * sine) / self.side + self.start[1];
        let [stripe, other] =
            [across, down].map(|at| if at.floor().rem_euclid(2.0) < 1.0 { 1.0 } else { -1.0 });
        self.depth
            * match self.kind {
                Ground::Striped => stripe,
                Ground::Gingham => (stripe + other) / 2.0,
                Ground::Tiled => {
                    let is_joint = [across, down].iter().any(|at| at.rem_euclid(1.0) < JOINT);
                    if is_joint { -1.0 } else { 1.0 }
                }
                _ => stripe * other,
            }
    }
}

/// Planks side by side.
struct Planks {
    /// Of one of them, in edges of the garment.
    width: f64,
    are_vertical: bool,
    /// By how much each is lighter than the ground's colour, grey levels.
    shades: [f64; 16],
}

impl Planks {
    /// Width of a joint, in edges of the garment, and how dark it is.
    const JOINT: f64 = 1.0 / 60.0;
    const JOINT_LIGHT: f64 = 0.45;

    /// What a ground's channel becomes at a place in edges of the garment.
    fn on(&self, channel: f64, [x, y]: [f64; 2]) -> f64 {
        let (across, along) = if self.are_vertical { (x, y) } else { (y, x) };
        let plank = (across / self.width).floor();
        if across - plank * self.width < Self::JOINT {
            return channel * Self::JOINT_LIGHT;
        }
        let grain = 3.0 * (along * 5.0 + plank).sin();
        channel + self.shades[plank as usize % self.shades.len()] + grain
    }
}

impl Paint {
    fn of(kind: Ground, random: &mut impl Rng) -> Self {
        let grey = |value: f64| [value; 3];
        let mut between = |low: f64, high: f64| random.random_range(low..high);
        let plain = |(garment, ground)| Self { garment, ground, ..Self::default() };
        // A ground's level, and one that is so far away on either side, where there is room.
        let apart = |between: &mut dyn FnMut(f64, f64) -> f64, least: f64, most: f64| {
            let ground = between(0.0, 255.0);
            let far = between(least, most);
            let lighter = if ground + least > 255.0 {
                false
            } else {
                ground < least || between(0.0, 1.0) < 0.5
            };
            let garment = if lighter { ground + far } else { ground - far };
            (grey(garment.clamp(0.0, 255.0)), grey(ground))
        };
        let light = |between: &mut dyn FnMut(f64, f64) -> f64| {
            (grey(between(0.0, 40.0)), grey(between(200.0, 250.0)))
        };
        match kind {
            Ground::Light => plain(light(&mut between)),
            Ground::Dark => plain((grey(between(215.0, 255.0)), grey(between(5.0, 50.0)))),
            Ground::Coloured => {
                let mut colour = |low: f64, high: f64| [0; 3].map(|_| between(low, high));
                let (dark, bright) = (colour(0.0, 70.0), colour(170.0, 250.0));
                let is_bright = between(0.0, 1.0) < 0.5;
                plain(if is_bright { (dark, bright) } else { (bright, dark) })
            }
            Ground::Textured => {
                let (dark, bright) = light(&mut between);
                let is_dark = between(0.0, 1.0) < 0.5;
                Self {
                    waves: between(4.0, 8.0),
                    grain: between(2.0, 4.0),
                    frequency: [between(2.0, 14.0), between(2.0, 14.0)],
                    ..plain(if is_dark { (bright, dark) } else { (dark, bright) })
                }
            }
            Ground::Shaded => {
                let paint = plain(light(&mut between));
                Self { fall: [between(-20.0, 20.0), between(-20.0, 20.0)], ..paint }
            }
            Ground::Grey | Ground::Cropped => plain(apart(&mut between, 80.0, 255.0)),
            Ground::Faint => plain(apart(&mut between, 40.0, 60.0)),
            Ground::Saturated => {
                const COLOURS: [[f64; 3]; 6] = [
                    [200.0, 30.0, 30.0],
                    [30.0, 60.0, 200.0],
                    [60.0, 140.0, 50.0],
                    [120.0, 80.0, 50.0],
                    [225.0, 205.0, 170.0],
                    [130.0, 180.0, 235.0],
                ];
                let ground = COLOURS[between(0.0, 6.0) as usize];
                let mut near = ground;
                near[1] += if near[1] < 128.0 { 40.0 } else { -40.0 };
                plain(([grey(0.0), grey(255.0), near][between(0.0, 3.0) as usize], ground))
            }
            Ground::Boards => {
                let garment = if between(0.0, 1.0) < 0.5 { grey(10.0) } else { grey(245.0) };
                let brown = between(0.8, 1.2);
                let planks = Planks {
                    width: between(0.2, 0.6),
                    are_vertical: between(0.0, 1.0) < 0.5,
                    shades: [0; 16].map(|_| between(-12.0, 12.0)),
                };
                let ground = [150.0, 110.0, 75.0].map(|channel| channel * brown);
                Self { planks: Some(planks), ..plain((garment, ground)) }
            }
            Ground::Vignetted => {
                Self { vignette: 0.33, shadow: 0.12, ..plain(apart(&mut between, 80.0, 255.0)) }
            }
            Ground::Striped | Ground::Checked | Ground::Gingham | Ground::Tiled => {
                let paint = plain(apart(&mut between, 80.0, 255.0));
                Self { pattern: Some(Pattern::of(kind, &mut between)), ..paint }
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
        let pattern = self.pattern.as_ref().map_or(0.0, |pattern| pattern.at([x, y]));
        let change =
            self.waves * wave / 2.0 + grain + self.fall[0] * x + self.fall[1] * y + pattern;
        let planks = |channel| self.planks.as_ref().map_or(channel, |all| all.on(channel, [x, y]));
        self.ground.map(|channel| planks(channel) + change)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use fmnist_core::dataset::{Split, synthetic};

    use super::*;
    use crate::learn::sampling::{Stream, generator};

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
        for &ground in Ground::value_variants() {
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
