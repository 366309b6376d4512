//! What a ground repeats: checks, stripes, tiles.

use super::{
    garment::Mask,
    ground::{Residue, farthest},
};

/// Columns and rows from one place of a pattern to another that looks alike.
type Period = [isize; 2];

/// What a ground shows at each pixel, as the same stands elsewhere beside the garment, in grey levels
/// from its surface, and 0 where nothing tells; `None` if too little of the ground is repeated.
pub(super) fn repeated(residue: &Residue, garment: &Mask) -> Option<Vec<[f32; 3]>> {
    /// Places that are asked: one or two may be parts of the garment that are not seen yet.
    const ASKED: usize = 5;
    let periods = periods(residue, garment);
    let (mut ground, mut told) = (0, 0);
    let mut level = |at: usize| {
        let places = periods.iter().filter_map(|period| away(residue, at, *period));
        let places = places.filter(|place| !garment.has(*place)).take(ASKED);
        let mut found: Vec<[f32; 3]> = places.map(|place| residue.pixels[place]).collect();
        let is_told = found.len() == ASKED;
        if !garment.has(at) {
            ground += 1;
            told += usize::from(is_told);
        }
        if !is_told {
            return [0.0; 3];
        }
        [0, 1, 2].map(|channel| {
            found.sort_unstable_by(|a, b| a[channel].total_cmp(&b[channel]));
            found[ASKED / 2][channel]
        })
    };
    let levels = (0..residue.pixels.len()).map(&mut level).collect();
    (ground > 0 && told * 50 >= ground * 49).then_some(levels)
}

/// The pixel a period away, if the picture has it.
fn away(residue: &Residue, at: usize, [right, down]: Period) -> Option<usize> {
    let column = (at % residue.width).checked_add_signed(right)?;
    let row = (at / residue.width).checked_add_signed(down)?;
    (column < residue.width && row < residue.height).then_some(row * residue.width + column)
}

/// The shifts that lay the ground on what looks alike, the best first.
fn periods(residue: &Residue, garment: &Mask) -> Vec<Period> {
    /// Steps along the longest edge, of which up to three in four are tried.
    const STEPS: usize = 64;
    /// Shorter shifts lay a patch on itself, steps.
    const SHORT: isize = 2;
    /// A period's two places differ by less than this share of what two places usually differ by.
    const ALIKE: f32 = 0.4;
    const MOST: usize = 24;
    let (width, height) = (residue.width, residue.height);
    let step = width.max(height).div_ceil(STEPS);
    let sample: Vec<usize> = (0..height)
        .step_by(2 * step)
        .flat_map(|row| (0..width).step_by(2 * step).map(move |column| row * width + column))
        .filter(|at| !garment.has(*at))
        .collect();
    let difference = |period: Period| {
        let pairs = sample.iter().filter_map(|&at| Some((at, away(residue, at, period)?)));
        let pairs = pairs.filter(|(_, other)| !garment.has(*other));
        let (sum, count) = pairs.fold((0.0, 0), |(sum, count), (at, other)| {
            let (a, b) = (residue.pixels[at], residue.pixels[other]);
            (sum + farthest([0, 1, 2].map(|channel| a[channel] - b[channel])), count + 1)
        });
        if count * 8 < sample.len() { f32::INFINITY } else { sum / count as f32 }
    };

    // A shift and its reverse tell the same.
    let [across, down] = [width, height].map(|side| (side / step * 3 / 4) as isize);
    let columns = 2 * across + 1;
    let tried: Vec<f32> = (0..=down)
        .flat_map(|row| (-across..=across).map(move |column| [column, row]))
        .map(|shift| difference(shift.map(|steps| steps * step as isize)))
        .collect();
    let mut known: Vec<f32> = tried.iter().copied().filter(|found| found.is_finite()).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let middle = known.len() / 2;
    let usual = *known.select_nth_unstable_by(middle, f32::total_cmp).1;
    let mut best: Vec<(f32, Period)> = Vec::new();
    for (at, &found) in tried.iter().enumerate() {
        let shift = [at as isize % columns - across, at as isize / columns];
        let is_short = shift.iter().all(|steps| steps.abs() <= SHORT);
        let around = (-1..=1).flat_map(|row| (-1..=1).map(move |column| row * columns + column));
        let mut around = around.filter_map(|offset| tried.get(at.checked_add_signed(offset)?));
        if !is_short && found < ALIKE * usual && around.all(|other| found <= *other) {
            best.push((found, shift.map(|steps| steps * step as isize)));
        }
    }
    best.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    best.truncate(MOST);
    let half = step as isize / 2;
    for (found, period) in &mut best {
        let [right, down] = *period;
        let between =
            (-half..=half).flat_map(|y| (-half..=half).map(move |x| [right + x, down + y]));
        for exact in between {
            let difference = difference(exact);
            if difference < *found {
                (*found, *period) = (difference, exact);
            }
        }
    }
    best.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    best.into_iter().flat_map(|(_, [right, down])| [[right, down], [-right, -down]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 96×80 pixels of a ground, and a garment over columns 30 to 60 and rows 25 to 60.
    fn picture(ground: impl Fn(usize, usize) -> f32) -> (Residue, Mask) {
        let inside = |at: usize| (30..60).contains(&(at % 96)) && (25..60).contains(&(at / 96));
        let level = |at: usize| if inside(at) { 50.0 } else { ground(at % 96, at / 96) };
        let pixels = (0..96 * 80).map(|at| [level(at); 3]).collect();
        let inside: Vec<f32> = (0..96 * 80).map(|at| f32::from(u8::from(inside(at)))).collect();
        (Residue { width: 96, height: 80, pixels }, Mask::of(96, &inside, 0.5))
    }

    #[test]
    fn what_a_check_shows_is_known_beneath_a_garment_too() {
        let check =
            |x: usize, y: usize| if (x / 8 + y / 8).is_multiple_of(2) { 12.0 } else { -12.0 };
        let (residue, garment) = picture(check);
        let known = repeated(&residue, &garment).expect("a pattern");
        for (at, level) in known.iter().enumerate() {
            assert_eq!(level[0], check(at % 96, at / 96), "column {}, row {}", at % 96, at / 96);
        }
    }

    #[test]
    fn a_ground_that_repeats_nothing_tells_nothing() {
        let heap = |x: usize, y: usize| (((x / 9) * 7919 + (y / 9) * 104_729) % 61 % 25) as f32;
        let (residue, garment) = picture(heap);
        assert_eq!(repeated(&residue, &garment), None);
    }
}
