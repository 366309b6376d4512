//! How good logits are: accuracy, loss, calibration.

/// Logits of images of known class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    pub(crate) logits: Vec<Vec<f32>>,
    pub(crate) labels: Vec<u8>,
}

/// Bins of the expected calibration error.
const BINS: usize = 15;

impl Judged {
    /// The share of images whose largest logit is their class's, 0.0–1.0.
    pub(crate) fn accuracy(&self) -> f64 {
        let right = self.pairs().filter(|(logits, label)| argmax(logits) == *label).count();
        right as f64 / self.labels.len() as f64
    }

    /// The mean negative log-likelihood of the right class, logits divided by `temperature`.
    pub(crate) fn loss(&self, temperature: f64) -> f64 {
        let losses = self.pairs().map(|(logits, label)| {
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let scaled = |logit: f32| f64::from(logit - largest) / temperature;
            let sum: f64 = logits.iter().map(|logit| scaled(*logit).exp()).sum();
            sum.ln() - scaled(logits[label])
        });
        losses.sum::<f64>() / self.labels.len() as f64
    }

    fn pairs(&self) -> impl Iterator<Item = (&[f32], usize)> {
        self.logits.iter().map(Vec::as_slice).zip(self.labels.iter().copied().map(usize::from))
    }

    /// The temperature of least loss (Guo et al. 2017), between 0.05 and 20.
    pub(crate) fn fit_temperature(&self) -> f64 {
        // The loss has one minimum along log(temperature): golden-section search.
        let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (0.05_f64.ln(), 20.0_f64.ln());
        for _ in 0..60 {
            let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
            if self.loss(left.exp()) < self.loss(right.exp()) {
                high = right;
            } else {
                low = left;
            }
        }
        ((low + high) / 2.0).exp()
    }
}

/// The position of the largest value; the first of several.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (position, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = position;
        }
    }
    best
}

/// Expected calibration error over 15 bins of equal width (Naeini et al. 2015), 0.0–1.0.
///
/// `answers` holds the probability of each answer and whether it was right.
pub(crate) fn calibration_error(answers: &[(f32, bool)]) -> f64 {
    let mut bins = [(0.0_f64, 0.0_f64); BINS];
    for (probability, right) in answers {
        let bin = &mut bins[((probability * BINS as f32) as usize).min(BINS - 1)];
        bin.0 += f64::from(*probability);
        bin.1 += f64::from(u8::from(*right));
    }
    bins.iter().map(|(confidence, right)| (confidence - right).abs()).sum::<f64>()
        / answers.len() as f64
}

/// Right and wrong answers, of pairs of a label and an answer: a row for each label, a column for each
/// answer.
pub(crate) fn confusion(
    pairs: impl Iterator<Item = (usize, usize)>,
    classes: usize,
) -> Vec<Vec<usize>> {
    let mut matrix = vec![vec![0; classes]; classes];
    pairs.for_each(|(label, answer)| matrix[label][answer] += 1);
    matrix
}

/// Of a class: which share of its answers was right, which of its images was recognised, both in percent,
/// and how many images it has.
pub(crate) fn precision_and_recall(matrix: &[Vec<usize>], class: usize) -> (f64, f64, usize) {
    let answered: usize = matrix.iter().map(|row| row[class]).sum();
    let images: usize = matrix[class].iter().sum();
    let percent = |of: usize| 100.0 * matrix[class][class] as f64 / of.max(1) as f64;
    (percent(answered), percent(images), images)
}

/// Mean and population standard deviation.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
