//! What a model says of one image: a class, and a probability for each.

use std::sync::Arc;

pub use stream_inference::predict::ModelIdentity;

/// What the model says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The most probable class; an index into the model's labels.
    pub class: usize,
    /// One calibrated probability for each class, in class order; they add up to 1.
    pub probabilities: Box<[f32]>,
    /// The model that answered.
    pub model: Arc<ModelIdentity>,
}

impl Prediction {
    /// The probability of [`Prediction::class`], 0.0–1.0.
    pub fn probability(&self) -> f32 {
        self.probabilities[self.class]
    }

    /// The `k` most probable classes with their probabilities, most probable first, ties by class.
    pub fn top(&self, k: usize) -> Vec<(usize, f32)> {
        let mut ranked: Vec<_> = self.probabilities.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(k);
        ranked
    }

    /// Whether a model of so many classes may say so: finite probabilities, and no class above.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn check(&self, classes: usize) -> Result<(), String> {
        let Self { class, probabilities, .. } = self;
        // What is told of an image is looked up by its classes.
        if *class >= probabilities.len() || probabilities.len() > classes {
            let found = probabilities.len();
            return Err(format!(
                "expected one of {classes} classes, found class {class} of {found} probabilities"
            ));
        }
        match probabilities.iter().find(|p| !p.is_finite()) {
            Some(found) => Err(format!("expected finite probabilities, found {found}")),
            None => Ok(()),
        }
    }

    /// Turns logits into a prediction: softmax of logits / `temperature`, ties to the first class.
    pub(super) fn from_logits(logits: &[f32], temperature: f32, model: Arc<ModelIdentity>) -> Self {
        let class = first_largest(logits);
        let weight = |logit: &f32| ((logit - logits[class]) / temperature).exp();
        let sum: f32 = logits.iter().map(weight).sum();
        let probabilities = logits.iter().map(|logit| weight(logit) / sum).collect();
        Self { class, probabilities, model }
    }

    /// Takes the mean of its probabilities and `other`'s, ties to the first class.
    pub(super) fn average_with(&mut self, other: &Self) {
        for (own, other) in self.probabilities.iter_mut().zip(&other.probabilities) {
            *own = (*own + other) / 2.0;
        }
        self.class = first_largest(&self.probabilities);
    }
}

fn first_largest(values: &[f32]) -> usize {
    let larger = |best: usize, next: usize| if values[next] > values[best] { next } else { best };
    (0..values.len()).fold(0, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(logits: &[f32], temperature: f32) -> Prediction {
        let (name, version, sha256) = (String::new(), String::new(), String::new());
        let model = Arc::new(ModelIdentity { name, version, sha256 });
        Prediction::from_logits(logits, temperature, model)
    }

    #[test]
    fn top_ranks_by_probability_and_then_by_class() {
        let prediction = prediction(&[1.0, 3.0, 1.0, 2.0], 1.0);
        let classes: Vec<usize> = prediction.top(9).into_iter().map(|(class, _)| class).collect();
        assert_eq!(classes, [1, 3, 0, 2]);
        assert_eq!(prediction.top(1), [(1, prediction.probability())]);
        assert!(prediction.top(0).is_empty());
    }

    #[test]
    fn probabilities_are_the_softmax_of_scaled_logits() {
        let at_one = prediction(&[0.0, 2.0_f32.ln()], 1.0);
        assert!((at_one.probabilities[1] - 2.0 / 3.0).abs() < 1e-6);
        let at_two = prediction(&[0.0, 4.0_f32.ln()], 2.0);
        assert!((at_two.probabilities[1] - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn an_average_has_the_mean_probabilities_and_the_first_of_its_most_probable_classes() {
        let mut average = prediction(&[0.0, 3.0_f32.ln()], 1.0);
        average.average_with(&prediction(&[3.0_f32.ln(), 0.0], 1.0));
        assert_eq!((average.class, &*average.probabilities), (0, &[0.5, 0.5][..]));
        average.average_with(&prediction(&[0.0, 3.0_f32.ln()], 1.0));
        assert_eq!((average.class, &*average.probabilities), (1, &[0.375, 0.625][..]));
    }

    #[test]
    fn large_logits_do_not_overflow_the_softmax() {
        let prediction = prediction(&[1e30, -1e30], 0.05);
        assert_eq!(*prediction.probabilities, [1.0, 0.0]);
    }

    #[test]
    fn the_first_of_equal_classes_wins() {
        assert_eq!(prediction(&[1.0, 5.0, 5.0], 1.0).class, 1);
    }
}
