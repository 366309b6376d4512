//! A model that can't answer for a while.

use super::{parts::until, *};
use crate::pipeline::pulse::Vitals;

const GONE: &str = "the accelerator is gone";

fn waits_for_the_model(vitals: &Vitals) -> bool {
    let reason = vitals.reason.as_deref().unwrap_or_default();
    let says = reason.starts_with("waits for model echo (the accelerator is gone) for ");
    says && vitals.is_stalled && vitals.is_alive() && vitals.hangs.is_none()
}

#[tokio::test]
async fn a_model_that_is_away_keeps_its_batch_and_the_order_and_is_a_stall_and_no_hang() {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    let mut sent = vec![broker.send(keyed("a", raw(1)))];
    let pulse = Pulse::new(Duration::from_millis(50));
    let run = pipeline(&broker, &model, PipelineConfig::default()).with_pulse(pulse.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(run.run(async { drop(stopped.await) }));
    until(&broker, &pulse, |vitals| vitals.is_well() && broker.unsettled_messages() == 0).await;

    model.leave(GONE);
    let asked = model.calls().len();
    let is_kept = |model: &Commanded<Echo>| {
        let calls = &model.calls()[asked..];
        assert!(calls.iter().all(|inputs| *inputs == calls[0]), "{calls:?}");
        calls.len() >= 3
    };
    sent.extend((2..=6).map(|i| broker.send(keyed("a", raw(i)))));
    until(&broker, &pulse, |vitals| waits_for_the_model(vitals) && is_kept(&model)).await;
    sent.extend((7..=9).map(|i| broker.send(keyed("a", raw(i)))));
    until(&broker, &pulse, |vitals| waits_for_the_model(vitals) && vitals.in_flight == 8).await;
    assert_eq!((broker.results().len(), broker.dead_letters().len()), (1, 0));
    assert!(is_kept(&model));

    model.come_back();
    until(&broker, &pulse, |vitals| vitals.is_well() && broker.unsettled_messages() == 0).await;
    stop.send(()).expect("the pipeline runs");
    let report = run.await.expect("no panic").expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (9, 0));
    assert_eq!(report.settlement.retried, 0, "what waits is not handed back");
    assert_eq!(answered(&broker), sent);
}

#[tokio::test]
async fn a_pipeline_that_is_stopped_while_its_model_is_away_ends_within_the_grace_and_loses_nothing()
 {
    let (broker, model) = (MemoryBroker::new("m"), Echo::new());
    let mut sent = vec![broker.send(keyed("a", raw(1)))];
    let pulse = Pulse::new(Duration::from_millis(50));
    let config = PipelineConfig { grace_ms: 20, ..PipelineConfig::default() };
    let running = Arc::new(model.clone());
    let run = Pipeline::new(broker.consumer(), Arc::clone(&running), Toy::default(), config)
        .with_pulse(pulse.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(run.run(async { drop(stopped.await) }));
    until(&broker, &pulse, |vitals| vitals.is_well() && broker.unsettled_messages() == 0).await;
    model.leave(GONE);
    sent.extend((2..=4).map(|i| broker.send(keyed("a", raw(i)))));
    until(&broker, &pulse, |vitals| waits_for_the_model(vitals) && vitals.in_flight == 3).await;
    stop.send(()).expect("the pipeline runs");
    let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("in time");
    let report = ended.expect("no panic").expect("drained");
    assert_eq!((report.unfinished, report.settlement.published), (3, 1));
    assert_eq!((broker.unsettled_messages(), broker.dead_letters().len()), (3, 0));
    // Its thread ends, although the model is still away.
    let thread_ends = async {
        while Arc::strong_count(&running) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), thread_ends).await.expect("in time");

    model.come_back();
    let run = pipeline(&broker, &model, PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    assert_eq!(answered(&broker), sent);
}

#[tokio::test]
async fn nothing_is_received_while_the_model_is_away_at_its_warm_up() {
    for comes_back in [true, false] {
        let (broker, model) = (MemoryBroker::new("m"), Echo::new());
        let sent = broker.send(raw(1));
        model.leave(GONE);
        let pulse = Pulse::new(Duration::from_millis(50));
        let run = pipeline(&broker, &model, PipelineConfig::default()).with_pulse(pulse.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(run.run(async { drop(stopped.await) }));
        until(&broker, &pulse, waits_for_the_model).await;
        assert_eq!(broker.waiting_messages(), 1);
        if comes_back {
            model.come_back();
            until(&broker, &pulse, |vitals| vitals.is_well() && broker.unsettled_messages() == 0)
                .await;
        }
        stop.send(()).expect("the pipeline runs");
        let ended = tokio::time::timeout(Duration::from_secs(60), run).await.expect("in time");
        let report = ended.expect("no panic").expect("drained");
        if comes_back {
            assert_eq!((answered(&broker), report.settlement.published), (vec![sent], 1));
        } else {
            assert_eq!((broker.waiting_messages(), report), (1, PipelineReport::default()));
            assert!(pulse.vitals().is_well(), "nobody waits any more");
        }
    }
}

#[tokio::test]
async fn a_model_that_fails_its_warm_up_ends_the_pipeline_before_anything_is_received() {
    struct Broken;
    impl Predictor for Broken {
        type Input = u8;
        type Output = Said;
        fn predict(&self, _: &[u8]) -> Result<Vec<Said>, PredictError> {
            Err(PredictError::from("broken".to_owned()))
        }
        fn identity(&self) -> Arc<ModelIdentity> {
            Arc::new(ModelIdentity::of_code("broken", "1"))
        }
        fn warm_up(&self) -> Result<(), PredictError> {
            self.predict(&[]).map(drop)
        }
    }
    let broker = MemoryBroker::new("m");
    broker.send(raw(1));
    let codec = Toy::default();
    let run = Pipeline::new(broker.consumer(), Broken, codec, PipelineConfig::default());
    let error = run_through(&broker, run).await.expect_err("it ends");
    let broken = PredictError::Input { reason: "broken".to_owned() };
    assert!(matches!(&error, PipelineError::WarmUp(found) if *found == broken), "{error}");
    assert_eq!(broker.waiting_messages(), 1);
}
