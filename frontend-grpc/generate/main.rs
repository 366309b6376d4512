//! Writes the messages of `proto` as Rust into the folder that is named.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which folder?")?;
    let proto = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto"));
    let files = protox::compile(["inference.proto", "health.proto"], [proto])?;
    prost_build::Config::new()
        .out_dir(out)
        // A tensor's bytes stay where they were received.
        .bytes(["."])
        .compile_fds(files)?;
    Ok(())
}
