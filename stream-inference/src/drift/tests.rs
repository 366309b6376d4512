use std::fs;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    predict::{Function, PredictError, function},
    slot::ModelSlot,
};

type Model = std::sync::Arc<dyn Predictor<Input = f64, Output = u32>>;

/// Ten classes by the first digit.
fn model() -> Model {
    let identity = ModelIdentity::of_code("digit", "1");
    std::sync::Arc::new(function(identity, |batch: &[f64]| {
        Ok::<_, PredictError>(batch.iter().map(|x| (x * 10.0) as u32).collect())
    }))
}

fn measures() -> Measures<Model> {
    Measures::new()
        .class("digit", |_: &f64, digit: &u32| digit.to_string())
        .number("x", |x: &f64, _: &u32| *x)
}

/// A mix that is not even.
fn sample(random: &mut ChaCha8Rng) -> f64 {
    random.random::<f64>().powi(2)
}

fn baseline() -> Baseline {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let inputs: Vec<f64> = (0..5_000).map(|_| sample(&mut random)).collect();
    let model = model();
    Baseline::of(&measures(), &inputs, &model.predict(&inputs).unwrap())
}

fn slot(window: usize) -> ModelSlot<Model> {
    let baseline = baseline();
    let drift = Drift::new(measures(), move |_| Some(baseline.clone())).with_window(window);
    ModelSlot::new(model()).with_drift(drift)
}

fn report(slot: &ModelSlot<Model>) -> Option<DriftReport> {
    slot.drift().and_then(Drift::report)
}

#[test]
fn a_shuffled_stream_of_the_same_mix_does_not_alarm_in_a_thousand_windows_and_a_shifted_one_does() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let slot = slot(1_000);
    let mut largest = 0.0_f64;
    for _ in 0..1_000 {
        let inputs: Vec<f64> = (0..1_000).map(|_| sample(&mut random)).collect();
        slot.predict(&inputs).unwrap();
        let found = report(&slot).unwrap();
        assert!(!found.is_large(), "{found:?}");
        largest = largest.max(found.largest());
    }
    // Not even a moderate one, at the smallest window that there is.
    assert!(largest < MODERATE, "{largest}");

    let shifted: Vec<f64> = (0..1_000).map(|_| (sample(&mut random) + 0.2).min(0.99)).collect();
    slot.predict(&shifted).unwrap();
    assert!(report(&slot).unwrap().is_large());
    assert_eq!(report(&slot).unwrap().unusual, 0.0);
}

#[test]
fn what_is_outside_of_all_that_was_seen_is_unusual_and_leaves_the_window_again() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let slot = slot(1_000);
    assert_eq!(report(&slot), None);
    let usual: Vec<f64> = (0..1_000).map(|_| sample(&mut random)).collect();
    slot.predict(&usual[..999]).unwrap();
    assert_eq!(report(&slot), None);
    slot.predict(&[7.0; 250]).unwrap();
    assert_eq!(report(&slot).unwrap().unusual, 0.25);
    slot.predict(&[f64::NAN; 1]).unwrap();
    assert_eq!(report(&slot).unwrap().unusual, 0.251);
    slot.predict(&usual).unwrap();
    assert_eq!(report(&slot).unwrap().unusual, 0.0);
}

#[test]
fn another_model_begins_a_window_of_its_own_and_one_without_a_baseline_has_no_report() {
    let slot = slot(1_000);
    slot.predict(&[0.5; 1_000]).unwrap();
    assert!(report(&slot).unwrap().is_large());
    let identity = ModelIdentity::of_code("digit", "2");
    let next: Function<_, f64, u32> =
        function(identity, |batch: &[f64]| Ok::<_, PredictError>(vec![0; batch.len()]));
    slot.swap(std::sync::Arc::new(next)).unwrap();
    slot.predict(&[0.5; 999]).unwrap();
    assert_eq!(report(&slot), None);
    slot.predict(&[0.5]).unwrap();
    assert_eq!(report(&slot).unwrap().model.version, "2");

    let bare = ModelSlot::new(model()).with_drift(Drift::new(measures(), |_| None));
    bare.predict(&[0.5; 2_000]).unwrap();
    assert_eq!(report(&bare), None);
}

#[test]
fn a_measure_runs_without_a_lock_and_a_batch_that_it_fails_on_is_not_counted_at_all() {
    let place: std::sync::Arc<std::sync::OnceLock<ModelSlot<Model>>> = Default::default();
    let looks = std::sync::Arc::clone(&place);
    let measures = Measures::new().number("x", move |x: &f64, _: &u32| {
        assert!(*x < 1.0, "on purpose");
        looks.get().and_then(|slot| slot.drift()?.report()).map_or(*x, |report| report.unusual)
    });
    let baseline = Baseline::default().with("x", Expected::of_numbers(vec![0.0, 1.0]));
    let drift = Drift::new(measures, move |_| Some(baseline.clone()));
    let slot = place.get_or_init(|| ModelSlot::new(model()).with_drift(drift));
    let (told, answered) = std::sync::mpsc::sync_channel(1);
    let asked = slot.clone();
    std::thread::spawn(move || told.send(asked.predict(&[0.5; 1_000]).is_ok()));
    assert_eq!(answered.recv_timeout(std::time::Duration::from_secs(30)), Ok(true));
    assert_eq!(slot.predict(&[0.5, 2.0]).unwrap(), [5, 20]);
    assert_eq!(report(slot).unwrap().inputs, 1_000);
}

#[test]
fn a_baseline_of_another_kind_or_without_bins_is_left_out_and_the_others_are_compared() {
    let measures = Measures::new()
        .number("digit", |_: &f64, digit: &u32| f64::from(*digit))
        .class("x", |x: &f64, _: &u32| x.to_string())
        .number("none", |x: &f64, _: &u32| *x)
        .number("good", |x: &f64, _: &u32| *x);
    let none = Expected::Numbers { edges: Vec::new(), counts: Vec::new() };
    let good = Expected::of_numbers(vec![0.0, 0.5, 1.0]);
    let baseline = baseline().with("none", none).with("good", good);
    let drift = Drift::new(measures, move |_| Some(baseline.clone()));
    let slot = ModelSlot::new(model()).with_drift(drift);
    slot.predict(&[0.5; 1_000]).unwrap();
    let names: Vec<_> = report(&slot).unwrap().indexes.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["good"]);
}

#[test]
fn classes_may_be_more_than_fit_into_two_bytes() {
    let classes = (0..70_000).map(|n| (n.to_string(), 1)).collect();
    let baseline = Baseline::default().with("x", Expected::Classes(classes));
    let measures = Measures::new().class("x", |x: &f64, _: &u32| x.to_string());
    let drift = Drift::new(measures, move |_| Some(baseline.clone())).with_window(70_000);
    let slot = ModelSlot::new(model()).with_drift(drift);
    slot.predict(&(0..70_000).map(f64::from).collect::<Vec<_>>()).unwrap();
    let (name, index) = report(&slot).unwrap().indexes.remove(0);
    assert!(name == "x" && index < 1e-3, "{index}");
}

#[test]
fn a_number_that_is_mostly_one_value_moves_where_it_is_so_no_longer() {
    // The value may be the least, the largest, or between.
    for often in [0.0, 1.0, 0.5] {
        let mix = |share: usize| -> Vec<f64> {
            let other = |n: usize| (n % 97) as f64 / 97.0 * 0.8 + 0.1;
            (0..2_000).map(|n| if n % 20 < share { often } else { other(n) }).collect()
        };
        let baseline = Baseline::default().with("x", Expected::of_numbers(mix(19)));
        let measures = || Measures::new().number("x", |x: &f64, _: &u32| *x);
        let drift = Drift::new(measures(), move |_| Some(baseline.clone())).with_window(2_000);
        let slot = ModelSlot::new(model()).with_drift(drift);
        slot.predict(&mix(19)).unwrap();
        assert!(report(&slot).unwrap().indexes[0].1 < 1e-9, "{often}");
        slot.predict(&mix(5)).unwrap();
        assert!(report(&slot).unwrap().is_large(), "{often}: {:?}", report(&slot));
    }
}

#[test]
fn the_index_is_that_of_the_books() {
    // (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5)
    assert!((stability_index(&[50, 50], &[70, 30]) - 0.169_459_6).abs() < 1e-6);
    assert_eq!(stability_index(&[50, 50], &[5, 5]), 0.0);
    assert!(stability_index(&[50, 0], &[0, 50]).is_finite());
}

#[test]
fn a_baseline_comes_back_from_its_file_and_an_odd_file_is_refused() {
    let folder = std::env::temp_dir().join(format!("baseline-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("baseline.json");
    let inputs: Vec<f64> = (0..64).map(|n| f64::from(n) / 64.0).collect();
    let baseline = Baseline::of(&measures(), &inputs, &model().predict(&inputs).unwrap());
    baseline.save(&path).unwrap();
    assert_eq!(Baseline::load(&path).unwrap(), baseline);
    fs::write(&path, r#"{"x": {"numbers": {"edges": [0, 1], "counts": [1, 2]}}}"#).unwrap();
    let odd = Baseline::load(&path).unwrap_err().to_string();
    assert_eq!(odd, "x: expected ascending edges, one more than counts");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn numbers_that_repeat_have_fewer_bins_and_none_have_one() {
    let Expected::Numbers { edges, counts } = Expected::of_numbers(vec![1.0; 50]) else {
        panic!("numbers")
    };
    assert_eq!((edges, counts), (vec![1.0, 1.0], vec![50]));
    let Expected::Numbers { counts, .. } = Expected::of_numbers(vec![f64::NAN]) else {
        panic!("numbers")
    };
    assert_eq!(counts, [0]);
}
