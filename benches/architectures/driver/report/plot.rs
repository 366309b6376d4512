use std::path::Path;

use anyhow::anyhow;
use plotters::{coord::Shift, drawing::DrawingAreaErrorKind, prelude::*};

use super::{Run, rounds};

const FONT: &str = "sans-serif";
const BAR: RGBColor = RGBColor(31, 119, 180);
const ROW: u32 = 26;
const HALF_BAR: f64 = 0.32;

/// From what to what, by the name of a peer.
type Bars = Vec<(String, (f64, f64))>;

/// How much a peer answers, and how late at half of that, one panel below the other.
pub(super) fn draw(path: &Path, run: &Run) -> anyhow::Result<()> {
    let throughput: Bars = run
        .peers
        .iter()
        .filter_map(|peer| {
            let speed = run.of(&peer.name, |backlog| backlog.messages_per_second)?.median();
            Some((peer.name.clone(), (1.0, speed)))
        })
        .collect();
    let latency: Bars = run
        .peers
        .iter()
        .filter_map(|peer| {
            let is_own = |own: &&super::Latency| own.peer == peer.name && own.percent == 50;
            let own = || run.latencies.iter().filter(is_own);
            let low = rounds(own().map(|own| own.p50_ms))?.median();
            let high = rounds(own().map(|own| own.p99_ms))?.median();
            Some((peer.name.clone(), (low, high)))
        })
        .collect();
    let height = |bars: &Bars| 76 + ROW * bars.len() as u32;
    let size = (820, height(&throughput) + height(&latency));
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE).map_err(drawing)?;
    let (upper, lower) = area.split_vertically(height(&throughput));
    panel(&upper, "messages/s out of a backlog", &throughput)?;
    panel(
        &lower,
        "ms from due to readable at half of what it answers beside the sender, p50 to p99",
        &latency,
    )?;
    area.present().map_err(drawing)
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, what: &str, bars: &Bars) -> anyhow::Result<()> {
    let (least, most) = bars.iter().fold((f64::MAX, 0.0_f64), |(least, most), (_, (low, high))| {
        (least.min(*low), most.max(*high))
    });
    let count = bars.len() as f64;
    // The first on top.
    let place = |row: usize| count - row as f64 - 0.5;
    let mut chart = ChartBuilder::on(area)
        .caption(what, (FONT, 16))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(26)
        .y_label_area_size(110)
        .build_cartesian_2d((least * 0.8..most * 1.3).log_scale(), 0.0..count)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .disable_y_mesh()
        .x_labels(8)
        .y_labels(0)
        .x_label_formatter(&|value| fmnist_benches::grouped(*value))
        .draw()
        .map_err(drawing)?;
    let bar = |(row, (_, (low, high))): (usize, &(String, (f64, f64)))| {
        let corners = [(*low, place(row) - HALF_BAR), (*high, place(row) + HALF_BAR)];
        Rectangle::new(corners, BAR.filled())
    };
    chart.draw_series(bars.iter().enumerate().map(bar)).map_err(drawing)?;
    let style = (FONT, 13).into_text_style(area);
    let style = style.pos(plotters::style::text_anchor::Pos::new(
        plotters::style::text_anchor::HPos::Right,
        plotters::style::text_anchor::VPos::Center,
    ));
    for (row, (name, _)) in bars.iter().enumerate() {
        let (_, y) = chart.backend_coord(&(least, place(row)));
        let (_, top) = area.get_base_pixel();
        area.draw_text(name, &style, (110, y - top)).map_err(drawing)?;
    }
    Ok(())
}

/// Plotters' errors borrow what they speak of.
fn drawing<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
