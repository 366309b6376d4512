//! The messages of `proto`, made by `scripts/generate-grpc.sh`: for callers in Rust, too.
#![allow(missing_docs, reason = "they are documented by the protocols")]

include!("wire/inference.rs");

/// Of the standard health service.
pub mod health {
    include!("wire/grpc.health.v1.rs");
}
