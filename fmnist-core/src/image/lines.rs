//! What runs straight through a ground, such as the joints of boards.

use super::ground::{Residue, farthest};

/// Rows and columns whose two ends look alike, and so what is between them if no garment is.
pub(super) struct Lines {
    columns: Vec<Option<Ends>>,
    rows: Vec<Option<Ends>>,
}

/// What both ends of a line differ by from the ground's surface.
type Ends = [[f32; 3]; 2];

impl Lines {
    /// Finds them in a photo that was smoothed.
    pub(super) fn of(residue: &Residue) -> Self {
        let (width, height) = (residue.width, residue.height);
        let columns = (0..width).map(|column| [column, (height - 1) * width + column]);
        let rows = (0..height).map(|row| [row * width, row * width + width - 1]);
        let ends = |places: [usize; 2]| places.map(|at| residue.pixels[at]);
        Self {
            columns: plausible(columns.map(ends).collect()),
            rows: plausible(rows.map(ends).collect()),
        }
    }

    /// How far each pixel is from its ground and from the lines through it, whichever is nearest, in
    /// grey levels of the channel that differs most.
    pub(super) fn differences(&self, residue: &Residue) -> Vec<f32> {
        let (width, height) = (residue.width, residue.height);
        let from = |ends: &Option<Ends>, pixel: &[f32; 3], at: usize, length: usize| {
            let Some([first, last]) = ends else { return f32::INFINITY };
            let share = at as f32 / length as f32;
            let line = |channel: usize| first[channel] * (1.0 - share) + last[channel] * share;
            farthest([0, 1, 2].map(|channel| pixel[channel] - line(channel)))
        };
        let pixels = residue.pixels.iter().enumerate();
        let nearest = pixels.map(|(at, pixel)| {
            let (row, column) = (at / width, at % width);
            farthest(*pixel).min(from(&self.columns[column], pixel, row, height)).min(from(
                &self.rows[row],
                pixel,
                column,
                width,
            ))
        });
        nearest.collect()
    }
}

/// The lines whose ends agree, but for what is as wide as a garment that touches both sides and
/// stands out as far.
fn plausible(lines: Vec<Ends>) -> Vec<Option<Ends>> {
    /// Ends that differ by more are of two things, grey levels.
    const ALIKE: f32 = 24.0;
    /// Boards differ by less from each other, garments by more from their ground, grey levels.
    const BOARD: f32 = 32.0;
    let widest = lines.len().div_ceil(16);
    let stands_out = |ends: &Ends| ends.iter().any(|end| farthest(*end) > BOARD);
    let runs = lines.chunk_by(|a, b| stands_out(a) == stands_out(b));
    let found = runs.flat_map(|run| {
        let is_narrow = run.len() <= widest || !stands_out(&run[0]);
        run.iter().map(move |ends| {
            let [first, last] = ends;
            let apart = farthest([0, 1, 2].map(|channel| first[channel] - last[channel]));
            (is_narrow && apart <= ALIKE).then_some(*ends)
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn residue(pixel: impl Fn(usize, usize) -> f32) -> Residue {
        let pixels = (0..48 * 32).map(|at| [pixel(at % 48, at / 48); 3]).collect();
        Residue { width: 48, height: 32, pixels }
    }

    #[test]
    fn a_joint_from_side_to_side_is_ground_and_a_garment_over_it_is_not() {
        let boards = residue(|x, y| match (x, y) {
            (20..30, 10..20) => 90.0,
            (24..26, _) => -60.0,
            (26.., _) => 15.0,
            _ => 0.0,
        });
        let differences = Lines::of(&boards).differences(&boards);
        let at = |x: usize, y: usize| differences[y * 48 + x];
        assert_eq!([at(24, 2), at(40, 5), at(3, 3)], [0.0; 3]);
        assert!(at(21, 12) > 80.0 && at(28, 12) > 70.0);
    }

    #[test]
    fn a_garment_that_touches_both_sides_is_no_line() {
        let dress = residue(|x, _| if (16..32).contains(&x) { -80.0 } else { 0.0 });
        let differences = Lines::of(&dress).differences(&dress);
        assert_eq!((differences[20], differences[5]), (80.0, 0.0));
    }
}
