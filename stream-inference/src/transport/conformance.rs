//! The suite that every transport passes.
//!
//! A transport's tests implement [`Harness`] over a real broker and hand it to [`run`]. Each case
//! gets a harness of its own. What is tested follows from what the transport claims in
//! [`Capabilities`]; what does not apply is printed with the reason.

mod cases;
mod exactly_once;
mod harness;

pub use harness::Harness;

use super::{Capabilities, Guarantee, Transport};

/// Runs every case on a fresh harness each, one after the other, and prints a line for each.
///
/// # Panics
/// At the first rule that the transport breaks.
pub async fn run<H: Harness>(capabilities: Capabilities, new: impl AsyncFn() -> H) {
    macro_rules! case {
        ($name:ident $(if $claim:expr, $reason:literal)?) => {
            case!(cases::$name $(if $claim, $reason)?);
        };
        ($module:ident::$name:ident $(if $claim:expr, $reason:literal)?) => {{
            let skipped: &[(bool, &str)] = &[$((!$claim, $reason))?];
            let name = stringify!($name).replace('_', " ");
            match skipped {
                [(true, reason), ..] => println!("conformance: {name} ... skipped: {reason}"),
                _ => {
                    $module::$name(&new().await).await;
                    println!("conformance: {name} ... ok");
                }
            }
        }};
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
