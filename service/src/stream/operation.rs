use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use stream_inference::{
    codec::{Codec, Message},
    predict::Predictor,
    replay::{Replayed, replay},
    transport::{Outbound, Source},
};
use tokio::runtime::Runtime;
use transport_kafka::KafkaConfig;

use crate::{
    AuditArguments, Config, LettersOn, RedriveArguments, failed, log_from_env, print_account,
};

/// What a program does with its topics besides answering them.
#[derive(Debug, Subcommand)]
pub(crate) enum Operation {
    /// Proves that every message of a window of Kafka's topic came to exactly one end
    ///
    /// Exit codes: 0 every message has exactly one end, 1 an error, 2 wrong arguments, 3 something is
    /// missing, incomplete, doubled or orphaned. With a codec that filters, what has no end is filtered
    /// or lost; --replay answers such messages again to tell.
    Audit(AuditArguments),
    /// Sends dead letters to the source topic again: key, payload and headers as they first came
    ///
    /// Exit codes: 0 every chosen letter was sent again, 1 an error, 2 wrong arguments, 3 some were left.
    Redrive(RedriveArguments),
}

impl Operation {
    pub(crate) fn run<S, P, C>(
        &self,
        mut config: Config<S>,
        load: impl Fn(&S) -> anyhow::Result<(P, C)>,
    ) -> ExitCode
    where
        S: Default,
        P: Predictor,
        C: Codec<Input = P::Input, Output = P::Output>,
    {
        let _logs = log_from_env();
        match self {
            Self::Audit(arguments) => {
                let audited = load(&config.model).and_then(|(model, codec)| {
                    config.declare(&codec);
                    audit(arguments, &config.kafka, &model, &codec)
                });
                match audited {
                    Ok(true) => ExitCode::SUCCESS,
                    Ok(false) => ExitCode::from(3),
                    Err(error) => failed(&error),
                }
            }
            Self::Redrive(arguments) => {
                let runtime = match Runtime::new() {
                    Ok(runtime) => runtime,
                    Err(error) => return failed(&error.into()),
                };
                runtime.block_on(async {
                    match arguments.broker {
                        LettersOn::Kafka => arguments.kafka(&config.kafka).await,
                        #[cfg(feature = "pubsub")]
                        LettersOn::Pubsub => arguments.pubsub(&config.pubsub).await,
                    }
                })
            }
        }
    }
}

fn audit<P, C>(
    arguments: &AuditArguments,
    kafka: &KafkaConfig,
    model: &P,
    codec: &C,
) -> anyhow::Result<bool>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    anyhow::ensure!(
        codec.filters() || !arguments.replay,
        "--replay tells filtered messages from lost ones, and this program filters none"
    );
    let mut window = arguments.read(kafka, |result| Some((id(result)?, ())), |_, ()| Ok(()))?;
    let mut account = window.ledger.account();
    if codec.filters() && arguments.replay {
        for missing in &account.missing {
            if is_filtered(missing, &window.inputs[missing], model, codec)? {
                window.ledger.filtered(missing);
            }
        }
        account = window.ledger.account();
    }
    let missing = match codec.filters() && !arguments.replay {
        true => "filtered or lost",
        false => "missing",
    };
    print_account(&account, missing)?;
    arguments.write(kafka, &account, None)?;
    Ok(account.is_exact())
}

/// The id of a result: its header `id`, as the library's own formats have it, else the member of that name.
fn id(result: &Outbound) -> Option<String> {
    if let Some(id) = result.attributes.text("id") {
        return Some(id.to_owned());
    }
    let payload: serde_json::Value = serde_json::from_slice(&result.payload).ok()?;
    Some(payload.get("id")?.as_str()?.to_owned())
}

/// Whether the answer to this message is one that is not published.
fn is_filtered<P, C>(id: &str, input: &Outbound, model: &P, codec: &C) -> anyhow::Result<bool>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    let mut coordinates = id.rsplitn(3, '/');
    let (offset, partition) = (coordinates.next(), coordinates.next());
    let source = Source {
        transport: "kafka".into(),
        topic: coordinates.next().unwrap_or_default().into(),
        partition: partition.and_then(|partition| partition.parse().ok()),
        offset: offset.and_then(|offset| offset.parse().ok()),
        message_id: None,
    };
    let mut message = Message::new(id, &source, &input.attributes, &input.payload);
    message.key = input.key.as_ref();
    let replayed = replay(model, codec, message).context("messages are not answered again")?;
    Ok(replayed == Replayed::Filtered)
}
