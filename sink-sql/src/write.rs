use std::{fmt::Write, time::Duration};

use fmnist_core::{
    image::Image,
    message::PredictionRecord,
    pipeline::{Answered, Sink, SinkError},
};
use sqlx::{Any, AssertSqlSafe, Transaction, any::AnyArguments, query::Query};

use crate::{
    Database,
    database::{answer, now_ms},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Rows of one statement. SQLite takes 32,766 values a statement, PostgreSQL 65,535.
const ROWS: usize = 500;

const RESULTS: Table = Table {
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

const PREDICTIONS: Table = Table {
    name: "predictions",
    columns: &["run", "id", "image_index", "class", "label", "probability", "top", "picture"],
};

impl Sink for Database {
    fn keeps_images(&self) -> bool {
        self.keeps_pictures
    }

    /// Ends when the rows are committed, however long the database is away.
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = answer(self.insert(results)).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                results = results.len(),
                ?pause,
                "the database did not confirm; nothing is acknowledged until it does"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    async fn ended(&self) -> SinkError {
        match self.supervisor.ended().await {
            Some(reason) => SinkError { context: reason.to_string(), source: None },
            // Closed by who owns it.
            None => std::future::pending().await,
        }
    }
}

impl Database {
    /// All of it or nothing; rows that are there stay as they are.
    async fn insert(&self, results: &[Answered]) -> Result<(), sqlx::Error> {
        let recorded_ms = now_ms();
        let mut transaction = self.pool.begin().await?;
        for results in results.chunks(ROWS) {
            let bind = |query: Values, Answered { record, .. }: &Answered| {
                query
                    .bind(self.run.clone())
                    .bind(record.id.clone())
                    .bind(record.source.transport.to_string())
                    .bind(record.source.topic.to_string())
                    .bind(json(&record.source))
                    .bind(record.model.name.clone())
                    .bind(record.model.version.clone())
                    .bind(record.model.sha256.clone())
                    .bind(record.start_idx.map(|index| index as i64))
                    .bind(record.end_idx.map(|index| index as i64))
                    .bind(record.predictions.len() as i64)
                    .bind(record.received_at.clone())
                    .bind(record.inferred_at.clone())
                    .bind(recorded_ms)
            };
            RESULTS.insert(&mut transaction, results, bind).await?;
        }
        let rows: Vec<_> = results.iter().flat_map(rows).collect();
        for rows in rows.chunks(ROWS) {
            let bind = |query: Values, row: &Row<'_>| {
                let Row { id, prediction, image } = *row;
                let top = (!prediction.top.is_empty()).then(|| json(&prediction.top));
                let picture = image.filter(|_| self.keeps_pictures);
                query
                    .bind(self.run.clone())
                    .bind(id.to_owned())
                    .bind(prediction.index as i64)
                    .bind(prediction.class as i64)
                    .bind(prediction.label.clone())
                    .bind(f64::from(prediction.probability))
                    .bind(top)
                    .bind(picture.map(|image| image.pixels().to_vec()))
            };
            PREDICTIONS.insert(&mut transaction, rows, bind).await?;
        }
        transaction.commit().await
    }
}

/// One image's.
struct Row<'a> {
    id: &'a str,
    prediction: &'a PredictionRecord,
    image: Option<&'a Image>,
}

fn rows(answered: &Answered) -> impl Iterator<Item = Row<'_>> {
    let Answered { record, images } = answered;
    let row = |(place, prediction)| Row { id: &record.id, prediction, image: images.get(place) };
    record.predictions.iter().enumerate().map(row)
}

type Values = Query<'static, Any, AnyArguments>;

struct Table {
    name: &'static str,
    columns: &'static [&'static str],
}

impl Table {
    async fn insert<R>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        rows: &[R],
        bind: impl Fn(Values, &R) -> Values,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(self.statement(rows.len())));
        // The statement of full pieces is prepared once, those of the rest would crowd it out.
        let query = query.persistent(rows.len() == ROWS);
        rows.iter().fold(query, bind).execute(&mut **transaction).await.map(drop)
    }

    fn statement(&self, rows: usize) -> String {
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

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
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
