//! Which pixels of a photo are garment.

use ::image::GrayImage;

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
    /// Takes the pixels that stand out.
    pub(super) fn of(picture: &GrayImage, stands_out: impl Fn(u32, u32, u8) -> bool) -> Self {
        let (width, height) = picture.dimensions();
        let flags = picture.enumerate_pixels().map(|(x, y, luma)| stands_out(x, y, luma.0[0]));
        Self { width: width as usize, height: height as usize, flags: flags.collect() }
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

    pub(super) fn has(&self, column: u32, row: u32) -> bool {
        self.flags[row as usize * self.width + column as usize]
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
    use ::image::Luma;

    use super::*;

    /// A block of 20×30 from column 10 and row 5, another of 5×4, and a speck of 2×2.
    fn picture() -> Mask {
        let inside = |x: u32, y: u32| {
            let block = (10..30).contains(&x) && (5..35).contains(&y);
            let strap = (40..45).contains(&x) && (50..54).contains(&y);
            let speck = (70..72).contains(&x) && (2..4).contains(&y);
            block || strap || speck
        };
        let picture = GrayImage::from_fn(80, 60, |x, y| Luma([u8::from(inside(x, y))]));
        Mask::of(&picture, |_, _, luma| luma == 1)
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
        let corner = GrayImage::from_fn(9, 9, |x, y| Luma([u8::from(x == 0 && y == 4)]));
        let grown = Mask::of(&corner, |_, _, luma| luma == 1).grown();
        assert_eq!(grown.bounds(), Some(Bounds { left: 0, top: 3, right: 2, bottom: 6 }));
        assert!(grown.has(1, 5) && !grown.has(2, 4) && !grown.has(8, 3));
    }

    #[test]
    fn nothing_has_no_box() {
        assert_eq!(Mask::of(&GrayImage::new(5, 5), |_, _, luma| luma == 1).bounds(), None);
    }
}
