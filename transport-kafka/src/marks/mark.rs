//! A mark as it stands in the group of marks: an offset, and words as its metadata.

use std::fmt;

use stream_inference::transport::{Crashes, Stage};

/// What the metadata of a mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Text {
    #[default]
    Closed,
    Open,
    Alone(Alone),
}

/// A message that is in flight alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alone {
    pub(super) offset: i64,
    pub(super) crashes: Crashes,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => Ok(()),
            Self::Open => f.write_str("open"),
            Self::Alone(Alone { offset, crashes: Crashes { count, stage } }) => {
                write!(f, "alone from={offset} crashes={count} stage={stage}")
            }
        }
    }
}

impl Text {
    /// Anything else is no mark, and so as good as none.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let first = words.next();
        let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let mut alone = || {
            let (offset, count) = (value("from")?.parse().ok()?, value("crashes")?.parse().ok()?);
            let name = value("stage")?;
            let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == name)?;
            Some(Alone { offset, crashes: Crashes { count, stage } })
        };
        match first {
            Some("open") => Self::Open,
            Some("alone") => alone().map_or(Self::Closed, Self::Alone),
            _ => Self::Closed,
        }
    }
}

/// A mark as it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) offset: i64,
    pub(crate) text: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_anything_else_is_none() {
        let crashes = Crashes { count: 2, stage: Stage::Infer };
        for text in [Text::Closed, Text::Open, Text::Alone(Alone { offset: 7, crashes })] {
            assert_eq!(Text::parse(&text.to_string()), text);
        }
        let shown = Text::Alone(Alone { offset: 7, crashes }).to_string();
        assert_eq!(shown, "alone from=7 crashes=2 stage=INFER");
        for odd in
            ["closed", "alone", "alone from=x crashes=1 stage=INFER", "alone from=1 crashes=1"]
        {
            assert_eq!(Text::parse(odd), Text::Closed, "{odd}");
        }
    }
}
