//! What is outstanding on each partition: which outcomes still count, and how far to commit.
//!
//! No clock and no client: whoever receives, settles or is told of a rebalance calls this under the lock of
//! [`Shared`](crate::shared::Shared). What may be committed never passes a message without its end.

use std::collections::{BTreeMap, HashMap};

use stream_inference::transport::Fate;

/// The claims on messages of the partitions that this consumer has some of.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    partitions: HashMap<i32, LaneClaims>,
    last_number: u64,
    last_epoch: u64,
}

/// Those of one partition.
#[derive(Debug)]
struct LaneClaims {
    /// Tells one assignment of the partition from the next.
    epoch: u64,
    /// Received and not yet below the low-water mark, by offset.
    outstanding: BTreeMap<i64, Outstanding>,
    /// How often each message failed itself; those pulled back behind it did not.
    failures: BTreeMap<i64, u32>,
    /// Where the consumer has to go back to before it may receive of this partition again.
    seek: Option<i64>,
}

#[derive(Debug)]
struct Outstanding {
    claim: u64,
    done: bool,
}

/// A consumer's claim on one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    epoch: u64,
    number: u64,
}

/// Whether an outcome still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Valid,
    /// An earlier message of the lane is delivered again, and so is this one.
    PulledBack,
    /// The partition was revoked.
    Stale,
}

impl Standing {
    /// What becomes of an outcome that does not count any more.
    pub(crate) const fn fate(self) -> Option<Fate> {
        match self {
            Self::Valid => None,
            Self::PulledBack => Some(Fate::Retried),
            Self::Stale => Some(Fate::Stale),
        }
    }
}

impl Claims {
    /// Registers a message; returns its claim and which attempt at it this is, from 1.
    pub(crate) fn receive(&mut self, partition: i32, offset: i64) -> (Claim, u32) {
        let last_epoch = &mut self.last_epoch;
        let lane = self.partitions.entry(partition).or_insert_with(|| {
            *last_epoch += 1;
            LaneClaims {
                epoch: *last_epoch,
                outstanding: BTreeMap::new(),
                failures: BTreeMap::new(),
                seek: None,
            }
        });
        self.last_number += 1;
        let number = self.last_number;
        lane.outstanding.insert(offset, Outstanding { claim: number, done: false });
        let attempt = lane.failures.get(&offset).map_or(1, |before| before + 1);
        (Claim { partition, offset, epoch: lane.epoch, number }, attempt)
    }

    pub(crate) fn standing(&self, claim: Claim) -> Standing {
        match self.partitions.get(&claim.partition) {
            Some(lane) if lane.epoch == claim.epoch => match lane.outstanding.get(&claim.offset) {
                Some(found) if found.claim == claim.number => Standing::Valid,
                _ => Standing::PulledBack,
            },
            _ => Standing::Stale,
        }
    }

    /// Marks a message as part of the open transaction, which needs every earlier one of its lane:
    /// a result can't be committed without its offset, nor an offset past a hole. Where one of
    /// them has no outcome yet, the message is handed back.
    pub(crate) fn stage(&mut self, claim: Claim) -> Standing {
        let standing = self.standing(claim);
        let Some(lane) = self.partitions.get_mut(&claim.partition) else { return standing };
        if standing != Standing::Valid {
            return standing;
        }
        let mut up_to = lane.outstanding.range_mut(..=claim.offset).rev();
        let (own, before) = (up_to.next(), up_to.next());
        if before.is_some_and(|(_, before)| !before.done) {
            self.pull_back(claim);
            return Standing::PulledBack;
        }
        if let Some((_, own)) = own {
            own.done = true;
        }
        Standing::Valid
    }

    /// Marks a message as done. Gives the last offset of the unbroken run of done messages, once
    /// it has moved: what may be committed.
    pub(crate) fn done(&mut self, claim: Claim) -> Option<i64> {
        if self.standing(claim) != Standing::Valid {
            return None;
        }
        let lane = self.partitions.get_mut(&claim.partition)?;
        lane.outstanding.get_mut(&claim.offset)?.done = true;
        let mut low_water = None;
        while let Some(first) = lane.outstanding.first_entry() {
            if !first.get().done {
                break;
            }
            lane.failures.remove(first.key());
            low_water = Some(first.remove_entry().0);
        }
        low_water
    }

    /// Hands a message back, and with it every later one of its lane; returns whether it counted.
    pub(crate) fn pull_back(&mut self, claim: Claim) -> bool {
        if self.standing(claim) != Standing::Valid {
            return false;
        }
        let Some(lane) = self.partitions.get_mut(&claim.partition) else { return false };
        drop(lane.outstanding.split_off(&claim.offset));
        lane.seek = Some(lane.seek.map_or(claim.offset, |other| other.min(claim.offset)));
        true
    }

    /// As [`Claims::pull_back`], of a message that failed itself: its next attempt is a further one.
    pub(crate) fn retry(&mut self, claim: Claim) -> bool {
        let counted = self.pull_back(claim);
        if let Some(lane) = self.partitions.get_mut(&claim.partition).filter(|_| counted) {
            *lane.failures.entry(claim.offset).or_default() += 1;
        }
        counted
    }

    /// The first message of each partition that is not done yet.
    pub(crate) fn unacknowledged(&self) -> HashMap<i32, i64> {
        let first = |(&partition, lane): (&i32, &LaneClaims)| {
            let (&offset, _) = lane.outstanding.first_key_value()?;
            Some((partition, lane.seek.map_or(offset, |seek| seek.min(offset))))
        };
        self.partitions.iter().filter_map(first).collect()
    }

    /// Whether the partition waits for the consumer to go back.
    pub(crate) fn is_seeking(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_some_and(|lane| lane.seek.is_some())
    }

    /// Whether nothing is in flight.
    pub(crate) fn are_idle(&self) -> bool {
        self.partitions.values().all(|lane| lane.outstanding.is_empty())
    }

    /// Where the consumer has to go back to, by partition.
    pub(crate) fn seeks(&self) -> Vec<(i32, i64)> {
        let seek = |(&partition, lane): (&i32, &LaneClaims)| Some((partition, lane.seek?));
        self.partitions.iter().filter_map(seek).collect()
    }

    /// Takes note that the consumer went back to `offset`.
    pub(crate) fn sought(&mut self, partition: i32, offset: i64) {
        if let Some(lane) = self.partitions.get_mut(&partition)
            && lane.seek == Some(offset)
        {
            lane.seek = None;
        }
    }

    /// Forgets a revoked partition: outcomes of its messages are stale from now on.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(claims: &mut Claims, offsets: std::ops::Range<i64>) -> Vec<Claim> {
        offsets.map(|offset| claims.receive(0, offset).0).collect()
    }

    #[test]
    fn the_low_water_mark_never_passes_a_hole() {
        let mut claims = Claims::default();
        let received = receive(&mut claims, 10..14);
        assert_eq!(claims.done(received[1]), None);
        assert_eq!(claims.done(received[2]), None);
        assert_eq!(claims.done(received[0]), Some(12));
        assert_eq!(claims.done(received[3]), Some(13));
    }

    #[test]
    fn in_any_order_of_confirmations_the_mark_is_the_longest_done_prefix() {
        // Every order of seven confirmations, by the factorial number system.
        for permutation in 0..5040_usize {
            let mut claims = Claims::default();
            let mut left = receive(&mut claims, 0..7);
            let (mut code, mut done, mut mark) = (permutation, [false; 7], -1);
            for radix in (1..=7).rev() {
                let claim = left.remove(code % radix);
                code /= radix;
                done[claim.offset as usize] = true;
                let moved = claims.done(claim);
                let prefix = done.iter().take_while(|d| **d).count() as i64 - 1;
                assert_eq!(moved, (prefix > mark).then_some(prefix));
                mark = prefix;
            }
            assert_eq!(mark, 6);
        }
    }

    #[test]
    fn a_retry_pulls_back_later_messages_and_leaves_earlier_ones_alone() {
        let mut claims = Claims::default();
        let received = receive(&mut claims, 0..4);
        assert!(claims.pull_back(received[1]));
        let standings: Vec<_> = received.iter().map(|c| claims.standing(*c)).collect();
        use Standing::{PulledBack, Valid};
        assert_eq!(standings, [Valid, PulledBack, PulledBack, PulledBack]);
        assert!(!claims.pull_back(received[2]));
        assert_eq!(claims.seeks(), [(0, 1)]);
        assert_eq!(claims.done(received[3]), None);
        assert_eq!(claims.done(received[0]), Some(0));
        claims.sought(0, 1);
        assert!(!claims.is_seeking(0));
        let (again, _) = claims.receive(0, 1);
        assert_eq!(claims.standing(again), Valid);
    }

    #[test]
    fn only_the_message_that_failed_has_a_further_attempt_and_not_those_pulled_back_behind_it() {
        let mut claims = Claims::default();
        for expected in [[1, 1, 1], [1, 2, 1], [1, 3, 1]] {
            let received: Vec<_> = (0..3).map(|offset| claims.receive(0, offset)).collect();
            let attempts: Vec<_> = received.iter().map(|(_, attempt)| *attempt).collect();
            assert_eq!(attempts, expected);
            assert!(claims.retry(received[1].0));
            assert!(!claims.retry(received[2].0), "it was pulled back");
            assert!(claims.pull_back(received[0].0));
            claims.sought(0, 0);
        }
        let (claim, _) = claims.receive(0, 0);
        assert_eq!(claims.done(claim), Some(0));
        assert_eq!(claims.receive(0, 1).1, 4);
    }

    #[test]
    fn a_transaction_takes_unbroken_runs_and_hands_back_what_lies_past_a_hole() {
        let mut claims = Claims::default();
        let received = receive(&mut claims, 0..5);
        use Standing::{PulledBack, Valid};
        assert_eq!(claims.stage(received[0]), Valid);
        assert_eq!(claims.stage(received[1]), Valid);
        assert_eq!(claims.stage(received[3]), PulledBack);
        assert_eq!(claims.stage(received[4]), PulledBack);
        assert_eq!(claims.seeks(), [(0, 3)]);
        // Committed: the first takes the mark to the end of the run.
        assert_eq!(claims.done(received[0]), Some(1));
        assert_eq!(claims.stage(received[2]), Valid);
        // Aborted:
        assert!(claims.pull_back(received[2]));
        assert_eq!(claims.seeks(), [(0, 2)]);
        claims.sought(0, 2);
        // Its transaction failed, not the message.
        let (again, attempt) = claims.receive(0, 2);
        assert_eq!((claims.stage(again), attempt), (Valid, 1));
    }

    #[test]
    fn the_earliest_of_several_hand_backs_decides_where_to_go() {
        let mut claims = Claims::default();
        let received = receive(&mut claims, 0..4);
        assert!(claims.pull_back(received[2]));
        assert!(claims.pull_back(received[1]));
        assert_eq!(claims.seeks(), [(0, 1)]);
        claims.sought(0, 2);
        assert!(claims.is_seeking(0));
    }

    #[test]
    fn outcomes_of_a_revoked_partition_are_stale_even_after_it_comes_back() {
        let mut claims = Claims::default();
        let received = receive(&mut claims, 0..2);
        claims.revoke(0);
        assert_eq!(claims.standing(received[0]), Standing::Stale);
        let (again, _) = claims.receive(0, 0);
        assert_eq!(claims.standing(received[0]), Standing::Stale);
        assert_eq!(claims.done(received[0]), None);
        assert_eq!(claims.done(again), Some(0));
    }
}
