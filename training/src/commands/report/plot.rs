//! Accuracy against parameters and against multiply-adds, as SVG.

use std::path::Path;

use anyhow::Result;
use plotters::{coord::Shift, prelude::*};

use super::{
    model::Model,
    published::{PUBLISHED, Published},
};
use crate::report::FONT;

const OURS: RGBColor = RGBColor(31, 119, 180);
const OTHERS: RGBColor = RGBColor(120, 120, 120);

/// A point with its name.
struct Point {
    name: String,
    cost: f64,
    percent: f64,
    ours: bool,
}

/// Draws both panels, one above the other.
pub(super) fn draw(path: &Path, models: &[Model]) -> Result<()> {
    let area = SVGBackend::new(path, (820, 860)).into_drawing_area();
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(430);
    let ours = |cost: fn(&Model) -> u64| {
        models.iter().filter_map(move |model| {
            let percent = 100.0 * model.score?.accuracy;
            Some(Point { name: model.name.clone(), cost: cost(model) as f64, percent, ours: true })
        })
    };
    let others = |cost: fn(&Published) -> Option<u64>| {
        PUBLISHED.iter().filter_map(move |result| {
            let (name, percent) = (result.name.to_owned(), result.percent);
            Some(Point { name, cost: cost(result)? as f64, percent, ours: false })
        })
    };
    let parameters = others(|result| Some(result.parameters)).chain(ours(|model| model.parameters));
    panel(&above, "parameters", 1e4..1e8, &parameters.collect::<Vec<_>>())?;
    let multiply_adds =
        others(|result| result.multiply_adds).chain(ours(|model| model.multiply_adds));
    panel(&below, "multiply-adds for an image", 1e5..1e9, &multiply_adds.collect::<Vec<_>>())?;
    Ok(area.present()?)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    what: &str,
    range: std::ops::Range<f64>,
    points: &[Point],
) -> Result<()> {
    let lowest = points.iter().map(|point| point.percent).fold(90.0, f64::min);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Test accuracy (%) against {what}"), (FONT, 18))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(range.log_scale(), lowest.floor()..98.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&|cost| short(*cost))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .x_desc(format!("{what}, blue: this project's, grey: published"))
        .draw()?;
    for point in points {
        let (colour, size, letters) = if point.ours { (OURS, 6, 15) } else { (OTHERS, 4, 12) };
        let style = (FONT, letters).into_text_style(area).color(&colour);
        let mark = EmptyElement::at((point.cost, point.percent))
            + Circle::new((0, 0), size, colour.filled())
            + Text::new(point.name.clone(), (9, point.label_shift(points) - 7), style);
        chart.draw_series([mark])?;
    }
    Ok(())
}

impl Point {
    /// How far down the name goes so as not to touch those of points beside it, in pixels.
    fn label_shift(&self, points: &[Self]) -> i32 {
        let near = |other: &&Self| {
            let apart = (other.percent - self.percent).abs();
            apart > 0.0 && apart < 0.35 && (other.cost / self.cost).log10().abs() < 0.5
        };
        let shift = |other: &Self| if self.percent > other.percent { -5 } else { 5 };
        points.iter().filter(near).map(shift).sum()
    }
}

/// 10 k, 100 k, 1 M.
fn short(count: f64) -> String {
    match count {
        1e6.. => format!("{:.0} M", count / 1e6),
        _ => format!("{:.0} k", count / 1e3),
    }
}
