//! Results for those who look at them. Readers have connections of their own, and bounds on what one page takes.

use std::sync::Arc;

use fmnist_core::{
    classifier::ModelIdentity,
    image::Image,
    message::{PredictionRecord, ResultRecord},
};
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Row,
    any::{AnyArguments, AnyRow},
    query::{self, QueryAs},
};

use crate::{
    Database, DatabaseError,
    database::{ANSWER_TIMEOUT, Lease, within},
};

/// Results that are counted; on a page "10,000" means that many or more.
const MAX_COUNTED: i64 = 10_000;
/// Predictions of one page; the first result is always whole.
const MAX_PREDICTIONS: i64 = 50_000;

/// Which results are asked for, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Results to skip.
    pub offset: usize,
    /// Results to answer.
    pub limit: usize,
    /// The message's id.
    pub id: Option<String>,
    /// `kafka`, `pubsub` or `memory`.
    pub transport: Option<String>,
    /// A label that one of the images got.
    pub label: Option<String>,
}

/// Some of the results that a [`Query`] asks for.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// Results that match, 10,000 at most.
    pub total: usize,
    /// Fewer than asked for at the end, and where together they have more than 50,000 images.
    pub results: Vec<ResultRecord>,
}

impl Database {
    /// The results that `query` asks for.
    ///
    /// # Errors
    /// [`DatabaseError::Query`], [`DatabaseError::Slow`] and [`DatabaseError::Row`].
    pub async fn results(&self, query: &Query) -> Result<Page, DatabaseError> {
        let (condition, values) = matching(query);
        let count = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM results r WHERE {condition} LIMIT {MAX_COUNTED}) counted"
        );
        let mut connection = Lease::of(&self.readers).await?;
        let count = bound(count, &values).fetch_one(&mut *connection);
        let total: i64 = within(ANSWER_TIMEOUT, count).await?.try_get(0)?;
        let (limit, offset) = (query.limit, query.offset);
        let found = format!(
            "SELECT seq, id, source, model, model_version, model_sha256, start_idx, end_idx, images, \
             received_at, inferred_at FROM results r WHERE {condition} \
             ORDER BY seq DESC LIMIT {limit} OFFSET {offset}"
        );
        let rows = bound(found, &values).fetch_all(&mut *connection);
        let rows = within(ANSWER_TIMEOUT, rows).await?;
        let mut results = Vec::with_capacity(rows.len());
        let mut predictions = 0;
        for row in &rows {
            predictions += row.try_get::<i64, _>("images")?;
            if predictions > MAX_PREDICTIONS && !results.is_empty() {
                break;
            }
            results.push((row.try_get::<i64, _>("seq")?, result(row)?));
        }
        add_predictions(&mut connection, &mut results).await?;
        connection.keep();
        let results = results.into_iter().map(|(_, record)| record).collect();
        Ok(Page { total: usize::try_from(total).unwrap_or_default(), results })
    }

    /// The image that prediction `index` of result `id` was found on, if it was kept: the latest
    /// where several runs have one.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] and [`DatabaseError::Slow`].
    pub async fn picture(&self, id: &str, index: usize) -> Result<Option<Image>, DatabaseError> {
        let Ok(index) = i64::try_from(index) else { return Ok(None) };
        let found: QueryAs<'_, Any, (Vec<u8>,), _> = sqlx::query_as(
            "SELECT p.picture FROM predictions p JOIN results r ON r.id = p.id AND r.run = p.run \
             WHERE p.id = $1 AND p.image_index = $2 AND p.picture IS NOT NULL \
             ORDER BY r.seq DESC LIMIT 1",
        );
        let found = found.bind(id.to_owned()).bind(index);
        let mut connection = Lease::of(&self.readers).await?;
        let found = within(ANSWER_TIMEOUT, found.fetch_optional(&mut *connection)).await?;
        connection.keep();
        let pixels = found.and_then(|(pixels,)| <[u8; Image::PIXELS]>::try_from(pixels).ok());
        Ok(pixels.map(Image::new))
    }
}

async fn add_predictions(
    connection: &mut AnyConnection,
    results: &mut [(i64, ResultRecord)],
) -> Result<(), DatabaseError> {
    if results.is_empty() {
        return Ok(());
    }
    let seqs: Vec<String> = results.iter().map(|(seq, _)| seq.to_string()).collect();
    let found = format!(
        "SELECT r.seq, p.image_index, p.class, p.label, p.probability, p.top \
         FROM results r JOIN predictions p ON p.id = r.id AND p.run = r.run \
         WHERE r.seq IN ({}) ORDER BY r.seq DESC, p.image_index",
        seqs.join(", ")
    );
    let rows = sqlx::query(AssertSqlSafe(found)).persistent(false).fetch_all(connection);
    let mut results = results.iter_mut();
    let mut current = results.next();
    for row in within(ANSWER_TIMEOUT, rows).await? {
        let seq: i64 = row.try_get("seq")?;
        while current.as_ref().is_some_and(|(other, _)| *other != seq) {
            current = results.next();
        }
        let Some((_, record)) = &mut current else { break };
        let prediction = prediction(&row, &record.id)?;
        record.predictions.push(prediction);
    }
    Ok(())
}

/// Conditions on table `r`, and the values of their places.
fn matching(query: &Query) -> (String, Vec<&String>) {
    let Query { id, transport, label, .. } = query;
    let has_label = "EXISTS (SELECT 1 FROM predictions p WHERE p.id = r.id AND p.run = r.run \
                     AND p.label = ";
    let wanted = [("r.id = ", id, ""), ("r.transport = ", transport, ""), (has_label, label, ")")];
    let (mut conditions, mut values) = (vec!["1 = 1".to_owned()], Vec::new());
    for (before, value, after) in wanted {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("{before}${}{after}", values.len()));
        }
    }
    (conditions.join(" AND "), values)
}

fn bound(sql: String, values: &[&String]) -> query::Query<'static, Any, AnyArguments> {
    values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| query.bind((*value).clone()))
}

/// Without its predictions.
fn result(row: &AnyRow) -> Result<ResultRecord, DatabaseError> {
    let id: String = row.try_get("id")?;
    let source: String = row.try_get("source")?;
    let source = serde_json::from_str(&source)
        .map_err(|source| DatabaseError::Row { id: id.clone(), source })?;
    let index = |column| -> Result<Option<usize>, sqlx::Error> {
        let index: Option<i64> = row.try_get(column)?;
        Ok(index.and_then(|index| usize::try_from(index).ok()))
    };
    Ok(ResultRecord {
        schema: ResultRecord::SCHEMA,
        id,
        source,
        model: Arc::new(ModelIdentity {
            name: row.try_get("model")?,
            version: row.try_get("model_version")?,
            sha256: row.try_get("model_sha256")?,
        }),
        start_idx: index("start_idx")?,
        end_idx: index("end_idx")?,
        predictions: Vec::new(),
        received_at: row.try_get("received_at")?,
        inferred_at: row.try_get("inferred_at")?,
    })
}

fn prediction(row: &AnyRow, id: &str) -> Result<PredictionRecord, DatabaseError> {
    let number = |column| -> Result<usize, sqlx::Error> {
        let number: i64 = row.try_get(column)?;
        Ok(usize::try_from(number).unwrap_or_default())
    };
    let top: Option<String> = row.try_get("top")?;
    let top = top.map_or_else(|| Ok(Vec::new()), |top| serde_json::from_str(&top));
    Ok(PredictionRecord {
        index: number("image_index")?,
        class: number("class")?,
        label: row.try_get("label")?,
        probability: row.try_get::<f64, _>("probability")? as f32,
        top: top.map_err(|source| DatabaseError::Row { id: id.to_owned(), source })?,
        // Not kept: a table has what a class is counted by.
        blank: false,
    })
}
