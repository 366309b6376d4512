//! The networks of this version, a row each: Burn's modules, the plans of the fast engine, training's
//! tape and the cost are made from these rows.

use std::{fmt, str::FromStr};

use super::notebook;
use crate::{image::Image, text::list};

/// What is declared of the networks without Burn.
macro_rules! architectures {
    ($($(#[$doc:meta])+ $Network:ident = $name:literal [$($row:expr),*];)+) => {
        /// Which network.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[non_exhaustive]
        pub enum Architecture {
            $($(#[$doc])+ $Network,)+
        }

        impl Architecture {
            /// Every architecture of this version.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$Network),+];

            /// The name in weights files, configurations and commands.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Network => $name,)+
                }
            }

            pub(super) const fn rows(self) -> &'static [Row] {
                match self {
                    $(Self::$Network => const { &checked([$($row),*]) },)+
                }
            }
        }

    };
}

/// The networks, for a macro that declares something of each: a row is the name of the variant and of the type
/// of its module, the name for people, and the units in order, of which the first is the stem. The notebook's
/// network has none.
macro_rules! networks {
    ($declare:ident) => {
        $declare! {
            /// The old notebook's network: see [`Notebook`](super::Notebook).
            Notebook = "notebook" [];
            /// A small residual network that pools instead of striding and ends on a flattened 3×3 map:
            /// 79 k parameters for ten classes, 4.9 million multiply-adds an image.
            Base = "base" [plain(16).pooled(), residual(32).pooled(), residual(48).pooled(), residual(32)];
            /// Plain convolutions between pools, for the smallest processors: 16 k parameters for ten classes,
            /// 0.8 million multiply-adds an image.
            Tiny = "tiny" [plain(16).pooled(), plain(16).pooled(), plain(24).pooled(), plain(32)];
            /// `base` four times as wide in parameters and one block deeper: 298 k parameters for ten classes,
            /// 31 million multiply-adds an image.
            Large = "large" [
                plain(32).pooled(),
                residual(64),
                residual(64).pooled(),
                residual(64).pooled(),
                residual(64)
            ];
        }
    };
}
#[cfg(feature = "burn")]
pub(super) use networks;

networks!(architectures);

/// What Burn's batch normalisation adds to a variance.
pub(crate) const NORM_EPSILON: f64 = 1e-5;

/// What a unit computes; ReLU and, if it is pooled, 2×2 maxima follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A normalised 3×3 convolution.
    Plain,
    /// Two of them, beside a 1×1 one that carries the input across the change of width.
    Residual,
}

/// A unit as its network's row has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// Channels that come out.
    channels: usize,
    pub(super) pooled: bool,
}

const fn plain(channels: usize) -> Row {
    Row { kind: Kind::Plain, channels, pooled: false }
}

const fn residual(channels: usize) -> Row {
    Row { kind: Kind::Residual, channels, pooled: false }
}

impl Row {
    const fn pooled(self) -> Self {
        Self { pooled: true, ..self }
    }
}

/// Refuses, where it is compiled, a network that the engine has no operation for.
const fn checked<const COUNT: usize>(rows: [Row; COUNT]) -> [Row; COUNT] {
    match rows.as_slice() {
        [] => {}
        [stem, .., last] => {
            let is_stem = matches!(stem.kind, Kind::Plain) && stem.pooled && stem.channels <= 32;
            assert!(is_stem, "a stem is a pooled convolution to at most 32 channels");
            assert!(last.channels.is_multiple_of(16), "the last channels fill blocks of sixteen");
        }
        [_] => panic!("a network has units behind its stem"),
    }
    rows
}

/// A unit with what follows from those before it.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// What its tensors' names begin with.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Channels that go in and that come out.
    pub(crate) channels: [usize; 2],
    /// Rows, and columns, of the maps that it computes.
    pub(crate) side: usize,
    pub(crate) pooled: bool,
}

impl Unit {
    /// Rows, and columns, of what comes out; an odd map's last ones are left out of a pool.
    pub(crate) const fn output_side(&self) -> usize {
        if self.pooled { self.side / 2 } else { self.side }
    }

    /// Numbers that come out.
    pub(crate) const fn outputs(&self) -> usize {
        self.channels[1] * self.output_side() * self.output_side()
    }

    const fn multiply_adds(&self) -> usize {
        let [inputs, outputs] = self.channels;
        let weights = match self.kind {
            Kind::Plain => 9 * inputs * outputs,
            Kind::Residual => (9 + 1) * inputs * outputs + 9 * outputs * outputs,
        };
        weights * self.side * self.side
    }
}

impl Architecture {
    /// The units in order, none of the notebook's network.
    pub(crate) fn units(self) -> Vec<Unit> {
        let (mut inputs, mut side) = (1, Image::WIDTH);
        let rows = self.rows();
        let unit = |(index, &Row { kind, channels, pooled }): (usize, &Row)| {
            let earlier = rows[..index].iter().skip(1).filter(|row| row.kind == kind).count();
            let name = match kind {
                _ if index == 0 => "stem".to_owned(),
                Kind::Plain => format!("layers.{earlier}"),
                Kind::Residual => format!("blocks.{earlier}"),
            };
            let unit = Unit { name, kind, channels: [inputs, channels], side, pooled };
            (inputs, side) = (channels, unit.output_side());
            unit
        };
        rows.iter().enumerate().map(unit).collect()
    }

    /// Multiply-adds of convolutions and dense layers for one image.
    pub fn multiply_adds(self, classes: usize) -> usize {
        let units = self.units();
        match units.last() {
            Some(last) => {
                units.iter().map(Unit::multiply_adds).sum::<usize>() + last.outputs() * classes
            }
            None => notebook::multiply_adds(classes),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no architecture has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no architecture is called {name:?}; there are {}", list(&Architecture::ALL.map(Architecture::name))
)]
#[non_exhaustive]
pub struct UnknownArchitecture {
    /// The name as given.
    pub name: String,
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.name() == name)
            .ok_or_else(|| UnknownArchitecture { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_channels_and_sides_follow_from_the_rows() {
        let units = Architecture::Large.units();
        let found = units.iter().map(|unit| (&*unit.name, unit.channels, unit.side, unit.pooled));
        let expected = [
            ("stem", [1, 32], 28, true),
            ("blocks.0", [32, 64], 14, false),
            ("blocks.1", [64, 64], 14, true),
            ("blocks.2", [64, 64], 7, true),
            ("blocks.3", [64, 64], 3, false),
        ];
        assert!(found.eq(expected), "{units:?}");
        assert_eq!(units.last().map(Unit::outputs), Some(576));
        assert_eq!(Architecture::Tiny.units()[3].name, "layers.2");
    }

    #[test]
    fn multiply_adds_are_as_many_as_the_documentation_says() {
        assert_eq!(Architecture::Tiny.multiply_adds(10), 798_912);
        assert_eq!(Architecture::Base.multiply_adds(10), 4_915_520);
        assert_eq!(Architecture::Large.multiply_adds(10), 31_238_272);
        let notebook = 32 * 9 * 26 * 26 + 5408 * 100 + 100 * 10;
        assert_eq!(Architecture::Notebook.multiply_adds(10), notebook);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let message = "huge".parse::<Architecture>().unwrap_err().to_string();
        let expected = "no architecture is called \"huge\"; there are notebook, base, tiny";
        assert!(message.starts_with(expected), "{message}");
    }
}
