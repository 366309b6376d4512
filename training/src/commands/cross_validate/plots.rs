//! The notebook's figures and a confusion matrix, as SVG.

use std::{ops::Range, path::Path};

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::outcome::{Fold, percents};
use crate::{learn::history::Epoch, report::FONT};

/// Loss above, accuracy below: a blue line for each fold's training, an orange one for what was
/// held out.
pub(super) fn learning_curves(path: &Path, folds: &[Fold]) -> Result<()> {
    let area = SVGBackend::new(path, (720, 720)).into_drawing_area();
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(360);
    let losses: [fn(&Epoch) -> f64; 2] = [|e| e.loss, |e| e.held_out_loss];
    curves(&above, "Cross Entropy Loss", folds, losses, SeriesLabelPosition::UpperRight)?;
    let accuracies: [fn(&Epoch) -> f64; 2] =
        [|e| 100.0 * e.accuracy, |e| 100.0 * e.held_out_accuracy];
    let corner = SeriesLabelPosition::LowerRight;
    curves(&below, "Classification Accuracy (%)", folds, accuracies, corner)?;
    Ok(area.present()?)
}

fn curves(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    folds: &[Fold],
    values: [fn(&Epoch) -> f64; 2],
    legend: SeriesLabelPosition,
) -> Result<()> {
    let epochs = folds.iter().map(|fold| fold.epochs.len()).max().unwrap_or(1).max(2);
    let all = folds.iter().flat_map(|fold| &fold.epochs);
    let range = padded(all.flat_map(|epoch| values.map(|value| value(epoch))));
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(1.0..epochs as f64, range)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(epochs)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .x_desc("epoch")
        .draw()?;
    for (label, value, colour) in [
        ("train", values[0], RGBColor(31, 119, 180)),
        ("validation", values[1], RGBColor(255, 127, 14)),
    ] {
        for (number, fold) in folds.iter().enumerate() {
            let points = fold.epochs.iter().map(|epoch| (epoch.epoch as f64, value(epoch)));
            let line = LineSeries::new(points, colour.stroke_width(2));
            let series = chart.draw_series(line)?;
            if number == 0 {
                series.label(label).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            }
        }
    }
    let labels = &mut chart.configure_series_labels();
    labels.background_style(WHITE).border_style(BLACK.mix(0.3)).label_font((FONT, 14));
    Ok(labels.position(legend).draw()?)
}

/// The folds' accuracies at the last epoch and at the best, in percent: a point each, a box from the
/// first to the third quartile, and lines to the extremes.
pub(super) fn box_plot(path: &Path, folds: &[Fold]) -> Result<()> {
    let area = SVGBackend::new(path, (420, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let (last, best) = (percents(folds, Fold::last), percents(folds, Fold::best));
    let groups = [("last epoch", last), ("best epoch", best)];
    let range = padded(groups.iter().flat_map(|(_, values)| values.iter().copied()));
    let mut chart = ChartBuilder::on(&area)
        .caption("Accuracy of the folds (%)", (FONT, 20))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..groups.len() as f64, range)?;
    let group = |x: &f64| groups.get(*x as usize).filter(|_| x.fract() == 0.5);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(2 * groups.len() + 1)
        .x_label_formatter(&|x| group(x).map_or_else(String::new, |(name, _)| (*name).to_owned()))
        .draw()?;
    for (position, (_, values)) in groups.iter().enumerate() {
        let centre = position as f64 + 0.5;
        let (left, right) = (centre - 0.15, centre + 0.15);
        let [lowest, first, median, third, highest] = five_numbers(values);
        let frame = Rectangle::new([(left, first), (right, third)], BLACK);
        chart.draw_series([frame])?;
        let lines = [
            [(left, median), (right, median)],
            [(centre, lowest), (centre, first)],
            [(centre, third), (centre, highest)],
        ];
        let lines = lines.map(|line| PathElement::new(line, BLACK.stroke_width(2)));
        chart.draw_series(lines)?;
        let folds = values.iter().map(|&value| Circle::new((centre, value), 3, BLUE.filled()));
        chart.draw_series(folds)?;
    }
    Ok(area.present()?)
}

/// The least value, the quartiles and the largest value, interpolated as numpy does.
fn five_numbers(values: &[f64]) -> [f64; 5] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| {
        let place = share * (sorted.len() - 1) as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        below + (above - below) * place.fract()
    })
}

/// A row for each class, a column for each answer; the darker, the larger the share of its row.
pub(super) fn confusion(path: &Path, matrix: &[Vec<usize>], names: &[String]) -> Result<()> {
    const CELL: i32 = 56;
    const LEFT: i32 = 110;
    const TOP: i32 = 40;
    let side = names.len() as i32 * CELL;
    let size = ((LEFT + side + 20) as u32, (TOP + side + 40) as u32);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |words: String, at: (i32, i32), colour: RGBColor, size: u32| {
        let centre = Pos::new(HPos::Center, VPos::Center);
        let style = (FONT, size).into_text_style(&area).color(&colour).pos(centre);
        area.draw_text(&words, &style, at)
    };
    text("class (rows) and answer (columns)".to_owned(), (LEFT + side / 2, 18), BLACK, 18)?;
    for (class, row) in matrix.iter().enumerate() {
        let top = TOP + class as i32 * CELL;
        text(names[class].clone(), (LEFT / 2, top + CELL / 2), BLACK, 13)?;
        let answer = (LEFT + class as i32 * CELL + CELL / 2, TOP + side + 16);
        text(names[class].clone(), answer, BLACK, 9)?;
        let total = row.iter().sum::<usize>().max(1) as f64;
        for (answer, &count) in row.iter().enumerate() {
            let left = LEFT + answer as i32 * CELL;
            // The square root makes a few per cent visible.
            let share = (count as f64 / total).sqrt();
            let fade = |dark: u8| (255.0 - share * f64::from(255 - dark)) as u8;
            let colour = RGBColor(fade(8), fade(48), fade(107));
            let cell = Rectangle::new([(left, top), (left + CELL, top + CELL)], colour.filled());
            area.draw(&cell)?;
            let ink = if share > 0.6 { WHITE } else { BLACK };
            text(count.to_string(), (left + CELL / 2, top + CELL / 2), ink, 13)?;
        }
    }
    Ok(area.present()?)
}

/// From a little below the least value to a little above the largest.
fn padded(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let margin = ((high - low) * 0.08).max(1e-3);
    low - margin..high + margin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values() {
        assert_eq!(five_numbers(&[4.0, 1.0, 2.0, 3.0]), [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert_eq!(five_numbers(&[5.0]), [5.0; 5]);
    }
}
