//! Which pixels of a photo are garment.

/// Columns and rows that a garment takes, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
}

/// One flag for each pixel, row-major.
pub(super) struct Mask {
    width: usize,
    height: usize,
    flags: Vec<bool>,
}

impl Mask {
    /// Takes the pixels that differ by more than `least` from their ground.
    pub(super) fn of(width: u32, differences: &[f32], least: f32) -> Self {
        let flags: Vec<bool> = differences.iter().map(|&difference| difference > least).collect();
        Self { width: width as usize, height: flags.len() / width as usize, flags }
    }

    /// Leaves out the specks: connected pixels that are fewer than one in fifty of the largest
    /// piece, or than one in a thousand of the picture.
    pub(super) fn without_specks(mut self) -> Self {
        let pieces = self.pieces();
        let largest = pieces.iter().map(Vec::len).max().unwrap_or(0);
        let least = (largest / 50).max(self.flags.len() / 1000);
        for speck in pieces.into_iter().filter(|piece| piece.len() < least) {
            speck.into_iter().for_each(|at| self.flags[at] = false);
        }
        self
    }

    /// The pixels of each piece that hangs together, corners included.
    fn pieces(&self) -> Vec<Vec<usize>> {
        let mut seen = vec![false; self.flags.len()];
        let mut pieces = Vec::new();
        for start in 0..self.flags.len() {
            if !self.flags[start] || seen[start] {
                continue;
            }
            seen[start] = true;
            let mut piece = vec![start];
            let mut next = 0;
            while let Some(&at) = piece.get(next) {
                next += 1;
                for neighbour in self.around(at) {
                    if self.flags[neighbour] && !seen[neighbour] {
                        seen[neighbour] = true;
                        piece.push(neighbour);
                    }
                }
            }
            pieces.push(piece);
        }
        pieces
    }

    /// Adds what it encloses.
    pub(super) fn filled(&self) -> Self {
        let mut outside = vec![false; self.flags.len()];
        let edge = |at: usize| {
            let (row, column) = (at / self.width, at % self.width);
            row == 0 || column == 0 || row + 1 == self.height || column + 1 == self.width
        };
        let mut next: Vec<usize> =
            (0..self.flags.len()).filter(|&at| edge(at) && !self.flags[at]).collect();
        next.iter().for_each(|&at| outside[at] = true);
        while let Some(at) = next.pop() {
            for neighbour in self.around(at) {
                if !self.flags[neighbour] && !outside[neighbour] {
                    outside[neighbour] = true;
                    next.push(neighbour);
                }
            }
        }
        Self { flags: outside.iter().map(|outside| !outside).collect(), ..*self }
    }

    /// Adds the pixels beside it, where an edge is soft.
    pub(super) fn grown(&self) -> Self {
        let mut flags = self.flags.clone();
        for at in (0..self.flags.len()).filter(|&at| self.flags[at]) {
            self.around(at).for_each(|neighbour| flags[neighbour] = true);
        }
        Self { flags, ..*self }
    }

    /// A pixel and its up to eight neighbours.
    fn around(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let (width, height) = (self.width, self.height);
        let (row, column) = (at / width, at % width);
        let rows = row.saturating_sub(1)..(row + 2).min(height);
        rows.flat_map(move |row| {
            (column.saturating_sub(1)..(column + 2).min(width))
                .map(move |column| row * width + column)
        })
    }

    /// Whether a pixel is in it, by its place in row-major order.
    pub(super) fn has(&self, at: usize) -> bool {
        self.flags[at]
    }

    /// The smallest box around it; `None` if nothing is in it.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        let rows: Vec<bool> =
            self.flags.chunks(self.width).map(|row| row.contains(&true)).collect();
        let column = |column| self.flags[column..].iter().step_by(self.width).any(|&flag| flag);
        let columns: Vec<bool> = (0..self.width).map(column).collect();
        let (left, right) = extent(&columns)?;
        let (top, bottom) = extent(&rows)?;
        Some(Bounds { left, top, right, bottom })
    }
}

fn extent(lines: &[bool]) -> Option<(u32, u32)> {
    let first = lines.iter().position(|&line| line)?;
    let last = lines.iter().rposition(|&line| line)?;
    Some((first as u32, last as u32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(width: u32, height: u32, inside: impl Fn(u32, u32) -> bool) -> Mask {
        let places = (0..width * height).map(|at| (at % width, at / width));
        let differences: Vec<f32> =
            places.map(|(x, y)| if inside(x, y) { 50.0 } else { 10.0 }).collect();
        Mask::of(width, &differences, 10.0)
    }

    /// A block of 20×30 from column 10 and row 5, another of 5×4, and a speck of 2×2.
    fn picture() -> Mask {
        let inside = |x: u32, y: u32| {
            let block = (10..30).contains(&x) && (5..35).contains(&y);
            let strap = (40..45).contains(&x) && (50..54).contains(&y);
            let speck = (70..72).contains(&x) && (2..4).contains(&y);
            block || strap || speck
        };
        mask(80, 60, inside)
    }

    #[test]
    fn specks_do_not_widen_the_box_and_parts_do() {
        let whole = Bounds { left: 10, top: 2, right: 72, bottom: 54 };
        assert_eq!(picture().bounds(), Some(whole));
        let garment = Bounds { left: 10, top: 5, right: 45, bottom: 54 };
        assert_eq!(picture().without_specks().bounds(), Some(garment));
    }

    #[test]
    fn it_grows_by_one_pixel_and_not_over_the_edge() {
        let grown = mask(9, 9, |x, y| x == 0 && y == 4).grown();
        assert_eq!(grown.bounds(), Some(Bounds { left: 0, top: 3, right: 2, bottom: 6 }));
        let has = |x: usize, y: usize| grown.has(y * 9 + x);
        assert!(has(1, 5) && !has(2, 4) && !has(8, 3));
    }

    #[test]
    fn nothing_has_no_box() {
        assert_eq!(mask(5, 5, |_, _| false).bounds(), None);
    }

    #[test]
    fn what_is_enclosed_is_filled_and_what_is_open_is_not() {
        let ring = |x: u32, y: u32| (2..8).contains(&x) && (2..8).contains(&y);
        let hole = |x: u32, y: u32| (4..6).contains(&x) && (4..6).contains(&y);
        let filled = mask(10, 10, |x, y| ring(x, y) && !hole(x, y)).filled();
        assert!(filled.has(44) && !filled.has(0));
        let open = mask(10, 10, |x, y| ring(x, y) && !(hole(x, y) || x >= 6 && y == 4)).filled();
        assert!(!open.has(44));
    }
}
