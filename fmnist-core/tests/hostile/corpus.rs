//! What `scripts/fuzz.sh` begins with, and what it has found: each file once.

use std::{fs, path::Path};

use crate::{Alone, MIB, entry_points};

fn replay(name: &str, target: fn(&[u8])) {
    let alone = Alone::wait();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let ((), peak) = alone.measured(|| target(&bytes));
        assert!(peak <= 16 * MIB, "{peak} bytes for {}", path.display());
        files += 1;
    }
    assert!(files >= 10, "only {files} files in {}", folder.display());
}

#[test]
fn the_corpus_of_requests_does_no_harm() {
    replay("request", entry_points::request);
}

#[test]
fn the_corpus_of_cloud_events_does_no_harm() {
    replay("cloud_event", entry_points::cloud_event);
}

#[test]
fn the_corpus_of_the_inference_protocol_does_no_harm() {
    replay("inference_protocol", entry_points::inference_protocol);
}

#[test]
fn the_corpus_of_data_sets_does_no_harm() {
    replay("idx", entry_points::idx);
}

#[test]
fn the_corpus_of_pictures_does_no_harm() {
    replay("picture", entry_points::picture);
}

#[test]
fn the_corpus_of_weights_does_no_harm() {
    replay("weights", entry_points::weights);
}
