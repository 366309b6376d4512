//! The images that a command works on, checked before anything is computed.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fmnist_core::{
    Classifier, Engine,
    dataset::{self, Dataset, Split},
    engine::Kernel,
    text,
};

use crate::learn::sampling;

/// What `--data` takes.
pub(crate) const HELP: &str = "Folder of the data set: IDX files (with labels.txt, one class name \
                               a line, unless they are Fashion-MNIST), or pictures in train/CLASS/ \
                               and test/CLASS/";

/// What `--model` takes where a trained one is meant.
pub(crate) fn model_help() -> String {
    let built_in: Vec<_> = Classifier::built_in().collect();
    format!("A built-in model ({}) or a weights file", built_in.join(", "))
}

/// A model and the images that it is judged by.
#[derive(clap::Args)]
pub(crate) struct JudgedArguments {
    #[arg(long, default_value = "base", help = model_help())]
    pub(crate) model: String,
    /// The engine that computes: fused, int8, flex or ndarray
    #[arg(long, default_value_t)]
    pub(crate) engine: Engine,
    #[arg(long, value_name = "DIR", help = HELP)]
    data: Option<PathBuf>,
}

impl JudgedArguments {
    pub(crate) fn open(&self) -> Result<(Classifier, Dataset)> {
        let classifier = Classifier::open(&self.model)?
            .with_kernel(Kernel::from_env()?)?
            .with_engine(self.engine)?;
        let test = open_test(self.data.as_deref(), &classifier)?;
        Ok((classifier, test))
    }
}

/// Images of one class that training needs: one to learn from and one held out.
const LEAST: usize = 2;

/// One in so many training images, and at least one of each class, is seen by no step: for the
/// temperature and for choices. That is 5,000 of the official ones.
const HELD_OUT_ONE_IN: usize = 12;
/// The split is the same for every seed, so that runs can be compared.
const SPLIT_SEED: u64 = 1;

/// The indices of the images that steps see, and of those that are held out.
pub(crate) fn split(train: &Dataset) -> (Vec<usize>, Vec<usize>) {
    let held_out = (train.labels.len() / HELD_OUT_ONE_IN).max(train.classes.len());
    sampling::stratified_split(&train.labels, held_out, SPLIT_SEED)
}

/// SHA-256 of all images and labels: 64 lower-case hexadecimal digits.
pub(crate) fn sha256(data: &Dataset) -> String {
    sampling::sha256(data, &Vec::from_iter(0..data.images.len()))
}

/// Opens the images to learn from and those to judge by.
pub(crate) fn open_both(folder: Option<&Path>) -> Result<(Dataset, Dataset)> {
    Ok((open_train(folder)?, dataset::open(folder, Split::Test)?))
}

/// Opens the images to learn from; there are enough of each class.
pub(crate) fn open_train(folder: Option<&Path>) -> Result<Dataset> {
    let train = dataset::open(folder, Split::Train)?;
    let mut counts = vec![0_usize; train.classes.len()];
    train.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    for (class, count) in train.classes.iter().zip(counts) {
        ensure!(
            count >= LEAST,
            "{}: expected {LEAST} or more training images of class {class}, found {count}",
            train.origin
        );
    }
    Ok(train)
}

/// Opens the images that a model is judged by; they must be of its classes.
pub(crate) fn open_test(folder: Option<&Path>, classifier: &Classifier) -> Result<Dataset> {
    let test = dataset::open(folder, Split::Test)?;
    expect_classes(&test, classifier.labels())?;
    Ok(test)
}

/// Makes sure that images are of the classes of a model.
pub(crate) fn expect_classes(data: &Dataset, classes: &[String]) -> Result<()> {
    ensure!(
        *data.classes == *classes,
        "{}: expected images of the model's classes, {}, found {}: {}",
        data.origin,
        classes.join(", "),
        data.classes.join(", "),
        text::differences(classes, &data.classes)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// `cat` has three pictures, `dog` as many as are asked for.
    fn pictures(dogs: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (class, count) in [("cat", 3), ("dog", dogs)] {
            let place = folder.path().join("train").join(class);
            fs::create_dir_all(&place).expect("created");
            for number in 1..=count {
                let image = fmnist_core::Image::from_fn(|row, _| if row < number { 99 } else { 0 });
                fs::write(place.join(format!("{number}.png")), image.to_png()).expect("written");
            }
        }
        folder
    }

    #[test]
    fn a_class_of_one_training_image_is_refused_by_name() {
        let (train, test) = open_both(Some(pictures(3).path())).expect("enough");
        assert_eq!((train.labels.len(), test.labels.len()), (4, 2));
        let folder = pictures(2);
        let message = open_both(Some(folder.path())).expect_err("refused").to_string();
        let path = folder.path().display();
        let expected = "expected 2 or more training images of class dog, found 1";
        assert_eq!(message, format!("{path}: {expected}"));
    }

    #[test]
    fn a_model_of_other_classes_is_not_judged() {
        let classifier = Classifier::pretrained().expect("the default model");
        let message = open_test(Some(pictures(3).path()), &classifier).expect_err("refused");
        let message = message.to_string();
        assert!(
            message.contains("Bag, Ankle boot, found cat, dog: with cat, dog and"),
            "{message}"
        );
    }
}
