//! What is outstanding of each ordering key: which outcomes still count, and what is let in.
//!
//! No client, and no clock but what the caller says. The transport enters what it receives, its tokens leave;
//! of a key nothing is let in between a message that was given back and its next delivery.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a lane waits for the message that it was pulled back to. Another consumer may have got
/// it, or a dead-letter policy; then the lane must not be shut for ever.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The ordering keys of which messages are outstanding, or expected again.
///
/// When a message of a lane is given back, all later ones must follow it: those handed out are
/// refused when their outcome comes, those that the client had prefetched are given back on arrival,
/// until the first message that was given back is delivered again.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashMap<Arc<str>, LaneClaims>>);

/// Those of one key.
#[derive(Debug, Default)]
struct LaneClaims {
    /// Counts the pull-backs; claims of an earlier epoch have lost their turn.
    epoch: u64,
    /// The last place handed out. A message that comes again gets the place that it had.
    last: u64,
    /// The first place of this epoch.
    begin: u64,
    /// Claims that are neither acknowledged nor given back.
    outstanding: usize,
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    position: u64,
    id: String,
    until: Instant,
}

/// A message's place in its lane.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) key: Arc<str>,
    epoch: u64,
    position: u64,
    id: String,
}

impl Claims {
    /// A claim on the next place, or `None` when the lane waits for an earlier message.
    pub(crate) fn enter(&self, key: &str, id: &str, now: Instant) -> Option<Claim> {
        let mut claims = self.lock();
        if !claims.contains_key(key) {
            claims.insert(key.into(), LaneClaims::default());
        }
        let key = claims.get_key_value(key).map(|(key, _)| Arc::clone(key))?;
        let lane = claims.get_mut(&key)?;
        if lane.awaited.as_ref().is_some_and(|a| a.id != id && now < a.until) {
            return None;
        }
        match lane.awaited.take() {
            Some(awaited) if awaited.id == id => {
                (lane.last, lane.begin) = (awaited.position, awaited.position);
            }
            Some(_) => {
                lane.last += 1;
                lane.begin = lane.last;
            }
            None => lane.last += 1,
        }
        lane.outstanding += 1;
        Some(Claim { key, epoch: lane.epoch, position: lane.last, id: id.to_owned() })
    }

    /// Whether no earlier message of the lane was given back since.
    pub(crate) fn is_current(&self, claim: &Claim) -> bool {
        self.lock().get(&claim.key).is_some_and(|lane| lane.epoch == claim.epoch)
    }

    /// The claim's message was acknowledged.
    pub(crate) fn leave(&self, claim: &Claim) {
        let mut claims = self.lock();
        if let Some(lane) = claims.get_mut(&claim.key) {
            lane.outstanding -= 1;
            if lane.outstanding == 0 && lane.awaited.is_none() {
                claims.remove(&claim.key);
            }
        }
    }

    /// The claim's message was given back: the lane waits until it comes again.
    pub(crate) fn pull_back(&self, claim: &Claim, now: Instant) {
        let mut claims = self.lock();
        if let Some(lane) = claims.get_mut(&claim.key) {
            lane.outstanding -= 1;
            let is_current = lane.epoch == claim.epoch;
            // A claim of an epoch that is over may still be of an earlier message than all since.
            let first = lane.awaited.as_ref().map_or(lane.begin, |awaited| awaited.position);
            if is_current || claim.position < first {
                lane.epoch += u64::from(lane.awaited.is_none());
                lane.awaited = Some(Awaited {
                    position: claim.position,
                    id: claim.id.clone(),
                    until: now + MAX_WAIT,
                });
            }
        }
        // Keys that went to another consumer would stay for ever.
        claims.retain(|_, lane| {
            lane.outstanding > 0 || lane.awaited.as_ref().is_some_and(|a| now < a.until)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, LaneClaims>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(claims: &Claims, id: &str) -> Claim {
        claims.enter("a", id, Instant::now()).unwrap()
    }

    #[test]
    fn a_pull_back_refuses_later_messages_until_the_first_comes_again() {
        let (claims, now) = (Claims::default(), Instant::now());
        let (first, second) = (enter(&claims, "1"), enter(&claims, "2"));
        assert!(claims.is_current(&second));
        claims.pull_back(&first, now);
        assert!(!claims.is_current(&second));
        claims.pull_back(&second, now);
        assert!(claims.enter("a", "3", now).is_none());
        assert!(claims.enter("a", "2", now).is_none());
        assert!(claims.enter("b", "4", now).is_some());
        let again = enter(&claims, "1");
        assert!(claims.is_current(&again) && claims.is_current(&enter(&claims, "2")));
    }

    #[test]
    fn an_earlier_message_given_back_later_is_the_one_waited_for() {
        let (claims, now) = (Claims::default(), Instant::now());
        let (first, second) = (enter(&claims, "1"), enter(&claims, "2"));
        claims.pull_back(&second, now);
        assert!(!claims.is_current(&first));
        claims.pull_back(&first, now);
        assert!(claims.enter("a", "2", now).is_none());
        assert!(claims.enter("a", "1", now).is_some());
    }

    #[test]
    fn a_late_claim_of_an_earlier_epoch_does_not_shut_the_lane_again() {
        let (claims, now) = (Claims::default(), Instant::now());
        let (first, second) = (enter(&claims, "1"), enter(&claims, "2"));
        claims.pull_back(&first, now);
        let again = enter(&claims, "1");
        claims.pull_back(&second, now);
        assert!(claims.is_current(&again));
        assert!(claims.enter("a", "2", now).is_some());
    }

    #[test]
    fn a_lane_whose_message_went_elsewhere_opens_after_a_while() {
        let (claims, now) = (Claims::default(), Instant::now());
        claims.pull_back(&enter(&claims, "1"), now);
        assert!(claims.enter("a", "2", now).is_none());
        assert!(claims.enter("a", "2", now + MAX_WAIT).is_some());
    }

    #[test]
    fn nothing_is_kept_of_a_lane_at_rest() {
        let (claims, now) = (Claims::default(), Instant::now());
        for key in ["a", "b"] {
            let claim = claims.enter(key, "1", now).unwrap();
            claims.leave(&claim);
        }
        assert!(claims.lock().is_empty());
        claims.pull_back(&enter(&claims, "1"), now);
        let other = claims.enter("b", "2", now).unwrap();
        claims.pull_back(&other, now + MAX_WAIT);
        assert_eq!(claims.lock().keys().map(|k| &**k).collect::<Vec<_>>(), ["b"]);
    }
}
