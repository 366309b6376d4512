//! Results on their way in: each once, in transactions of a bounded size, as often as it takes.

use fmnist_core::{
    image::Image,
    message::{PredictionRecord, ResultRecord},
    pipeline::{Answered, Sink, SinkError},
};
use sqlx::{Any, AssertSqlSafe, Connection, Transaction, any::AnyArguments, query::Query};

use crate::{
    Database, DatabaseError,
    database::{FIRST_PAUSE, LONGEST_PAUSE, Lease, STATEMENT_TIMEOUT, now_ms, within},
    tables::{PREDICTIONS, RESULTS, Table},
};

/// Rows of one statement. SQLite takes 32,766 values a statement, PostgreSQL 65,535.
const ROWS: usize = 500;

/// Predictions, and results, of one transaction: what is written stays written, however long all of it
/// takes, and others get in between.
const ROWS_OF_A_TRANSACTION: usize = 10_000;

impl Sink<ResultRecord, Image> for Database {
    fn keeps_inputs(&self) -> bool {
        self.keeps_pictures
    }

    /// Ends when the rows are committed, however long the database is away.
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        for piece in Pieces::of(results) {
            let mut pause = FIRST_PAUSE;
            let mut waiting = None;
            while let Err(error) = self.insert(&piece).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    results = results.len(),
                    ?pause,
                    "the database did not confirm; nothing is acknowledged until it does"
                );
                waiting = waiting.or_else(|| self.waits());
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
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
    /// All of the piece or nothing; rows that are there stay as they are.
    async fn insert(&self, piece: &Piece<'_>) -> Result<(), DatabaseError> {
        self.make_tables().await?;
        let recorded_ms = now_ms();
        let mut connection = Lease::of(&self.pool).await?;
        let mut transaction = within(STATEMENT_TIMEOUT, connection.begin()).await?;
        for results in piece.results.chunks(ROWS) {
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
        for rows in piece.rows.chunks(ROWS) {
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
        within(STATEMENT_TIMEOUT, transaction.commit()).await?;
        connection.keep();
        Ok(())
    }
}

/// What one transaction takes.
struct Piece<'a> {
    results: &'a [Answered],
    rows: Vec<Row<'a>>,
}

/// Results one after the other: whole ones as long as they fit, those that are too large by themselves
/// and in several.
struct Pieces<'a> {
    rest: &'a [Answered],
    /// Rows of the first that went before.
    begun: usize,
}

impl<'a> Pieces<'a> {
    const fn of(results: &'a [Answered]) -> Self {
        Self { rest: results, begun: 0 }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let first = self.rest.first()?;
        let left = first.record.predictions.len() - self.begun;
        if left > ROWS_OF_A_TRANSACTION {
            // A row of predictions refers to its result, which is there from the first piece on.
            let results = if self.begun == 0 { &self.rest[..1] } else { &[] };
            let rows = rows(first).skip(self.begun).take(ROWS_OF_A_TRANSACTION).collect();
            self.begun += ROWS_OF_A_TRANSACTION;
            return Some(Piece { results, rows });
        }
        let mut fit = 0;
        let mut count = 0;
        for result in self.rest.iter().take(ROWS_OF_A_TRANSACTION) {
            let begun = if fit == 0 { self.begun } else { 0 };
            count += result.record.predictions.len() - begun;
            if count > ROWS_OF_A_TRANSACTION {
                break;
            }
            fit += 1;
        }
        let (now, later) = self.rest.split_at(fit);
        let rows = now.iter().flat_map(rows).skip(self.begun).collect();
        let results = if self.begun == 0 { now } else { &now[1..] };
        (self.rest, self.begun) = (later, 0);
        Some(Piece { results, rows })
    }
}

/// One image's.
struct Row<'a> {
    id: &'a str,
    prediction: &'a PredictionRecord,
    image: Option<&'a Image>,
}

fn rows(answered: &Answered) -> impl Iterator<Item = Row<'_>> {
    let Answered { record, inputs: images } = answered;
    let row = |(place, prediction)| Row { id: &record.id, prediction, image: images.get(place) };
    record.predictions.iter().enumerate().map(row)
}

type Values = Query<'static, Any, AnyArguments>;

impl Table {
    async fn insert<R>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        rows: &[R],
        bind: impl Fn(Values, &R) -> Values,
    ) -> Result<(), DatabaseError> {
        let query = sqlx::query(AssertSqlSafe(self.statement(rows.len())));
        // The statement of full pieces is prepared once, those of the rest would crowd it out.
        let query = query.persistent(rows.len() == ROWS);
        let insert = rows.iter().fold(query, bind).execute(&mut **transaction);
        within(STATEMENT_TIMEOUT, insert).await.map(drop)
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fmnist_core::{ModelIdentity, message::ResultRecord, transport::Source};

    use super::*;

    fn answered(offset: usize, images: usize) -> Answered {
        let prediction = |index| PredictionRecord {
            index,
            class: 0,
            label: String::new(),
            probability: 1.0,
            top: Vec::new(),
            blank: false,
        };
        let record = ResultRecord {
            schema: ResultRecord::SCHEMA,
            id: format!("m/0/{offset}"),
            source: Source {
                transport: "kafka".into(),
                topic: "m".into(),
                partition: Some(0),
                offset: Some(0),
                message_id: None,
            },
            model: Arc::new(ModelIdentity {
                name: String::new(),
                version: String::new(),
                sha256: String::new(),
            }),
            start_idx: None,
            end_idx: None,
            predictions: (0..images).map(prediction).collect(),
            received_at: String::new(),
            inferred_at: String::new(),
        };
        Answered { record, inputs: Vec::new() }
    }

    #[test]
    fn every_row_is_in_one_piece_and_none_is_larger_than_a_transaction() {
        let images = [3, 25_000, 0, 9_990, 10, 1, 20_000, 10_000, 10_001];
        let results: Vec<_> = images
            .into_iter()
            .enumerate()
            .map(|(offset, images)| answered(offset, images))
            .collect();
        let mut known = Vec::new();
        let mut written = Vec::new();
        for Piece { results, rows } in Pieces::of(&results) {
            assert!(results.len() + rows.len() > 0 && rows.len() <= ROWS_OF_A_TRANSACTION);
            known.extend(results.iter().map(|result| result.record.id.as_str()));
            for Row { id, prediction, .. } in rows {
                assert!(known.contains(&id), "{id} has rows before its own");
                written.push((id, prediction.index));
            }
        }
        let all = results.iter().flat_map(rows).map(|row| (row.id, row.prediction.index));
        assert!(written.iter().copied().eq(all));
        assert!(known.into_iter().eq(results.iter().map(|result| result.record.id.as_str())));
    }
}
