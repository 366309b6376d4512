use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::*;
use crate::label::LABELS;

/// Answers each image with its first pixel as the class; fails on batches that hold a 9; waits at a
/// gate where it has one.
struct Scripted {
    identity: Arc<ModelIdentity>,
    labels: Vec<String>,
    batches: Mutex<Vec<Vec<u8>>>,
    entered: Mutex<Option<mpsc::SyncSender<()>>>,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Scripted {
    fn new() -> Self {
        let (name, version, sha256) = ("scripted".into(), "1".into(), String::new());
        Self {
            identity: Arc::new(ModelIdentity { name, version, sha256 }),
            labels: LABELS.map(str::to_owned).into(),
            batches: Mutex::default(),
            entered: Mutex::default(),
            gate: Mutex::default(),
        }
    }

    /// A model that says when it begins a batch, and begins none before it is told.
    fn gated() -> (Self, mpsc::Receiver<()>, mpsc::SyncSender<()>) {
        let (entered, begun) = mpsc::sync_channel(64);
        let (open, gate) = mpsc::sync_channel(64);
        let mut model = Self::new();
        model.entered = Mutex::new(Some(entered));
        model.gate = Mutex::new(Some(gate));
        (model, begun, open)
    }

    fn batches(&self) -> Vec<Vec<u8>> {
        self.batches.lock().expect("no panic").clone()
    }
}

impl Infer for Scripted {
    fn infer(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifyError> {
        let firsts: Vec<u8> = images.iter().map(|image| image.pixels()[0]).collect();
        if let Some(entered) = &*self.entered.lock().expect("no panic") {
            entered.send(()).expect("the test listens");
        }
        if let Some(gate) = &*self.gate.lock().expect("no panic") {
            gate.recv().expect("the test opens");
        }
        self.batches.lock().expect("no panic").push(firsts.clone());
        if firsts.contains(&9) {
            let reason = "a 9".to_owned();
            return Err(ClassifyError::Inference { images: images.len(), reason });
        }
        let predict = |first: u8| Prediction {
            class: first.into(),
            probabilities: [0.1; 10].into(),
            model: Arc::clone(&self.identity),
        };
        Ok(firsts.into_iter().map(predict).collect())
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn identity(&self) -> &Arc<ModelIdentity> {
        &self.identity
    }
}

fn images(firsts: &[u8]) -> Vec<Image> {
    firsts.iter().map(|&first| Image::new([first; Image::PIXELS])).collect()
}

fn classes(answer: Result<Vec<Prediction>, ClassifyError>) -> Vec<usize> {
    answer.expect("answers").iter().map(|prediction| prediction.class).collect()
}

fn batcher(model: Scripted, max_images: usize) -> Arc<Batcher<Scripted>> {
    Arc::new(Batcher::new(model, &BatchConfig { max_images, ..BatchConfig::default() }))
}

/// Waits until images of `calls` calls wait for a batch.
fn wait_for(batcher: &Batcher<Scripted>, calls: usize) {
    while batcher.queue().schedule.messages() < calls {
        thread::yield_now();
    }
}

#[test]
fn calls_that_come_while_a_batch_is_computed_share_the_next() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 256);
    thread::scope(|scope| {
        let first = scope.spawn(|| batcher.infer(&images(&[0])));
        begun.recv().expect("the model is called");
        let others = [1_u8, 2, 3].map(|n| {
            let batcher = &batcher;
            let call = scope.spawn(move || batcher.infer(&images(&[n, n + 1])));
            wait_for(batcher, usize::from(n));
            call
        });
        (0..2).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(classes(first.join().expect("no panic")), [0]);
        for (n, call) in (1..).zip(others) {
            assert_eq!(classes(call.join().expect("no panic")), [n, n + 1]);
        }
    });
    assert_eq!(batcher.model.batches(), [vec![0], vec![1, 2, 2, 3, 3, 4]]);
}

#[test]
fn a_large_call_delays_a_small_one_by_one_batch() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 4);
    thread::scope(|scope| {
        let large = scope.spawn(|| batcher.infer(&images(&[1; 12])));
        begun.recv().expect("the model is called");
        let small = scope.spawn(|| batcher.infer(&images(&[7])));
        wait_for(&batcher, 2);
        (0..4).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(classes(large.join().expect("no panic")), [1; 12]);
        assert_eq!(classes(small.join().expect("no panic")), [7]);
    });
    let batches = batcher.model.batches();
    assert_eq!(batches.len(), 4, "{batches:?}");
    assert!(batches[1].contains(&7), "{batches:?}");
}

#[test]
fn an_image_that_fails_fails_its_own_call_alone() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 256);
    thread::scope(|scope| {
        let first = scope.spawn(|| batcher.infer(&images(&[0])));
        begun.recv().expect("the model is called");
        let bad = scope.spawn(|| batcher.infer(&images(&[4, 9])));
        wait_for(&batcher, 1);
        let good = scope.spawn(|| batcher.infer(&images(&[5, 6])));
        wait_for(&batcher, 2);
        // Bisecting calls the model again, however often.
        (0..16).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(classes(first.join().expect("no panic")), [0]);
        assert_eq!(classes(good.join().expect("no panic")), [5, 6]);
        let error = bad.join().expect("no panic").expect_err("the model fails on a 9");
        assert!(matches!(error, ClassifyError::Inference { images: 2, .. }), "{error}");
    });
}

#[test]
fn many_callers_get_their_own_answers_and_none_is_left_waiting() {
    let batcher = batcher(Scripted::new(), 8);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for caller in 0..8_u8 {
            let (batcher, answered) = (&batcher, &answered);
            scope.spawn(move || {
                for round in 0..100_u8 {
                    let firsts: Vec<u8> = (0..=round % 13).map(|i| (caller + i) % 9).collect();
                    let expected: Vec<usize> = firsts.iter().map(|&f| f.into()).collect();
                    assert_eq!(classes(batcher.infer(&images(&firsts))), expected);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), 800);
    assert!(batcher.queue().calls.is_empty());
    assert!(batcher.model.batches().iter().all(|batch| batch.len() <= 8));
}

#[test]
fn no_images_have_no_answers() {
    let batcher = batcher(Scripted::new(), 8);
    assert!(batcher.infer(&[]).expect("answers").is_empty());
    assert!(batcher.model.batches().is_empty());
}
