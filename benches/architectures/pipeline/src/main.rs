//! This library's consumer around a model that is here or elsewhere, and around none:
//! `pipeline --place grpc://127.0.0.1:8081 --kafka 127.0.0.1:9092`

mod grpc;
mod http;
mod remote;

use std::{num::NonZeroUsize, process::ExitCode};

use clap::Parser;
use fmnist_core::{Classifier, Infer, ModelIdentity, message::Requests, testing::FakeModel};
use service::{Stream, config::NoSettings};

use crate::{
    grpc::Grpc,
    http::Http,
    remote::{Remote, Server},
};

/// A pipeline from topic to topic
#[derive(Parser)]
struct Arguments {
    /// Where the model is: embedded, none, http://HOST:PORT or grpc://HOST:PORT
    #[arg(long)]
    place: String,
    /// Threads of an embedded model
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
    /// Into how many requests a batch is cut, all at the server at once
    #[arg(long, default_value = "1")]
    requests: NonZeroUsize,
    /// Sends an image as a string of bytes, for servers that unpack tensors number by number
    #[arg(long)]
    byte_strings: bool,
    #[command(flatten)]
    stream: Stream,
}

fn main() -> ExitCode {
    let Arguments { place, threads, requests, byte_strings, stream } = Arguments::parse();
    stream.run("pipeline", move |_: &NoSettings| {
        let model: Box<dyn Infer> = match place.split_once("://") {
            Some(("http", _)) => Box::new(remote(Http::new(&place), requests)?),
            Some(("grpc", host)) => Box::new(remote(Grpc::new(host, byte_strings)?, requests)?),
            None if place == "embedded" => {
                Box::new(Classifier::pretrained()?.with_threads(threads))
            }
            // Computes nothing: what Kafka and the pipeline cost without a model.
            None if place == "none" => {
                let identity = ModelIdentity::of_code("none", "1.0");
                Box::new(FakeModel::new(identity, |_| Ok(FakeModel::certain_of(0))))
            }
            _ => anyhow::bail!("expected embedded, none, http://… or grpc://…, found {place}"),
        };
        let requests = Requests::new(&*model, [].into());
        Ok((model, requests))
    })
}

fn remote<S: Server>(server: S, requests: NonZeroUsize) -> anyhow::Result<Remote<S>> {
    let remote = Remote::new(server, requests);
    remote.wait()?;
    Ok(remote)
}
