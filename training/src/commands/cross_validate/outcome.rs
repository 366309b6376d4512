//! What the networks came to.

use fmnist_core::Image;

use crate::learn::{
    history::Epoch,
    score::{Judged, argmax},
};

/// One network's epochs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Fold {
    pub(super) epochs: Vec<Epoch>,
}

impl Fold {
    /// Held-out accuracy of the last epoch, which is the notebook's score, 0.0–1.0.
    pub(super) fn last(&self) -> f64 {
        self.epochs.last().map_or(0.0, |epoch| epoch.held_out_accuracy)
    }

    /// Held-out accuracy of the best epoch, 0.0–1.0.
    pub(super) fn best(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.held_out_accuracy).fold(0.0, f64::max)
    }
}

/// A figure of each fold, in percent.
pub(super) fn percents(folds: &[Fold], figure: fn(&Fold) -> f64) -> Vec<f64> {
    folds.iter().map(|fold| 100.0 * figure(fold)).collect()
}

/// What an image is and what the network that had not seen it said.
pub(super) struct Answer {
    pub(super) image: usize,
    pub(super) label: usize,
    pub(super) class: usize,
    /// Of the answer, 0.0–1.0.
    pub(super) probability: f64,
}

/// Everything that a report shows.
pub(super) struct Outcome<'a> {
    pub(super) title: String,
    pub(super) command: String,
    pub(super) folds: Vec<Fold>,
    pub(super) answers: Vec<Answer>,
    /// The class names; the index is the class.
    pub(super) classes: &'a [String],
    pub(super) images: &'a [Image],
    pub(super) first_test_image: &'a Image,
    /// The last network's answer to it and that answer's probability.
    pub(super) first_test_answer: (usize, f64),
}

/// The answers to images of the data set.
pub(super) fn answered<'a>(
    images: &'a [usize],
    judged: &'a Judged,
) -> impl Iterator<Item = Answer> + 'a {
    images.iter().zip(&judged.logits).zip(&judged.labels).map(|((&image, logits), &label)| {
        let class = argmax(logits);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - logits[class]).exp()).sum();
        Answer { image, label: label.into(), class, probability: 1.0 / sum }
    })
}

/// The wrong answers, the most confident first.
pub(super) fn mistakes(answers: &[Answer]) -> Vec<&Answer> {
    let mut wrong: Vec<&Answer> = answers.iter().filter(|a| a.class != a.label).collect();
    wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.image.cmp(&b.image)));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::score::confusion;

    fn answer(image: usize, label: usize, class: usize, probability: f64) -> Answer {
        Answer { image, label, class, probability }
    }

    #[test]
    fn mistakes_come_by_confidence_and_count_in_their_row() {
        let answers = [
            answer(0, 1, 1, 0.9),
            answer(1, 6, 0, 0.7),
            answer(2, 6, 0, 0.8),
            answer(3, 2, 4, 0.6),
        ];
        let order: Vec<usize> = mistakes(&answers).iter().map(|answer| answer.image).collect();
        assert_eq!(order, [2, 1, 3]);
        let matrix = confusion(answers.iter().map(|answer| (answer.label, answer.class)), 10);
        assert_eq!((matrix[1][1], matrix[6][0], matrix[2][4], matrix[0][6]), (1, 2, 1, 0));
    }

    #[test]
    fn an_answer_has_the_softmax_of_its_logit() {
        let judged = Judged { logits: vec![vec![0.0, 3.0_f32.ln()]], labels: vec![0] };
        let answer = answered(&[7], &judged).next().expect("one");
        assert_eq!((answer.image, answer.label, answer.class), (7, 0, 1));
        assert!((answer.probability - 0.75).abs() < 1e-6);
    }
}
