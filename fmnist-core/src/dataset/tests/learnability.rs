//! The synthetic images are neither trivial nor noise.

use crate::{
    dataset::{Dataset, Split, synthetic},
    image::Image,
    weights::sha256,
};

const CLASSES: usize = 10;

#[test]
fn a_seed_gives_the_same_bytes_on_every_machine() {
    let drawn = synthetic(Split::Test, 100, 0);
    let pixels: Vec<u8> = drawn.images.iter().flat_map(|image| *image.pixels()).collect();
    assert_eq!(sha256(&pixels), "0b0e57465805aff3633941e0fb7ced5bc0f24c047fcbae536b83c32d7044be04");
}

#[test]
fn splits_and_seeds_differ_and_a_prefix_is_balanced() {
    let drawn = synthetic(Split::Test, 20, 0);
    assert_eq!(drawn.images, synthetic(Split::Test, 20, 0).images);
    assert_ne!(drawn.images, synthetic(Split::Train, 20, 0).images);
    assert_ne!(drawn.images, synthetic(Split::Test, 20, 1).images);
    assert!(drawn.labels.iter().copied().eq((0..20).map(|i| i % 10)));
    assert_eq!(drawn.images[..5], synthetic(Split::Test, 5, 0).images[..]);
}

#[test]
fn a_linear_classifier_stays_below_ninety_percent_and_shape_matching_passes_it() {
    let train = synthetic(Split::Train, 6_000, 0);
    let test = synthetic(Split::Test, 1_000, 0);
    let linear = accuracy(&test, &Softmax::trained(&train, 30));
    let shapes = Silhouettes::of(&train);
    let matching = accuracy(&test, &shapes);
    println!("linear {linear}, silhouettes {matching}");
    assert!(linear < 0.9, "{linear}");
    assert!(linear > 0.3, "a linear classifier learns something, found {linear}");
    assert!(matching > linear + 0.1, "{matching} against {linear}");
}

trait Answer {
    fn answer(&self, image: &Image) -> u8;
}

fn accuracy(test: &Dataset, model: &impl Answer) -> f64 {
    let pairs = test.images.iter().zip(test.labels.iter());
    let right = pairs.filter(|(image, label)| model.answer(image) == **label).count();
    right as f64 / test.images.len() as f64
}

/// Multinomial logistic regression on pixels.
struct Softmax([[f32; Image::PIXELS + 1]; CLASSES]);

impl Softmax {
    /// Stochastic gradient descent with a falling rate, one image a step.
    fn trained(data: &Dataset, epochs: usize) -> Self {
        let mut model = Self([[0.0; Image::PIXELS + 1]; CLASSES]);
        for epoch in 0..epochs {
            let rate = 0.02 / (1.0 + epoch as f32 / 3.0);
            for (image, &label) in data.images.iter().zip(data.labels.iter()) {
                let logits = model.logits(image);
                let largest = logits.iter().copied().fold(f32::MIN, f32::max);
                let weights = logits.map(|logit| (logit - largest).exp());
                let sum: f32 = weights.iter().sum();
                for (class, row) in model.0.iter_mut().enumerate() {
                    let target = f32::from(u8::from(class == usize::from(label)));
                    let step = rate * (target - weights[class] / sum);
                    for (weight, input) in row.iter_mut().zip(inputs(image)) {
                        *weight += step * input;
                    }
                }
            }
        }
        model
    }

    fn logits(&self, image: &Image) -> [f32; CLASSES] {
        self.0.each_ref().map(|row| row.iter().zip(inputs(image)).map(|(w, x)| w * x).sum())
    }
}

/// Pixels from 0 to 1, then the constant.
fn inputs(image: &Image) -> impl Iterator<Item = f32> {
    image.pixels().iter().map(|&pixel| f32::from(pixel) / 255.0).chain([1.0])
}

impl Answer for Softmax {
    fn answer(&self, image: &Image) -> u8 {
        let logits = self.logits(image);
        (0..CLASSES).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u8
    }
}

/// Nearest neighbour of silhouettes that were cropped and scaled to 16×16, mirrored ones included.
struct Silhouettes(Vec<([u64; 4], u8)>);

impl Silhouettes {
    fn of(data: &Dataset) -> Self {
        let pairs = data.images.iter().zip(data.labels.iter());
        Self(pairs.flat_map(|(i, &l)| [(outline(i, false), l), (outline(i, true), l)]).collect())
    }
}

impl Answer for Silhouettes {
    fn answer(&self, image: &Image) -> u8 {
        let found = outline(image, false);
        let distance = |known: &[u64; 4]| -> u32 {
            known.iter().zip(found).map(|(known, found)| (known ^ found).count_ones()).sum()
        };
        self.0.iter().min_by_key(|(known, _)| distance(known)).unwrap().1
    }
}

fn outline(image: &Image, mirrored: bool) -> [u64; 4] {
    const SIDE: usize = 16;
    let inked = |row: usize, column: usize| image.pixels()[row * Image::WIDTH + column] > 20;
    let rows: Vec<_> = (0..28).filter(|&row| (0..28).any(|c| inked(row, c))).collect();
    let columns: Vec<_> = (0..28).filter(|&column| (0..28).any(|r| inked(r, column))).collect();
    let [top, left] = [rows[0], columns[0]];
    let height = rows[rows.len() - 1] - top + 1;
    let width = columns[columns.len() - 1] - left + 1;
    let mut bits = [0; 4];
    for i in 0..SIDE * SIDE {
        let (row, column) = (i / SIDE, i % SIDE);
        let column = if mirrored { SIDE - 1 - column } else { column };
        if inked(top + row * height / SIDE, left + column * width / SIDE) {
            bits[i / 64] |= 1 << (i % 64);
        }
    }
    bits
}
