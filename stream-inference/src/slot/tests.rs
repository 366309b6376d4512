use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::{
    codec::{Json, Record},
    pipeline::{Pipeline, PipelineConfig},
    predict::{ModelIdentity, PredictError, Predictor, function},
    transport::{Outbound, memory::MemoryBroker},
};

type Model = Arc<dyn Predictor<Input = f64, Output = f64>>;

/// What a model does with an input.
type Rule = fn(f64) -> Result<f64, PredictError>;

fn model(version: &str, rule: Rule) -> Model {
    Arc::new(function(ModelIdentity::of_code("rule", version), move |batch: &[f64]| {
        batch.iter().map(|x| rule(*x)).collect::<Result<Vec<_>, _>>()
    }))
}

fn doubles(x: f64) -> Result<f64, PredictError> {
    if x < 0.0 { Err(format!("{x} is negative").into()) } else { Ok(2.0 * x) }
}

/// A model that publishes finite numbers alone, and that may not get warm.
struct Strict {
    model: Model,
    is_cold: bool,
}

impl Predictor for Strict {
    type Input = f64;
    type Output = f64;

    fn predict(&self, batch: &[f64]) -> Result<Vec<f64>, PredictError> {
        self.model.predict(batch)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.model.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        match self.is_cold {
            true => Err(PredictError::unavailable("its accelerator is gone")),
            false => Ok(()),
        }
    }

    fn verify(&self, output: &f64) -> Result<(), String> {
        if output.is_finite() { Ok(()) } else { Err(format!("the model answers {output}")) }
    }
}

fn kinds(slot: &ModelSlot<Model>) -> Vec<ChangeKind> {
    slot.changes_so_far().into_iter().map(|change| change.kind).collect()
}

#[test]
fn a_model_that_is_not_what_it_has_to_be_is_refused_and_the_one_in_service_goes_on() {
    let golden = Golden::of(&model("1", doubles), vec![1.0, 2.0]).unwrap();
    let slot =
        ModelSlot::new(model("1", doubles)).with_check(move |_, next| golden.check(next, 1e-6));
    for (next, why) in [
        (model("2", |x| Ok(3.0 * x)), "golden sample 0: expected 2.0, found 3.0"),
        (model("2", |_| panic!("on purpose")), "the model panicked: on purpose"),
        (model("2", |_| Err("no".to_owned().into())), "no"),
        (Arc::new(Strict { model: model("2", doubles), is_cold: true }), "its accelerator is gone"),
    ] {
        let refused = slot.swap(next).unwrap_err().to_string();
        assert!(refused.starts_with("the model rule 2 is not taken, and rule 1 goes on: "));
        assert!(refused.ends_with(why), "{refused}");
        let served = slot.serve(&[4.0]).unwrap();
        assert_eq!((&*served.outputs, &*served.model.version), (&[8.0][..], "1"));
    }
    assert!(kinds(&slot).iter().all(|kind| matches!(kind, ChangeKind::Refused(_))));
    assert_eq!(slot.swap(model("2", |x| Ok(2.0 * x + 1e-9))).unwrap().version, "1");
    assert_eq!(slot.identity().version, "2");
}

#[test]
fn on_probation_what_a_new_model_fails_on_is_answered_by_the_one_before_it_which_serves_again() {
    let odd: [Rule; 2] = [
        |x| if x > 5.0 { Err("too large".to_owned().into()) } else { Ok(x) },
        |x| if x > 5.0 { panic!("too large") } else { Ok(x) },
    ];
    for rule in odd {
        let slot = ModelSlot::new(model("1", doubles));
        slot.swap(model("2", rule)).unwrap();
        assert_eq!(&*slot.serve(&[5.0]).unwrap().model.version, "2");
        let served = slot.serve(&[5.0, 6.0]).unwrap();
        assert_eq!((&*served.outputs, &*served.model.version), (&[10.0, 12.0][..], "1"));
        assert_eq!(slot.identity().version, "1");
        let [ChangeKind::Swapped, ChangeKind::RolledBack(reason)] = &kinds(&slot)[..] else {
            panic!("{:?}", kinds(&slot))
        };
        assert!(reason.contains("too large"), "{reason}");
    }
}

#[test]
fn an_outage_of_a_model_on_probation_is_bridged_by_the_one_before_it_and_takes_nothing_back() {
    let slot = ModelSlot::new(model("1", doubles));
    let away =
        |x| if x > 5.0 { Err(PredictError::unavailable("its store is away")) } else { Ok(x) };
    slot.swap(model("2", away)).unwrap();
    assert_eq!(&*slot.serve(&[6.0]).unwrap().model.version, "1");
    assert_eq!(&*slot.serve(&[5.0]).unwrap().model.version, "2");
    assert_eq!(kinds(&slot), [ChangeKind::Swapped]);
}

#[test]
fn what_is_published_is_verified_by_the_model_that_answered() {
    let slot: ModelSlot<Model> =
        ModelSlot::new(Arc::new(Strict { model: model("1", |x| Ok(1.0 / x)), is_cold: false }));
    assert_eq!(slot.serve(&[0.0]).unwrap_err().to_string(), "the model answers inf");
    assert_eq!(slot.verify(&f64::NAN), Ok(()));
    assert_eq!(slot.predict(&[2.0]), Ok(vec![0.5]));
}

#[test]
fn an_input_that_both_models_fail_on_is_at_fault_and_the_new_model_stays() {
    let slot = ModelSlot::new(model("1", doubles));
    slot.swap(model("2", doubles)).unwrap();
    let failed = slot.serve(&[1.0, -1.0]).unwrap_err();
    assert_eq!(failed, PredictError::from("-1 is negative".to_owned()));
    assert_eq!((&*slot.identity().version, kinds(&slot).len()), ("2", 1));
}

#[test]
fn after_its_probation_a_model_stands_alone_and_can_be_taken_back_by_hand() {
    let slot = ModelSlot::new(model("1", doubles)).with_probation(3);
    let no_predecessor = slot.roll_back("a whim").unwrap_err().to_string();
    assert_eq!(no_predecessor, "there is no model to go back to; rule 1 goes on");
    slot.swap(model("2", |x| if x > 5.0 { Err("no".to_owned().into()) } else { Ok(x) })).unwrap();
    for _ in 0..3 {
        slot.serve(&[1.0]).unwrap();
    }
    assert_eq!(slot.serve(&[6.0]).unwrap_err(), PredictError::from("no".to_owned()));
    assert_eq!(slot.roll_back("it refuses what is large").unwrap().version, "2");
    assert_eq!(slot.predict(&[6.0]), Ok(vec![12.0]));
}

#[test]
fn a_model_that_was_on_probation_itself_is_not_gone_back_to() {
    let slot = ModelSlot::new(model("1", doubles));
    slot.swap(model("2", |_| Ok(0.0))).unwrap();
    slot.swap(model("3", |_| Err("no".to_owned().into()))).unwrap();
    let served = slot.serve(&[4.0]).unwrap();
    assert_eq!((&*served.outputs, &*served.model.version), (&[8.0][..], "1"));
}

/// Waits for what the candidate's thread does.
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it does not come");
        thread::yield_now();
    }
}

fn by_size() -> Shadow<Model> {
    Shadow::by(|answer: &f64| if *answer < 10.0 { "small" } else { "large" }.to_owned())
}

#[test]
fn a_candidate_is_compared_behind_the_answers_and_put_into_service_when_it_is_told() {
    let slot = ModelSlot::new(model("1", doubles));
    let none = "there is no candidate to put into service; rule 1 goes on";
    assert_eq!(slot.promote().unwrap_err().to_string(), none);
    let candidate = model("2", |x| if x < 0.0 { panic!("on purpose") } else { Ok(4.0 * x) });
    slot.shadow(candidate, by_size().with_share(1.0)).unwrap();
    let report = || slot.shadow_report().unwrap();
    for (batch, compared) in [(vec![1.0, 3.0, 6.0], 3), (vec![4.0; 70], 73)] {
        let served = slot.serve(&batch).unwrap();
        assert_eq!(served.outputs, batch.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
        assert_eq!(served.model.version, "1");
        until(|| report().compared == compared);
    }
    let found = report();
    assert_eq!((found.agreed, found.failed, found.skipped), (2, 0, 0));
    assert_eq!(found.agreement(), Some(2.0 / 73.0));
    assert!(found.time_ratio().is_some_and(|ratio| ratio > 0.0));
    assert_eq!(found.disagreements[&["small".to_owned(), "large".to_owned()]], 71);
    // The latest of them are kept, and no more.
    assert_eq!((found.differences.len(), found.differences[0].input), (24, 4.0));
    assert_eq!(slot.promote().unwrap().version, "1");
    assert_eq!(
        (slot.identity().version.clone(), slot.shadow_report().is_none()),
        ("2".into(), true)
    );
    assert_eq!(slot.roll_back("not yet").unwrap().version, "2");
}

#[test]
fn a_candidate_that_fails_or_panics_costs_no_answer_and_one_that_is_wrong_is_none() {
    let golden = Golden::of(&model("1", doubles), vec![1.0]).unwrap();
    let slot =
        ModelSlot::new(model("1", doubles)).with_check(move |_, next| golden.check(next, 1e-6));
    let refused = slot.shadow(model("2", |_| Ok(0.0)), by_size()).unwrap_err().to_string();
    assert!(refused.starts_with("the model rule 2 is not taken"), "{refused}");
    assert!(slot.shadow_report().is_none());
    for rule in
        [(|x| if x > 5.0 { Err("no".to_owned().into()) } else { Ok(2.0 * x) }) as Rule, |x| {
            if x > 5.0 { panic!("on purpose") } else { Ok(2.0 * x) }
        }]
    {
        slot.shadow(model("2", rule), by_size().with_share(1.0)).unwrap();
        assert_eq!(slot.predict(&[6.0]).unwrap(), [12.0]);
        until(|| slot.shadow_report().unwrap().failed == 1);
        assert_eq!(slot.predict(&[1.0]).unwrap(), [2.0]);
        until(|| slot.shadow_report().unwrap().agreed == 1);
    }
    // Nor does what names the classes.
    slot.shadow(model("2", doubles), Shadow::by(|_| panic!("on purpose")).with_share(1.0)).unwrap();
    assert_eq!(slot.predict(&[1.0]).unwrap(), [2.0]);
    slot.dismiss();
    assert!(slot.shadow_report().is_none());
}

#[test]
fn a_candidate_is_given_its_share_of_the_batches_and_none_that_it_has_no_time_for() {
    let slot = ModelSlot::new(model("1", doubles));
    slot.shadow(model("2", doubles), by_size().with_share(0.25)).unwrap();
    for batch in 0..40 {
        slot.predict(&[1.0, 2.0]).unwrap();
        let due = 2 * ((batch + 1) / 4);
        until(|| slot.shadow_report().unwrap().compared == due);
    }
    // While the model in service computes, the candidate waits, and what it has no room for goes by.
    let busy = slot.candidate().unwrap().keep_off();
    for _ in 0..40 {
        slot.predict(&[1.0, 2.0]).unwrap();
    }
    let report = slot.shadow_report().unwrap();
    assert_eq!(report.compared, 20);
    assert!(report.skipped >= 2 * (10 - 3), "{}", report.skipped);
    drop(busy);
    until(|| {
        let report = slot.shadow_report().unwrap();
        report.compared + report.skipped == 40
    });
}

#[test]
fn a_file_that_is_no_model_is_remembered_with_its_reason_and_changes_nothing() {
    let slot = ModelSlot::new(model("1", doubles));
    let path = std::path::Path::new("models/cut.bin");
    let error = slot.swap_file(path, |_| Err("it ends at byte 7".to_owned())).unwrap_err();
    let said = "models/cut.bin is not taken, and rule 1 goes on: it ends at byte 7";
    assert_eq!(error.to_string(), said);
    let change = slot.changes_so_far().pop().unwrap();
    assert_eq!((change.to, change.kind), (None, ChangeKind::Refused(said.to_owned())));
    assert!(slot.swap_file(path, |_| panic!("on purpose")).is_err());
    assert_eq!(slot.predict(&[2.0]).unwrap(), [4.0]);
}

/// Multiplies by its version, and holds `held` as long as it is in memory.
fn times(factor: usize, held: &Arc<()>) -> Model {
    let (identity, held) = (ModelIdentity::of_code("times", &factor.to_string()), Arc::clone(held));
    Arc::new(function(identity, move |batch: &[f64]| {
        let _weights = &held;
        Ok::<_, PredictError>(batch.iter().map(|x| factor as f64 * x).collect())
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_lose_and_double_nothing_and_no_message_is_of_two_models() {
    const MESSAGES: usize = 2_000;
    const SWAPS: usize = 1_000;
    let held = Arc::new(());
    let weights = Arc::downgrade(&held);
    let broker = MemoryBroker::new("numbers");
    // Some of several batches.
    let size = |n: usize| if n.is_multiple_of(100) { 700 } else { 3 };
    for n in 0..MESSAGES {
        let payload = format!("[{}]", vec![n.to_string(); size(n)].join(","));
        broker.send(Outbound { payload: payload.into(), ..Outbound::default() });
    }
    let slot = ModelSlot::new(times(1, &held));
    let looked_at = slot.clone();
    let swapped = Arc::new(AtomicUsize::new(0));
    let swapper = {
        let (slot, swapped) = (slot.clone(), Arc::clone(&swapped));
        thread::spawn(move || {
            for factor in 2..SWAPS + 2 {
                slot.swap(times(factor, &held)).unwrap();
                swapped.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let settled = {
        let (broker, swapped) = (broker.clone(), Arc::clone(&swapped));
        async move {
            while broker.unsettled_messages() > 0 || swapped.load(Ordering::SeqCst) < SWAPS {
                tokio::task::yield_now().await;
            }
        }
    };
    let codec = Json::<f64, f64>::arrays();
    let pipeline = Pipeline::new(broker.consumer(), slot, codec, PipelineConfig::default());
    let report = pipeline.run(settled).await.unwrap();
    swapper.join().unwrap();
    assert_eq!((report.settlement.published, report.settlement.rejected), (MESSAGES, 0));
    let mut answered = vec![0; MESSAGES];
    for result in broker.results() {
        let record: Record<f64> = serde_json::from_slice(&result.payload).unwrap();
        let n: usize = record.id.rsplit('/').next().unwrap().parse().unwrap();
        let factor: usize = record.model.version.parse().unwrap();
        assert_eq!(record.predictions, vec![(factor * n) as f64; size(n)], "{}", record.id);
        answered[n] += 1;
    }
    assert_eq!(answered, [1; MESSAGES]);
    // The one in service, and the one to go back to.
    assert_eq!(weights.strong_count(), 2);
    drop(looked_at);
    assert_eq!(weights.strong_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_of_a_group_that_exchange_their_models_at_different_times_answer_all_once() {
    const MESSAGES: usize = 1_000;
    let (broker, held) = (MemoryBroker::new("numbers"), Arc::new(()));
    let slots = [ModelSlot::new(times(1, &held)), ModelSlot::new(times(1, &held))];
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let consumers = slots.clone().map(|slot| {
        let mut stopped = stopped.clone();
        let pipeline = Pipeline::new(
            broker.consumer(),
            slot,
            Json::<f64, f64>::new(),
            PipelineConfig::default(),
        );
        tokio::spawn(pipeline.run(async move { drop(stopped.wait_for(|stop| *stop).await) }))
    });
    // Before the first exchange, between the two, and after both.
    for (quarter, exchanged) in [None, Some(&slots[0]), Some(&slots[1]), None].iter().enumerate() {
        if let Some(slot) = exchanged {
            slot.swap(times(2, &held)).unwrap();
        }
        for n in 0..MESSAGES / 4 {
            let payload = (quarter * MESSAGES / 4 + n).to_string().into();
            broker.send(Outbound { payload, ..Outbound::default() });
        }
        while broker.unsettled_messages() > 0 {
            tokio::task::yield_now().await;
        }
    }
    stop.send_replace(true);
    let mut published = 0;
    for consumer in consumers {
        published += consumer.await.unwrap().unwrap().settlement.published;
    }
    assert_eq!(published, MESSAGES);
    let mut answered = vec![0; MESSAGES];
    for result in broker.results() {
        let record: Record<f64> = serde_json::from_slice(&result.payload).unwrap();
        let n: usize = record.id.rsplit('/').next().unwrap().parse().unwrap();
        let factor: usize = record.model.version.parse().unwrap();
        assert_eq!(record.predictions, [(factor * n) as f64], "{}", record.id);
        // Before and after both were exchanged there is no doubt.
        assert!(n >= MESSAGES / 4 || factor == 1, "{}", record.id);
        assert!(n < MESSAGES / 2 + MESSAGES / 4 || factor == 2, "{}", record.id);
        answered[n] += 1;
    }
    assert_eq!(answered, [1; MESSAGES]);
}

#[test]
fn a_model_that_is_away_for_as_long_as_its_probation_is_taken_back() {
    let slot = ModelSlot::new(model("1", doubles)).with_probation(3);
    slot.swap(model("2", |_| Err(PredictError::unavailable("its store is away")))).unwrap();
    for batch in 1..=4 {
        assert_eq!(&*slot.serve(&[6.0]).unwrap().model.version, "1");
        assert_eq!(slot.identity().version, if batch < 3 { "2" } else { "1" }, "{batch}");
    }
    assert!(matches!(&kinds(&slot)[..], [ChangeKind::Swapped, ChangeKind::RolledBack(_)]));
}

#[test]
fn what_a_new_model_fails_on_waits_for_a_predecessor_that_is_away_and_not_for_ever() {
    let away = |_| Err(PredictError::unavailable("its store is away"));
    let slot = ModelSlot::new(model("1", away)).with_probation(2);
    slot.swap(model("2", |_| Err("no".to_owned().into()))).unwrap();
    let is_away = |failure| matches!(failure, PredictError::Unavailable { .. });
    assert!(is_away(slot.serve(&[1.0]).unwrap_err()));
    assert_eq!(slot.serve(&[1.0]).unwrap_err(), PredictError::from("no".to_owned()));
}

#[test]
fn changes_are_told_in_the_order_in_which_they_happen_however_soon_a_model_is_taken_back() {
    let slot = ModelSlot::new(model("1", doubles));
    let is_over = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while is_over.load(Ordering::Relaxed) == 0 {
                    slot.predict(&[6.0]).unwrap();
                }
            });
        }
        let is_so = (0..2_000).all(|_| {
            slot.swap(model("2", |_| Err("no".to_owned().into()))).unwrap();
            until(|| slot.changes_so_far().len() >= 2 && slot.identity().version == "1");
            until(|| kinds(&slot).iter().any(|kind| matches!(kind, ChangeKind::RolledBack(_))));
            matches!(kinds(&slot)[..], [.., ChangeKind::Swapped, ChangeKind::RolledBack(_)])
        });
        is_over.store(1, Ordering::Relaxed);
        assert!(is_so, "{:?}", kinds(&slot));
    });
}

#[test]
fn a_candidate_is_compared_with_the_model_that_serves_and_not_with_those_before_it() {
    let slot = ModelSlot::new(model("1", doubles));
    slot.shadow(model("3", |x| Ok(20.0 * x)), by_size().with_share(1.0)).unwrap();
    slot.predict(&[1.0; 70]).unwrap();
    until(|| slot.shadow_report().unwrap().compared == 70);
    assert_eq!(slot.shadow_report().unwrap().agreement(), Some(0.0));
    slot.swap(model("2", |x| Ok(20.0 * x))).unwrap();
    slot.predict(&[1.0; 5]).unwrap();
    until(|| slot.shadow_report().unwrap().compared == 5);
    let report = slot.shadow_report().unwrap();
    assert_eq!(report.agreement(), Some(1.0));
    assert!(report.disagreements.is_empty() && report.differences.is_empty());
}

#[test]
fn pairs_of_classes_beyond_the_first_thousand_are_counted_as_one() {
    let candidate = Arc::new(ModelIdentity::of_code("candidate", "1"));
    let mut tally = tally::Tally::<u32>::of(candidate);
    for n in 0..3_000 {
        tally.add(vec![n], vec![n.to_string()], vec!["none".to_owned()], [Duration::ZERO; 2]);
    }
    let counted = tally.report().disagreements;
    assert_eq!((counted.len(), counted.values().sum()), (1_001, 3_000_u64));
}
