use std::{sync::Arc, time::Duration};

use fmnist_core::{
    Image, Infer, ModelIdentity, PredictError, Prediction, Predictor,
    message::{Requests, ResultRecord},
    pipeline::{Answered, Pipeline, PipelineConfig, Sink, SinkError},
    transport::{Outbound, memory::MemoryBroker},
};

use crate::{Alone, MIB};

const IMAGES: usize = 10_000;

/// Says the same of every image.
struct Same {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

impl Predictor for Same {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let model = || Arc::clone(&self.identity);
        let predict = |_| Prediction { class: 1, probabilities: [0.0, 1.0].into(), model: model() };
        Ok(images.iter().map(predict).collect())
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

impl Infer for Same {
    fn labels(&self) -> &[String] {
        &self.labels
    }
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
    let (name, version, sha256) = ("same".to_owned(), "1".to_owned(), String::new());
    let identity = Arc::new(ModelIdentity { name, version, sha256 });
    let model = Same { labels: vec!["Trouser".to_owned(); 2], identity };
    let test_images: Arc<[Image]> = vec![Image::new([1; Image::PIXELS]); IMAGES].into();
    let broker = MemoryBroker::new("m");
    for _ in 0..RANGES {
        let payload = format!(r#"{{"start_idx": 0, "end_idx": {IMAGES}}}"#).into();
        broker.send(Outbound { payload, ..Outbound::default() });
    }
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
