use std::sync::{Arc, Mutex};

use fmnist_core::{
    message::ResultRecord,
    pipeline::{Answered, Sink},
    testing::record,
    transport::{Outbound, PublishError, Publisher},
};
use fmnist_examples::{Backlog, Bounded, Console};
use service::Outlet;
use test_kit::Written;

fn result(partition: i32, offset: i64, classes: &[usize]) -> ResultRecord {
    record(&format!("INFERENCE/{partition}/{offset}"), classes)
}

async fn printed(is_synthetic: bool, result: ResultRecord) -> String {
    let output = Written::default();
    let time_zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
    let answered = Answered { record: result, inputs: Vec::new() };
    let outlet = Outlet::new(output.clone());
    let console = Console::to(outlet, time_zone, is_synthetic).as_record(true);
    console.write(&[answered]).await.unwrap();
    output.text()
}

#[tokio::test]
async fn the_console_prints_the_old_lines_in_local_time() {
    let found = printed(false, result(0, 0, &[9, 2, 1, 1, 6])).await;
    let expected = "[2026-11-24 04:55:31] Model Inference [0 - 5]\n\
                    Ankle Boot,Pullover,Trouser,Trouser,Shirt\n";
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_line_about_drawn_images_says_so() {
    let found = printed(true, result(0, 0, &[9])).await;
    assert!(found.lines().all(|line| line.ends_with(" (synthetic)")), "{found}");
}

#[tokio::test]
async fn images_that_were_sent_are_printed_with_their_id() {
    let result = ResultRecord { start_idx: None, end_idx: None, ..result(3, 7, &[8]) };
    let found = printed(false, result).await;
    assert_eq!(found, "[2026-11-24 04:55:31] Model Inference [INFERENCE/3/7]\nBag\n");
}

/// Confirms at once, on one partition.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<i64>>);

impl Publisher for Log {
    async fn publish(&self, _: Outbound) -> Result<String, PublishError> {
        let mut next = self.0.lock().unwrap();
        *next += 1;
        Ok(format!("INFERENCE/2/{}", *next - 1))
    }
}

#[tokio::test]
async fn the_demo_stops_before_its_toy_would_lose_messages() {
    let backlog = Backlog::new(3_000);
    let publisher = Bounded::new(Log::default(), Arc::clone(&backlog));
    let message = || Outbound { payload: vec![0; 1_000].into(), ..Outbound::default() };
    assert_eq!(publisher.publish(message()).await.unwrap(), "INFERENCE/2/0");
    assert_eq!(publisher.publish(message()).await.unwrap(), "INFERENCE/2/1");
    let full = publisher.publish(message()).await.unwrap_err();
    assert!(matches!(full, PublishError::Unavailable { .. }), "{full}");

    backlog.settle(&result(2, 1, &[0]));
    assert_eq!(backlog.bytes(), 0);
    assert_eq!(publisher.publish(message()).await.unwrap(), "INFERENCE/2/2");
}

#[tokio::test]
async fn a_result_that_comes_before_its_confirmation_leaves_no_backlog() {
    let backlog = Backlog::new(3_000);
    backlog.settle(&result(2, 0, &[0]));
    Bounded::new(Log::default(), Arc::clone(&backlog)).publish(Outbound::default()).await.unwrap();
    assert_eq!(backlog.bytes(), 0);
}
