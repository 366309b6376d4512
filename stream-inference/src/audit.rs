//! Whether every input came to exactly one end: what audits and kill tests judge by.
//!
//! ```
//! use stream_inference::audit::Ledger;
//!
//! let mut ledger = Ledger::default();
//! for id in ["INFERENCE/0/7", "INFERENCE/0/8", "INFERENCE/0/9"] {
//!     ledger.input(id);
//! }
//! ledger.result("INFERENCE/0/7");
//! ledger.result("INFERENCE/0/8#1/2");
//! ledger.result("INFERENCE/0/8#2/2");
//! ledger.result("INFERENCE/0/7");
//! let account = ledger.account();
//! assert_eq!(account.answered, 2);
//! assert_eq!(account.doubled, ["INFERENCE/0/7"]);
//! assert_eq!(account.missing, ["INFERENCE/0/9"]);
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::PartId;

/// Inputs and their ends, by id, in any order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    is_input: bool,
    whole_results: usize,
    /// Counts of part 1, part 2, … by the number of parts.
    parts: BTreeMap<usize, Vec<usize>>,
    dead_letters: usize,
    is_filtered: bool,
}

/// What the inputs came to. An input has one end: a result, every part of a split result, a dead
/// letter, or none that can be seen where its answer is filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Inputs.
    pub inputs: usize,
    /// Inputs with at least one whole result, and no dead letter.
    pub answered: usize,
    /// Inputs with at least one dead letter.
    pub dead_lettered: usize,
    /// Inputs whose answer is not published, as [`Ledger::filtered`] says.
    #[serde(default)]
    pub filtered: usize,
    /// Results, complete sets of parts, single surplus parts and dead letters beyond each input's
    /// first end.
    pub duplicates: usize,
    /// Ids of inputs without any end.
    pub missing: Vec<String>,
    /// Ids of inputs that have some parts of a result, and no end.
    pub incomplete: Vec<String>,
    /// Ids of inputs with more than one end.
    pub doubled: Vec<String>,
    /// Ids of results and dead letters that belong to no input.
    pub orphaned: Vec<String>,
}

impl Account {
    /// Whether every input has an end and nothing else has: the promise of at least once.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.incomplete.is_empty() && self.orphaned.is_empty()
    }

    /// Whether every input has exactly one end: the promise of exactly once.
    pub fn is_exact(&self) -> bool {
        self.is_complete() && self.doubled.is_empty()
    }
}

impl Ledger {
    /// Enters a message that is to have an end.
    pub fn input(&mut self, id: &str) {
        self.entry(id).is_input = true;
    }

    /// Enters a result by its `id`, which is its input's, or that of a [part](PartId) of an answer.
    pub fn result(&mut self, id: &str) {
        match PartId::parse(id) {
            None => self.entry(id).whole_results += 1,
            Some(PartId { message, k, n }) => {
                self.entry(message).parts.entry(n).or_insert_with(|| vec![0; n])[k - 1] += 1;
            }
        }
    }

    /// Enters a dead letter by the id in its header `id`, see [`names`](crate::names).
    pub fn dead_letter(&mut self, id: &str) {
        self.entry(id).dead_letters += 1;
    }

    /// Enters that the answer to an input is not published: it needs no other end.
    pub fn filtered(&mut self, id: &str) {
        self.entry(id).is_filtered = true;
    }

    /// Draws up the account; its lists are sorted.
    pub fn account(&self) -> Account {
        let mut account = Account::default();
        for (id, entry) in &self.entries {
            let Entry { is_input, whole_results, dead_letters, .. } = *entry;
            let (sets, surplus_parts) = entry.parts();
            let ends = whole_results + sets + dead_letters;
            if !is_input {
                account.orphaned.push(id.clone());
                continue;
            }
            account.inputs += 1;
            match ends {
                0 if surplus_parts > 0 => account.incomplete.push(id.clone()),
                0 if entry.is_filtered => account.filtered += 1,
                0 => account.missing.push(id.clone()),
                _ if dead_letters > 0 => account.dead_lettered += 1,
                _ => account.answered += 1,
            }
            if ends > 1 || (ends == 1 && surplus_parts > 0) {
                account.doubled.push(id.clone());
                account.duplicates += ends - 1 + surplus_parts;
            }
        }
        account
    }

    fn entry(&mut self, id: &str) -> &mut Entry {
        self.entries.entry(id.to_owned()).or_default()
    }
}

impl Entry {
    /// Complete sets of parts, and parts beyond them.
    ///
    /// The number of parts may differ between two answers to one input, after a change of
    /// `max_result_bytes`; parts of different numbers never make a set together.
    fn parts(&self) -> (usize, usize) {
        let (mut sets, mut surplus) = (0, 0);
        for counts in self.parts.values() {
            let complete = counts.iter().copied().min().unwrap_or(0);
            sets += complete;
            surplus += counts.iter().map(|count| count - complete).sum::<usize>();
        }
        (sets, surplus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(inputs: &[&str], results: &[&str], dead_letters: &[&str]) -> Account {
        let mut ledger = Ledger::default();
        // Ends may be read before their inputs.
        results.iter().for_each(|id| ledger.result(id));
        inputs.iter().for_each(|id| ledger.input(id));
        dead_letters.iter().for_each(|id| ledger.dead_letter(id));
        ledger.account()
    }

    #[test]
    fn one_result_or_one_dead_letter_for_each_input_is_exact() {
        let found = account(&["t/0/1", "t/0/2", "t/1/0"], &["t/0/1", "t/1/0"], &["t/0/2"]);
        let expected = Account { inputs: 3, answered: 2, dead_lettered: 1, ..Account::default() };
        assert_eq!(found, expected);
        assert!(found.is_exact());
    }

    #[test]
    fn an_input_without_an_end_is_missing() {
        let found = account(&["t/0/1", "t/0/2"], &["t/0/2"], &[]);
        assert_eq!(found.missing, ["t/0/1"]);
        assert!(!found.is_complete());
    }

    #[test]
    fn an_input_whose_answer_is_filtered_needs_no_other_end() {
        let mut ledger = Ledger::default();
        ["t/0/1", "t/0/2"].iter().for_each(|id| ledger.input(id));
        ledger.filtered("t/0/1");
        let found = ledger.account();
        assert_eq!((found.filtered, &*found.missing), (1, &["t/0/2".to_owned()][..]));
        ledger.result("t/0/2");
        assert!(ledger.account().is_exact());
    }

    #[test]
    fn a_second_end_of_any_kind_is_a_double() {
        let ends: [(&[&str], &[&str]); 3] =
            [(&["t/0/1", "t/0/1"], &[]), (&["t/0/1"], &["t/0/1"]), (&[], &["t/0/1", "t/0/1"])];
        for (results, dead_letters) in ends {
            let found = account(&["t/0/1"], results, dead_letters);
            assert_eq!((&*found.doubled, found.duplicates), (&["t/0/1".to_owned()][..], 1));
            assert!(found.is_complete() && !found.is_exact());
        }
    }

    #[test]
    fn an_end_without_an_input_is_an_orphan() {
        let found = account(&[], &["t/0/1#1/2"], &["t/9/9"]);
        assert_eq!(found.orphaned, ["t/0/1", "t/9/9"]);
        assert!(!found.is_complete());
    }

    #[test]
    fn all_parts_together_are_one_end() {
        let found = account(&["t/0/1"], &["t/0/1#2/3", "t/0/1#1/3", "t/0/1#3/3"], &[]);
        assert_eq!((found.answered, found.is_exact()), (1, true));
    }

    #[test]
    fn some_parts_are_no_end() {
        let found = account(&["t/0/1"], &["t/0/1#1/3", "t/0/1#3/3", "t/0/1#3/3"], &[]);
        assert_eq!((found.answered, &*found.incomplete), (0, &["t/0/1".to_owned()][..]));
        assert!(found.missing.is_empty() && !found.is_complete());
    }

    #[test]
    fn a_part_that_comes_twice_is_a_double_and_so_are_sets_of_other_sizes() {
        let twice = account(&["t/0/1"], &["t/0/1#1/2", "t/0/1#2/2", "t/0/1#1/2"], &[]);
        assert_eq!((&*twice.doubled, twice.duplicates), (&["t/0/1".to_owned()][..], 1));
        let other = account(&["t/0/1"], &["t/0/1#1/2", "t/0/1#2/2", "t/0/1#1/1"], &[]);
        assert_eq!((&*other.doubled, other.duplicates), (&["t/0/1".to_owned()][..], 1));
        // Half an answer of two parts and half of three are no answer.
        let mixed = account(&["t/0/1"], &["t/0/1#1/2", "t/0/1#2/3"], &[]);
        assert_eq!(&*mixed.incomplete, ["t/0/1"]);
    }

    #[test]
    fn what_only_looks_like_a_part_is_an_id_of_its_own() {
        for id in ["t#0/1", "t#2/1", "t#x/1", "t#1/", "t#1/9999999", "#"] {
            let found = account(&[id], &[id], &[]);
            assert_eq!((found.answered, found.is_exact()), (1, true), "{id}");
        }
    }
}
