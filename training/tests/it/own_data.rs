//! Pictures of one's own, from a folder to every consumer of the weights file.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use fmnist_core::{
    Classifier, Engine, Image,
    image::prepare,
    message::{Requests, ResultRecord},
    pipeline::{Pipeline, PipelineConfig},
    transport::{Attributes, Outbound, memory::MemoryBroker},
};
use image::{DynamicImage, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::broadcast;

const SHAPES: [&str; 3] = ["bar", "disc", "ring & dot"];

/// A dark shape on a light ground or a light one on a dark one, somewhere in a picture.
fn draw(class: usize, random: &mut ChaCha8Rng) -> DynamicImage {
    let half = random.random_range(14.0..26.0);
    let (x, y) = (random.random_range(30.0..66.0), random.random_range(30.0..50.0));
    let (mut ink, mut ground) = (Rgb([30, 20, 60]), Rgb([235, 225, 240]));
    if random.random() {
        (ink, ground) = (ground, ink);
    }
    let picture = RgbImage::from_fn(96, 80, |column, row| {
        let (right, down) = ((column as f32 - x) / half, (row as f32 - y) / half);
        let distance = right.hypot(down);
        let inside = match class {
            0 => right.abs() <= 1.0 && down.abs() <= 0.25,
            1 => distance <= 1.0,
            _ => (0.7..=1.0).contains(&distance) || distance <= 0.25,
        };
        if inside { ink } else { ground }
    });
    picture.into()
}

fn write_pictures(folder: &Path, count: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for (class, name) in SHAPES.iter().enumerate() {
        let place = folder.join("train").join(name);
        fs::create_dir_all(&place).expect("created");
        for number in 0..count {
            let path = place.join(format!("{number:02}.png"));
            draw(class, &mut random).save(path).expect("written");
        }
    }
}

fn training(words: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_training"));
    command.args(words).arg("--data").arg(data).current_dir(data).output().expect("started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Pictures that no step has seen, as a consumer prepares them, and their classes.
fn unseen() -> (Vec<Image>, Vec<usize>) {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let classes: Vec<usize> = (0..60).map(|i| i % SHAPES.len()).collect();
    (classes.iter().map(|&class| prepare(&draw(class, &mut random))).collect(), classes)
}

#[tokio::test]
async fn a_folder_of_pictures_becomes_a_model_that_every_consumer_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    write_pictures(folder.path(), 40);
    let words = "train --model tiny --epochs 6 --batch 8 --threads 2 --out shapes.safetensors";
    let output = training(&words.split(' ').collect::<Vec<_>>(), folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));

    let path = folder.path().join("shapes.safetensors");
    let (images, classes) = unseen();
    let fused = Classifier::load(&path).expect("loaded");
    assert_eq!(fused.labels(), SHAPES);
    let flex = fused.clone().with_engine(Engine::Flex).expect("flex");
    let int8 = fused.clone().with_engine(Engine::Int8).expect("int8");
    for classifier in [&fused, &flex, &int8] {
        let predictions = classifier.classify(&images).expect("classified");
        let pairs = predictions.iter().zip(&classes);
        let right = pairs.filter(|(prediction, class)| prediction.class == **class).count();
        assert!(right >= 57, "{right} of 60 right on {}", classifier.engine());
    }

    let evaluated = training(&["evaluate", "--model", "shapes.safetensors"], folder.path());
    let report = text(&evaluated.stdout);
    assert!(evaluated.status.success() && report.contains("\nimages 24\n"), "{report}");
    assert!(report.contains("\nring & dot"), "{report}");
    let card = fs::read_to_string(path.with_extension("md")).expect("a card");
    assert!(card.starts_with("# shapes 1.0\n"), "{card}");
    assert!(card.contains("| classes | bar, disc, ring & dot |"), "{card}");
    assert!(card.contains("--threads 2 --data DIR` |"), "{card}");

    let record = through_a_pipeline(fused, 2).await;
    assert_eq!(record.predictions[0].label, "ring & dot");
    assert_eq!(record.model.name, "shapes");
}

/// Sends one picture of a class through the stream.
async fn through_a_pipeline(classifier: Classifier, class: usize) -> ResultRecord {
    let mut png = std::io::Cursor::new(Vec::new());
    let picture = draw(class, &mut ChaCha8Rng::seed_from_u64(3));
    picture.write_to(&mut png, image::ImageFormat::Png).expect("encoded");
    let broker = MemoryBroker::new("INFERENCE");
    let attributes: Attributes = [("content-type", "image/png")].into_iter().collect();
    broker.send(Outbound { attributes, payload: png.into_inner().into(), ..Outbound::default() });

    let (observer, mut results) = broadcast::channel(1);
    let requests = Requests::new(&classifier, Arc::from([]));
    let pipeline =
        Pipeline::new(broker.consumer(), classifier, requests, PipelineConfig::default());
    let answered = async move {
        results.recv().await.expect("a result");
    };
    pipeline.with_observer(observer).run(answered).await.expect("drained");
    serde_json::from_slice(&broker.results()[0].payload).expect("a result")
}

#[test]
fn bad_data_is_named_before_anything_is_trained() {
    let folder = tempfile::tempdir().expect("a folder");
    write_pictures(folder.path(), 5);
    let bad = folder.path().join("train/disc/broken.jpg");
    fs::write(&bad, b"\xff\xd8\xff\xe0 and no more").expect("written");
    let refused = || {
        let output = training(&["train", "--model", "tiny"], folder.path());
        assert!(!output.status.success());
        assert!(!folder.path().join("checkpoints").exists(), "it trained all the same");
        text(&output.stderr)
    };
    let message = refused();
    assert!(message.contains(&*bad.to_string_lossy()), "{message}");
    assert!(message.contains("the image/jpeg is damaged"), "{message}");

    fs::remove_file(bad).expect("removed");
    fs::create_dir(folder.path().join("train/empty")).expect("created");
    let message = refused();
    assert!(message.contains("train/empty: expected 2 pictures or more, found 0"), "{message}");
}
