use std::path::Path;

use anyhow::anyhow;
use plotters::{coord::Shift, drawing::DrawingAreaErrorKind, prelude::*};

use super::Sample;

const FONT: &str = "sans-serif";
const LINE: RGBColor = RGBColor(31, 119, 180);
/// What a panel shows, and where a sample has it.
type Series = (&'static str, fn(&Sample) -> f64);

const MIB: f64 = 1_048_576.0;

/// Memory, lag and descriptors over minutes, one panel below the other.
pub(super) fn draw(path: &Path, samples: &[Sample]) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, (820, 660)).into_drawing_area();
    area.fill(&WHITE).map_err(drawing)?;
    let series: [Series; 3] = [
        ("resident memory, MiB", |sample| sample.resident_bytes as f64 / MIB),
        ("lag, messages sent and not committed", |sample| sample.lag_messages as f64),
        ("file descriptors", |sample| sample.file_descriptors as f64),
    ];
    for (area, (what, of)) in area.split_evenly((series.len(), 1)).iter().zip(series) {
        let points: Vec<(f64, f64)> =
            samples.iter().map(|sample| (sample.seconds / 60.0, of(sample))).collect();
        panel(area, what, &points)?;
    }
    area.present().map_err(drawing)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    what: &str,
    points: &[(f64, f64)],
) -> anyhow::Result<()> {
    let (minutes, most) = points.iter().fold((0.0_f64, 1.0_f64), |(minutes, most), point| {
        (minutes.max(point.0), most.max(point.1))
    });
    let mut chart = ChartBuilder::on(area)
        .caption(what, (FONT, 16))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(32)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..minutes, 0.0..1.15 * most)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("minutes")
        .x_label_formatter(&|minutes| format!("{minutes:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .y_labels(5)
        .draw()
        .map_err(drawing)?;
    chart.draw_series(LineSeries::new(points.iter().copied(), LINE)).map_err(drawing)?;
    Ok(())
}

/// Plotters' errors borrow what they speak of.
fn drawing<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
