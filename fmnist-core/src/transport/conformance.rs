//! The suite that every transport passes.
//!
//! A transport's tests implement [`Harness`] over a real broker and hand it to [`run`]. Each case
//! gets a harness of its own. What is tested follows from what the transport claims in
//! [`Capabilities`]; what does not apply is printed with the reason.

mod cases;
mod support;

use std::time::Duration;

use super::{Capabilities, Outbound, Transport};

/// One isolated set of topics on a broker, with everything around the transport under test.
pub trait Harness: Send + Sync {
    /// The transport under test.
    type Transport: Transport;

    /// A new consumer of the same group or subscription, ready to receive. An earlier one may have
    /// been dropped without a word, as in a crash.
    fn connect(&self) -> impl Future<Output = Self::Transport> + Send;

    /// Sends messages, confirmed, in order; answers their ids. The same key means the same lane.
    fn send(&self, messages: Vec<Outbound>) -> impl Future<Output = Vec<String>> + Send;

    /// Everything on the results topic so far, in order within a key, as a `read_committed` reader.
    fn results(&self) -> impl Future<Output = Vec<Outbound>> + Send;

    /// Everything on the dead-letter topic so far.
    fn dead_letters(&self) -> impl Future<Output = Vec<Outbound>> + Send;

    /// How long the broker may take to deliver an unsettled message again.
    fn patience(&self) -> Duration;
}

/// Runs every case on a fresh harness each, one after the other, and prints a line for each.
///
/// # Panics
/// At the first rule that the transport breaks.
pub async fn run<H: Harness>(capabilities: Capabilities, new: impl AsyncFn() -> H) {
    macro_rules! case {
        ($name:ident) => {
            cases::$name(&new().await).await;
            println!("conformance: {} ... ok", stringify!($name).replace('_', " "));
        };
        ($name:ident if $claim:expr, $reason:literal) => {
            if $claim {
                case!($name);
            } else {
                println!(
                    "conformance: {} ... skipped: {}",
                    stringify!($name).replace('_', " "),
                    $reason
                );
            }
        };
    }
    let Capabilities { lanes, attempts, .. } = capabilities;
    assert_eq!(new().await.connect().await.capabilities(), capabilities);
    case!(settled_messages_are_answered_once_and_not_delivered_again);
    case!(recorded_messages_are_acknowledged_without_a_result);
    case!(a_rejected_message_reaches_the_dead_letters_untouched);
    case!(answers_in_several_parts_stay_in_order);
    case!(limits_hold);
    case!(a_dropped_reception_loses_nothing);
    case!(a_dropped_settlement_is_carried_out_all_the_same);
    case!(an_unsettled_drop_is_delivered_again);
    case!(a_retried_message_is_delivered_again_with_its_id);
    case!(a_crash_loses_nothing);
    case!(a_settled_message_does_not_acknowledge_an_earlier_one);
    case!(a_drained_consumer_leaves_the_rest_to_the_next);
    case!(messages_of_a_lane_keep_their_order if lanes, "the transport claims no lanes");
    case!(a_retry_pulls_back_later_messages_of_its_lane if lanes, "the transport claims no lanes");
    case!(a_retry_leaves_other_lanes_alone if lanes, "the transport claims no lanes");
    case!(attempts_are_counted if attempts, "the transport claims no attempt counts");
}
