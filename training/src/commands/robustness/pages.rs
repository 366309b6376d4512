//! The report: Markdown to read, JSON to compute with, a plot of the corruptions and a sheet of the
//! composites.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use fmnist_core::Image;
use image::{
    Rgb, RgbImage,
    imageops::{self, FilterType},
};
use markdown::Table;
use plotters::prelude::*;

use super::composite::Ground;
use crate::{
    learn::corrupt::{Corruption, SEVERITIES},
    options::{meaning, name},
    place,
    report::{self, FONT, sheet},
};

/// Everything that a report shows. Accuracies are 0.0–1.0.
pub(super) struct Outcome {
    pub(super) model: String,
    pub(super) command: String,
    pub(super) images: usize,
    pub(super) clean: f64,
    pub(super) corruptions: Vec<(Corruption, [f64; SEVERITIES])>,
    pub(super) composites: Vec<Composites>,
}

/// One kind of ground.
pub(super) struct Composites {
    pub(super) ground: Ground,
    /// Of the garments as they are in the test set.
    pub(super) clean: f64,
    pub(super) accuracy: f64,
    /// The first pictures, and what preparation made of them.
    pub(super) shown: Vec<(RgbImage, Image)>,
}

impl Composites {
    /// How far behind the garments themselves, in points.
    pub(super) fn lost_points(&self) -> f64 {
        100.0 * (self.clean - self.accuracy)
    }
}

/// Told apart on white, one for each corruption.
const COLOURS: [RGBColor; 7] = [
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(188, 140, 0),
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(23, 150, 160),
];

/// Writes all files of the report into a folder.
pub(super) fn write(outcome: &Outcome, folder: &Path) -> Result<()> {
    place::create_folder(folder)?;
    curves(&folder.join("corruptions.svg"), outcome).context("cannot draw")?;
    let columns = outcome.composites.iter().map(|kind| kind.shown.len()).max().unwrap_or(1);
    sheet::write(&folder.join("composites.png"), &tiles(outcome), columns)?;
    report::write(folder, &json(outcome), &markdown(outcome))
}

/// What the command prints: a line each for the composites and the corruptions.
pub(super) fn console(outcome: &Outcome) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "accuracy {:.2} % of {} images", 100.0 * outcome.clean, outcome.images)?;
    for kind in &outcome.composites {
        let (name, accuracy) = (name(kind.ground), 100.0 * kind.accuracy);
        writeln!(text, "composite {name:<11} {accuracy:.1} %, {:.1} clean", 100.0 * kind.clean)?;
    }
    for (corruption, accuracies) in &outcome.corruptions {
        let percent = accuracies.map(|accuracy| format!("{:.1}", 100.0 * accuracy)).join(" ");
        writeln!(text, "corruption {:<10} {percent} % at severities 1 to 5", name(*corruption))?;
    }
    Ok(text)
}

fn json(outcome: &Outcome) -> serde_json::Value {
    let corruptions = outcome.corruptions.iter().map(|(corruption, accuracies)| {
        let (measure, amounts) = corruption.amounts();
        serde_json::json!({
            "corruption": name(*corruption),
            "measure": measure,
            "amounts": amounts,
            "accuracies": accuracies,
        })
    });
    let composites = outcome.composites.iter().map(|kind| {
        serde_json::json!({
            "ground": name(kind.ground),
            "accuracy": kind.accuracy,
            "clean": kind.clean,
        })
    });
    serde_json::json!({
        "command": outcome.command,
        "model": outcome.model,
        "images": outcome.images,
        "clean": outcome.clean,
        "corruptions": corruptions.collect::<Vec<_>>(),
        "composites": composites.collect::<Vec<_>>(),
    })
}

fn markdown(outcome: &Outcome) -> String {
    let Outcome { model, command, images, clean, .. } = outcome;
    format!(
        "# Robustness of {model}

```sh
{command}
```

Accuracy in percent; {:.2} on the {images} images as they are.

## Corruptions

All {images} images, corrupted at 28×28 pixels.

{}
![Accuracy by severity, a line for each corruption](corruptions.svg)

## Composites

Garments of the test set, 2 to 8 times as large, off the centre of a picture with
a camera's noise, stored as JPEG and read by `fmnist_core::image::decode_upload`.
The goal is how many points may be lost at most against the same garments as they are.

{}
![A row of pictures for each ground, and below each what the model sees](composites.png)
",
        100.0 * clean,
        corruptions(outcome),
        composites(outcome)
    )
}

fn corruptions(outcome: &Outcome) -> Table {
    let mut table = Table::new(&["corruption", "1", "2", "3", "4", "5", "amounts"], &[0, 6]);
    for (corruption, accuracies) in &outcome.corruptions {
        let [one, two, three, four, five] = accuracies.map(|a| format!("{:.1}", 100.0 * a));
        let (measure, amounts) = corruption.amounts();
        let amounts = amounts.map(|amount| amount.to_string()).join(", ");
        let amounts = format!("{amounts}: {measure}");
        table.row(&[&name(*corruption), &one, &two, &three, &four, &five, &amounts]);
    }
    table
}

fn composites(outcome: &Outcome) -> Table {
    let heads = ["ground", "accuracy", "as they are", "lost", "goal", "what"];
    let mut table = Table::new(&heads, &[0, 5]);
    for kind in &outcome.composites {
        let ground = kind.ground;
        let points = [100.0 * kind.accuracy, 100.0 * kind.clean, kind.lost_points()];
        let [accuracy, clean, lost] = points.map(|points| format!("{points:.1}"));
        let goal = ground.goal_points().to_string();
        table.row(&[&name(ground), &accuracy, &clean, &lost, &goal, &meaning(ground)]);
    }
    table
}

/// For each ground a row of pictures and a row of what preparation made of them.
fn tiles(outcome: &Outcome) -> Vec<RgbImage> {
    let rows = outcome.composites.iter().flat_map(|kind| {
        let pictures = kind.shown.iter().map(|(picture, _)| fitted(picture));
        pictures.chain(kind.shown.iter().map(|(_, image)| sheet::tile(image)))
    });
    rows.collect()
}

/// Scales a picture into a tile, its aspect kept, on white.
fn fitted(picture: &RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height());
    let scaled = |side: u32| (side * sheet::TILE / longest).max(1);
    let (width, height) = (scaled(picture.width()), scaled(picture.height()));
    let small = imageops::resize(picture, width, height, FilterType::Triangle);
    let mut tile = RgbImage::from_pixel(sheet::TILE, sheet::TILE, Rgb([255; 3]));
    let centre = |side: u32| i64::from((sheet::TILE - side) / 2);
    imageops::replace(&mut tile, &small, centre(width), centre(height));
    tile
}

fn curves(path: &Path, outcome: &Outcome) -> Result<()> {
    let area = SVGBackend::new(path, (760, 460)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("Accuracy (%) of {}", outcome.model), (FONT, 18))
        .margin(12)
        .margin_right(120)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..SEVERITIES as f64, 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(SEVERITIES + 1)
        .x_label_formatter(&|severity| format!("{severity:.0}"))
        .y_labels(11)
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .x_desc("severity (0: as they are)")
        .draw()?;
    let ends = label_heights(outcome);
    for (index, (corruption, accuracies)) in outcome.corruptions.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let values = [outcome.clean].into_iter().chain(*accuracies);
        let points = (0..).zip(values).map(|(at, value)| (f64::from(at), 100.0 * value));
        let line = LineSeries::new(points.clone(), colour.stroke_width(2));
        chart.draw_series(line)?;
        chart.draw_series(points.map(|at| Circle::new(at, 3, colour.filled())))?;
        let (x, y) = chart.backend_coord(&(SEVERITIES as f64, ends[index]));
        let style = (FONT, 14).into_text_style(&area).color(&colour);
        area.draw_text(&name(*corruption), &style, (x + 8, y - 7))?;
    }
    Ok(area.present()?)
}

/// Where each line's name stands, in percent: at its end, at least 4 from the next.
fn label_heights(outcome: &Outcome) -> Vec<f64> {
    const APART: f64 = 4.0;
    let ends: Vec<f64> =
        outcome.corruptions.iter().map(|(_, a)| 100.0 * a[SEVERITIES - 1]).collect();
    let mut order = Vec::from_iter(0..ends.len());
    order.sort_by(|&a, &b| ends[a].total_cmp(&ends[b]));
    let mut heights = ends;
    for pair in order.windows(2) {
        heights[pair[1]] = heights[pair[1]].max(heights[pair[0]] + APART);
    }
    heights
}
