//! A message answered again, outside of any stream: what an audit asks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;

use crate::{
    codec::{Answer, Codec, Message},
    predict::{PredictError, Predictor, checked},
    transport::{Outbound, Rejection, Stage},
};

/// Inputs that are computed at once.
const BATCH: usize = 256;

/// What a message comes to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Replayed {
    /// These results; their times are those of the replay.
    Published(Vec<Outbound>),
    /// An answer that its codec does not publish.
    Filtered,
    /// A dead letter.
    Refused(Rejection),
}

/// Answers a message as a pipeline would, and publishes nothing.
///
/// # Errors
/// [`PredictError::Unavailable`] where the model can't answer now; a pipeline would wait.
pub fn replay<P, C>(model: &P, codec: &C, message: Message<'_>) -> Result<Replayed, PredictError>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    let received_at = Timestamp::now();
    let request = match shielded(Stage::Decode, || codec.decode(message)) {
        Ok(request) if request.inputs.len() == 0 => {
            let reason = "the message has no inputs";
            return Ok(Replayed::Refused(Rejection::new(Stage::Validate, reason)));
        }
        Ok(request) => request,
        Err(rejection) => return Ok(Replayed::Refused(rejection)),
    };
    let answers = |batch: &[P::Input]| {
        catch_unwind(AssertUnwindSafe(|| checked(model, batch)))
            .unwrap_or_else(|_| Err("the model panicked".to_owned().into()))
    };
    let mut inputs = request.inputs;
    let (mut outputs, mut identity) = (Vec::new(), model.identity());
    loop {
        let batch: Vec<_> = inputs.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        match answers(&batch) {
            Ok(served) => {
                identity = served.model;
                outputs.extend(served.outputs);
            }
            Err(PredictError::Input { .. }) => {
                // One of them is at fault: which one, a pipeline finds by halves.
                for input in batch.chunks(1) {
                    match answers(input) {
                        Ok(served) => outputs.extend(served.outputs),
                        Err(PredictError::Input { reason }) => {
                            let position = outputs.len();
                            let refused = codec.failed(&request.context, position, &reason);
                            return Ok(Replayed::Refused(refused));
                        }
                        Err(unavailable) => return Err(unavailable),
                    }
                }
            }
            Err(unavailable) => return Err(unavailable),
        }
    }
    let answer = Answer {
        id: message.id,
        source: message.source,
        context: request.context,
        outputs,
        model: &identity,
        received_at,
        inferred_at: Timestamp::now(),
    };
    let encoded = shielded(Stage::Encode, || {
        codec.record(answer).and_then(|record| codec.encode(&record, message.key))
    });
    Ok(match encoded {
        Ok(results) if !results.is_empty() => Replayed::Published(results),
        Ok(_) if codec.filters() => Replayed::Filtered,
        Ok(_) => Replayed::Refused(Rejection::new(Stage::Encode, "the codec encoded no result")),
        Err(rejection) => Replayed::Refused(rejection),
    })
}

fn shielded<T>(stage: Stage, f: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    let panicked = |_| Err(Rejection::new(stage, "the codec panicked"));
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        codec::{Filter, Json, Record},
        predict::{ModelIdentity, function},
        transport::{Attributes, Source},
    };

    fn replayed(payload: &str) -> Result<Replayed, PredictError> {
        let model = function(ModelIdentity::of_code("root", "1"), |batch: &[f64]| {
            let root = |x: &f64| match *x {
                x if x.is_nan() || x > 1e9 => Err(PredictError::unavailable("its table is away")),
                99.0 => panic!("on purpose"),
                x if x < 0.0 => Err(PredictError::from(format!("{x} has no root"))),
                x => Ok(x.sqrt()),
            };
            batch.iter().map(root).collect::<Result<Vec<_>, _>>()
        });
        let codec = Filter::new(Json::<f64, f64>::arrays(), |record: &Record<f64>| {
            record.predictions.iter().any(|root| *root > 2.0)
        });
        let source = Source {
            transport: Arc::from("kafka"),
            topic: Arc::from("NUMBERS"),
            partition: Some(0),
            offset: Some(7),
            message_id: None,
        };
        let (attributes, payload) = (Attributes::default(), payload.to_owned().into());
        let message = Message::new("NUMBERS/0/7", &source, &attributes, &payload);
        replay(&model, &codec, message)
    }

    #[test]
    fn a_message_is_answered_again_filtered_or_refused_as_in_a_pipeline() {
        let Ok(Replayed::Published(results)) = replayed("[4, 9]") else { panic!("no result") };
        assert_eq!(results[0].attributes.text("id"), Some("NUMBERS/0/7"));
        assert_eq!(replayed("[4, 1]").unwrap(), Replayed::Filtered);
        let Ok(Replayed::Refused(refused)) = replayed("[4, -1, 9]") else { panic!("no refusal") };
        assert_eq!((refused.stage, &*refused.reason), (Stage::Infer, "input 1: -1 has no root"));
        let Ok(Replayed::Refused(refused)) = replayed("[]") else { panic!("no refusal") };
        assert_eq!(refused.stage, Stage::Validate);
        let Ok(Replayed::Refused(refused)) = replayed("[4, 99]") else { panic!("no refusal") };
        assert_eq!(
            (refused.stage, &*refused.reason),
            (Stage::Infer, "input 1: the model panicked")
        );
        let Ok(Replayed::Refused(refused)) = replayed("four") else { panic!("no refusal") };
        assert_eq!(refused.stage, Stage::Decode);
        assert!(matches!(replayed("[1e10]"), Err(PredictError::Unavailable { .. })));
    }
}
