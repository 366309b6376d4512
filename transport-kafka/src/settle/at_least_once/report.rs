//! What the client tells of a record that it was given.

use rdkafka::{error::KafkaError, message::OwnedMessage, producer::DeliveryFuture};

use crate::settle::refusal::{is_refusal, is_too_large};

/// What the client will tell of a record, or why it did not take it.
pub(super) type Report = Result<DeliveryFuture, Box<Unconfirmed>>;

/// What the broker did not confirm: the reason that decides, and all records that came back.
pub(super) struct Unconfirmed {
    pub(super) error: KafkaError,
    pub(super) records: Vec<OwnedMessage>,
}

impl Unconfirmed {
    /// A refusal decides over what may pass, and that over what may pass as something smaller.
    fn add(&mut self, other: Self) {
        let rank = |error: &KafkaError| match (is_too_large(error), is_refusal(error)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        if rank(&other.error) > rank(&self.error) {
            self.error = other.error;
        }
        self.records.extend(other.records);
    }
}

/// Waits for every delivery report.
pub(super) async fn confirmation(reports: Vec<Report>) -> Result<(), Box<Unconfirmed>> {
    let mut failure: Option<Box<Unconfirmed>> = None;
    for report in reports {
        let unconfirmed = match report {
            Ok(report) => match report.await {
                Ok(Ok(_)) => continue,
                Ok(Err((error, record))) => Box::new(Unconfirmed { error, records: vec![record] }),
                Err(_) => {
                    Box::new(Unconfirmed { error: KafkaError::Canceled, records: Vec::new() })
                }
            },
            Err(unconfirmed) => unconfirmed,
        };
        match &mut failure {
            None => failure = Some(unconfirmed),
            Some(failure) => failure.add(*unconfirmed),
        }
    }
    failure.map_or(Ok(()), Err)
}
