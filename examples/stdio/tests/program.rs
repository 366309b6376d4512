//! The transport under a whole program, in a process of its own: a program's name begins the names of all that
//! is in it.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "../held.rs"]
mod held;
#[path = "../line.rs"]
mod line;
mod source;
#[path = "../transport.rs"]
mod transport;

use std::{io::BufReader, process::ExitCode};

use clap::Parser;
use fmnist_core::{
    ModelIdentity, PredictError, codec::Json, predict::function, transport::Transport,
};
use line::Format;
use service::{Stream, config::NoSettings};
use test_kit::Written;
use transport::{Lines, StdioTransport};

/// A program that knows Kafka, Pub/Sub and stdin.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    stream: Stream,
}

/// The lines of a stream, read as JSON.
fn lines(of: &Written) -> Vec<serde_json::Value> {
    let written = of.text();
    let lines = written.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_program_answers_what_comes_over_this_transport_by_one_line_of_its_own() {
    let (results, letters) = (Written::default(), Written::default());
    let input = BufReader::new(&b"1\n2.5\nnothing\n"[..]);
    let piped = Lines::start(Format::Bare, 1 << 20, input, results.clone(), letters.clone());
    let piped = piped.unwrap();
    let load = |_: &NoSettings| {
        let model = function(ModelIdentity::of_code("doubled", "1"), |batch: &[f64]| {
            Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
        });
        Ok((model, Json::<f64, f64>::new()))
    };
    let program = Program::parse_from(["doubled"]);
    let code = program.stream.run_over("doubled", piped.clone(), load);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    let said = lines(&results);
    let said = said.iter().map(|said| (&said["source"]["transport"], &said["predictions"]));
    let expected = [2.0, 5.0].map(|x| (StdioTransport::NAME.into(), serde_json::json!([x])));
    assert!(said.eq(expected.iter().map(|(name, predictions)| (name, predictions))));
    assert_eq!(lines(&letters)[0]["payload"], "nothing");
    assert_eq!(piped.held.first_without_end(), None);
    // A broker of those that are known is of no use to it, nor a topic.
    for argument in ["--broker=kafka", "--create"] {
        let program = Program::parse_from(["doubled", argument]);
        let code = program.stream.run_over("doubled", piped.clone(), load);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE), "{argument}");
    }
}
