//! Codecs and models that break their word.

use super::*;
use crate::{
    codec::{Answer, Codec, Message, Request},
    predict::{PredictError, Predictor, Served},
    toy::Said,
    transport::Rejection,
};

/// A message such as `300 270 panic`: so many inputs it says it has, and so many come before it ends, or
/// panics.
struct Liar;

struct Claimed {
    says: usize,
    left: usize,
    panics: bool,
}

impl Iterator for Claimed {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        assert!(self.left > 0 || !self.panics, "told to panic");
        self.says = self.says.saturating_sub(1);
        self.left = self.left.checked_sub(1)?;
        Some(1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.says, Some(self.says))
    }
}

impl ExactSizeIterator for Claimed {}

impl Codec for Liar {
    type Input = u8;
    type Output = Said;
    type Inputs = Claimed;
    type Context = ();
    type Record = (String, usize);

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        let text = std::str::from_utf8(message.payload).expect("text");
        let mut words = text.split(' ');
        let mut number = || words.next().expect("a word").parse().expect("a number");
        let (says, left) = (number(), number());
        Ok(Request::new(Claimed { says, left, panics: words.next().is_some() }, ()))
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<Self::Record, Rejection> {
        Ok((answer.id.to_owned(), answer.outputs.len()))
    }

    fn encode(
        &self,
        (id, outputs): &Self::Record,
        _: Option<&Bytes>,
    ) -> Result<Vec<Outbound>, Rejection> {
        let payload = format!("{id}: {outputs}").into();
        Ok(vec![Outbound { payload, ..Outbound::default() }])
    }
}

#[tokio::test]
async fn a_message_with_fewer_inputs_than_it_says_is_refused_alone_whenever_that_shows() {
    for short in ["3 0", "3 2", "3 0 panic", "3 1 panic", "600 0 panic", "600 256", "600 599 panic"]
    {
        let broker = MemoryBroker::new("m");
        for payload in ["2 2", short, "300 300", "1 1"] {
            broker.send(keyed("lane", Outbound { payload: payload.into(), ..Outbound::default() }));
        }
        let run = Pipeline::new(broker.consumer(), Echo::new(), Liar, PipelineConfig::default());
        let report = run_through(&broker, run).await.expect("drained");
        assert_eq!((report.settlement.published, report.settlement.rejected), (3, 1), "{short}");
        let results = broker.results();
        let texts: Vec<_> = results.iter().map(|result| &result.payload[..]).collect();
        assert_eq!(texts, [&b"m/0: 2"[..], b"m/2: 300", b"m/3: 1"], "{short}");
        let letter = broker.dead_letters().remove(0);
        assert_eq!(letter.payload, short);
        let reason = letter.attributes.text("__connect.errors.exception.message");
        assert_eq!(reason, Some("the codec gave fewer inputs than it had counted"), "{short}");
    }
}

/// Serves one output too many or too few of batches of more than one input, past the checks of
/// `Predictor::serve`'s own.
struct Miscounts {
    model: Commanded<Echo>,
    more: bool,
}

impl Predictor for Miscounts {
    type Input = u8;
    type Output = Said;

    fn predict(&self, batch: &[u8]) -> Result<Vec<Said>, PredictError> {
        self.model.predict(batch)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.model.identity()
    }

    fn serve(&self, batch: &[u8]) -> Result<Served<Said>, PredictError> {
        let mut served = self.model.serve(batch)?;
        if batch.len() > 1 {
            match self.more {
                true => served.outputs.extend(self.model.predict(&batch[..1])?),
                false => drop(served.outputs.pop()),
            }
        }
        Ok(served)
    }
}

#[tokio::test]
async fn a_model_that_serves_too_many_or_too_few_answers_nobody_with_what_is_another_ones() {
    for more in [true, false] {
        let broker = MemoryBroker::new("m");
        (1..=5).for_each(|value| drop(broker.send(raw(value))));
        let model = Miscounts { model: Echo::new(), more };
        let run =
            Pipeline::new(broker.consumer(), model, Toy::default(), PipelineConfig::default());
        let report = run_through(&broker, run).await.expect("drained");
        // Halved down to single inputs, which it answers rightly.
        assert_eq!((report.settlement.published, report.settlement.rejected), (5, 0));
        let digits: Vec<_> = broker.results().iter().flat_map(|r| record(r).outputs).collect();
        assert_eq!(digits, [1, 2, 3, 4, 5]);
    }
}
