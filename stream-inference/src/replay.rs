//! A message answered again, outside of any stream: what an audit asks.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;

use crate::{
    codec::{Answer, Codec, Message},
    pipeline::{schedule::Batch, worker},
    predict::{PredictError, Predictor},
    shield,
    transport::{Outbound, Rejection},
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
    let request = match shield::read(codec, message) {
        Ok(request) => request,
        Err(rejection) => return Ok(Replayed::Refused(rejection)),
    };
    let mut inputs = request.inputs;
    let (mut outputs, mut identity) = (Vec::new(), None);
    loop {
        let batch: Vec<_> = inputs.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let (since, shares, short) = (Instant::now(), Vec::new(), Vec::new());
        let batch = Batch { inputs: batch, since, shares, short };
        let inferred = worker::infer(&batch, model).map_err(PredictError::unavailable)?;
        if *identity.get_or_insert_with(|| Arc::clone(&inferred.model)) != inferred.model {
            return Err(PredictError::unavailable("it is exchanged in the midst of a message"));
        }
        for answer in inferred.answers {
            match answer {
                Ok(output) => outputs.push(output),
                Err(reason) => {
                    let position = outputs.len();
                    let refused = shield::failed(codec, &request.context, position, &reason);
                    return Ok(Replayed::Refused(refused));
                }
            }
        }
    }
    let answer = Answer {
        id: message.id,
        source: message.source,
        context: request.context,
        outputs,
        model: &identity.unwrap_or_else(|| model.identity()),
        received_at,
        inferred_at: Timestamp::now(),
    };
    let encoded = shield::record(codec, answer)
        .and_then(|record| shield::encode(codec, &record, message.key, &codec.topics()));
    Ok(match encoded {
        Ok(results) if results.is_empty() => Replayed::Filtered,
        Ok(results) => Replayed::Published(results),
        Err(rejection) => Replayed::Refused(rejection),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        codec::{Filter, Json, Record},
        predict::{ModelIdentity, function},
        transport::{Attributes, Source, Stage},
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
