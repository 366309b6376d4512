//! What is sent to a peer, and what comes back: topics of its own, sequence numbers as keys, one clock.

use std::{
    env,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use fmnist_core::Image;
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Exp};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde::Deserialize;
use transport_kafka::{KafkaConfig, create_missing};

pub(crate) const PARTITIONS: i32 = 4;
const POISON: &[u8] = b"no image";
const POLL: Duration = Duration::from_millis(50);

/// The broker, its process and fresh topics on it.
pub(crate) struct Topics {
    pub(crate) servers: String,
    pub(crate) group: String,
    pub(crate) input: String,
    pub(crate) results: String,
    pub(crate) dead_letters: String,
}

impl Topics {
    pub(crate) fn create(name: &str) -> anyhow::Result<Self> {
        let servers = env::var("FMNIST_TEST_KAFKA")
            .context("expected a Kafka in FMNIST_TEST_KAFKA; run.sh starts one")?;
        let [input, results, dead_letters] =
            ["images", "results", "dead-letters"].map(|what| format!("{name}-{what}"));
        let config = KafkaConfig {
            bootstrap_servers: servers.clone(),
            topic: input.clone(),
            results_topic: Some(results.clone()),
            dead_letter_topic: dead_letters.clone(),
            ..KafkaConfig::default()
        };
        block_on(create_missing(&config, PARTITIONS))??;
        Ok(Self { servers, group: name.to_owned(), input, results, dead_letters })
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let delete = async {
            let admin: AdminClient<DefaultClientContext> = self.client().create()?;
            let topics = [&*self.input, &self.results, &self.dead_letters];
            admin.delete_topics(&topics, &AdminOptions::new()).await
        };
        if !matches!(block_on(delete), Ok(Ok(_))) {
            eprintln!("the topics {} … are left on the broker", self.input);
        }
    }
}

fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

/// Sends images in turn, the first to the first partition; the key is the number of the message.
pub(crate) struct Sender {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    images: Arc<[Image]>,
    sent: usize,
}

impl Sender {
    pub(crate) fn new(topics: &Topics, images: Arc<[Image]>) -> anyhow::Result<Self> {
        // As clients of today have it or more; without it each message is a request, and the broker what is
        // measured.
        let producer = topics.client().set("linger.ms", "1").set("acks", "all").create()?;
        Ok(Self { producer, topic: topics.input.clone(), images, sent: 0 })
    }

    /// The number of the next message.
    pub(crate) const fn next(&self) -> usize {
        self.sent
    }

    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        let image = self.images[self.sent % self.images.len()].clone();
        self.put(&self.sent.to_string(), image.pixels())?;
        self.sent += 1;
        Ok(())
    }

    /// A message that nobody can answer, beside the numbers.
    pub(crate) fn poison(&mut self) -> anyhow::Result<()> {
        self.put("poison", POISON)
    }

    fn put(&self, key: &str, payload: &[u8]) -> anyhow::Result<()> {
        let partition = (self.sent % PARTITIONS as usize) as i32;
        let mut record = BaseRecord::to(&self.topic).partition(partition).key(key).payload(payload);
        loop {
            match self.producer.send(record) {
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    thread::sleep(Duration::from_millis(1));
                    record = again;
                }
                sent => return Ok(sent.map_err(|(error, _)| error)?),
            }
        }
    }

    /// Sends so many at once and waits until the broker has them.
    pub(crate) fn fill(&mut self, messages: usize) -> anyhow::Result<()> {
        for _ in 0..messages {
            self.send()?;
        }
        self.producer.flush(Duration::from_secs(60)).context("the messages to answer")
    }

    /// Sends at random times, `rate` a second on average, whatever comes of it, and says when each was due:
    /// latency counts from there, so that a sender that is held up hides nothing (Tene, "How not to
    /// measure latency").
    pub(crate) fn send_at_random(
        &mut self,
        rate: f64,
        lasting: Duration,
        seed: u64,
        poison_after: Option<Duration>,
    ) -> anyhow::Result<Vec<Instant>> {
        let gap = Exp::new(rate).ok().context("expected a positive rate")?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut poison_after = poison_after;
        let begun = Instant::now();
        let mut due = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_secs_f64(gap.sample(&mut random));
            if at >= lasting {
                return Ok(due);
            }
            // A sleep ends late by some 60 µs; to wait awake would take a core from the peer.
            if let Some(left) = at.checked_sub(begun.elapsed()) {
                thread::sleep(left);
            }
            if poison_after.take_if(|after| at >= *after).is_some() {
                self.poison()?;
            }
            self.send()?;
            due.push(begun + at);
        }
    }
}

/// The first answer to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) class: Option<u8>,
}

/// What has come back so far.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By the number of the message.
    pub(crate) first: Vec<Option<Answer>>,
    pub(crate) answered: usize,
    pub(crate) doubled: usize,
    pub(crate) dead_letters: usize,
}

/// Reads results and dead letters as they become readable.
pub(crate) struct Reader {
    answers: Arc<Mutex<Answers>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Reader {
    pub(crate) fn start(topics: &Topics) -> anyhow::Result<Self> {
        let mut client = topics.client();
        let consumer: BaseConsumer = client.set("group.id", "reader").create()?;
        let mut assignment = TopicPartitionList::new();
        for topic in [&topics.results, &topics.dead_letters] {
            for partition in 0..PARTITIONS {
                assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&assignment)?;
        let (answers, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let dead_letters = topics.dead_letters.clone();
        let thread = {
            let (answers, stop) = (Arc::clone(&answers), Arc::clone(&stop));
            thread::spawn(move || read(&consumer, &dead_letters, &answers, &stop))
        };
        Ok(Self { answers, stop, thread: Some(thread) })
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("the reader does not panic")
    }

    /// Until `messages` are answered in all, or nothing new has come for `patience`; returns whether they
    /// are. Calls `meanwhile` some hundred times a second.
    pub(crate) fn wait(
        &self,
        messages: usize,
        patience: Duration,
        mut meanwhile: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut last = (self.answers().answered, Instant::now());
        loop {
            meanwhile()?;
            let answered = self.answers().answered;
            if answered >= messages {
                return Ok(true);
            }
            if answered > last.0 {
                last = (answered, Instant::now());
            } else if last.1.elapsed() > patience {
                return Ok(false);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                bail!("the reader of results ended early");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(failed) => eprintln!("the reader of results: {failed:?}"),
        }
    }
}

fn read(
    consumer: &BaseConsumer,
    dead_letters: &str,
    answers: &Mutex<Answers>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(POLL) else { continue };
        let message = message?;
        let at = Instant::now();
        let mut answers = answers.lock().expect("nobody panics with it");
        if message.topic() == dead_letters {
            answers.dead_letters += 1;
            continue;
        }
        let number = message.key().and_then(|key| str::from_utf8(key).ok()?.parse::<usize>().ok());
        let Some(number) = number else { continue };
        if answers.first.len() <= number {
            answers.first.resize(number + 1, None);
        }
        if answers.first[number].is_some() {
            answers.doubled += 1;
        } else {
            let class = message.payload().and_then(class);
            answers.first[number] = Some(Answer { at, class });
            answers.answered += 1;
        }
    }
    Ok(())
}

fn class(result: &[u8]) -> Option<u8> {
    #[derive(Deserialize)]
    struct Result {
        predictions: Vec<Prediction>,
    }
    #[derive(Deserialize)]
    struct Prediction {
        class: u8,
    }
    let result: Result = serde_json::from_slice(result).ok()?;
    Some(result.predictions.first()?.class)
}
