//! Why weights can't be used: what was expected, and what was found.

use std::path::PathBuf;

/// Why a weights file cannot be used; nothing was loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be read or written.
    #[error("cannot access weights file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a complete safetensors file: truncated, or something else altogether.
    #[error("expected a complete safetensors file, found {length_bytes} bytes that are not one")]
    Format {
        /// Length of what was read.
        length_bytes: usize,
        /// What the parser said.
        source: safetensors::SafeTensorError,
    },
    /// A safetensors file of another program, or of another version of this one.
    #[error("expected metadata {expected}, found {found}")]
    Metadata {
        /// What this version reads.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
    /// No network of that name exists, or another one was asked for.
    #[error("expected architecture {expected}, found {found:?}")]
    Architecture {
        /// What would have been right.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A tensor has another shape than the network's.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
    /// A tensor of the network is not in the file.
    #[error("expected tensor {name}, found none of that name")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor of the file is not in the network.
    #[error("expected no tensor {name}, found one")]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor holds other numbers than `f32`.
    #[error("tensor {name}: expected {expected}, found {found}")]
    Type {
        /// The tensor.
        name: String,
        /// The type of this format.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A NaN or an infinity among the weights.
    #[error("tensor {name}: expected finite values, found {found} at position {position}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Row-major position of the first such value.
        position: usize,
        /// The value.
        found: f32,
    },
    /// The weights were not calibrated for the engine `int8`.
    #[error(
        "layer {name}: expected its largest activation in the metadata, found {}; \
         `training calibrate` measures it", found.map_or("none".to_owned(), |found| found.to_string())
    )]
    Activation {
        /// The layer.
        name: String,
        /// What the metadata have, if anything.
        found: Option<f32>,
    },
    /// The network computes something else on this machine than where it was trained.
    #[error("golden image {image}, class {class}: expected logit {expected}, found {found}")]
    Golden {
        /// Which of the golden images.
        image: usize,
        /// Which logit.
        class: usize,
        /// The logit in the file.
        expected: f32,
        /// The logit computed at load.
        found: f32,
    },
}
