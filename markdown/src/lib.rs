//! Tables of the reports that programs of this workspace write.
//!
//! ```
//! let mut table = markdown::Table::new(&["engine", "µs"], &[0]);
//! table.row(&["flex", "5"]);
//! assert_eq!(table.to_string(), "| engine | µs |\n|---|---:|\n| flex | 5 |\n");
//! ```

use std::fmt;

/// A Markdown table under construction; it ends with a line break.
pub struct Table(String);

impl Table {
    /// A table with these column heads. The columns at the positions `words` stand left, the others are
    /// figures and stand right.
    pub fn new(heads: &[&str], words: &[usize]) -> Self {
        let rule = |column| if words.contains(&column) { "---|" } else { "---:|" };
        let rules: String = (0..heads.len()).map(rule).collect();
        Self(format!("{}|{rules}\n", row(heads)))
    }

    /// Adds a row, one cell for each head.
    pub fn row(&mut self, cells: &[&str]) {
        self.0.push_str(&row(cells));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn row(cells: &[&str]) -> String {
    let cells = cells
        .iter()
        .map(|cell| if cell.is_empty() { " |".to_owned() } else { format!(" {cell} |") });
    format!("|{}\n", cells.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_right_and_words_left() {
        let mut table = Table::new(&["", "ms", "what"], &[0, 2]);
        table.row(&["flex", "", "none"]);
        assert_eq!(table.to_string(), "| | ms | what |\n|---|---:|---|\n| flex | | none |\n");
    }
}
