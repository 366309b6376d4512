use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fmnist_core::{
    Image, ModelIdentity, Prediction,
    codec::{Answer, Codec, Message, Request},
    message::{Requests, ResultRecord},
    pipeline::{Answered, BatchConfig, Pipeline, PipelineConfig, Pulse, Sink, SinkError},
    testing::FakeModel,
    transport::{Outbound, Rejection, memory::MemoryBroker},
};
use stream_inference::testing::Commanded;
use tokio::sync::oneshot;

use crate::{Alone, MIB};

const IMAGES: usize = 10_000;

/// Says the same of every image.
fn same() -> FakeModel {
    let model = FakeModel::new(ModelIdentity::of_code("same", "1"), |_| Ok((1, vec![0.0, 1.0])));
    model.with_labels(vec!["Trouser".to_owned(); 2])
}

fn test_set() -> Arc<[Image]> {
    vec![Image::new([1; Image::PIXELS]); IMAGES].into()
}

/// So many messages that ask for the whole test set.
fn asked(ranges: usize) -> MemoryBroker {
    let broker = MemoryBroker::new("m");
    for _ in 0..ranges {
        let payload = format!(r#"{{"start_idx": 0, "end_idx": {IMAGES}}}"#).into();
        broker.send(Outbound { payload, ..Outbound::default() });
    }
    broker
}

/// Takes what it is given.
struct Anything;

impl Sink<ResultRecord, Image> for Anything {
    async fn write(&self, _results: &[Answered]) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn a_few_bytes_that_ask_for_the_whole_test_set_hundreds_of_times_take_what_one_answer_does() {
    const RANGES: usize = 500;
    let alone = Alone::wait();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (model, broker) = (same(), asked(RANGES));
    let test_images = test_set();
    let config = PipelineConfig { record_only: true, ..PipelineConfig::default() };
    let requests = Requests::new(&model, test_images);
    let pipeline = Pipeline::new(broker.consumer(), model, requests, config);
    let ended = async {
        while broker.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let run = pipeline.with_sink(Anything).run(ended);
    let (report, peak) = alone.measured(|| runtime.block_on(run).unwrap());
    assert_eq!((report.settlement.recorded, report.inputs), (RANGES, RANGES * IMAGES));
    // All of the answers would be half a gigabyte.
    assert!(peak <= 32 * MIB, "{peak} bytes");
}

/// The messages of the test set's ranges, with a count of the images that were copied for them.
struct Counted {
    requests: Requests,
    copied: Arc<AtomicUsize>,
}

struct CountedImages<I> {
    images: I,
    copied: Arc<AtomicUsize>,
}

impl<I: Iterator> Iterator for CountedImages<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let image = self.images.next()?;
        self.copied.fetch_add(1, Ordering::SeqCst);
        Some(image)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.images.size_hint()
    }
}

impl<I: ExactSizeIterator> ExactSizeIterator for CountedImages<I> {}

impl Codec for Counted {
    type Input = Image;
    type Output = Prediction;
    type Inputs = CountedImages<<Requests as Codec>::Inputs>;
    type Context = <Requests as Codec>::Context;
    type Record = ResultRecord;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        let Request { inputs: images, context, bytes, .. } = self.requests.decode(message)?;
        let images = CountedImages { images, copied: Arc::clone(&self.copied) };
        Ok(Request::new(images, context).with_bytes(bytes))
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<ResultRecord, Rejection> {
        self.requests.record(answer.within())
    }

    fn encode(
        &self,
        record: &ResultRecord,
        key: Option<&Bytes>,
    ) -> Result<Vec<Outbound>, Rejection> {
        self.requests.encode(record, key)
    }

    fn output_bytes(&self) -> usize {
        self.requests.output_bytes()
    }
}

#[test]
fn a_hundred_ranges_that_are_all_in_flight_have_copies_of_the_images_that_the_model_is_given() {
    const RANGES: usize = 100;
    let alone = Alone::wait();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (model, broker, test_images) = (same(), asked(RANGES), test_set());
    let copied = Arc::<AtomicUsize>::default();
    let requests = Requests::new(&model, test_images);
    let codec = Counted { requests, copied: Arc::clone(&copied) };
    let (model, pulse) = (Commanded::new(model), Pulse::default());
    let _paused = model.pause();
    // What the model keeps will not end.
    let config = PipelineConfig { grace_ms: 0, ..PipelineConfig::default() };
    let pipeline =
        Pipeline::new(broker.consumer(), model.clone(), codec, config).with_pulse(pulse.clone());
    let in_flight = async {
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(pipeline.run(async { drop(stopped.await) }));
        // All were received and read together, before the first batch was made of them.
        model.called(1).await;
        assert_eq!((broker.waiting_messages(), pulse.vitals().in_flight), (0, RANGES));
        stop.send(()).unwrap();
        run.await.unwrap().unwrap()
    };
    let (report, peak) = alone.measured(|| runtime.block_on(in_flight));
    assert_eq!((report.unfinished, report.inputs), (RANGES, 0));
    // One batch is computed, and one waits behind it.
    let copied = copied.load(Ordering::SeqCst);
    let batch = BatchConfig::default().max_inputs;
    assert!((batch..=2 * batch).contains(&copied), "{copied} of {}", RANGES * IMAGES);
    // Copies for one of the ranges would be 8 MB.
    assert!(peak <= 4 * MIB, "{peak} bytes");
}
