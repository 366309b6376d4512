use stream_inference::{
    drift::{Baseline, Drift, Measures},
    predict::{Function, PredictError, function},
    slot::Shadow,
};

use super::*;

type Model = Arc<dyn Predictor<Input = f64, Output = f64>>;

fn model(version: &str, factor: f64) -> Model {
    let model: Function<_, f64, f64> =
        function(ModelIdentity::of_code("doubled", version), move |batch: &[f64]| {
            Ok::<_, PredictError>(batch.iter().map(|x| factor * x).collect())
        });
    Arc::new(model)
}

fn slot() -> ModelSlot<Model> {
    let measures = || Measures::new().number("x", |x: &f64, _: &f64| *x);
    let usual: Vec<f64> = (0..1_000).map(f64::from).collect();
    let baseline = Baseline::of(&measures(), &usual, &usual);
    let drift = Drift::new(measures(), move |_: &Model| Some(baseline.clone()));
    ModelSlot::new(model("1", 2.0)).with_drift(drift.with_window(1_000))
}

fn control_of(slot: &ModelSlot<Model>, parts: &Supervisor) -> ModelControl {
    let load = |file: Option<&Path>| match file.and_then(Path::to_str) {
        None => Ok(model("2", 2.0)),
        Some(file) => Err(format!("{file} is no model")),
    };
    let show: Box<Show<Model>> = Box::new(|x| json!(x));
    ModelControl::start(slot, &SlotConfig::default(), load, Some(show), parts).unwrap()
}

/// Of a model that can be loaded anew, and no file.
pub(crate) fn control(parts: &Supervisor) -> ModelControl {
    control_of(&slot(), parts)
}

#[tokio::test]
async fn what_is_done_to_a_model_is_seen_with_its_reasons() {
    let (slot, parts) = (slot(), Supervisor::new());
    let control = control_of(&slot, &parts);
    assert_eq!(control.trouble(), None);
    assert_eq!(control.load(None).await.unwrap().version, "1");
    assert_eq!(control.state()["probation_batches"], 100);
    assert_eq!(control.roll_back("a whim".to_owned()).await.unwrap().version, "2");
    assert_eq!(control.trouble().as_deref(), Some("rolled back: a whim"));
    assert!(control.promote().await.is_err());
    let state = control.state();
    let changes = state["changes"].as_array().unwrap();
    let told: Vec<_> = changes.iter().map(|change| &change["change"]).collect();
    assert_eq!(told, ["swapped", "rolled_back"]);
    assert_eq!(changes[1]["to"]["version"], "1");
    assert_eq!((&state["drift"], &state["candidate"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn what_is_loaded_anew_is_the_watched_file_where_there_is_one() {
    let folder = std::env::temp_dir().join(format!("anew-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model");
    let config =
        SlotConfig { watch: Some(path.clone()), watch_ms: 86_400_000, ..SlotConfig::default() };
    let load = |file: Option<&Path>| Ok(model(file.map_or("configured", |_| "watched"), 2.0));
    let parts = Supervisor::new();
    let control = ModelControl::start(&slot(), &config, load, None, &parts).unwrap();
    for (is_there, version) in [(false, "configured"), (true, "watched")] {
        if is_there {
            std::fs::write(&path, "2").unwrap();
        }
        control.load(None).await.unwrap();
        assert_eq!(control.state()["model"]["version"], version);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_index_of_a_model_that_serves_no_longer_does_not_go_on_to_alarm() {
    let (recorder, metrics) = crate::Metrics::on_a_thread();
    let slot = slot();
    let told = || metrics.text().lines().find_map(|l| l.strip_prefix(INDEX)?.parse::<f64>().ok());
    const INDEX: &str = "fmnist_drift_index{measure=\"x\"} ";
    metrics::with_local_recorder(&recorder, || slot.predict(&[7.0; 1_000]).unwrap());
    assert!(told().is_some_and(|index| index > LARGE), "{:?}", told());
    slot.swap(model("2", 2.0)).unwrap();
    metrics::with_local_recorder(&recorder, || slot.predict(&[7.0; 10]).unwrap());
    assert!(told().is_some_and(f64::is_nan), "{:?}", told());
}

#[tokio::test]
async fn drift_and_a_candidate_are_seen_and_inputs_only_where_they_may_be() {
    let (slot, parts) = (slot(), Supervisor::new());
    let control = control_of(&slot, &parts);
    let half = Shadow::by(|answer: &f64| answer.to_string()).with_share(1.0);
    slot.shadow(model("3", 1.0), half).unwrap();
    slot.predict(&[7.0; 1_000]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while control.state()["candidate"]["compared"] != 1_000 {
        assert!(std::time::Instant::now() < deadline, "{:#}", control.state());
        tokio::task::yield_now().await;
    }
    let state = control.state();
    assert_eq!(state["drift"]["verdict"], "large");
    let candidate = &state["candidate"];
    assert_eq!(candidate["agreement"], 0.0);
    let pair = json!({ "served": "14", "candidate": "7", "inputs": 1_000 });
    assert_eq!(candidate["disagreements"], json!([pair]));
    let difference = json!({ "served": "14", "candidate": "7", "input": 7.0 });
    assert_eq!(candidate["differences"][0], difference);
    assert_eq!(control.numbers()["candidate"]["differences"], json!([]));
    assert_eq!(control.promote().await.unwrap().version, "1");
    assert_eq!(control.state()["model"]["version"], "3");
}
