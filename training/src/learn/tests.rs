use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fmnist_core::{
    dataset::{Dataset, Split, synthetic},
    model::Architecture,
    weights::{NamedTensor, Tensors},
};

use crate::learn::{
    average,
    recipe::{Optimiser, Recipe},
    sampling::{folds, order, stratified_split},
    schedule::{Plateau, one_cycle},
    score::{Judged, calibration_error, mean_and_deviation},
    trainer::{Setup, Trainer},
};

#[test]
fn the_rate_rises_to_its_peak_and_falls_to_nothing() {
    assert!((one_cycle(0.1, 0.2, 0, 100) - 0.004).abs() < 1e-9);
    assert!((one_cycle(0.1, 0.2, 20, 100) - 0.1).abs() < 1e-9);
    assert!(one_cycle(0.1, 0.2, 99, 100) < 1.1e-6);
    assert!((1..=20).all(|s| one_cycle(0.1, 0.2, s, 100) > one_cycle(0.1, 0.2, s - 1, 100)));
    assert!((21..100).all(|s| one_cycle(0.1, 0.2, s, 100) < one_cycle(0.1, 0.2, s - 1, 100)));
}

#[test]
fn a_shorter_warm_up_reaches_the_peak_sooner() {
    assert!((one_cycle(0.1, 0.1, 10, 100) - 0.1).abs() < 1e-9);
    assert!(one_cycle(0.1, 0.0, 0, 100) > 0.0999);
}

#[test]
fn the_rate_falls_after_five_epochs_without_improvement() {
    let mut plateau = Plateau::new(0.01);
    [0.5, 0.4, 0.4, 0.41, 0.39995, 0.5].into_iter().for_each(|loss| plateau.observe(loss));
    assert_eq!(plateau.rate, 0.01);
    plateau.observe(0.5);
    assert!((plateau.rate - 0.001).abs() < 1e-12);
    plateau.observe(0.3);
    assert!((plateau.rate - 0.001).abs() < 1e-12);
}

#[test]
fn the_split_takes_the_same_share_of_every_class() {
    let labels: Vec<u8> = (0..1000).map(|i| (i % 10) as u8).collect();
    let (train, held_out) = stratified_split(&labels, 100, 7);
    for class in 0..10 {
        assert_eq!(held_out.iter().filter(|&&i| labels[i] == class).count(), 10);
    }
    let mut all = [train, held_out.clone()].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..1000));
    assert_eq!(stratified_split(&labels, 100, 7).1, held_out);
    assert_ne!(stratified_split(&labels, 100, 8).1, held_out);
}

#[test]
fn folds_hold_every_image_once_and_are_equally_large() {
    let parts = folds(103, 5, 1);
    assert!(parts.iter().all(|part| part.len() == 20 || part.len() == 21));
    let mut all = parts.concat();
    assert!(all.windows(2).any(|pair| pair[0] > pair[1]), "they are shuffled");
    all.sort_unstable();
    assert!(all.into_iter().eq(0..103));
}

#[test]
fn an_epochs_order_depends_on_seed_and_epoch_alone() {
    let images: Vec<usize> = (0..50).collect();
    assert_eq!(order(1, 3, &images), order(1, 3, &images));
    assert_ne!(order(1, 3, &images), order(1, 4, &images));
    assert_ne!(order(1, 3, &images), order(2, 3, &images));
}

#[test]
fn temperature_undoes_overconfidence() {
    // Three of four right at a margin of 4: the best temperature makes the margin ln 3.
    let logits = vec![vec![4.0, 0.0]; 4];
    let judged = Judged { logits, labels: vec![0, 0, 0, 1] };
    assert!((judged.accuracy() - 0.75).abs() < 1e-12);
    assert!((judged.fit_temperature() - 4.0 / 3.0_f64.ln()).abs() < 1e-3);
}

#[test]
fn calibration_error_is_the_gap_between_confidence_and_accuracy() {
    let answers = [(0.75, true), (0.75, true), (0.75, true), (0.75, false)];
    assert!(calibration_error(&answers) < 1e-6);
    assert!((calibration_error(&[(0.9, false), (0.3, true)]) - 0.8).abs() < 1e-6);
}

#[test]
fn the_average_forgets_its_start_and_then_moves_slowly() {
    let tensors = |value: f32| {
        Tensors::from([("w".to_owned(), NamedTensor { shape: vec![2], values: vec![value; 2] })])
    };
    let mut kept = tensors(1.0);
    average::update(&mut kept, &tensors(2.0), 0.999, 0);
    assert!(kept["w"].values.iter().all(|value| (value - 1.9).abs() < 1e-6));
    average::update(&mut kept, &tensors(0.9), 0.75, 1_000_000);
    assert!(kept["w"].values.iter().all(|value| (value - 1.65).abs() < 1e-6));
}

fn run(mut trainer: Trainer<'_>, stop_at: usize) -> Trainer<'_> {
    while !trainer.is_done() && trainer.step_count() < stop_at {
        trainer.step().expect("a step");
    }
    trainer
}

/// Burn's Flex has one generator for the whole process: one test at a time may draw from it.
pub(crate) fn lock_device_generator() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setup<'a>(
    recipe: &'a Recipe,
    data: &'a Dataset,
    train: &'a [usize],
    threads: usize,
) -> Setup<'a> {
    let threads = NonZeroUsize::new(threads).expect("a thread");
    Setup { recipe, data, train, seed: 1, threads, burn: false, teacher: None }
}

#[test]
fn a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one() {
    let _lock = lock_device_generator();
    let (data, train) = (synthetic(Split::Train, 40, 1), Vec::from_iter(0..40));
    for (architecture, threads) in Architecture::ALL.into_iter().zip([1, 2, 3, 2]) {
        let folder = tempfile::tempdir().expect("a folder");
        let recipe = Recipe { epochs: 2, batch: 16, ..Recipe::of(architecture) };
        let new = || Trainer::new(setup(&recipe, &data, &train, threads)).expect("a run");
        let whole = run(new(), usize::MAX).tensors();
        let part = run(new(), 4);
        part.save(folder.path()).expect("saved");
        assert!(part.tensors() != whole);
        let resumed = run(new().resume(folder.path()).expect("a checkpoint"), usize::MAX);
        assert!(resumed.tensors() == whole, "{architecture} on {threads} threads");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_what_differs() {
    let _lock = lock_device_generator();
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = Recipe::of(Architecture::Base);
    let (data, train) = (synthetic(Split::Train, 4, 1), Vec::from_iter(0..4));
    let new = |recipe| Trainer::new(setup(recipe, &data, &train, 1)).expect("a run");
    new(&recipe).save(folder.path()).expect("saved");
    let optimiser = Optimiser::adam_w(0.006, 0.25);
    let other = Recipe { epochs: 3, optimiser, ..recipe.clone() };
    let message = new(&other).resume(folder.path()).err().expect("refused").to_string();
    assert!(
        message.ends_with(
            "is of another run: epochs expected 3, found 32; weight_decay expected 0.25, found \
         0.05000000074505806;"
        ),
        "{message}"
    );
}

/// A network without batch normalisation sees every image alike, whoever computes it.
#[test]
fn parts_add_up_to_the_gradient_of_the_batch() {
    let _lock = lock_device_generator();
    let recipe = Recipe { epochs: 2, batch: 21, ..Recipe::of(Architecture::Notebook) };
    let (data, train) = (synthetic(Split::Train, 42, 1), Vec::from_iter(0..42));
    let tensors = |threads| {
        let trainer = Trainer::new(setup(&recipe, &data, &train, threads)).expect("a run");
        run(trainer, usize::MAX).tensors()
    };
    let one = tensors(1);
    for threads in [2, 4] {
        for (name, several) in tensors(threads) {
            for (one, several) in one[&name].values.iter().zip(&several.values) {
                assert!((one - several).abs() < 1e-5, "{name} on {threads}: {several}, not {one}");
            }
        }
    }
}

#[test]
fn running_statistics_are_those_of_all_parts() {
    let _lock = lock_device_generator();
    let recipe = Recipe {
        epochs: 1,
        batch: 16,
        average_decay: None,
        dropout: 0.0,
        ..Recipe::of(Architecture::Tiny)
    };
    let (data, train) = (synthetic(Split::Train, 16, 1), Vec::from_iter(0..16));
    let mean = |threads| {
        let trainer = Trainer::new(setup(&recipe, &data, &train, threads)).expect("a run");
        run(trainer, 1).tensors()["stem.norm.running_mean"].values.clone()
    };
    // The mean over all is the mean of the parts' means; the parts are equally large.
    let (one, four) = (mean(1), mean(4));
    assert!(one.iter().any(|mean| mean.abs() > 1e-3), "{one:?}");
    for (one, four) in one.iter().zip(&four) {
        assert!((one - four).abs() < 1e-6, "{four}, not {one}");
    }
}

#[test]
fn the_deviation_is_that_of_a_population() {
    let (mean, deviation) = mean_and_deviation(&[90.0, 91.0, 92.0, 93.0]);
    assert!((mean - 91.5).abs() < 1e-12);
    assert!((deviation - 1.25_f64.sqrt()).abs() < 1e-12);
}
