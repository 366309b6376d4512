use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use stream_inference::{
    codec::{Codec, Message},
    predict::Predictor,
    replay::{Replayed, replay},
    transport::Outbound,
};
use tokio::runtime::Runtime;

use crate::{
    AuditArguments, Config, History, RedriveArguments, audited, failed, log_from_env,
    print_account, redrive,
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
                let (model, codec) = match load(&config.model) {
                    Ok(loaded) => loaded,
                    Err(error) => return failed(&error),
                };
                config.declare(&codec);
                audited(&config.brokers(), &arguments.broker, |history| {
                    audit(arguments, history, &model, &codec)
                })
            }
            Self::Redrive(arguments) => match Runtime::new() {
                Ok(runtime) => runtime.block_on(redrive(&config.brokers(), arguments)),
                Err(error) => failed(&error.into()),
            },
        }
    }
}

fn audit<P, C>(
    arguments: &AuditArguments,
    history: &dyn History,
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
    let mut window = arguments.read(history, |result| Some((id(result)?, ())), |_, ()| Ok(()))?;
    let mut account = window.ledger.account();
    if codec.filters() && arguments.replay {
        for missing in &account.missing {
            if is_filtered(missing, history, &window.inputs[missing], model, codec)? {
                window.ledger.filtered(missing);
            }
        }
        account = window.ledger.account();
    }
    let is_told = arguments.replay || !codec.filters();
    let missing = if is_told { "missing" } else { "filtered or lost" };
    print_account(&account, missing)?;
    arguments.write(history, &account, None)?;
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
fn is_filtered<P, C>(
    id: &str,
    history: &dyn History,
    input: &Outbound,
    model: &P,
    codec: &C,
) -> anyhow::Result<bool>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    let source = history.source(id).context("a message of the topic has an id of its place")?;
    let mut message = Message::new(id, &source, &input.attributes, &input.payload);
    message.key = input.key.as_ref();
    let replayed = replay(model, codec, message).context("messages are not answered again")?;
    Ok(replayed == Replayed::Filtered)
}
