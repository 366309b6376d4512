use std::{fmt, str::FromStr};

use burn::tensor::Device;

use super::ClassifyError;

/// What computes; every engine gives the same classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// This library's own, see [`engine`](crate::engine): several times as fast as the others.
    #[default]
    Fused,
    /// Burn's Flex backend, of feature `flex`: pure Rust, on rayon's threads.
    Flex,
    /// Burn's NdArray backend, of feature `ndarray`: deprecated upstream, kept for comparison.
    NdArray,
}

impl Engine {
    /// Every engine of this version, whether it was compiled in or not.
    pub const ALL: [Self; 3] = [Self::Fused, Self::Flex, Self::NdArray];

    /// The name in configurations and commands; for Burn's, also that of the cargo feature.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    /// What Burn computes on; `None` if it is not Burn that computes.
    pub(super) fn device(self) -> Result<Option<Device>, ClassifyError> {
        match self {
            Self::Fused => Ok(None),
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Some(Device::flex())),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept for comparison as long as Burn has it")]
            Self::NdArray => Ok(Some(Device::ndarray())),
            #[cfg(not(all(feature = "flex", feature = "ndarray")))]
            engine => Err(ClassifyError::EngineMissing { engine }),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = ClassifyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| ClassifyError::UnknownEngine { name: name.to_owned() })
    }
}
