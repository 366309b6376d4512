//! What a step makes smaller.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use fmnist_core::{Classifier, Image, text};

use crate::learn::score::argmax;

/// A larger network whose answers a smaller one learns (Hinton et al. 2015).
#[derive(Clone, Debug)]
pub(crate) struct Teacher {
    classifier: Classifier,
    /// What both networks' logits are divided by.
    temperature: f32,
    /// The teacher's part of the loss, 0.0–1.0.
    weight: f32,
}

impl Teacher {
    pub(crate) fn new(
        classifier: Classifier,
        classes: &[String],
        temperature: f32,
        weight: f32,
    ) -> Result<Self> {
        ensure!(
            classifier.labels() == classes,
            "expected a teacher of the classes {classes:?}, found {:?}: {}",
            classifier.labels(),
            text::differences(classes, classifier.labels())
        );
        ensure!(temperature > 0.0, "--temperature must be positive");
        ensure!((0.0..=1.0).contains(&weight), "--teacher-weight must be 0.0 to 1.0");
        Ok(Self { classifier, temperature, weight })
    }

    /// What identifies it and how it is listened to.
    pub(crate) fn identity(&self) -> String {
        let sha256 = &self.classifier.identity().sha256;
        format!("{sha256}, temperature {}, weight {}", self.temperature, self.weight)
    }

    /// Its probabilities at its temperature, `[images, classes]`, row-major.
    pub(crate) fn probabilities(&self, images: &[Image]) -> Result<Vec<f32>> {
        let mut values = self.classifier.logits(images)?;
        for row in values.chunks_mut(self.classifier.labels().len()) {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            row.iter_mut().for_each(|v| *v = ((*v - largest) / self.temperature).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
        Ok(values)
    }
}

/// Rows of `classes` probabilities that a network is to give.
pub(crate) struct Targets {
    pub(crate) classes: usize,
    /// By the labels, `[images, classes]`.
    pub(crate) labels: Vec<f32>,
    /// By the teacher at its temperature, `[images, classes]`.
    pub(crate) teacher: Option<Vec<f32>>,
}

impl Targets {
    /// One row a label, `smoothing` of it spread over all classes (Szegedy et al. 2016).
    pub(crate) fn of_labels(
        labels: impl ExactSizeIterator<Item = u8>,
        classes: usize,
        smoothing: f32,
    ) -> Self {
        let mut rows = vec![smoothing / classes as f32; labels.len() * classes];
        for (row, label) in rows.chunks_mut(classes).zip(labels) {
            row[usize::from(label)] += 1.0 - smoothing;
        }
        Self { classes, labels: rows, teacher: None }
    }

    /// Mixes each row with the one as far from the end as it is from the start.
    pub(crate) fn mix(&mut self, share: f32) {
        let whole = self.labels.clone();
        let others = whole.chunks(self.classes).rev();
        for (row, other) in self.labels.chunks_mut(self.classes).zip(others) {
            row.iter_mut()
                .zip(other)
                .for_each(|(p, other)| *p = share * *p + (1.0 - share) * other);
        }
    }

    /// The rows of some of the images.
    pub(crate) fn part(&self, images: std::ops::Range<usize>) -> Self {
        let rows = images.start * self.classes..images.end * self.classes;
        Self {
            classes: self.classes,
            labels: self.labels[rows.clone()].to_vec(),
            teacher: self.teacher.as_ref().map(|teacher| teacher[rows].to_vec()),
        }
    }

    /// How many logits `[images, classes]` are largest where the label's probability is.
    pub(crate) fn right(&self, logits: &Tensor<2>) -> usize {
        let answers: Vec<f32> = logits.to_data().iter::<f32>().collect();
        let rows = answers.chunks(self.classes).zip(self.labels.chunks(self.classes));
        rows.filter(|(answer, label)| argmax(answer) == argmax(label)).count()
    }

    /// The mean cross-entropy of the logits `[images, classes]`; with a teacher,
    /// `(1 - weight) · labels' + weight · temperature² · teacher's`.
    pub(crate) fn loss(
        &self,
        logits: Tensor<2>,
        teacher: Option<&Teacher>,
        device: &Device,
    ) -> Tensor<1> {
        let entropy = |rows: &[f32], logits: Tensor<2>| {
            let [images, classes] = logits.dims();
            let data = TensorData::new(rows.to_vec(), [images, classes]);
            let product = log_softmax(logits, 1) * Tensor::from_data(data, device);
            product.sum_dim(1).mean().neg()
        };
        match (teacher, &self.teacher) {
            (Some(Teacher { temperature, weight, .. }), Some(rows)) => {
                let soft = entropy(rows, logits.clone() / *temperature);
                let hard = entropy(&self.labels, logits);
                hard * (1.0 - weight) + soft * (weight * temperature * temperature)
            }
            _ => entropy(&self.labels, logits),
        }
    }
}

#[cfg(test)]
mod tests {
    use fmnist_core::{Classifier, label::LABELS};

    use super::*;

    fn teacher(temperature: f32, weight: f32) -> Teacher {
        let classifier = Classifier::pretrained().expect("the default model");
        Teacher::new(classifier, &LABELS.map(str::to_owned), temperature, weight).expect("teaches")
    }

    fn loss(targets: &Targets, logits: &[f32], teacher: Option<&Teacher>) -> f32 {
        let device = Device::flex();
        let shape = [logits.len() / targets.classes, targets.classes];
        let logits = TensorData::new(logits.to_vec(), shape);
        targets.loss(Tensor::from_data(logits, &device), teacher, &device).into_scalar()
    }

    #[test]
    fn smoothing_spreads_a_share_of_the_label() {
        let targets = Targets::of_labels([1, 0].into_iter(), 4, 0.2);
        let expected = [0.05, 0.85, 0.05, 0.05, 0.85, 0.05, 0.05, 0.05];
        assert!(targets.labels.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6));
        assert_eq!(targets.part(1..2).labels, targets.labels[4..]);
    }

    #[test]
    fn mixing_takes_the_share_of_the_image_at_the_other_end() {
        let mut targets = Targets::of_labels([0, 1, 1].into_iter(), 2, 0.0);
        targets.mix(0.75);
        assert_eq!(targets.labels, [0.75, 0.25, 0.0, 1.0, 0.25, 0.75]);
    }

    #[test]
    fn the_loss_of_hard_labels_is_their_mean_negative_log_probability() {
        let targets = Targets::of_labels([0, 1].into_iter(), 2, 0.0);
        let expected = ((1.0 + (-3.0_f32).exp()).ln() + (1.0 + (1.0_f32).exp()).ln()) / 2.0;
        assert!((loss(&targets, &[3.0, 0.0, 1.0, 0.0], None) - expected).abs() < 1e-6);
    }

    #[test]
    fn a_student_that_answers_as_its_teacher_pays_the_entropy_alone() {
        let image = Image::from_fn(|row, column| ((row + column) * 4) as u8);
        let (soft, hard) = (teacher(4.0, 1.0), teacher(4.0, 0.0));
        let probabilities = soft.probabilities(std::slice::from_ref(&image)).expect("answers");
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let entropy: f32 = probabilities.iter().map(|p| -p * p.ln()).sum();

        let mut targets = Targets::of_labels([3].into_iter(), 10, 0.0);
        let labels_alone = loss(&targets, &[0.0; 10], None);
        let same: Vec<f32> = probabilities.iter().map(|p| 4.0 * p.ln()).collect();
        targets.teacher = Some(probabilities);
        assert!((loss(&targets, &same, Some(&soft)) - 16.0 * entropy).abs() < 1e-3);
        assert!(loss(&targets, &[0.0; 10], Some(&soft)) > 16.0 * entropy);
        assert!((loss(&targets, &[0.0; 10], Some(&hard)) - labels_alone).abs() < 1e-5);
    }

    #[test]
    fn a_teacher_of_other_classes_is_refused() {
        let classifier = Classifier::pretrained().expect("the default model");
        let classes = ["cat", "dog"].map(str::to_owned);
        let message = Teacher::new(classifier, &classes, 4.0, 0.9).expect_err("refused");
        assert!(message.to_string().starts_with("expected a teacher of the classes [\"cat\""));
    }
}
