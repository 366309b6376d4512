//! What a pipeline counts and times, through the facade of the crate `metrics`: a program that
//! installs no recorder pays a branch a batch.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use crate::{
    lock::Sound,
    names,
    predict::ModelIdentity,
    transport::{Outcome, Settlement, Stage},
};

/// The handles of one pipeline's series, made once. Each value is of a batch, not of a message.
pub(super) struct Meters {
    received: Counter,
    settled: [Counter; 6],
    dead_letters: [Counter; Stage::ALL.len()],
    /// Of the model that answered last.
    inputs: Mutex<(Arc<ModelIdentity>, Counter)>,
    transport: String,
    batch_inputs: Histogram,
    queue: Histogram,
    decode: [Histogram; 2],
    batch: Histogram,
    infer: [Histogram; 2],
    encode: [Histogram; 2],
    sink: Histogram,
    settle: Histogram,
    turnaround: Histogram,
    in_flight_messages: Gauge,
    in_flight_bytes: Gauge,
}

impl Meters {
    /// Registers every series with the present recorder, so that each is there from the start.
    pub(super) fn new(transport: &str, model: &Arc<ModelIdentity>) -> Self {
        describe();
        let own = |more: &[(&'static str, &str)]| {
            let pairs = [("transport", transport)].into_iter().chain(more.iter().copied());
            pairs.map(|(name, value)| Label::new(name, value.to_owned())).collect::<Vec<_>>()
        };
        let settled = |outcome| {
            counter!(names::metric("messages_settled_total"), own(&[("outcome", outcome)]))
        };
        let dead = |stage: Stage| {
            counter!(names::metric("dead_letters_total"), own(&[("reason", stage.as_str())]))
        };
        let stage = |stage| histogram!(names::metric("stage_seconds"), own(&[("stage", stage)]));
        let both = |(name, of): (&'static str, _)| {
            [stage(of), histogram!(name, "model_name" => model.name.clone())]
        };
        let [decode, infer, encode] = KSERVE.map(both);
        served_by(model).set(1);
        Self {
            received: counter!(names::metric("messages_received_total"), own(&[])),
            settled: OUTCOMES.map(settled),
            dead_letters: Stage::ALL.map(dead),
            inputs: Mutex::new((Arc::clone(model), inputs_of(transport, model))),
            transport: transport.to_owned(),
            batch_inputs: histogram!(names::metric(&batch_inputs()), own(&[])),
            queue: stage("queue"),
            decode,
            batch: stage("batch"),
            infer,
            encode,
            sink: stage("sink"),
            settle: stage("settle"),
            turnaround: histogram!(names::metric("turnaround_seconds"), own(&[])),
            in_flight_messages: gauge!(names::metric("in_flight_messages"), own(&[])),
            in_flight_bytes: gauge!(names::metric("in_flight_bytes"), own(&[])),
        }
    }

    pub(super) fn received(&self, messages: usize) {
        self.received.increment(messages as u64);
    }

    pub(super) fn in_flight(&self, messages: usize, bytes: usize) {
        self.in_flight_messages.set(messages as f64);
        self.in_flight_bytes.set(bytes as f64);
    }

    /// A batch of messages waited for the decode thread since `received`, and was read since `begun`.
    pub(super) fn decoded(&self, received: Instant, begun: Instant) {
        self.queue.record(begun.saturating_duration_since(received));
        record(&self.decode, begun.elapsed());
    }

    /// A batch of inputs waited since `decoded`, and was answered just now within `took`.
    pub(super) fn inferred(
        &self,
        inputs: usize,
        model: &Arc<ModelIdentity>,
        decoded: Instant,
        took: Duration,
    ) {
        self.batch.record(decoded.elapsed().saturating_sub(took));
        record(&self.infer, took);
        self.batch_inputs.record(inputs as f64);
        let mut counted = self.inputs.lock().sound();
        if counted.0.name != model.name {
            *counted = (Arc::clone(model), inputs_of(&self.transport, model));
        }
        counted.1.increment(inputs as u64);
    }

    pub(super) fn encoded(&self, took: Duration) {
        record(&self.encode, took);
    }

    pub(super) fn sunk(&self, took: Duration) {
        self.sink.record(took);
    }

    /// A batch was settled that took `took` from the outcomes on, and whose first message was
    /// received at `received`.
    pub(super) fn settled(
        &self,
        settlement: &Settlement,
        rejected: Rejected,
        took: Duration,
        received: Instant,
    ) {
        let Settlement { published, recorded, filtered, rejected: dead, retried, stale } =
            *settlement;
        let counts = [published, recorded, filtered, dead, retried, stale];
        for (counter, count) in self.settled.iter().zip(counts) {
            counter.increment(count as u64);
        }
        for (counter, count) in self.dead_letters.iter().zip(rejected.up_to(dead)) {
            counter.increment(count as u64);
        }
        self.settle.record(took);
        self.turnaround.record(received.elapsed());
    }

    pub(super) fn retried(&self, messages: usize) {
        self.settled[RETRIED].increment(messages as u64);
    }
}

/// 1 for the model that answers, 0 for one that did.
pub(crate) fn served_by(model: &ModelIdentity) -> Gauge {
    gauge!(
        names::metric("model_info"),
        "model_name" => model.name.clone(),
        "model_version" => model.version.clone(),
        "sha256" => model.sha256.clone(),
    )
}

fn inputs_of(transport: &str, model: &ModelIdentity) -> Counter {
    counter!(
        names::metric(&format!("{}_total", names::inputs())),
        "transport" => transport.to_owned(),
        "model_name" => model.name.clone(),
    )
}

/// The label `outcome`, in the order of [`Settlement`]'s fields.
const OUTCOMES: [&str; 6] =
    ["published", "recorded", "filtered", "dead_lettered", "retried", "stale"];
const RETRIED: usize = 4;

/// How many messages of a batch each stage refused.
#[derive(Clone, Copy, Default)]
pub(super) struct Rejected([usize; Stage::ALL.len()]);

impl Rejected {
    pub(super) fn count(&mut self, outcome: &Outcome) {
        if let Outcome::Reject(rejection) = outcome {
            self.0[rejection.stage as usize] += 1;
        }
    }

    /// The counts for `confirmed` dead letters. Which of a batch went stale is not known: then the
    /// first stages are taken to be those that were confirmed.
    fn up_to(self, confirmed: usize) -> [usize; Stage::ALL.len()] {
        let mut left = confirmed;
        self.0.map(|count| {
            let taken = count.min(left);
            left -= taken;
            taken
        })
    }
}

fn record(histograms: &[Histogram; 2], took: Duration) {
    histograms.iter().for_each(|histogram| histogram.record(took));
}

/// The series of a pulse.
#[derive(Debug)]
pub(super) struct PulseMeters {
    pub(super) stalls: Counter,
    pub(super) stalled: Gauge,
    pub(super) cut_off: Gauge,
}

impl PulseMeters {
    /// Nobody is told.
    pub(super) fn none() -> Self {
        Self { stalls: Counter::noop(), stalled: Gauge::noop(), cut_off: Gauge::noop() }
    }

    /// Registers them with the present recorder.
    pub(super) fn new(transport: &str) -> Self {
        names::describe_counter(
            "stalls_total",
            "How often no message came to an end for a minute.",
        );
        names::describe_gauge("stalled", "1 while no message comes to an end; /readyz says why.");
        let text = "1 while the broker has given this consumer's work to others.";
        names::describe_gauge("cut_off", text);
        let transport = [("transport", transport.to_owned())];
        Self {
            stalls: counter!(names::metric("stalls_total"), &transport),
            stalled: gauge!(names::metric("stalled"), &transport),
            cut_off: gauge!(names::metric("cut_off"), &transport),
        }
    }
}

fn describe() {
    use names::{describe_counter, describe_gauge, describe_histogram};
    let (inputs, batch) = (format!("{}_total", names::inputs()), batch_inputs());
    describe_counter("messages_received_total", "Messages received, redeliveries included.");
    describe_counter("messages_settled_total", "Ends of messages, by outcome.");
    describe_counter("dead_letters_total", "Confirmed dead letters, by the refusing stage.");
    describe_counter(&inputs, "Inputs answered.");
    describe_histogram(&batch, "Inputs in an inference call.");
    describe_histogram("stage_seconds", "Time of a batch in a stage of the pipeline.");
    describe_histogram(
        "turnaround_seconds",
        "From the reception of a settled batch's first message to its acknowledgement.",
    );
    describe_gauge("in_flight_messages", "Messages received and not settled.");
    let text = "What they take: keys, headers, payloads, unpacked inputs.";
    describe_gauge("in_flight_bytes", text);
    describe_gauge("model_info", "1 for the model that answers, 0 for one that did.");
    for (kserve, _) in KSERVE {
        // A server that answers requests tells the same series, and says the same.
        let text = "KServe's name of a stage of inference, of batches and requests.";
        metrics::describe_histogram!(kserve, text);
    }
}

fn batch_inputs() -> String {
    format!("batch_{}", names::inputs())
}

/// What KServe calls a stage's histogram.
const KSERVE: [(&str, &str); 3] = [
    ("request_preprocess_seconds", "decode"),
    ("request_predict_seconds", "infer"),
    ("request_postprocess_seconds", "encode"),
];
