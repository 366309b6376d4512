//! A whole program around a model of one's own.

mod kafka;
mod operation;
mod over;
mod stdin;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::bail;
use over::Over;
use serde::{Serialize, de::DeserializeOwned};
use stream_inference::{
    Supervisor,
    codec::Codec,
    names,
    pipeline::{Pipeline, PipelineConfig},
    predict::{PredictError, Predictor},
    slot::ModelSlot,
    transport::Transport,
};

use crate::{
    Backfill, Broker, Config, ConfigError, Consumer, ConsumerArguments, ModelControl, Role, Source,
    Survey, failed, log_from_env, run_program, stderr, stdout,
};

/// Between two attempts to load a model that is away: doubled from the first to the second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Variables that are set for other programs, too: no program's messages are chosen by them.
const OF_THE_MACHINE: [&str; 3] =
    ["GOOGLE_CLOUD_PROJECT", "PUBSUB_PROJECT_ID", "PUBSUB_EMULATOR_HOST"];

/// The command line of a program that answers a stream by a model: where messages come from, how it is
/// configured, checked and observed, and what else it does with its topics.
///
/// To be flattened into the arguments of a program.
///
/// ```no_run
/// use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};
///
/// use clap::Parser;
/// use service::{Stream, config::NoSettings};
/// use stream_inference::{
///     codec::Json,
///     predict::{ModelIdentity, PredictError, function},
/// };
///
/// #[derive(Parser)]
/// struct Arguments {
///     #[command(flatten)]
///     stream: Stream,
/// }
///
/// fn main() -> ExitCode {
///     Arguments::parse().stream.run("doubled", |_: &NoSettings| {
///         let model = function(ModelIdentity::of_code("doubled", "1"), |batch: &[f64]| {
///             Ok::<_, PredictError>(batch.iter().map(|x| 2.0 * x).collect())
///         });
///         Ok((model, Json::<f64, f64>::new()))
///     })
/// }
/// ```
#[derive(Debug, clap::Args)]
pub struct Stream {
    #[command(flatten)]
    consumer: ConsumerArguments,
    /// Where messages come from [default: kafka where --kafka or the configuration names brokers, else
    /// stdin]
    #[arg(long, value_enum)]
    broker: Option<Over>,
    #[command(flatten)]
    kafka: kafka::Kafka,
    #[command(flatten)]
    backfill: Backfill,
    #[command(subcommand)]
    operation: Option<operation::Operation>,
}

impl Stream {
    /// Answers messages until the input ends or a signal comes, finishes what is in flight, and answers
    /// the exit code: 0, or 1 where something is left unanswered or went wrong.
    ///
    /// `program` begins the names of metrics, headers and variables, and of topics where the
    /// configuration names none: `payments_stalled`, `payments.id`, `PAYMENTS_KAFKA__TOPIC`, `payments`.
    /// `load` makes the model and its format of the section `model`; where its error is
    /// [`PredictError::Unavailable`], it is asked again after a while, and nothing is received before.
    ///
    /// It is asked again at SIGHUP, and where the file `slot.watch` has another content; the model that it
    /// makes then takes the place of the one in service, see [`ModelSlot`].
    pub fn run<S, P, C>(
        self,
        program: &str,
        load: impl Fn(&S) -> anyhow::Result<(P, C)> + Send + Sync + 'static,
    ) -> ExitCode
    where
        S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
    {
        self.run_slot(program, load, |_, slot| Ok(slot))
    }

    /// As [`Stream::run`], of messages that come over a transport of one's own, whatever brokers the
    /// configuration names.
    pub fn run_over<S, P, C, O>(
        self,
        program: &str,
        source: O,
        load: impl Fn(&S) -> anyhow::Result<(P, C)> + Send + Sync + 'static,
    ) -> ExitCode
    where
        S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
        O: Source,
    {
        self.run_from(program, Some(source), load, |_, slot| Ok(slot))
    }

    /// As [`Stream::run`], with a slot that `prepare` gives its checks, its [`Golden`] samples, its
    /// [`Drift`] or a candidate.
    ///
    /// [`Golden`]: stream_inference::slot::Golden
    /// [`Drift`]: stream_inference::drift::Drift
    pub fn run_slot<S, P, C>(
        self,
        program: &str,
        load: impl Fn(&S) -> anyhow::Result<(P, C)> + Send + Sync + 'static,
        prepare: impl FnOnce(&S, ModelSlot<P>) -> anyhow::Result<ModelSlot<P>>,
    ) -> ExitCode
    where
        S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
    {
        self.run_from(program, None::<over::Known>, load, prepare)
    }

    fn run_from<S, P, C, O>(
        self,
        program: &str,
        source: Option<O>,
        load: impl Fn(&S) -> anyhow::Result<(P, C)> + Send + Sync + 'static,
        prepare: impl FnOnce(&S, ModelSlot<P>) -> anyhow::Result<ModelSlot<P>>,
    ) -> ExitCode
    where
        S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
        O: Source,
    {
        if let Err(error) = names::set_prefix(program) {
            return failed(&error.into());
        }
        if let Some(operation) = &self.operation {
            return match self.for_operation() {
                Ok(Some(config)) => operation.run(config, load),
                Ok(None) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            };
        }
        run_program(|parts| self.consume(source, load, prepare, parts))
    }

    async fn consume<S, P, C, O>(
        self,
        source: Option<O>,
        load: impl Fn(&S) -> anyhow::Result<(P, C)> + Send + Sync + 'static,
        prepare: impl FnOnce(&S, ModelSlot<P>) -> anyhow::Result<ModelSlot<P>>,
        parts: Supervisor,
    ) -> anyhow::Result<()>
    where
        S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
        O: Source,
    {
        let shutdown = self.consumer.shutdown_signal(self.backfill.has_end())?;
        let mut config = self.config::<S>()?;
        if self.consumer.config.print(&config) {
            return Ok(());
        }
        let over = match &source {
            Some(_) => Over::Own(O::Transport::NAME),
            None => self.over(&config)?,
        };
        self.refuse_what_is_without_effect(over)?;
        let settings = Arc::new(std::mem::take(&mut config.model));
        let load = {
            let settings = Arc::clone(&settings);
            Arc::new(move || load(&settings))
        };
        let loaded = || tokio::task::block_in_place(|| load());
        let asked = &self.consumer.survey;
        let mut survey = Survey::default();
        if asked.check {
            let model = loaded().and_then(|(model, codec)| {
                over.declare(&mut config, &codec)?;
                Ok(model)
            });
            match model {
                Ok(model) => survey.found(format!("model {}", model.identity())),
                Err(error) => survey.lacks(format!("{error:#}")),
            }
        }
        let look_for = async |config: &Config<S>, mut survey: Survey| {
            if let Some(broker) = over.of(config) {
                survey.look_for(&*broker, Role::Consumer, asked).await;
            }
            survey.conclude()
        };
        if asked.check {
            look_for(&config, survey).await?.iter().for_each(|line| stdout().line(line));
            return Ok(());
        }

        let consumer = Consumer::start(&config.server, over.name(), &parts)?;
        // Nothing is received before the model can answer.
        let (model, codec) = tokio::select! {
            loaded = available(loaded, &consumer) => loaded?,
            _ = parts.ended() => return Ok(()),
        };
        let slot = ModelSlot::new(model).with_probation(config.slot.probation_batches);
        let model = prepare(&settings, slot)?;
        let again = move |_: Option<&Path>| {
            load().map(|(model, _)| model).map_err(|error| format!("{error:#}"))
        };
        consumer.probes().shows(ModelControl::start(&model, &config.slot, again, None, &parts)?);
        over.declare(&mut config, &codec)?;
        if asked.create {
            look_for(&config, survey).await?;
        }
        let answers = Answers { consumer, model, codec, settings: config.pipeline() };
        match over {
            Over::Own(_) => {
                let source = source.expect("a transport of one's own has its source");
                answers.to(source, shutdown).await.map(drop)
            }
            Over::Stdin => {
                let (lines, input) = stdin::Lines::start()?;
                let left = lines.left();
                let Answers { consumer, model, codec, settings } = answers;
                let mut read = Ok(());
                let end = async { read = input.ended().await };
                let pipeline = Pipeline::new(lines, model, codec, settings);
                let ended = consumer.run(pipeline, end, shutdown).await;
                left.judge(ended.map(drop), read)
            }
            Over::Kafka => {
                let kafka = config.kafka;
                stderr().line(format_args!("{} from {}", kafka.topic, kafka.bootstrap_servers));
                let source = self.backfill.source(kafka);
                let group = source.group().to_owned();
                self.backfill.conclude(&group, answers.to(source, shutdown).await?)
            }
            #[cfg(feature = "pubsub")]
            Over::Pubsub => {
                let Config { pubsub, batch, .. } = config;
                stderr().line(pubsub.subscription_name(&pubsub.subscription_id));
                let source = crate::PubSubSource { config: pubsub, batch };
                answers.to(source, shutdown).await.map(drop)
            }
        }
    }

    /// The configuration of what a program does besides answering; `None` where it was to be shown.
    fn for_operation<S>(&self) -> anyhow::Result<Option<Config<S>>>
    where
        S: Default + Serialize + DeserializeOwned,
    {
        let survey = &self.consumer.survey;
        let is_asked = survey.check || survey.create || self.backfill.is_asked();
        anyhow::ensure!(
            !is_asked && self.broker.is_none(),
            "--check, --create, --from, --until-end and --broker are of the stream: what belongs to \
             audit or redrive stands behind that word"
        );
        let config = self.config()?;
        let _logs = log_from_env();
        Ok((!self.consumer.config.print(&config)).then_some(config))
    }

    /// An argument that changes nothing would be believed to.
    fn refuse_what_is_without_effect(&self, over: Over) -> anyhow::Result<()> {
        let name = over.name();
        anyhow::ensure!(
            over == Over::Kafka || !self.backfill.is_asked(),
            "--from and --until-end are for Kafka, and messages come over {name}"
        );
        anyhow::ensure!(
            over == Over::Kafka || !self.kafka.is_said(),
            "--kafka and what goes with it is for Kafka, and messages come over {name}"
        );
        anyhow::ensure!(
            over != Over::Stdin || !self.consumer.survey.create,
            "--create makes topics, and messages come over {name}: say --kafka HOST:PORT or --broker"
        );
        anyhow::ensure!(
            !matches!(over, Over::Own(_))
                || (self.broker.is_none() && !self.consumer.survey.create),
            "--broker and --create are for brokers that this program knows, and messages come over {name}"
        );
        Ok(())
    }

    /// The configuration, and the arguments over it.
    fn config<S: Default + Serialize + DeserializeOwned>(&self) -> Result<Config<S>, ConfigError> {
        let mut config: Config<S> = self.consumer.config.read()?;
        self.kafka.apply(&mut config.kafka, &mut config.origins);
        Broker::check(&config.kafka, &config.origins)?;
        Ok(config)
    }

    /// What messages come over: what was said, or else Kafka, where its brokers are configured.
    fn over<S: Default>(&self, config: &Config<S>) -> anyhow::Result<Over> {
        if let Some(over) = self.broker {
            return Ok(over);
        }
        if config.origins.of("kafka.bootstrap_servers") != "default" {
            return Ok(Over::Kafka);
        }
        // Reading stdin, which is empty in a container, would look like success.
        let meant = config.origins.below(&["kafka", "pubsub"]);
        match meant.into_iter().find(|(_, origin)| !OF_THE_MACHINE.contains(origin)) {
            Some((key, origin)) => bail!(
                "{origin} sets {key}, and nothing says where messages come from: set \
                 kafka.bootstrap_servers, or say --broker"
            ),
            None => Ok(Over::Stdin),
        }
    }
}

/// What is loaded, once it can be: a volume or a server that is away is waited for.
async fn available<L>(
    load: impl Fn() -> anyhow::Result<L>,
    consumer: &Consumer,
) -> anyhow::Result<L> {
    let mut pause = SHORTEST_PAUSE;
    let mut waiting = None;
    loop {
        let reason = match load() {
            Ok(loaded) => return Ok(loaded),
            Err(error) => match error.downcast_ref() {
                Some(PredictError::Unavailable { reason }) => reason.clone(),
                _ => return Err(error),
            },
        };
        tracing::warn!(reason, ?pause, "the model can't be loaded now; it is asked again");
        consumer.probes().waits_for(&format!("the model: {reason}"));
        waiting.get_or_insert_with(|| consumer.pulse().waits_for("the model"));
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// What answers a consumer's messages.
struct Answers<P, C> {
    consumer: Consumer,
    model: P,
    codec: C,
    settings: PipelineConfig,
}

impl<P: Predictor, C: Codec<Input = P::Input, Output = P::Output>> Answers<P, C> {
    /// Whether the end of the input was reached.
    async fn to(
        self,
        source: impl Source,
        shutdown: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<bool> {
        let Self { consumer, model, codec, settings } = self;
        let (transport, end) = source.connect(consumer.pulse().clone()).await?;
        let pipeline = Pipeline::new(transport, model, codec, settings);
        let (report, is_reached) = consumer.run(pipeline, end, shutdown).await?;
        crate::ended(&report)?;
        Ok(is_reached)
    }
}
