use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::*;
use crate::toy::Exchanged;

/// Answers each input with itself; fails on batches that hold a 9, can't answer those that hold an 8;
/// waits at a gate where it has one.
struct Scripted {
    identity: Arc<ModelIdentity>,
    batches: Mutex<Vec<Vec<u8>>>,
    entered: Mutex<Option<mpsc::SyncSender<()>>>,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Scripted {
    fn new() -> Self {
        Self {
            identity: Arc::new(ModelIdentity::of_code("scripted", "1")),
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

impl Predictor for Scripted {
    type Input = u8;
    type Output = u8;

    fn predict(&self, batch: &[u8]) -> Result<Vec<u8>, PredictError> {
        if let Some(entered) = &*self.entered.lock().expect("no panic") {
            entered.send(()).expect("the test listens");
        }
        if let Some(gate) = &*self.gate.lock().expect("no panic") {
            gate.recv().expect("the test opens");
        }
        self.batches.lock().expect("no panic").push(batch.to_vec());
        if batch.contains(&8) {
            return Err(PredictError::unavailable("an 8"));
        }
        if batch.contains(&9) {
            return Err(PredictError::from("a 9".to_owned()));
        }
        Ok(batch.to_vec())
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

fn batcher(model: Scripted, max_inputs: usize) -> Arc<Batcher<Scripted>> {
    Arc::new(Batcher::new(model, &BatchConfig { max_inputs, ..BatchConfig::default() }))
}

/// Waits until inputs of `calls` calls wait for a batch.
fn wait_for(batcher: &Batcher<Scripted>, calls: usize) {
    while batcher.queue.lock().sound().schedule.messages() < calls {
        thread::yield_now();
    }
}

#[test]
fn calls_that_come_while_a_batch_is_computed_share_the_next() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 256);
    thread::scope(|scope| {
        let first = scope.spawn(|| batcher.predict(&[0]));
        begun.recv().expect("the model is called");
        let others = [1_u8, 2, 3].map(|n| {
            let batcher = &batcher;
            let call = scope.spawn(move || batcher.predict(&[n, n + 1]));
            wait_for(batcher, usize::from(n));
            call
        });
        (0..2).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(first.join().expect("no panic"), Ok(vec![0]));
        for (n, call) in (1..).zip(others) {
            assert_eq!(call.join().expect("no panic"), Ok(vec![n, n + 1]));
        }
    });
    assert_eq!(batcher.model.batches(), [vec![0], vec![1, 2, 2, 3, 3, 4]]);
}

#[test]
fn a_large_call_delays_a_small_one_by_one_batch() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 4);
    thread::scope(|scope| {
        let large = scope.spawn(|| batcher.predict(&[1; 12]));
        begun.recv().expect("the model is called");
        let small = scope.spawn(|| batcher.predict(&[7]));
        wait_for(&batcher, 2);
        (0..4).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(large.join().expect("no panic"), Ok(vec![1; 12]));
        assert_eq!(small.join().expect("no panic"), Ok(vec![7]));
    });
    let batches = batcher.model.batches();
    assert_eq!(batches.len(), 4, "{batches:?}");
    assert!(batches[1].contains(&7), "{batches:?}");
}

#[test]
fn an_input_that_fails_fails_its_own_call_alone() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 256);
    thread::scope(|scope| {
        let first = scope.spawn(|| batcher.predict(&[0]));
        begun.recv().expect("the model is called");
        let bad = scope.spawn(|| batcher.predict(&[4, 9]));
        wait_for(&batcher, 1);
        let good = scope.spawn(|| batcher.predict(&[5, 6]));
        wait_for(&batcher, 2);
        // Bisecting calls the model again, however often.
        (0..16).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(first.join().expect("no panic"), Ok(vec![0]));
        assert_eq!(good.join().expect("no panic"), Ok(vec![5, 6]));
        let error = PredictError::Input { reason: "a 9".to_owned() };
        assert_eq!(bad.join().expect("no panic"), Err(error));
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
                    let inputs: Vec<u8> = (0..=round % 13).map(|i| (caller + i) % 8).collect();
                    assert_eq!(batcher.predict(&inputs), Ok(inputs));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), 800);
    assert!(batcher.queue.lock().sound().calls.is_empty());
    assert!(batcher.model.batches().iter().all(|batch| batch.len() <= 8));
}

#[test]
fn no_inputs_have_no_answers() {
    let batcher = batcher(Scripted::new(), 8);
    assert!(batcher.predict(&[]).expect("answers").is_empty());
    assert!(batcher.model.batches().is_empty());
}

#[test]
fn a_model_that_is_away_fails_the_calls_of_one_batch_and_is_not_asked_by_halves() {
    let (model, begun, open) = Scripted::gated();
    let batcher = batcher(model, 256);
    thread::scope(|scope| {
        let first = scope.spawn(|| batcher.predict(&[0]));
        begun.recv().expect("the model is called");
        let others = [1_u8, 7].map(|n| {
            let batcher = &batcher;
            let call = scope.spawn(move || batcher.predict(&[n, n + 1]));
            wait_for(batcher, if n == 1 { 1 } else { 2 });
            call
        });
        (0..2).for_each(|_| open.send(()).expect("the model waits"));
        assert_eq!(first.join().expect("no panic"), Ok(vec![0]));
        for call in others {
            assert_eq!(call.join().expect("no panic"), Err(PredictError::unavailable("an 8")));
        }
    });
    assert_eq!(batcher.model.batches(), [vec![0], vec![1, 2, 7, 8]]);
    assert!(batcher.queue.lock().sound().calls.is_empty());
}

#[test]
fn a_call_in_the_middle_of_which_the_model_is_exchanged_is_answered_by_the_new_one_alone() {
    let config = BatchConfig { max_inputs: 4, ..BatchConfig::default() };
    let batcher = Batcher::new(Exchanged::after(1), &config);
    let inputs: Vec<u8> = (0..12).collect();
    let Served { outputs, model } = batcher.serve(&inputs).expect("answers");
    assert_eq!((&*model.name, &*model.version), ("echo", "2"));
    assert!(outputs.iter().all(|said| said.model == model), "{outputs:?}");
    let digits: Vec<u8> = outputs.iter().map(|said| said.digit).collect();
    assert_eq!(digits, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    // Three batches for each of two attempts.
    assert_eq!(batcher.model.served(), 6);
    assert!(batcher.queue.lock().sound().calls.is_empty());
}
