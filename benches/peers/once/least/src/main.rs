//! Classifies one picture: PATH.

use std::{env, error::Error, fs};

use fmnist_core::{Classifier, image::decode_upload};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("expected the path of a picture")?;
    let image = decode_upload(&fs::read(path)?)?;
    let classifier = Classifier::pretrained()?;
    let prediction = classifier.classify(&[image])?.remove(0);
    println!("{}", classifier.labels()[prediction.class]);
    Ok(())
}
