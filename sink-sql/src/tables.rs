//! The tables that results are written to, as migrations make them.

use std::fmt::Write;

pub(crate) const RESULTS: Table = Table {
    name: "results",
    columns: &[
        "run",
        "id",
        "transport",
        "topic",
        "source",
        "model",
        "model_version",
        "model_sha256",
        "start_idx",
        "end_idx",
        "images",
        "received_at",
        "inferred_at",
        "recorded_ms",
    ],
};

pub(crate) const PREDICTIONS: Table = Table {
    name: "predictions",
    columns: &["run", "id", "image_index", "class", "label", "probability", "top", "picture"],
};

/// A table and the columns that are written.
pub(crate) struct Table {
    name: &'static str,
    columns: &'static [&'static str],
}

impl Table {
    /// Finds nothing where the table has these columns, and is an error elsewhere.
    pub(crate) fn probe(&self) -> String {
        format!("SELECT {} FROM {} WHERE 1 = 0", self.columns.join(", "), self.name)
    }

    /// Inserts so many rows; those that are there stay as they are.
    pub(crate) fn statement(&self, rows: usize) -> String {
        let mut sql = format!("INSERT INTO {} ({}) VALUES ", self.name, self.columns.join(", "));
        let mut value = 0;
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..self.columns.len() {
                value += 1;
                let comma = if column == 0 { "" } else { ", " };
                write!(sql, "{comma}${value}").expect("a string takes all");
            }
            sql.push(')');
        }
        sql.push_str(" ON CONFLICT DO NOTHING");
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_numbers_its_values() {
        let table = Table { name: "t", columns: &["a", "b"] };
        let expected = "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING";
        assert_eq!(table.statement(2), expected);
    }
}
