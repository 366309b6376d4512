//! What the deployment files say twice, or take from the code.

use std::fs;

use fmnist_core::pipeline::PipelineConfig;
use frontend_actix::Config;
use serde_json::Value;
use service::config::Document;

use crate::repository::read;

fn yaml(path: &str) -> Value {
    serde_norway::from_str(&read(path)).unwrap()
}

#[test]
fn the_scaler_watches_the_group_and_topic_that_the_consumer_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, read("deploy/kustomize/base/config.json")).unwrap();
    let kafka = Config::load(Some(&path), []).unwrap().kafka;
    let scaling = yaml("deploy/kustomize/components/scaled/scaling.yaml");
    let trigger = &scaling["spec"]["triggers"][0]["metadata"];
    assert_eq!(trigger["bootstrapServers"], kafka.bootstrap_servers.as_str());
    assert_eq!(trigger["consumerGroup"], kafka.group_id.as_str());
    assert_eq!(trigger["topic"], kafka.topic.as_str());
    let reset = serde_json::to_value(kafka.auto_offset_reset).unwrap();
    assert_eq!(trigger["offsetResetPolicy"], reset);
}

#[test]
fn a_pod_is_given_longer_to_end_than_the_program_takes() {
    // The server first, the pipeline after it, and a second at least for the transport.
    const SERVER_SECONDS: u64 = 10;
    let needed = SERVER_SECONDS + PipelineConfig::default().grace_ms / 1_000 + 1;
    let deployment = yaml("deploy/kustomize/base/deployment.yaml");
    let given = &deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!((needed..=30).contains(&given.as_u64().unwrap()), "{given}");
    let compose = yaml("deploy/docker-compose.yml");
    for service in ["demo", "kafka-consumer"] {
        assert_eq!(compose["services"][service]["stop_grace_period"], "30s", "{service}");
    }
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let image = format!("FROM rust:{}-", channel.trim_matches('"'));
    assert!(read("deploy/Dockerfile").contains(&image), "{image}");
}
