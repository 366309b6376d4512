//! Classifies picture files: no broker, no network, no data set.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use fmnist_core::{
    Classifier, Image, Prediction,
    engine::Kernel,
    image::{UploadLimits, decode_upload},
};
use serde_json::{Value, json};
use service::UNREAD;

/// Says which garment is in a picture: PNG, JPEG, WebP, BMP or GIF.
#[derive(Parser)]
#[command(name = "classify", after_help = EXAMPLES)]
struct Arguments {
    /// Pictures of one garment each, on a plain background
    #[arg(required_unless_present = "model_info", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[arg(long, default_value = "base", value_name = "NAME|PATH", help = model_help())]
    model: String,
    /// Print what the model's file says of itself, as JSON
    #[arg(long)]
    model_info: bool,
    /// Also print the 28×28 pixels that the model sees
    #[arg(long)]
    show: bool,
    /// One JSON document a line
    #[arg(long, conflicts_with = "show")]
    json: bool,
}

fn model_help() -> String {
    let built_in: Vec<_> = Classifier::built_in().collect();
    format!("A built-in model ({}) or a weights file", built_in.join(", "))
}

const EXAMPLES: &str = "Examples:
  cargo run --release --example classify -- photo.png
  cargo run --release --example classify -- --show shoe.jpg
  cargo run --release --example classify -- --model notebook shirt.webp
  cargo run --release --example classify -- --model-info --model shoes.safetensors
  cargo run --release --example classify -- --json *.png | jq -r .label

A file that cannot be classified gives a line on stderr and exit code 1; the others are classified.";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    exit(run(&arguments, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

fn exit(ended: Result<bool>) -> Result<ExitCode> {
    match ended {
        // Of what it touches, stdout and stderr alone are pipes.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_unread) => {
            Ok(ExitCode::from(UNREAD))
        }
        Err(error) => Err(error),
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
    }
}

fn is_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Writes one answer or one error for each file; true if there was no error.
fn run(arguments: &Arguments, out: &mut impl Write, err: &mut impl Write) -> Result<bool> {
    let classifier = Classifier::open(&arguments.model)?.with_kernel(Kernel::from_env()?)?;
    if arguments.model_info {
        let information = json!({
            "model": &**classifier.identity(),
            "metadata": classifier.metadata(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&information)?)?;
    }
    let mut all_classified = true;
    for path in &arguments.files {
        let image = match read(path) {
            Ok(image) => image,
            Err(error) => {
                writeln!(err, "{}: {error:#}", path.display())?;
                all_classified = false;
                continue;
            }
        };
        let prediction = classifier.classify(std::slice::from_ref(&image))?.remove(0);
        if arguments.json {
            writeln!(out, "{}", document(path, &prediction, classifier.labels()))?;
            continue;
        }
        if arguments.show {
            write!(out, "{}", blocks(&image))?;
        }
        writeln!(out, "{}: {}", path.display(), sentence(&prediction, classifier.labels()))?;
    }
    Ok(all_classified)
}

fn read(path: &Path) -> Result<Image> {
    let file = File::open(path).context("cannot open the file")?;
    let mut bytes = Vec::new();
    // One byte above the limit is enough for the decoder to refuse the file.
    let most = UploadLimits::default().max_bytes as u64 + 1;
    file.take(most).read_to_end(&mut bytes).context("cannot read the file")?;
    Ok(decode_upload(&bytes)?)
}

/// The answer, and the next two in brackets.
fn sentence(prediction: &Prediction, labels: &[String]) -> String {
    let mut top = prediction
        .top(3)
        .into_iter()
        .map(|(class, probability)| format!("{} {:.1} %", labels[class], 100.0 * probability));
    let first = top.next().unwrap_or_default();
    let others: Vec<_> = top.collect();
    format!("{first} ({})", others.join(", "))
}

fn document(path: &Path, prediction: &Prediction, labels: &[String]) -> Value {
    let top: Vec<_> = prediction
        .top(3)
        .into_iter()
        .map(|(class, probability)| json!({"label": labels[class], "probability": probability}))
        .collect();
    json!({
        "file": path.display().to_string(),
        "class": prediction.class,
        "label": labels[prediction.class],
        "probability": prediction.probability(),
        "top": top,
        "model": &*prediction.model,
    })
}

/// 28 lines of 56 characters, the brighter the denser; a terminal's characters are half as wide as
/// high.
fn blocks(image: &Image) -> String {
    const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];
    let shade = |&pixel: &u8| SHADES[usize::from(pixel).div_ceil(64)];
    let line = |row: &[u8]| row.iter().map(shade).chain(["\n"]).collect::<String>();
    image.pixels().chunks(Image::WIDTH).map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Two legs under a belt.
    fn trouser() -> Image {
        Image::from_fn(|row, column| {
            let belt = (3..9).contains(&row) && (9..19).contains(&column);
            let legs = (9..25).contains(&row) && matches!(column, 9..=12 | 15..=18);
            if belt || legs { 200 } else { 0 }
        })
    }

    /// Exit state, stdout and stderr of the command on a trouser, a text and a missing file.
    fn classify(options: &[&str]) -> (bool, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let files =
            ["notes.txt", "missing.png", "trouser.png"].map(|name| folder.path().join(name));
        fs::write(&files[0], "no picture").unwrap();
        fs::write(&files[2], trouser().to_png()).unwrap();
        let files = files.iter().map(|path| path.to_str().unwrap());
        let words = ["classify"].into_iter().chain(options.iter().copied()).chain(files);
        let arguments = Arguments::try_parse_from(words).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let all_classified = run(&arguments, &mut out, &mut err).unwrap();
        (all_classified, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn it_ends_without_a_word_where_nobody_reads() {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("a.png");
        fs::write(&picture, trouser().to_png()).unwrap();
        let picture = picture.to_str().unwrap();
        for words in [&["--model-info"][..], &[picture, picture], &["--json", picture]] {
            let arguments = Arguments::try_parse_from([&["classify"], words].concat()).unwrap();
            let (reader, mut closed) = io::pipe().unwrap();
            drop(reader);
            let mut err = Vec::new();
            let code = exit(run(&arguments, &mut closed, &mut err)).unwrap();
            assert_eq!((code, &err[..]), (ExitCode::from(141), &b""[..]), "{words:?}");
        }
    }

    #[test]
    fn bad_files_are_named_and_the_others_classified() {
        let (all_classified, out, err) = classify(&[]);
        assert!(!all_classified);
        let errors: Vec<_> = err.lines().collect();
        assert_eq!(errors.len(), 2, "{err}");
        assert!(errors[0].contains("notes.txt: the file is not a picture: send PNG"), "{err}");
        assert!(errors[1].contains("missing.png: cannot open the file: "), "{err}");
        assert_eq!(out.lines().count(), 1);
        assert!(out.contains("trouser.png: Trouser "), "{out}");
        assert_eq!(out.matches(" %").count(), 3, "{out}");
    }

    #[test]
    fn json_has_the_label_and_the_three_most_probable() {
        let (_, out, _) = classify(&["--json"]);
        let document: Value = serde_json::from_str(out.trim_end()).unwrap();
        assert_eq!(document["label"], "Trouser");
        assert_eq!(document["class"], 1);
        assert_eq!(document["model"]["name"], "base");
        let top = document["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[0]["probability"], document["probability"]);
    }

    #[test]
    fn show_prints_what_the_model_sees() {
        let (_, out, _) = classify(&["--show"]);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 29);
        assert!(lines[..28].iter().all(|line| line.chars().count() == 56));
        assert_eq!(lines[0].trim(), "");
        assert_eq!(lines[3].trim(), "██".repeat(10));
        assert_eq!(lines[12].trim(), "████████    ████████");
    }

    #[test]
    fn a_models_information_needs_no_picture() {
        let arguments = Arguments::try_parse_from(["classify", "--model-info"]).unwrap();
        let mut out = Vec::new();
        assert!(run(&arguments, &mut out, &mut io::sink()).unwrap());
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["model"]["name"], "base");
        assert_eq!(document["metadata"]["classes"][1], "Trouser");
        let answers = document["metadata"]["baseline"]["answers"].as_array().unwrap();
        assert_eq!(answers.iter().filter_map(Value::as_u64).sum::<u64>(), 5000);
        assert!(Arguments::try_parse_from(["classify"]).is_err());
    }

    #[test]
    fn an_unknown_model_is_an_error() {
        let arguments = Arguments::try_parse_from(["classify", "--model", "x", "a.png"]).unwrap();
        let error = run(&arguments, &mut io::sink(), &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains('x') && error.contains("base"), "{error}");
    }
}
