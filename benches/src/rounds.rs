use std::fmt;

use crate::grouped;

/// One figure a round.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// Adds a round's figure.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The median over the rounds.
    ///
    /// # Panics
    /// If there was no round.
    pub fn median(&self) -> f64 {
        percentile(&self.0, 50.0)
    }

    /// Each round's figure by the same round's of `yardstick`: what a slow minute does not change.
    #[must_use]
    pub fn relative_to(&self, yardstick: &Self) -> Self {
        Self(self.0.iter().zip(&yardstick.0).map(|(figure, one)| figure / one).collect())
    }

    /// Each round's figure times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|figure| figure * factor).collect())
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, median, most] = [0.0, 50.0, 100.0].map(|p| grouped(percentile(&self.0, p)));
        write!(f, "{median} ({least}–{most})")
    }
}

/// The smallest figure that at least `percent` of all figures do not exceed (nearest rank).
///
/// # Panics
/// If there are no figures.
pub fn percentile(figures: &[f64], percent: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_figure_that_was_measured() {
        let figures: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.0), 1.0);
        assert_eq!(percentile(&figures, 50.0), 100.0);
        assert_eq!(percentile(&figures, 99.0), 198.0);
        assert_eq!(percentile(&figures, 100.0), 200.0);
    }

    #[test]
    fn rounds_show_their_median_and_their_spread() {
        let mut rounds = Rounds::default();
        [1300.0, 1100.0, 12_500.0].into_iter().for_each(|figure| rounds.push(figure));
        assert_eq!(rounds.to_string(), "1,300 (1,100–12,500)");
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let [figures, yardstick] = [[10.0, 40.0, 30.0], [5.0, 20.0, 10.0]].map(|figures| {
            let mut rounds = Rounds::default();
            figures.into_iter().for_each(|figure| rounds.push(figure));
            rounds
        });
        assert_eq!(figures.relative_to(&yardstick).to_string(), "2.00 (2.00–3.00)");
        assert_eq!(figures.scaled(10.0).to_string(), "300 (100–400)");
    }
}
