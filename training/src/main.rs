//! Trains, evaluates and compares Fashion-MNIST classifiers, whose weights `fmnist-core` carries: the old notebook, as
//! one program.

// They panic where nobody reads any more; `console` has what does not.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod commands;
mod console;
mod data;
mod learn;
mod options;
mod place;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{
    calibrate, card, cross_validate, download, evaluate, import, queue, robustness, seeds, speed,
    train,
};

/// Trains and judges the models of fmnist-core.
///
/// The data set is looked for in --data, $FMNIST_DATA, ./data/fashion-mnist and the user's cache.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  training download                            fetch Fashion-MNIST into the user's cache
  training train --model base                  train the default model as it was shipped
  training train --model notebook --out n.safetensors
  training train --model base --resume         go on from the last checkpoint
  nice -n 19 training queue training/queue.jsonl   train one recipe after the other
  training queue training/queue.jsonl --status     what is done, runs and waits
  training speed --model large --threads 1     how long would it take here?
  training train --model tiny --data my-shoes  pictures of one's own, a folder a class in my-shoes/train
  training cross-validate                      reproduce the old notebook, with its figures
  training evaluate --model base               judge the shipped weights on the test set
  training evaluate --model my.safetensors --engine int8
  training report                              all models, accuracy against cost
  training seeds base-1.safetensors base-2.safetensors   runs that differ in their seed
  training robustness --model base             noise, blur, rotation …, and photo-like composites
  training calibrate --model my.safetensors    give a file of an older version what is new";

#[derive(Subcommand)]
enum Command {
    /// Fetch Fashion-MNIST, verified and resumable.
    Download(download::DownloadArguments),
    /// Train a model and write its weights file.
    Train(train::TrainArguments),
    /// Train recipes and seeds of a list, one after the other, each resumed after a break.
    Queue(queue::QueueArguments),
    /// Train for a few seconds and print how many images a second that makes.
    Speed(speed::SpeedArguments),
    /// Train k networks, each without one k-th of the training images, and report how they do.
    CrossValidate(cross_validate::CrossValidateArguments),
    /// Note what serving needs, as `train` does at its end: activations for the engine int8, and how
    /// the network answers on held-out images.
    Calibrate(calibrate::CalibrateArguments),
    /// Print a model's card: what its weights file says of itself, as Markdown.
    Card(card::CardArguments),
    /// Turn a Keras model of the notebook's network into a weights file.
    Import(import::ImportArguments),
    /// Compare the models with each other and with published results.
    Report(commands::report::ReportArguments),
    /// Compare runs that differ in their seed: mean, spread, and which did best on held-out images.
    Seeds(seeds::SeedsArguments),
    /// Judge a model on corrupted images and on composites that look like photos, and report.
    Robustness(robustness::RobustnessArguments),
    /// Judge a model on the test set; the first line is its accuracy.
    Evaluate(data::JudgedArguments),
}

fn main() -> anyhow::Result<ExitCode> {
    console::exit(match Arguments::parse().command {
        Command::Download(arguments) => download::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Queue(arguments) => queue::run(&arguments),
        Command::Speed(arguments) => speed::run(&arguments),
        Command::CrossValidate(arguments) => cross_validate::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Card(arguments) => card::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Seeds(arguments) => seeds::run(&arguments),
        Command::Robustness(arguments) => robustness::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
    })
}
