//! The state behind a pulse: what is in flight, who has it, what is waited for. It has no clock of its own,
//! so that tests decide what time it is.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::Instant;

use crate::pipeline::meters::PulseMeters;
#[cfg(test)]
use crate::pipeline::simulation;

/// Messages that are handed back further apart than this are no loop. Above the longest pause that
/// Pub/Sub makes before it delivers a message again, 600 s.
const LOOP_PAUSE: Duration = Duration::from_secs(900);
/// Receptions that fail further apart than this are no outage: a pipeline that backs off tries again
/// after 5 s at most.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(30);

/// Where messages are between reception and settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In messages.
    Decode,
    /// In batches, as are those below.
    Infer,
    Sink,
    Settle,
}

impl Place {
    const ALL: [Self; 4] = [Self::Decode, Self::Infer, Self::Sink, Self::Settle];

    /// The thread of this process that works there; the other places wait for others.
    const fn thread(self) -> Option<&'static str> {
        match self {
            Self::Decode => Some("decode"),
            Self::Infer => Some("inference"),
            Self::Sink | Self::Settle => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decode => "the decoder has read nothing",
            Self::Infer => "the model has answered nothing",
            Self::Sink => "the sink has confirmed nothing",
            Self::Settle => "the broker has confirmed nothing",
        })
    }
}

/// What a [`Pulse`](super::Pulse) shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vitals {
    /// Messages that were received and are not settled.
    pub in_flight: usize,
    /// No more may be received before some are settled.
    pub is_full: bool,
    /// For [`Pulse::patience`](super::Pulse::patience) nothing came to an end that should have, or something
    /// outside has been waited for.
    pub is_stalled: bool,
    /// How often the pipeline has stalled.
    pub stalls: u64,
    /// The broker has given this consumer's work to others, and not taken it back yet.
    pub is_cut_off: bool,
    /// The part that was given work and has given nothing back for so long: `decode` or `inference`.
    pub hangs: Option<&'static str>,
    /// Why the pipeline does not get on, for a person; `None` while it does.
    pub reason: Option<String>,
}

impl Vitals {
    /// Whether the pipeline gets on, or has nothing to do: readiness.
    pub const fn is_well(&self) -> bool {
        !self.is_stalled && self.is_alive()
    }

    /// Whether no part of the process hangs: liveness. A pipeline that waits for something outside is
    /// alive, because a restart would not mend that.
    pub const fn is_alive(&self) -> bool {
        !self.is_cut_off && self.hangs.is_none()
    }
}

/// What a [`Pulse`](super::Pulse) has under its lock.
#[derive(Debug)]
pub(super) struct State {
    in_flight: usize,
    is_full: bool,
    /// When a message came to an end or inputs through the model last, or the first of those in flight
    /// was received.
    moved: Instant,
    parts: [Part; Place::ALL.len()],
    /// Settlements since the last end that ended nothing.
    handed_back: Streak,
    /// Receptions that failed since the last that did not.
    unreachable: Streak,
    waits: BTreeMap<u64, Wait>,
    next_wait: u64,
    is_stalled: bool,
    stalls: u64,
    is_cut_off: bool,
    hangs: Option<&'static str>,
    meters: PulseMeters,
}

/// Work that a part has, and when it last began, took or gave any.
#[derive(Debug)]
struct Part {
    has: usize,
    moved: Instant,
}

/// A dependency that is waited for.
#[derive(Debug)]
struct Wait {
    name: Box<str>,
    since: Instant,
    /// Whose thread waits.
    place: Option<Place>,
}

/// Failures without a success in between.
#[derive(Debug, Default)]
struct Streak {
    /// When the first and the latest came.
    times: Option<(Instant, Instant)>,
    count: usize,
    /// Why the latest came, where that is known.
    reason: Option<String>,
}

impl Streak {
    /// Adds failures; a streak whose latest lies `pause` back or more is over, and another begins.
    fn add(&mut self, count: usize, reason: Option<String>, pause: Duration, now: Instant) {
        match &mut self.times {
            Some((_, latest)) if now.saturating_duration_since(*latest) < pause => *latest = now,
            times => {
                *times = Some((now, now));
                self.count = 0;
            }
        }
        self.count += count;
        self.reason = reason;
    }

    /// How long it has lasted, if that is `patience` or more: from the first failure to the latest,
    /// because what comes after may yet succeed.
    fn lasted(&self, patience: Duration) -> Option<Duration> {
        let (first, latest) = self.times?;
        Some(latest.saturating_duration_since(first)).filter(|lasted| *lasted >= patience)
    }

    fn is_recent(&self, pause: Duration, now: Instant) -> bool {
        self.times.is_some_and(|(_, latest)| now.saturating_duration_since(latest) < pause)
    }
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            in_flight: 0,
            is_full: false,
            moved: now,
            parts: Place::ALL.map(|_| Part { has: 0, moved: now }),
            handed_back: Streak::default(),
            unreachable: Streak::default(),
            waits: BTreeMap::new(),
            next_wait: 0,
            is_stalled: false,
            stalls: 0,
            is_cut_off: false,
            hangs: None,
            meters: PulseMeters::none(),
        }
    }

    pub(super) const fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    pub(super) fn measure(&mut self, transport: &str) {
        self.meters = PulseMeters::new(transport);
        self.meters.stalled.set(f64::from(u8::from(self.is_stalled)));
        self.connection(self.is_cut_off);
    }

    pub(super) fn connection(&mut self, is_cut_off: bool) {
        self.is_cut_off = is_cut_off;
        self.meters.cut_off.set(f64::from(u8::from(is_cut_off)));
    }

    pub(super) fn wait(&mut self, place: Option<Place>, name: &str, now: Instant) -> u64 {
        self.next_wait += 1;
        self.waits.insert(self.next_wait, Wait { name: name.into(), since: now, place });
        self.next_wait
    }

    pub(super) fn resume(&mut self, number: u64, now: Instant) {
        if let Some(Wait { place: Some(place), .. }) = self.waits.remove(&number) {
            self.parts[place as usize].moved = now;
        }
    }

    pub(super) fn received(
        &mut self,
        in_flight: usize,
        messages: usize,
        is_full: bool,
        now: Instant,
    ) {
        if self.in_flight == 0 {
            self.moved = now;
            if !self.handed_back.is_recent(LOOP_PAUSE, now) {
                self.handed_back = Streak::default();
            }
        }
        self.unreachable = Streak::default();
        self.in_flight = in_flight;
        self.is_full = is_full;
        self.enter(Place::Decode, messages, now);
    }

    pub(super) fn unreachable(&mut self, reason: String, now: Instant) {
        self.unreachable.add(1, Some(reason), UNREACHABLE_PAUSE, now);
    }

    pub(super) fn enter(&mut self, place: Place, count: usize, now: Instant) {
        let part = &mut self.parts[place as usize];
        if part.has == 0 {
            part.moved = now;
        }
        part.has += count;
    }

    pub(super) fn leave(&mut self, place: Place, count: usize, now: Instant) {
        let part = &mut self.parts[place as usize];
        part.has = part.has.saturating_sub(count);
        part.moved = now;
        if place == Place::Infer {
            self.moved = now;
        }
    }

    pub(super) fn end(&mut self) {
        self.in_flight = 0;
        self.parts.iter_mut().for_each(|part| part.has = 0);
        // Nobody receives or hands back any more.
        (self.unreachable, self.handed_back) = (Streak::default(), Streak::default());
    }

    pub(super) fn settled(&mut self, in_flight: usize, ended: usize, now: Instant) {
        self.in_flight = in_flight;
        self.is_full = false;
        if ended > 0 {
            self.moved = now;
            self.handed_back = Streak::default();
        }
    }

    /// Messages are to be delivered again, and nothing came to an end with them.
    pub(super) fn handed_back(&mut self, messages: usize, reason: Option<String>, now: Instant) {
        #[cfg(test)]
        if simulation::is_planted(simulation::Fault::RetriesAreProgress) {
            return self.settled(self.in_flight, messages, now);
        }
        self.handed_back.add(messages, reason, LOOP_PAUSE, now);
    }

    /// Judges, and tells the log and the series what changed.
    pub(super) fn look(&mut self, now: Instant, patience: Duration) -> Vitals {
        let hangs = self.hanging(now, patience);
        let stall = self.stall(now, patience);
        let mut reasons = Vec::new();
        if let Some((place, silence)) = hangs {
            reasons.push(format!("{place} for {}", seconds(silence)));
        }
        if self.is_cut_off {
            reasons.push("the broker has given this consumer's work to others".to_owned());
        }
        let is_stalled = stall.is_some();
        reasons.extend(stall.into_iter().flatten());
        let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        let hangs = hangs.and_then(|(place, _)| place.thread());
        self.tell(is_stalled, hangs, reason.as_deref().unwrap_or_default());
        let Self { in_flight, is_full, stalls, is_cut_off, .. } = *self;
        Vitals { in_flight, is_full, is_stalled, stalls, is_cut_off, hangs, reason }
    }

    fn tell(&mut self, is_stalled: bool, hangs: Option<&'static str>, reason: &str) {
        let in_flight = self.in_flight;
        match (self.is_stalled, is_stalled) {
            (false, true) => {
                self.stalls += 1;
                self.meters.stalls.increment(1);
                self.meters.stalled.set(1);
                tracing::error!(in_flight, reason, "the pipeline has stalled");
            }
            (true, false) => {
                self.meters.stalled.set(0);
                tracing::info!("the pipeline gets on again");
            }
            (true, true) | (false, false) => {}
        }
        if let (Some(thread), None) = (hangs, self.hangs) {
            tracing::error!(in_flight, thread, reason, "a thread of the pipeline hangs");
        }
        self.is_stalled = is_stalled;
        self.hangs = hangs;
    }

    /// The place of this process's own work that has been silent longest.
    fn hanging(&self, now: Instant, patience: Duration) -> Option<(Place, Duration)> {
        let own = self.silent(now, patience).filter(|(place, _)| place.thread().is_some());
        own.max_by_key(|(_, silence)| *silence)
    }

    fn silent(&self, now: Instant, patience: Duration) -> impl Iterator<Item = (Place, Duration)> {
        let waits = |place| self.waits.values().any(|wait| wait.place == Some(place));
        let parts = Place::ALL.into_iter().zip(&self.parts);
        let parts = parts.filter(move |(place, part)| part.has > 0 && !waits(*place));
        let silence =
            move |(place, part): (_, &Part)| (place, now.saturating_duration_since(part.moved));
        parts.map(silence).filter(move |(_, silence)| *silence >= patience)
    }

    /// What holds the pipeline up, if it has stalled; nothing where that is a thread of its own.
    fn stall(&self, now: Instant, patience: Duration) -> Option<Vec<String>> {
        let silence = now.saturating_duration_since(self.moved);
        // New messages may move through the model while nothing is confirmed: that is no progress.
        let is_silent = (self.in_flight > 0 && silence >= patience)
            || self.silent(now, patience).next().is_some();
        let is_in_a_loop = self.in_flight > 0 || self.handed_back.is_recent(LOOP_PAUSE, now);
        let fruitless = self.handed_back.lasted(patience).filter(|_| is_in_a_loop);
        let is_cut = self.unreachable.is_recent(UNREACHABLE_PAUSE, now);
        let unreachable = self.unreachable.lasted(patience).filter(|_| is_cut);
        let waits = self.waits(now);
        let is_late = waits.iter().any(|(_, waited)| *waited >= patience);
        if !is_silent && !is_late && fruitless.is_none() && unreachable.is_none() {
            return None;
        }
        let mut reasons = Vec::new();
        for (name, waited) in waits {
            reasons.push(format!("waits for {name} for {}", seconds(waited)));
        }
        if let Some(lasted) = fruitless {
            let (count, lasted) = (self.handed_back.count, seconds(lasted));
            let why = self.handed_back.reason.as_deref();
            let why = why.map(|reason| format!(", the last because {reason}")).unwrap_or_default();
            reasons.push(format!(
                "for {lasted} no message came to an end, and {count} were handed back to be \
                 delivered again{why}"
            ));
        }
        if unreachable.is_some() {
            reasons.extend(self.unreachable.reason.clone());
        }
        if is_silent && reasons.is_empty() {
            let places = self.silent(now, patience).filter(|(place, _)| place.thread().is_none());
            reasons
                .extend(places.map(|(place, silence)| format!("{place} for {}", seconds(silence))));
        }
        if reasons.is_empty() && self.hanging(now, patience).is_none() {
            reasons.push(format!("no message came to an end for {}", seconds(silence)));
        }
        Some(reasons)
    }

    /// What is waited for, each once, longest first.
    fn waits(&self, now: Instant) -> Vec<(&str, Duration)> {
        let mut waits: Vec<(&str, Duration)> = Vec::new();
        // By number, and so by age.
        for Wait { name, since, .. } in self.waits.values() {
            if !waits.iter().any(|(known, _)| *known == &**name) {
                waits.push((name, now.saturating_duration_since(*since)));
            }
        }
        waits
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
