use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;
use crate::{
    codec::{Json, Record},
    pipeline::{Pipeline, PipelineConfig},
    predict::function,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_lose_and_double_nothing_and_no_message_is_of_two_models() {
    const MESSAGES: usize = 2_000;
    const SWAPS: usize = 1_000;
    let times = |factor: usize| -> Model {
        let identity = ModelIdentity::of_code("times", &factor.to_string());
        Arc::new(function(identity, move |batch: &[f64]| {
            Ok::<_, PredictError>(batch.iter().map(|x| factor as f64 * x).collect())
        }))
    };
    let broker = MemoryBroker::new("numbers");
    // Some of several batches.
    let size = |n: usize| if n.is_multiple_of(100) { 700 } else { 3 };
    for n in 0..MESSAGES {
        let payload = format!("[{}]", vec![n.to_string(); size(n)].join(","));
        broker.send(Outbound { payload: payload.into(), ..Outbound::default() });
    }
    let slot = ModelSlot::new(times(1));
    let swapped = Arc::new(AtomicUsize::new(0));
    let swapper = {
        let (slot, swapped) = (slot.clone(), Arc::clone(&swapped));
        thread::spawn(move || {
            for factor in 2..SWAPS + 2 {
                slot.swap(times(factor)).unwrap();
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
}
