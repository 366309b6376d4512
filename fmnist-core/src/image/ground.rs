//! The background of a photo, as its border shows it.

use ::image::GrayImage;

/// A plane of grey levels, because light falls from one side.
pub(super) struct Ground {
    /// Luma at the upper left corner, and what a column and a row add to it.
    plane: [f64; 3],
    light: bool,
    /// Differences up to here are texture, not garment: grey levels, 0.0–255.0.
    pub(super) texture: f64,
}

/// Column, row and luma of a pixel.
type Point = [f64; 3];

impl Ground {
    /// Fits the border of a photo that was smoothed, whatever touches it in places.
    pub(super) fn measure(smooth: &GrayImage) -> Self {
        /// Compression and sensor noise of a plain ground, grey levels.
        const LEAST_TEXTURE: f64 = 12.0;
        const MOST_TEXTURE: f64 = 64.0;
        const ROUNDS: usize = 4;
        let border = border(smooth);
        let mut plane = [median(border.iter().map(|point| point[2]).collect()), 0.0, 0.0];
        let mut deviation = deviation(&border, plane);
        for _ in 0..ROUNDS {
            let limit = (4.0 * deviation).max(4.0);
            let near = border.iter().filter(|point| residual(plane, point).abs() <= limit);
            plane = fit(near).unwrap_or(plane);
            deviation = self::deviation(&border, plane);
        }
        let (width, height) = smooth.dimensions();
        let middle = level(plane, f64::from(width) / 2.0, f64::from(height) / 2.0);
        // Of normal noise the median deviation is 0.67 σ: four of them leave 0.7 % of the ground.
        let texture = (4.0 * deviation).clamp(LEAST_TEXTURE, MOST_TEXTURE);
        Self { plane, light: middle >= 128.0, texture }
    }

    /// How far a pixel stands out: what is darker on a light ground, brighter on a dark one; grey
    /// levels, negative on the other side.
    pub(super) fn difference(&self, column: u32, row: u32, luma: u8) -> f64 {
        let above = f64::from(luma) - level(self.plane, f64::from(column), f64::from(row));
        if self.light { -above } else { above }
    }

    /// How far a pixel can stand out there: 1.0–255.0 grey levels.
    pub(super) fn range(&self, column: u32, row: u32) -> f64 {
        let level = level(self.plane, f64::from(column), f64::from(row)).clamp(0.0, 255.0);
        (if self.light { level } else { 255.0 - level }).max(1.0)
    }
}

fn level(plane: [f64; 3], column: f64, row: f64) -> f64 {
    plane[0] + plane[1] * column + plane[2] * row
}

fn residual(plane: [f64; 3], [column, row, luma]: &Point) -> f64 {
    luma - level(plane, *column, *row)
}

/// The median distance from the plane.
fn deviation(border: &[Point], plane: [f64; 3]) -> f64 {
    median(border.iter().map(|point| residual(plane, point).abs()).collect())
}

fn border(picture: &GrayImage) -> Vec<Point> {
    let (width, height) = picture.dimensions();
    let rows = (0..width).flat_map(|x| [(x, 0), (x, height - 1)]);
    let columns = (0..height).flat_map(|y| [(0, y), (width - 1, y)]);
    let point = |(x, y)| [f64::from(x), f64::from(y), f64::from(picture.get_pixel(x, y).0[0])];
    rows.chain(columns).map(point).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The plane of least squares, by Gauss's elimination; `None` where the points lie on a line.
fn fit<'a>(points: impl Iterator<Item = &'a Point>) -> Option<[f64; 3]> {
    let mut sums = [[0.0; 4]; 3];
    for [column, row, luma] in points {
        let terms = [1.0, *column, *row, *luma];
        for (line, factor) in sums.iter_mut().zip(terms) {
            line.iter_mut().zip(terms).for_each(|(sum, term)| *sum += factor * term);
        }
    }
    for pivot in 0..3 {
        let line = sums[pivot];
        if line[pivot].abs() < 1e-6 {
            return None;
        }
        for (_, other) in sums.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let factor = other[pivot] / line[pivot];
            other.iter_mut().zip(line).for_each(|(value, term)| *value -= factor * term);
        }
    }
    Some([0, 1, 2].map(|axis| sums[axis][3] / sums[axis][axis]))
}

#[cfg(test)]
mod tests {
    use ::image::Luma;

    use super::*;

    #[test]
    fn a_slope_is_found_beneath_what_touches_the_border() {
        let lit = GrayImage::from_fn(100, 80, |x, y| {
            let garment = (30..60).contains(&x) && y > 20;
            Luma([if garment { 20 } else { (150 + x / 2 + y / 4) as u8 }])
        });
        let ground = Ground::measure(&lit);
        let [corner, across, down] = ground.plane;
        assert!((corner - 149.6).abs() < 1.0, "{corner}");
        assert!((across - 0.5).abs() < 0.01 && (down - 0.25).abs() < 0.01, "{across}, {down}");
        assert!((ground.difference(40, 40, 20) - 160.0).abs() < 1.0);
        assert_eq!(ground.texture, 12.0);
    }

    #[test]
    fn a_dark_ground_turns_the_difference_round() {
        let ground = Ground::measure(&GrayImage::from_pixel(20, 10, Luma([55])));
        assert_eq!((ground.difference(3, 3, 155), ground.range(3, 3)), (100.0, 200.0));
        assert_eq!(ground.difference(3, 3, 35), -20.0);
    }

    #[test]
    fn a_coarse_ground_has_a_larger_texture() {
        let coarse = GrayImage::from_fn(90, 90, |x, y| Luma([120 + ((x * 7 + y * 5) % 17) as u8]));
        let texture = Ground::measure(&coarse).texture;
        assert!((14.0..=18.0).contains(&texture), "{texture}");
    }
}
