//! Predictors made of what people have: a function, one with a state, a model that uses a single core.

use std::{
    marker::PhantomData,
    num::NonZeroUsize,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    thread,
};

use super::{ModelIdentity, PredictError, Predictor, Served, checked};
use crate::lock::Sound;

/// A predictor of a function that may be called from any thread.
///
/// ```
/// use stream_inference::predict::{ModelIdentity, PredictError, Predictor, function};
///
/// let identity = ModelIdentity::of_code("doubled", "1");
/// let model = function(identity, |batch: &[f32]| {
///     Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
/// });
/// assert_eq!(model.predict(&[1.0, 2.5])?, [2.0, 5.0]);
/// # Ok::<(), PredictError>(())
/// ```
pub fn function<I, O, E, F>(identity: ModelIdentity, function: F) -> Function<F, I, O>
where
    F: Fn(&[I]) -> Result<Vec<O>, E> + Send + Sync + 'static,
    E: Into<PredictError>,
{
    Function { identity: Arc::new(identity), function, types: PhantomData }
}

/// See [`function`].
#[derive(Debug)]
pub struct Function<F, I, O> {
    identity: Arc<ModelIdentity>,
    function: F,
    types: PhantomData<fn(&[I]) -> O>,
}

impl<F, I, O, E> Predictor for Function<F, I, O>
where
    F: Fn(&[I]) -> Result<Vec<O>, E> + Send + Sync + 'static,
    E: Into<PredictError>,
    I: Send + Sync + 'static,
    O: Send + 'static,
{
    type Input = I;
    type Output = O;

    fn predict(&self, batch: &[I]) -> Result<Vec<O>, PredictError> {
        (self.function)(batch).map_err(Into::into)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

/// A predictor of a function that changes what it holds, such as a session that runs by `&mut`: one call
/// at a time.
pub fn exclusive<I, O, E, F>(identity: ModelIdentity, function: F) -> Exclusive<F, I, O>
where
    F: FnMut(&[I]) -> Result<Vec<O>, E> + Send + 'static,
    E: Into<PredictError>,
{
    let function = Mutex::new(function);
    Exclusive { identity: Arc::new(identity), function, types: PhantomData }
}

/// See [`exclusive`].
#[derive(Debug)]
pub struct Exclusive<F, I, O> {
    identity: Arc<ModelIdentity>,
    function: Mutex<F>,
    types: PhantomData<fn(&[I]) -> O>,
}

impl<F, I, O, E> Predictor for Exclusive<F, I, O>
where
    F: FnMut(&[I]) -> Result<Vec<O>, E> + Send + 'static,
    E: Into<PredictError>,
    I: Send + Sync + 'static,
    O: Send + 'static,
{
    type Input = I;
    type Output = O;

    fn predict(&self, batch: &[I]) -> Result<Vec<O>, PredictError> {
        // A call that panicked left what the function holds as that call made it, as without a lock.
        let mut function = self.function.lock().sound();
        (*function)(batch).map_err(Into::into)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

/// A model that uses one core, on several: each takes a share of the batch.
#[derive(Debug)]
pub struct Split<P> {
    model: P,
    threads: NonZeroUsize,
}

impl<P: Predictor> Split<P> {
    /// Shares batches among so many threads.
    pub const fn new(model: P, threads: NonZeroUsize) -> Self {
        Self { model, threads }
    }
}

impl<P: Predictor> Predictor for Split<P> {
    type Input = P::Input;
    type Output = P::Output;

    fn predict(&self, batch: &[P::Input]) -> Result<Vec<P::Output>, PredictError> {
        self.serve(batch).map(|served| served.outputs)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.model.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.model.warm_up()
    }

    // What it serves has been verified, share by share: there is no `verify` to do it again.
    fn serve(&self, batch: &[P::Input]) -> Result<Served<P::Output>, PredictError> {
        let mut shares = batch.chunks(batch.len().div_ceil(self.threads.get()).max(1));
        let Some(own) = shares.next() else { return checked(&self.model, batch) };
        let served = thread::scope(|scope| {
            let others: Vec<_> = shares
                .map(|share| {
                    let work = || checked(&self.model, share);
                    // Where no thread can be had, this one does it.
                    thread::Builder::new().spawn_scoped(scope, work).map_err(|_| share)
                })
                .collect();
            let mut all = vec![checked(&self.model, own)?];
            for other in others {
                all.push(match other {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                    Err(share) => checked(&self.model, share)?,
                });
            }
            Ok::<_, PredictError>(all)
        })?;
        let model = Arc::clone(&served[0].model);
        // The model was exchanged in between: all of the batch is for the new one.
        if served.iter().any(|share| share.model != model) {
            return checked(&self.model, batch);
        }
        let outputs = served.into_iter().flat_map(|share| share.outputs).collect();
        Ok(Served { outputs, model })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn identity() -> ModelIdentity {
        ModelIdentity::of_code("test", "1")
    }

    #[test]
    fn a_function_that_changes_what_it_holds_is_called_one_at_a_time() {
        let mut sum = 0;
        let model = exclusive(identity(), move |batch: &[i32]| {
            let running = |x| {
                sum += x;
                sum
            };
            Ok::<_, PredictError>(batch.iter().map(running).collect())
        });
        assert_eq!(model.predict(&[1, 2]), Ok(vec![1, 3]));
        assert_eq!(model.predict(&[4]), Ok(vec![7]));
    }

    #[test]
    fn a_split_batch_is_answered_in_order_by_as_many_threads_as_said() {
        let threads = Arc::new(Mutex::new(HashSet::new()));
        let seen = Arc::clone(&threads);
        let model = function(identity(), move |batch: &[i32]| {
            seen.lock().expect("no panic").insert(thread::current().id());
            Ok::<_, PredictError>(batch.iter().map(|x| -x).collect())
        });
        let model = Split::new(model, NonZeroUsize::new(3).expect("not 0"));
        for length in [0, 1, 2, 3, 7, 100] {
            threads.lock().expect("no panic").clear();
            let batch: Vec<i32> = (0..length).collect();
            let expected: Vec<i32> = batch.iter().map(|x| -x).collect();
            assert_eq!(model.predict(&batch), Ok(expected));
            let used = threads.lock().expect("no panic").len();
            assert_eq!(used, (length as usize).clamp(1, 3), "{length} inputs");
        }
    }

    #[test]
    fn an_input_at_fault_fails_a_split_batch_with_its_reason() {
        let model = function(identity(), |batch: &[i32]| match batch.contains(&5) {
            true => Err("five".to_owned()),
            false => Ok(batch.to_vec()),
        });
        let model = Split::new(model, NonZeroUsize::new(2).expect("not 0"));
        let five = PredictError::Input { reason: "five".to_owned() };
        assert_eq!(model.predict(&[1, 2, 3, 5]), Err(five.clone()));
        assert_eq!(model.predict(&[5, 2, 3, 4]), Err(five));
        assert_eq!(model.predict(&[1, 2, 3, 4]), Ok(vec![1, 2, 3, 4]));
    }

    #[test]
    fn a_model_that_answers_too_few_or_what_it_refuses_itself_serves_nothing() {
        struct Odd;
        impl Predictor for Odd {
            type Input = f32;
            type Output = f32;
            fn predict(&self, batch: &[f32]) -> Result<Vec<f32>, PredictError> {
                Ok(batch.iter().copied().filter(|x| *x > 0.0).collect())
            }
            fn identity(&self) -> Arc<ModelIdentity> {
                Arc::new(identity())
            }
            fn verify(&self, output: &f32) -> Result<(), String> {
                if output.is_finite() { Ok(()) } else { Err(format!("found {output}")) }
            }
        }
        let model: Arc<dyn Predictor<Input = f32, Output = f32>> = Arc::new(Odd);
        let served = |batch: &[f32]| checked(&*model, batch).map(|Served { outputs, .. }| outputs);
        let failed = |reason: &str| Err(PredictError::Input { reason: reason.to_owned() });
        assert_eq!(served(&[1.0, 2.0]), Ok(vec![1.0, 2.0]));
        assert_eq!(served(&[1.0, -2.0]), failed("1 answers for 2 inputs"));
        assert_eq!(served(&[1.0, f32::INFINITY]), failed("found inf"));
    }
}
