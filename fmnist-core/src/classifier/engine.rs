use std::{fmt, str::FromStr};

use burn::tensor::Device;

use super::ClassifyError;

/// What computes; every engine gives the same classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// Burn's Flex backend, of feature `flex`: pure Rust, on rayon's threads.
    #[default]
    Flex,
    /// Burn's NdArray backend, of feature `ndarray`: deprecated upstream, kept for comparison.
    NdArray,
}

impl Engine {
    /// Every engine of this version, whether it was compiled in or not.
    pub const ALL: [Self; 2] = [Self::Flex, Self::NdArray];

    /// The name in configurations and commands; also that of the cargo feature.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    pub(super) fn device(self) -> Result<Device, ClassifyError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept for comparison as long as Burn has it")]
            Self::NdArray => Ok(Device::ndarray()),
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
