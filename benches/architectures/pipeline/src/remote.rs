use std::{
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_core::{
    Image, Infer, ModelIdentity, PredictError, Prediction, Predictor, label::LABELS,
};

/// The server's name for the model.
pub(crate) const MODEL: &str = "base";
/// A request that takes longer counts as failed, and is made again.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(30);
const LONGEST_START: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
/// A smaller request costs more than it gains.
const LEAST_IMAGES: usize = 16;

/// A client of the Open Inference Protocol.
pub(crate) trait Server: Send + Sync + 'static {
    /// The probabilities of these images, one row after the other.
    fn probabilities(&self, images: &[Image]) -> Result<Vec<f32>, PredictError>;
}

/// A model that a server has.
pub(crate) struct Remote<S> {
    server: S,
    requests: NonZeroUsize,
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

impl<S: Server> Remote<S> {
    pub(crate) fn new(server: S, requests: NonZeroUsize) -> Self {
        let (name, version, sha256) = (MODEL.to_owned(), "remote".to_owned(), "0".repeat(64));
        let labels = LABELS.map(str::to_owned).into();
        let identity = Arc::new(ModelIdentity { name, version, sha256 });
        Self { server, requests, labels, identity }
    }

    /// Until the server answers.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.server.probabilities(&[Image::new([0; Image::PIXELS])]) {
            if begun.elapsed() > LONGEST_START {
                return Err(error).context("the model's server does not answer");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn ask(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let probabilities = self.server.probabilities(images)?;
        if probabilities.len() != images.len() * LABELS.len() {
            let found = probabilities.len();
            return Err(format!("{found} probabilities for {} images", images.len()).into());
        }
        Ok(probabilities.chunks_exact(LABELS.len()).map(|row| self.prediction(row)).collect())
    }

    fn prediction(&self, row: &[f32]) -> Prediction {
        let best = row.iter().enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
        Prediction {
            class: best.map_or(0, |(class, _)| class),
            probabilities: row.into(),
            model: Arc::clone(&self.identity),
        }
    }
}

impl<S: Server> Predictor for Remote<S> {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let share = images.len().div_ceil(self.requests.get()).max(LEAST_IMAGES);
        if share >= images.len() {
            return self.ask(images);
        }
        thread::scope(|scope| {
            let asked = |share| scope.spawn(move || self.ask(share));
            let threads: Vec<_> = images.chunks(share).map(asked).collect();
            let mut predictions = Vec::with_capacity(images.len());
            for thread in threads {
                let failed = |_| PredictError::unavailable("a request's thread panicked");
                predictions.extend(thread.join().map_err(failed)??);
            }
            Ok(predictions)
        })
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

impl<S: Server> Infer for Remote<S> {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// Little-endian `f32`, as every server of the protocol sends them.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The class of an image is its first pixel.
    #[derive(Default)]
    struct FirstPixel {
        requests: AtomicUsize,
    }

    impl Server for FirstPixel {
        fn probabilities(&self, images: &[Image]) -> Result<Vec<f32>, PredictError> {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let row = |image: &Image| {
                let class = usize::from(image.pixels()[0]);
                (0..LABELS.len()).map(move |own| if own == class { 1.0 } else { 0.0 })
            };
            Ok(images.iter().flat_map(row).collect())
        }
    }

    struct Short;

    impl Server for Short {
        fn probabilities(&self, _: &[Image]) -> Result<Vec<f32>, PredictError> {
            Ok(vec![1.0])
        }
    }

    fn images(count: u8) -> Vec<Image> {
        (0..count).map(|number| Image::new([number % 10; Image::PIXELS])).collect()
    }

    #[test]
    fn a_batch_that_is_cut_into_requests_is_answered_in_its_order() {
        let remote = Remote::new(FirstPixel::default(), NonZeroUsize::new(4).unwrap());
        let predictions = remote.predict(&images(100)).unwrap();
        let classes: Vec<_> = predictions.iter().map(|prediction| prediction.class).collect();
        assert_eq!(classes, (0..100).map(|number| number % 10).collect::<Vec<_>>());
        assert_eq!(remote.server.requests.into_inner(), 4);
    }

    #[test]
    fn few_images_are_one_request() {
        let remote = Remote::new(FirstPixel::default(), NonZeroUsize::new(4).unwrap());
        assert_eq!(remote.predict(&images(16)).unwrap().len(), 16);
        assert_eq!(remote.server.requests.into_inner(), 1);
    }

    #[test]
    fn an_answer_of_another_length_is_an_error_that_says_so() {
        let error = Remote::new(Short, NonZeroUsize::MIN).predict(&images(2)).unwrap_err();
        assert_eq!(error.to_string(), "1 probabilities for 2 images");
    }
}
