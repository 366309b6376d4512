//! The background of a photo, as its border shows it.

use ::image::RgbImage;

use super::garment::Mask;

/// The colours of a ground without a garment: a quadratic surface for each channel, because light
/// falls from one side and lenses darken corners.
pub(super) struct Ground {
    /// Of each channel the factors of the terms.
    surfaces: [[f32; TERMS]; 3],
    /// Differences up to here are texture, not garment: grey levels, 0.0–255.0.
    pub(super) texture: f32,
}

/// 1, x, y, x², xy and y²; x and y go from -1 to 1.
const TERMS: usize = 6;
/// Compression and sensor noise of a plain ground, grey levels.
const LEAST_TEXTURE: f32 = 4.0;
/// Where more stands out, boards have joints.
const MOST_TEXTURE: f32 = 32.0;

/// A pixel's terms and its colour.
type Point = ([f32; TERMS], [u8; 3]);

impl Ground {
    /// Measures a photo that was smoothed: begins with what its corners show, and takes in whatever
    /// looks like it.
    ///
    /// Least squares, fitted again without what stands out: a garment counts for nothing as soon
    /// as it is seen, wherever it touches the border.
    pub(super) fn measure(smooth: &RgbImage) -> Self {
        /// A surface is smooth: so many columns and rows are enough to know it.
        const ENOUGH: u32 = 100;
        const ROUNDS: usize = 4;
        let step = smooth.width().max(smooth.height()).div_ceil(ENOUGH);
        let [width, height] = [smooth.width(), smooth.height()].map(|side| side.div_ceil(step));
        let small = RgbImage::from_fn(width, height, |x, y| *smooth.get_pixel(x * step, y * step));

        let all: Vec<Point> = points(&small).collect();
        let corners: Vec<Point> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| is_corner(*at as u32, width, height))
            .map(|(_, point)| *point)
            .collect();
        let middle = [0, 1, 2].map(|channel| {
            quantile(corners.iter().map(|(_, colour)| f32::from(colour[channel])).collect(), 0.5)
        });
        let halves = halves(&all, width, height);
        let mut ground =
            Self { surfaces: middle.map(|level| [level, 0.0, 0.0, 0.0, 0.0, 0.0]), texture: 0.0 };
        ground.texture = ground.texture_of(&halves);
        for terms in [3, 3, TERMS, TERMS] {
            ground.fit(&corners, terms);
            ground.texture = ground.texture_of(&halves);
        }
        for _ in 0..ROUNDS {
            let differences: Vec<f32> = all.iter().map(|point| ground.difference(point)).collect();
            let seen = Mask::of(width, &differences, ground.texture).grown();
            let rest = all.iter().enumerate().filter(|(at, _)| !seen.has(*at));
            let rest: Vec<Point> = rest.map(|(_, point)| *point).collect();
            if rest.len() * 20 < all.len() {
                break;
            }
            ground.fit(&rest, TERMS);
            ground.texture = ground.texture_of(&halves);
        }
        ground
    }

    /// What a picture of this ground has beside it.
    pub(super) fn residue(&self, picture: &RgbImage) -> Residue {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Residue {
            width,
            height,
            pixels: points(picture).map(|point| self.beside(&point)).collect(),
        }
    }

    fn beside(&self, (terms, colour): &Point) -> [f32; 3] {
        let level = |factors: &[f32; TERMS]| -> f32 {
            factors.iter().zip(terms).map(|(factor, term)| factor * term).sum()
        };
        [0, 1, 2].map(|channel| f32::from(colour[channel]) - level(&self.surfaces[channel]))
    }

    fn difference(&self, point: &Point) -> f32 {
        farthest(self.beside(point))
    }

    /// Fits the first `count` terms to the points that look like the ground so far.
    fn fit(&mut self, points: &[Point], count: usize) {
        /// Keeps at zero what the points do not tell.
        const RIDGE: f64 = 1e-4;
        let mut sums = [[0.0_f64; TERMS + 3]; TERMS];
        let near = points.iter().filter(|point| self.difference(point) <= self.texture);
        for (terms, colour) in near {
            let colour = colour.map(f32::from);
            for (line, factor) in sums.iter_mut().zip(terms) {
                for (sum, value) in line.iter_mut().zip(terms.iter().chain(&colour)) {
                    *sum += f64::from(factor * value);
                }
            }
        }
        let weight = sums[0][0];
        if weight == 0.0 {
            return;
        }
        for (index, line) in sums.iter_mut().enumerate().skip(1) {
            line[index] += RIDGE * weight;
        }
        for pivot in 0..count {
            let line = sums[pivot];
            for (_, other) in sums.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
                let factor = other[pivot] / line[pivot];
                other.iter_mut().zip(line).for_each(|(value, term)| *value -= factor * term);
            }
        }
        for (channel, factors) in self.surfaces.iter_mut().enumerate() {
            for (term, factor) in factors.iter_mut().enumerate().take(count) {
                *factor = (sums[term][TERMS + channel] / sums[term][term]) as f32;
            }
        }
    }

    /// The texture of halves of sides: that of the middle one, because a garment may touch a side, and
    /// of nearly all of its pixels, because a check or a stripe may be rare and is ground.
    fn texture_of(&self, halves: &[Vec<Point>; 8]) -> f32 {
        // Of normal noise 2.17 σ: a quarter more leaves 0.7 % of the ground.
        let most = |half: &Vec<Point>| {
            quantile(half.iter().map(|point| self.difference(point)).collect(), 0.97)
        };
        (1.25 * quantile(halves.iter().map(most).collect(), 0.5)).clamp(LEAST_TEXTURE, MOST_TEXTURE)
    }
}

/// The texture of differences that are nearly all of a ground.
pub(super) fn nearly_all(differences: Vec<f32>) -> f32 {
    // Of normal noise 1.96 σ: leaves 0.7 % of the ground, and half as much where a pattern goes up and
    // down evenly.
    (1.4 * quantile(differences, 0.95)).clamp(LEAST_TEXTURE, MOST_TEXTURE)
}

/// What a picture has beside its ground: each channel's difference in grey levels, row-major.
pub(super) struct Residue {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<[f32; 3]>,
}

impl Residue {
    /// What is left beside a pattern as well.
    pub(super) fn without(&self, pattern: &[[f32; 3]]) -> Self {
        let pixels = self.pixels.iter().zip(pattern);
        let pixels = pixels.map(|(pixel, level)| [0, 1, 2].map(|at| pixel[at] - level[at]));
        Self { pixels: pixels.collect(), ..*self }
    }
}

/// How far it is: the channel that differs most.
pub(super) fn farthest(differences: [f32; 3]) -> f32 {
    differences.into_iter().fold(0.0, |most, difference| difference.abs().max(most))
}

/// Each pixel in row-major order.
fn points(picture: &RgbImage) -> impl Iterator<Item = Point> {
    let scale = |at: u32, side: u32| 2.0 * (at as f32 + 0.5) / side as f32 - 1.0;
    let (width, height) = picture.dimensions();
    picture.enumerate_pixels().map(move |(column, row, colour)| {
        let (x, y) = (scale(column, width), scale(row, height));
        ([1.0, x, y, x * x, x * y, y * y], colour.0)
    })
}

/// Whether a pixel is on the border and within a quarter of its side from a corner: garments touch
/// the middle of a side more often.
fn is_corner(at: u32, width: u32, height: u32) -> bool {
    let (column, row) = (at % width, at / width);
    let near = |at: u32, side: u32| at <= side / 4 || at + 1 + side / 4 >= side;
    let ends = |at: u32, side: u32| at == 0 || at + 1 == side;
    (ends(row, height) && near(column, width)) || (ends(column, width) && near(row, height))
}

/// The halves of the four sides, two pixels deep.
fn halves(all: &[Point], width: u32, height: u32) -> [Vec<Point>; 8] {
    const DEEP: u32 = 2;
    let mut halves = [const { Vec::new() }; 8];
    for (at, point) in (0..).zip(all) {
        let (x, y) = (at % width, at / width);
        let (right, below) = (usize::from(2 * x >= width), usize::from(2 * y >= height));
        let sides = [
            (y < DEEP, right),
            (y + DEEP >= height, 2 + right),
            (x < DEEP, 4 + below),
            (x + DEEP >= width, 6 + below),
        ];
        for (_, half) in sides.into_iter().filter(|(is_on, _)| *is_on) {
            halves[half].push(*point);
        }
    }
    halves
}

/// The value below which so large a share of all is; 0 of none.
pub(super) fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    let at = (values.len() as f32 * share) as usize;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(at, f32::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use ::image::Rgb;

    use super::*;

    fn at(ground: &Ground, picture: &RgbImage, x: usize, y: usize) -> [f32; 3] {
        ground.residue(picture).pixels[y * picture.width() as usize + x]
    }

    #[test]
    fn light_from_one_side_is_found_beneath_what_touches_the_border() {
        let lit = RgbImage::from_fn(100, 80, |x, y| {
            let garment = (30..60).contains(&x) && y > 20;
            let level = if garment { 20 } else { 150 + x / 2 + y / 4 };
            Rgb([level as u8; 3])
        });
        let ground = Ground::measure(&lit);
        let [red, _, blue] = at(&ground, &lit, 40, 40);
        assert!((red + 160.0).abs() < 1.0 && red == blue, "{red}");
        assert!(farthest(at(&ground, &lit, 90, 70)) < 1.0);
        assert_eq!(ground.texture, 4.0);
    }

    #[test]
    fn corners_that_a_lens_darkens_are_ground() {
        let dark_corners = RgbImage::from_fn(120, 90, |x, y| {
            let (x, y) = (f64::from(x) / 60.0 - 1.0, f64::from(y) / 45.0 - 1.0);
            let ground = 200.0 * (1.0 - 0.2 * (x * x + y * y));
            let garment = x.abs() < 0.4 && y.abs() < 0.6;
            Rgb([if garment { 250 } else { ground as u8 }; 3])
        });
        let ground = Ground::measure(&dark_corners);
        let farthest_at = |x, y| farthest(at(&ground, &dark_corners, x, y));
        assert!(farthest_at(0, 0) < 3.0 && farthest_at(60, 8) < 3.0 && farthest_at(20, 45) < 3.0);
        assert!(farthest_at(60, 45) > 45.0);
    }

    #[test]
    fn a_channel_alone_tells_a_garment_from_its_ground() {
        let red = RgbImage::from_fn(60, 60, |x, y| {
            let garment = (20..40).contains(&x) && (20..40).contains(&y);
            if garment { Rgb([160, 30, 70]) } else { Rgb([200, 30, 30]) }
        });
        let ground = Ground::measure(&red);
        assert_eq!(at(&ground, &red, 30, 30).map(f32::round), [-40.0, 0.0, 40.0]);
    }

    #[test]
    fn a_coarse_ground_has_a_larger_texture() {
        let coarse = RgbImage::from_fn(90, 90, |x, y| Rgb([120 + ((x * 7 + y * 5) % 17) as u8; 3]));
        let texture = Ground::measure(&coarse).texture;
        assert!((10.0..=14.0).contains(&texture), "{texture}");
    }

    #[test]
    fn a_pattern_is_texture_even_if_most_of_the_ground_has_one_level() {
        for rare in [2, 4, 8] {
            let grid = RgbImage::from_fn(160, 130, |x, y| {
                let (x, y) = (x + y / 3, y + 300 - x / 3);
                let garment = (60..110).contains(&x) && (310..370).contains(&y);
                let line = x % 16 < rare || y % 16 < rare;
                Rgb([if garment { 240 } else { 120 - if line { 24 } else { 0 } }; 3])
            });
            let texture = Ground::measure(&grid).texture;
            assert!((14.0..=32.0).contains(&texture), "{rare} of 16: {texture}");
        }
    }
}
