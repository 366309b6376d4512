//! A file, the environment over it, and what both may say.
//!
//! Layers, strongest first: `PREFIX_SECTION__KEY`, the well-known names of a [`Document`], the file, the
//! defaults. `PREFIX` is the program's, see [`stream_inference::names`]. A name with `_FILE` at its end takes
//! the value from that file, for secrets. A variable that is empty is as good as none.

mod added;
mod arguments;
mod document;
mod error;
mod layers;
mod links;
mod origins;
mod probes;
mod stream;
mod unique;

pub use added::Added;
pub use arguments::ConfigArguments;
pub use document::Document;
pub use error::ConfigError;
pub use origins::Origins;
pub use probes::{ProbesConfig, WriteTimeoutMs};
pub use stream::{Config, NoSettings};
