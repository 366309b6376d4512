//! What SQLite and PostgreSQL both have to do. `database()` gives a configuration for an empty one.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use fmnist_core::{
    Classifier,
    audit::Ledger,
    image::Image,
    message::{PredictionRecord, Requests, TopClass},
    pipeline::{Answered, Pipeline, PipelineConfig, Sink},
    testing::record,
    transport::{Outbound, memory::MemoryBroker},
};
use sink_sql::{Database, DatabaseConfig, Query};

use crate::database;

const LABELS: [&str; 3] = ["Bag", "Coat", "Sandal"];

/// The answer to message `offset`: images `offset..offset + images`, of one label.
pub(crate) fn answered(offset: i64, images: usize) -> Answered {
    let start = usize::try_from(offset).unwrap();
    let label = LABELS[start % LABELS.len()];
    let prediction = |index| PredictionRecord {
        index,
        class: start % LABELS.len(),
        label: label.to_owned(),
        probability: 0.1 + index as f32 / 1e6,
        top: vec![TopClass { class: 1, label: label.to_owned(), probability: 1.0 / 3.0 }],
        blank: false,
    };
    let mut record = record(&format!("INFERENCE/0/{offset}"), &[]);
    record.source.transport = if offset % 2 == 0 { "kafka" } else { "pubsub" }.into();
    record.start_idx = Some(start);
    record.end_idx = Some(start + images);
    record.predictions = (start..start + images).map(prediction).collect();
    Answered { record, inputs: Vec::new() }
}

fn pictured(offset: i64, grey: u8) -> Answered {
    let mut answered = answered(offset, 1);
    answered.record.start_idx = None;
    answered.record.end_idx = None;
    answered.record.predictions[0].index = 0;
    answered.inputs = vec![Image::new([grey; Image::PIXELS])];
    answered
}

pub(crate) fn newest(limit: usize) -> Query {
    Query { limit, ..Query::default() }
}

async fn ids(database: &Database, query: &Query) -> (usize, Vec<String>) {
    let page = database.results(query).await.unwrap();
    (page.total, page.results.into_iter().map(|record| record.id).collect())
}

#[tokio::test]
async fn what_was_written_is_read_as_it_was() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let (plain, carried) = (answered(0, 1_203), pictured(1, 200));
    database.write(&[plain.clone(), carried.clone()]).await.unwrap();
    database.close().await;

    let database = Database::open(&config).await.unwrap();
    let page = database.results(&newest(10)).await.unwrap();
    assert_eq!(page.total, 2);
    assert_eq!(page.results, [carried.record, plain.record]);
    let picture = database.picture("INFERENCE/0/1", 0).await.unwrap();
    assert_eq!(picture.as_ref(), carried.inputs.first());
    assert_eq!(database.picture("INFERENCE/0/0", 0).await.unwrap(), None);
    assert_eq!(database.picture("INFERENCE/0/2", 0).await.unwrap(), None);
    database.probe().await.unwrap();
}

#[tokio::test]
async fn a_result_that_comes_again_is_there_once() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let first: Vec<_> = (0..40).map(|offset| answered(offset, 3)).collect();
    database.write(&first).await.unwrap();
    // A batch that overlaps, as after a crash, and says something else of what is there.
    let mut second: Vec<_> = (20..60).map(|offset| answered(offset, 3)).collect();
    second[0].record.predictions[0].label = "Dress".to_owned();
    database.write(&second).await.unwrap();
    let page = database.results(&newest(100)).await.unwrap();
    assert_eq!(page.total, 60);
    let found: HashSet<_> = page.results.iter().map(|record| record.id.clone()).collect();
    assert_eq!(found.len(), 60);
    assert!(page.results.iter().all(|record| record.predictions.len() == 3));
    let twenty = page.results.iter().find(|record| record.id == "INFERENCE/0/20").unwrap();
    assert_eq!(*twenty, first[20].record);
}

#[tokio::test]
async fn a_run_of_its_own_keeps_what_has_the_same_id() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    database.write(&[pictured(0, 1)]).await.unwrap();
    let again = database.clone().with_run("again");
    again.write(&[pictured(0, 2), answered(1, 1)]).await.unwrap();
    again.write(&[pictured(0, 3)]).await.unwrap();
    let (total, found) = ids(&database, &newest(10)).await;
    assert_eq!((total, found.len()), (3, 3));
    let picture = database.picture("INFERENCE/0/0", 0).await.unwrap();
    assert_eq!(picture, Some(Image::new([2; Image::PIXELS])));
    assert!(
        database
            .results(&newest(10))
            .await
            .unwrap()
            .results
            .iter()
            .all(|r| r.predictions.len() == 1)
    );
}

#[tokio::test]
async fn results_are_filtered_and_paged_newest_first() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let all: Vec<_> = (0..30).map(|offset| answered(offset, 2)).collect();
    database.write(&all).await.unwrap();

    let second = ids(&database, &Query { offset: 10, ..newest(10) }).await;
    let expected: Vec<_> = (10..20).rev().map(|offset| format!("INFERENCE/0/{offset}")).collect();
    assert_eq!(second, (30, expected));
    let (total, beyond) = ids(&database, &Query { offset: 30, ..newest(10) }).await;
    assert_eq!((total, beyond.len()), (30, 0));

    let text = |text: &str| Some(text.to_owned());
    let by = |query: Query| {
        let database = database.clone();
        async move { ids(&database, &query).await }
    };
    let (total, coats) = by(Query { label: text("Coat"), ..newest(3) }).await;
    assert_eq!(total, 10);
    assert_eq!(coats, ["INFERENCE/0/28", "INFERENCE/0/25", "INFERENCE/0/22"]);
    assert_eq!(by(Query { transport: text("kafka"), ..newest(3) }).await.0, 15);
    let both = Query { label: text("Coat"), transport: text("kafka"), ..newest(3) };
    assert_eq!(by(both).await.0, 5);
    let one = Query { id: text("INFERENCE/0/7"), ..newest(3) };
    assert_eq!(by(one).await, (1, vec!["INFERENCE/0/7".to_owned()]));
    let hostile = Query { id: text("' OR 1 = 1 --"), ..newest(3) };
    assert_eq!(by(hostile).await.0, 0);
}

#[tokio::test]
async fn a_page_has_no_more_images_than_fit() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let large: Vec<_> = (0..4).map(|offset| answered(offset, 20_000)).collect();
    for result in &large {
        database.write(std::slice::from_ref(result)).await.unwrap();
    }
    let page = database.results(&newest(10)).await.unwrap();
    assert_eq!(page.total, 4);
    assert_eq!(page.results.len(), 2);
    assert_eq!(page.results[1], large[2].record);
}

#[tokio::test]
async fn old_results_are_deleted_with_all_that_belongs_to_them() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    database
        .write(&(0..1_500).map(|offset| answered(offset, 1)).collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(database.delete_before(0).await.unwrap(), 0);
    assert_eq!(database.delete_before(i64::MAX).await.unwrap(), 1_500);
    assert_eq!(ids(&database, &newest(1)).await.0, 0);
    // Their predictions are gone, too: the same ids can be written again.
    database.write(&[answered(0, 1)]).await.unwrap();
    assert_eq!(database.results(&newest(1)).await.unwrap().results[0].predictions.len(), 1);
}

#[tokio::test]
async fn without_pictures_none_are_kept() {
    let (_held, config) = database().await;
    let config = DatabaseConfig { keep_pictures: false, ..config };
    let database = Database::open(&config).await.unwrap();
    assert!(!database.keeps_inputs());
    database.write(&[pictured(0, 9)]).await.unwrap();
    assert_eq!(database.picture("INFERENCE/0/0", 0).await.unwrap(), None);
    assert_eq!(ids(&database, &newest(1)).await.0, 1);
}

#[tokio::test]
async fn many_programs_may_begin_at_once() {
    let (_held, config) = database().await;
    let programs = (0..8).map(|program: i64| {
        let config = config.clone();
        tokio::spawn(async move {
            let database = Database::open(&config).await.unwrap();
            for offset in 0..20 {
                database.write(&[answered(100 * program + offset, 2)]).await.unwrap();
            }
        })
    });
    for program in programs.collect::<Vec<_>>() {
        program.await.unwrap();
    }
    let database = Database::open(&config).await.unwrap();
    assert_eq!(ids(&database, &newest(1)).await.0, 160);
}

pub(crate) fn raw(grey: u8) -> Outbound {
    Outbound { payload: Bytes::from(vec![grey; Image::PIXELS]), ..Outbound::default() }
}

/// A pipeline on these messages.
pub(crate) async fn run(
    broker: &MemoryBroker,
    database: &Database,
    stop: impl Future<Output = ()> + Send,
) {
    let model = Classifier::pretrained().unwrap();
    let requests = Requests::new(&model, Arc::new([]));
    let config = PipelineConfig { record_only: true, ..PipelineConfig::default() };
    let pipeline = Pipeline::new(broker.consumer(), model, requests, config);
    pipeline.with_sink(database.clone()).run(stop).await.unwrap();
}

/// Until no message waits for its end.
pub(crate) async fn settled(broker: MemoryBroker) {
    while broker.unsettled_messages() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Judges what the database has of these messages.
pub(crate) async fn judge(database: &Database, sent: &[String]) {
    let mut ledger = Ledger::default();
    sent.iter().for_each(|id| ledger.input(id));
    let query = newest(sent.len() + 1);
    for record in database.results(&query).await.unwrap().results {
        ledger.result(&record.id);
        assert_eq!(record.predictions.len(), 1);
    }
    let account = ledger.account();
    assert!(account.is_exact(), "{account:?}");
    assert_eq!(account.answered, sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_records_every_message_with_its_picture() {
    let (_held, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let broker = MemoryBroker::new("m");
    let sent: Vec<_> = (0..200).map(|grey| broker.send(raw(grey))).collect();
    run(&broker, &database, settled(broker.clone())).await;
    judge(&database, &sent).await;
    let picture = database.picture(&sent[77], 0).await.unwrap();
    assert_eq!(picture, Some(Image::new([77; Image::PIXELS])));
}
