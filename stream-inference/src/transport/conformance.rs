//! The suite that every transport passes.
//!
//! A transport's tests implement [`Harness`] over a real broker and hand it to [`run`]. Each case
//! gets a harness of its own. What is tested follows from what the transport claims in
//! [`Capabilities`]; what does not apply is printed with the reason.

mod cases;
mod exactly_once;
mod support;

use std::time::Duration;

use super::{Capabilities, Guarantee, Outbound, Transport};

/// One isolated set of topics on a broker, with everything around the transport under test.
pub trait Harness: Send + Sync {
    /// The transport under test.
    type Transport: Transport;

    /// A new consumer of the same group or subscription, ready to receive. An earlier one may have
    /// been dropped without a word, as in a crash.
    fn connect(&self) -> impl Future<Output = Self::Transport> + Send;

    /// Sends messages, confirmed, in order; answers their ids. The same key means the same lane.
    /// All have a key and an attribute, one payload is not UTF-8, and the largest has 1,000 bytes.
    fn send(&self, messages: Vec<Outbound>) -> impl Future<Output = Vec<String>> + Send;

    /// Everything on the results topic so far, in order within a key, as a `read_committed` reader.
    fn results(&self) -> impl Future<Output = Vec<Outbound>> + Send;

    /// Everything on the dead-letter topic so far.
    fn dead_letters(&self) -> impl Future<Output = Vec<Outbound>> + Send;

    /// Makes the next `count` settlements of `transport` abort after their results were sent. Called
    /// where the transport claims [`Guarantee::ExactlyOnce`].
    fn abort_settlements(
        &self,
        _transport: &mut Self::Transport,
        _count: usize,
    ) -> impl Future<Output = ()> + Send {
        async { panic!("a transport that claims exactly once has a way to inject aborts") }
    }

    /// The most that the broker takes of a result, in bytes with key and attributes: at least 1,000
    /// more than what [`Harness::send`] is given. `None` skips the case of a larger one.
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }

    /// A topic that the transport under test has a route to. `None` skips the cases of routes.
    fn route(&self) -> Option<&str> {
        None
    }

    /// Everything on that topic so far, as [`Harness::results`]. Called where there is a route.
    fn routed(&self) -> impl Future<Output = Vec<Outbound>> + Send {
        async { panic!("a harness with a route can read it") }
    }

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
            case!(cases::$name);
        };
        ($module:ident::$name:ident) => {
            $module::$name(&new().await).await;
            println!("conformance: {} ... ok", stringify!($name).replace('_', " "));
        };
        ($name:ident if $claim:expr, $reason:literal) => {
            case!(cases::$name if $claim, $reason);
        };
        ($module:ident::$name:ident if $claim:expr, $reason:literal) => {
            if $claim {
                case!($module::$name);
            } else {
                println!(
                    "conformance: {} ... skipped: {}",
                    stringify!($name).replace('_', " "),
                    $reason
                );
            }
        };
    }
    let Capabilities { guarantee, lanes, attempts } = capabilities;
    let exactly_once = guarantee == Guarantee::ExactlyOnce;
    assert_eq!(new().await.connect().await.capabilities(), capabilities);
    case!(settled_messages_are_answered_once_and_not_delivered_again);
    case!(recorded_messages_are_acknowledged_without_a_result);
    case!(a_rejected_message_reaches_the_dead_letters_untouched);
    case!(answers_in_several_parts_stay_in_order);
    let bounded = new().await.max_message_bytes().is_some();
    case!(a_result_that_is_too_large_is_dead_lettered_at_publish if bounded, "no bound is named");
    let routes = new().await.route().is_some();
    case!(results_arrive_on_the_topics_that_they_name if routes, "no route is named");
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
    case!(
        a_message_that_its_neighbour_pulls_back_has_no_further_attempt if lanes,
        "the transport claims no lanes"
    );
    case!(attempts_are_counted if attempts, "the transport claims no attempt counts");
    case!(
        exactly_once::parts_on_two_topics_are_seen_both_or_neither if exactly_once && routes,
        "the transport claims at least once, or no route is named"
    );
    macro_rules! exactly_once {
        ($($name:ident),* $(,)?) => {$(
            case!(exactly_once::$name if exactly_once, "the transport claims at least once");
        )*};
    }
    exactly_once!(
        every_id_is_seen_once_under_injected_aborts,
        an_abort_takes_the_settlements_with_it_that_it_was_merged_with,
        a_crash_shows_no_id_twice,
        nothing_is_published_past_a_message_without_an_outcome,
    );
}
