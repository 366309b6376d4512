//! What becomes of an image before a step sees it.

use std::ops::Range;

use fmnist_core::Image;
use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};

use crate::learn::{
    corrupt::Corruption,
    recipe::{Augmentation, Flip},
};

impl Augmentation {
    /// Changes one image at random, but for whether it is `mirrored` where that is known.
    pub(crate) fn apply(
        &self,
        image: &Image,
        mirrored: Option<bool>,
        random: &mut impl Rng,
    ) -> Image {
        let mut image =
            if self.move_about { move_about(image, mirrored, random) } else { image.clone() };
        if self.rotation > 0.0 && random.random() {
            let degrees = random.random_range(0.0..self.rotation);
            image = Corruption::Rotation.apply(&image, degrees, random);
        }
        if self.corrupt > 0.0 {
            image = corrupt(image, self.corrupt, random);
        }
        if self.erasing > 0.0 && random.random_bool(self.erasing) {
            return erase(&image, random);
        }
        image
    }

    /// How much of its own image and target each member of a batch keeps, 0.0–1.0 (Zhang et al.
    /// 2017); `None` where nothing is mixed.
    ///
    /// # Panics
    /// If `mixup` is infinite or negative, which the command line refuses.
    pub(crate) fn share(&self, random: &mut impl Rng) -> Option<f32> {
        (self.mixup > 0.0).then(|| {
            let beta = Beta::new(self.mixup, self.mixup).expect("mixup is a positive number");
            beta.sample(random) as f32
        })
    }
}

impl Flip {
    /// Whether an image is mirrored in an epoch, if that is known: `first` says it of the first one
    /// where flips alternate (Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds").
    pub(crate) fn mirrored(self, first: bool, epoch: usize) -> Option<bool> {
        match self {
            Self::None => Some(false),
            Self::Random => None,
            Self::Alternating => Some(first != (epoch % 2 == 1)),
        }
    }
}

/// What cameras and light do to an image, each with its share of a probability, and how much of it.
const CORRUPTIONS: [(Corruption, f64, Range<f64>); 4] = [
    (Corruption::Blur, 0.6, 0.3..1.2),
    (Corruption::Contrast, 1.0, 0.25..1.1),
    (Corruption::Brightness, 1.0, -20.0..60.0),
    (Corruption::Noise, 1.0, 0.0..45.0),
];

/// Blurs an image, changes its contrast and its brightness and adds noise, each by chance.
fn corrupt(mut image: Image, probability: f64, random: &mut impl Rng) -> Image {
    for (corruption, share, amounts) in CORRUPTIONS {
        if random.random_bool(share * probability) {
            image = corruption.apply(&image, random.random_range(amounts), random);
        }
    }
    image
}

/// Mirrors an image, by a toss of a coin where nobody says, and shifts it by up to two pixels along
/// both axes.
pub(crate) fn move_about(image: &Image, mirrored: Option<bool>, random: &mut impl Rng) -> Image {
    const SHIFT: i32 = 2;
    let mirror = mirrored.unwrap_or_else(|| random.random());
    let down = random.random_range(-SHIFT..=SHIFT);
    let right = random.random_range(-SHIFT..=SHIFT);

    let mut pixels = [0; Image::PIXELS];
    let (width, height) = (Image::WIDTH as i32, Image::HEIGHT as i32);
    for row in down.max(0)..(height + down).min(height) {
        for column in right.max(0)..(width + right).min(width) {
            let from = column - right;
            let from = if mirror { width - 1 - from } else { from };
            pixels[(row * width + column) as usize] =
                image.pixels()[((row - down) * width + from) as usize];
        }
    }
    Image::new(pixels)
}

/// Overwrites a rectangle of 2–33 % of the image, its sides in a ratio of 3:10 to 10:3, with noise
/// (Zhong et al. 2017).
pub(crate) fn erase(image: &Image, random: &mut impl Rng) -> Image {
    let area = random.random_range(0.02..0.33) * Image::PIXELS as f64;
    let ratio = random.random_range(0.3_f64.ln()..(1.0 / 0.3_f64).ln()).exp();
    let side = |length: f64, limit: usize| (length.sqrt().round() as usize).clamp(1, limit);
    let (height, width) = (side(area * ratio, Image::HEIGHT), side(area / ratio, Image::WIDTH));
    let top = random.random_range(0..=Image::HEIGHT - height);
    let left = random.random_range(0..=Image::WIDTH - width);

    let mut pixels = *image.pixels();
    for row in top..top + height {
        random.fill(&mut pixels[row * Image::WIDTH + left..][..width]);
    }
    Image::new(pixels)
}

/// `share` of one image and the rest of another.
pub(crate) fn mix(image: &Image, other: &Image, share: f32) -> Image {
    let mut pixels = *image.pixels();
    for (pixel, other) in pixels.iter_mut().zip(other.pixels()) {
        *pixel = (share * f32::from(*pixel) + (1.0 - share) * f32::from(*other)).round() as u8;
    }
    Image::new(pixels)
}

#[cfg(test)]
mod tests {
    use fmnist_core::{
        dataset::{Split, synthetic},
        model::Architecture,
    };

    use super::*;
    use crate::learn::{
        recipe::Recipe,
        sampling::{Stream, coins, generator},
    };

    #[test]
    fn images_move_and_mirror_and_gain_no_new_brightness() {
        let image = &synthetic(Split::Train, 1, 3).images[0];
        let mut random = generator(5, Stream::Step, 0);
        let changed: Vec<_> = (0..40).map(|_| move_about(image, None, &mut random)).collect();
        assert!(changed.iter().any(|c| c != image));
        for copy in changed {
            let known = |p: &u8| *p == 0 || image.pixels().contains(p);
            assert!(copy.pixels().iter().all(known));
        }
    }

    #[test]
    fn a_rectangle_is_erased_and_nothing_around_it() {
        let image = Image::new([0; Image::PIXELS]);
        let mut random = generator(6, Stream::Step, 0);
        for _ in 0..50 {
            let erased = erase(&image, &mut random);
            let hit: Vec<usize> =
                (0..Image::PIXELS).filter(|&at| erased.pixels()[at] != 0).collect();
            let (rows, columns): (Vec<_>, Vec<_>) =
                hit.iter().map(|at| (at / Image::WIDTH, at % Image::WIDTH)).unzip();
            let span = |places: &[usize]| {
                places.iter().max().expect("a pixel") - places.iter().min().expect("a pixel") + 1
            };
            let area = span(&rows) * span(&columns);
            assert!((10..=300).contains(&area), "{area}");
            // One in 256 pixels of noise is 0.
            assert!(hit.len() * 10 >= area * 9, "{} of {area}", hit.len());
        }
    }

    #[test]
    fn a_mixture_lies_between_its_images() {
        let (dark, bright) = (Image::new([10; Image::PIXELS]), Image::new([110; Image::PIXELS]));
        assert_eq!(mix(&bright, &dark, 0.3), Image::new([40; Image::PIXELS]));
        assert_eq!(mix(&bright, &dark, 1.0), bright);
    }

    #[test]
    fn alternating_flips_show_each_side_in_every_second_epoch_half_of_them_at_first() {
        let first = coins(1, Stream::Flip, 1000);
        assert_eq!(first, coins(1, Stream::Flip, 1000));
        assert_ne!(first, coins(2, Stream::Flip, 1000));
        assert!((450..550).contains(&first.iter().filter(|first| **first).count()));
        for first in first {
            let sides = [0, 1, 2, 3].map(|epoch| Flip::Alternating.mirrored(first, epoch));
            assert_eq!(sides, [first, !first, first, !first].map(Some));
        }
        assert_eq!(Flip::None.mirrored(true, 0), Some(false));
        assert_eq!(Flip::Random.mirrored(true, 0), None);
    }

    #[test]
    fn a_known_flip_tosses_no_coin() {
        let image = Image::from_fn(|_, column| if column < 14 { 10 } else { 200 });
        let mut random = generator(5, Stream::Step, 0);
        for mirrored in [false, true] {
            for _ in 0..20 {
                let left = move_about(&image, Some(mirrored), &mut random).pixels()[14 * 28 + 4];
                assert_eq!(left, if mirrored { 200 } else { 10 });
            }
        }
    }

    #[test]
    fn a_probability_of_nothing_draws_nothing_and_a_certain_one_changes_every_image() {
        let images = synthetic(Split::Train, 50, 3).images;
        let still = Recipe::of(Architecture::Notebook).augmentation;
        let (mut random, untouched) =
            (generator(7, Stream::Step, 0), generator(7, Stream::Step, 0));
        assert!(images.iter().all(|image| still.apply(image, None, &mut random) == *image));
        assert!(random == untouched);

        let worse = Augmentation { corrupt: 1.0, ..still };
        let changed = images.iter().filter(|i| worse.apply(i, None, &mut random) != **i).count();
        assert_eq!(changed, images.len());
        let turned = Augmentation { rotation: 20.0, ..still };
        let changed = images.iter().filter(|i| turned.apply(i, None, &mut random) != **i).count();
        assert!((15..=35).contains(&changed), "{changed} of 50 turned");
    }
}
