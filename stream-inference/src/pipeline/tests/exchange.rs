//! A model that is exchanged for another while messages are on their way.

use std::time::Instant;

use super::*;
use crate::{
    pipeline::{schedule::Batch, worker},
    toy::Exchanged,
};

#[tokio::test]
async fn a_message_of_two_models_comes_again_whole_and_is_answered_by_one() {
    let broker = MemoryBroker::new("m");
    broker.send(keyed("a", range(0, 20)));
    broker.send(keyed("a", raw(7)));
    let batch = BatchConfig { max_inputs: 8, ..BatchConfig::default() };
    let config = PipelineConfig { batch, ..PipelineConfig::default() };
    let run = Pipeline::new(broker.consumer(), Exchanged::after(1), Toy::default(), config);
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (2, 0));
    assert!(report.settlement.retried > 0, "{report:?}");
    let records: Vec<_> = broker.results().iter().map(record).collect();
    let ids: Vec<_> = records.iter().map(|record| &*record.id).collect();
    assert_eq!(ids, ["m/0", "m/1"], "a lane keeps its order");
    assert_eq!(records[0].outputs, (1..=20).map(|value| value % 10).collect::<Vec<_>>());
    assert_eq!(records[0].model.version, "2");
    assert!(records.iter().all(Record::is_of_one_model), "{records:?}");
}

#[test]
fn a_batch_whose_halves_two_models_answered_is_computed_again() {
    let (inputs, shares) = (vec![1, 255, 3, 4], vec![(0, 4)]);
    let batch = Batch { inputs, since: Instant::now(), shares, short: Vec::new() };
    // The batch, its first half and the first input are the old model's; then the rest is not.
    let model = Exchanged::after(3);
    let inferred = worker::infer(&batch, &model).expect("it is there");
    assert_eq!((&*inferred.model.version, inferred.shares), ("2", vec![(0, 4)]));
    let said = |digit| Ok(Said { digit, model: Arc::clone(&inferred.model) });
    let expected = [said(1), Err("too bright".to_owned()), said(3), said(4)];
    assert_eq!(inferred.answers, expected);
    assert_eq!(model.served(), 10);
}
