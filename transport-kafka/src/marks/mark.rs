//! A mark as it stands in the group of marks: an offset, and words as its metadata.

use std::{fmt, str::Split};

use stream_inference::transport::{Crashes, Stage};

/// What the metadata of a mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Text {
    #[default]
    Closed,
    Open,
    Few(Few),
    Alone(Alone),
}

/// Messages that are in flight with nothing else: the offsets from the first to one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Few {
    pub(super) from: i64,
    pub(super) to: i64,
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
            Self::Few(Few { from, to }) => write!(f, "few from={from} to={to}"),
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
        let text = match words.next() {
            Some("open") => Some(Self::Open),
            Some("few") => Few::parse(words).map(Self::Few),
            Some("alone") => Alone::parse(words).map(Self::Alone),
            _ => None,
        };
        text.unwrap_or_default()
    }
}

impl Few {
    fn parse(mut words: Split<'_, char>) -> Option<Self> {
        let from = value(&mut words, "from=")?.parse().ok()?;
        Some(Self { from, to: value(&mut words, "to=")?.parse().ok()? })
    }
}

impl Alone {
    fn parse(mut words: Split<'_, char>) -> Option<Self> {
        let offset = value(&mut words, "from=")?.parse().ok()?;
        let count = value(&mut words, "crashes=")?.parse().ok()?;
        let name = value(&mut words, "stage=")?;
        let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == name)?;
        Some(Self { offset, crashes: Crashes { count, stage } })
    }
}

fn value<'t>(words: &mut Split<'t, char>, name: &str) -> Option<&'t str> {
    words.next()?.strip_prefix(name)
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
        let few = Text::Few(Few { from: 3, to: 67 });
        for text in [Text::Closed, Text::Open, few, Text::Alone(Alone { offset: 7, crashes })] {
            assert_eq!(Text::parse(&text.to_string()), text);
        }
        assert_eq!(few.to_string(), "few from=3 to=67");
        let shown = Text::Alone(Alone { offset: 7, crashes }).to_string();
        assert_eq!(shown, "alone from=7 crashes=2 stage=INFER");
        for odd in [
            "closed",
            "few from=1",
            "alone",
            "alone from=x crashes=1 stage=INFER",
            "alone from=1 crashes=1",
        ] {
            assert_eq!(Text::parse(odd), Text::Closed, "{odd}");
        }
    }
}
