use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A pulse with messages in flight since `begun`.
fn busy(in_flight: usize) -> (Pulse, Instant) {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    pulse.state().received(in_flight, 0, false, begun);
    (pulse, begun)
}

/// A batch of one message that came to nothing.
fn hand_back(pulse: &Pulse, at: Instant) {
    let mut state = pulse.state();
    state.received(1, 0, false, at);
    state.enter(Place::Infer, 1, at);
    state.leave(Place::Infer, 1, at);
    state.enter(Place::Settle, 1, at);
    state.leave(Place::Settle, 1, at);
    state.settled(0, 0, at);
    state.handed_back(1, Some("the broker does not confirm".to_owned()), at);
}

#[test]
fn messages_in_flight_of_which_none_ends_are_a_stall_that_is_counted_once() {
    let (pulse, begun) = busy(3);
    pulse.state().enter(Place::Settle, 1, begun);
    let before = pulse.vitals_at(begun + PATIENCE - Duration::from_millis(1));
    assert_eq!(before, Vitals { in_flight: 3, ..Vitals::default() });
    for later in [PATIENCE, 2 * PATIENCE] {
        let vitals = pulse.vitals_at(begun + later);
        let reason = format!("the broker has confirmed nothing for {} s", later.as_secs());
        let expected =
            Vitals { in_flight: 3, is_stalled: true, stalls: 1, reason: Some(reason), ..before };
        assert_eq!(vitals, expected);
        assert!(vitals.is_alive() && !vitals.is_well());
    }
    let mut state = pulse.state();
    state.leave(Place::Settle, 1, begun + 3 * PATIENCE);
    state.settled(2, 1, begun + 3 * PATIENCE);
    drop(state);
    let after = pulse.vitals_at(begun + 3 * PATIENCE);
    assert_eq!(after, Vitals { in_flight: 2, stalls: 1, ..Vitals::default() });
    assert_eq!(pulse.vitals_at(begun + 4 * PATIENCE).stalls, 2);
}

#[test]
fn messages_that_are_handed_back_again_and_again_are_a_stall_and_not_a_hang() {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    // Nothing is in flight between two attempts, and each goes through the model.
    for attempt in 0..60 {
        hand_back(&pulse, begun + attempt * SECOND);
    }
    assert!(!pulse.vitals_at(begun + 60 * SECOND).is_stalled);
    hand_back(&pulse, begun + 60 * SECOND);
    let vitals = pulse.vitals_at(begun + 60 * SECOND);
    assert!(vitals.is_stalled && vitals.is_alive());
    let reason = "for 60 s no message came to an end, and 61 were handed back to be delivered \
                  again, the last because the broker does not confirm";
    assert_eq!(vitals.reason.as_deref(), Some(reason));
    // One end is enough.
    pulse.state().settled(0, 1, begun + 61 * SECOND);
    assert!(pulse.vitals_at(begun + 61 * SECOND).is_well());
}

#[test]
fn a_message_that_is_handed_back_once_makes_no_stall_of_the_quiet_after_it() {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    hand_back(&pulse, begun);
    for minutes in [1, 9, 60] {
        pulse.state().received(1, 0, false, begun + minutes * 60 * SECOND);
        assert!(pulse.vitals_at(begun + minutes * 60 * SECOND).is_well(), "{minutes} minutes");
        pulse.state().settled(0, 0, begun + minutes * 60 * SECOND);
    }
}

#[test]
fn a_loop_that_others_ended_is_forgotten() {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    (0..3).for_each(|minute| hand_back(&pulse, begun + minute * PATIENCE));
    assert!(pulse.vitals_at(begun + 2 * PATIENCE).is_stalled);
    let hours = begun + 120 * PATIENCE;
    assert!(pulse.vitals_at(hours).is_well());
    pulse.state().received(1, 0, false, hours);
    assert!(pulse.vitals_at(hours).is_well());
}

#[test]
fn a_pipeline_that_has_ended_is_in_no_outage_and_in_no_loop() {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    (0..3).for_each(|minute| hand_back(&pulse, begun + minute * PATIENCE));
    (0..=60)
        .for_each(|n| pulse.state().unreachable("it is away".to_owned(), begun + n * 2 * SECOND));
    let now = begun + 2 * PATIENCE;
    let reason = pulse.vitals_at(now).reason.expect("it is in both");
    assert!(reason.contains("handed back") && reason.contains("it is away"), "{reason}");
    pulse.ended();
    assert_eq!((pulse.vitals_at(now).reason, pulse.vitals_at(now).is_stalled), (None, false));
}

#[test]
fn inputs_that_move_through_the_model_are_progress() {
    let (pulse, begun) = busy(200);
    for batch in 1..10 {
        let now = begun + batch * PATIENCE / 2;
        pulse.state().enter(Place::Infer, 1, now);
        pulse.state().leave(Place::Infer, 1, now);
        assert!(pulse.vitals_at(now).is_well());
    }
}

#[test]
fn messages_that_trickle_in_do_not_hide_that_nothing_is_confirmed() {
    for (place, words) in [
        (Place::Sink, "the sink has confirmed nothing for 60 s"),
        (Place::Settle, "the broker has confirmed nothing for 60 s"),
    ] {
        let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
        for message in 1..=60 {
            let now = begun + message * SECOND;
            let mut state = pulse.state();
            state.received(message as usize, 0, false, now);
            state.enter(Place::Infer, 1, now);
            state.leave(Place::Infer, 1, now);
            state.enter(place, 1, now);
        }
        assert!(pulse.vitals_at(begun + 60 * SECOND).is_well());
        let vitals = pulse.vitals_at(begun + 61 * SECOND);
        assert!(vitals.is_stalled && vitals.is_alive());
        assert_eq!(vitals.reason.as_deref(), Some(words));
    }
}

#[test]
fn a_thread_that_keeps_what_it_was_given_hangs_and_one_that_gives_anything_back_does_not() {
    for (place, thread, words) in [
        (Place::Decode, "decode", "the decoder has read nothing for 60 s"),
        (Place::Infer, "inference", "the model has answered nothing for 60 s"),
    ] {
        let (pulse, begun) = busy(2);
        pulse.state().enter(place, 2, begun);
        pulse.state().leave(place, 1, begun + 30 * SECOND);
        assert_eq!(pulse.vitals_at(begun + PATIENCE).hangs, None);
        let vitals = pulse.vitals_at(begun + 90 * SECOND);
        assert_eq!((vitals.hangs, vitals.is_alive()), (Some(thread), false));
        assert_eq!(vitals.reason.as_deref(), Some(words));
        pulse.state().leave(place, 1, begun + 91 * SECOND);
        assert!(pulse.vitals_at(begun + 91 * SECOND).is_alive());
    }
}

#[test]
fn what_is_waited_for_is_named_once_by_the_longest_wait_and_forgotten_when_it_answers() {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    let mut state = pulse.state();
    let topic = state.wait(None, "results topic R", begun);
    let database = state.wait(None, "database", begun + 30 * SECOND);
    let again = state.wait(None, "results topic R", begun + 50 * SECOND);
    drop(state);
    assert!(pulse.vitals_at(begun + 59 * SECOND).is_well());
    let vitals = pulse.vitals_at(begun + PATIENCE);
    let reason = "waits for results topic R for 60 s; waits for database for 30 s";
    assert_eq!(vitals.reason.as_deref(), Some(reason));
    assert!(vitals.is_stalled && vitals.is_alive());
    // Ends of other messages do not hide it.
    pulse.state().settled(0, 5, begun + PATIENCE);
    assert!(pulse.vitals_at(begun + PATIENCE).is_stalled);
    pulse.state().resume(topic, begun + PATIENCE);
    assert!(pulse.vitals_at(begun + PATIENCE).is_well());
    [database, again].into_iter().for_each(|number| pulse.state().resume(number, begun + PATIENCE));
    assert!(pulse.vitals_at(begun + 9 * PATIENCE).is_well());
}

#[test]
fn receptions_that_fail_for_the_whole_patience_are_a_stall_until_one_does_not_or_they_cease() {
    let fail = |pulse: &Pulse, at| pulse.state().unreachable("Kafka is away".into(), at);
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    (0..=12).for_each(|n| fail(&pulse, begun + n * 5 * SECOND));
    let vitals = pulse.vitals_at(begun + PATIENCE);
    assert_eq!(vitals.reason.as_deref(), Some("Kafka is away"));
    assert!(vitals.is_stalled && vitals.is_alive());
    assert!(pulse.vitals_at(begun + 3 * PATIENCE).is_well(), "an idle consumer is told no more");
    (0..=12).for_each(|n| fail(&pulse, begun + 4 * PATIENCE + n * 5 * SECOND));
    assert!(pulse.vitals_at(begun + 5 * PATIENCE).is_stalled);
    pulse.state().received(1, 0, false, begun + 5 * PATIENCE);
    assert!(pulse.vitals_at(begun + 5 * PATIENCE).is_well());
}

#[test]
fn a_consumer_that_is_cut_off_is_not_alive_until_it_is_connected_again() {
    let pulse = Pulse::new(PATIENCE);
    assert!(pulse.vitals().is_well());
    pulse.cut_off();
    assert!(pulse.vitals().is_cut_off && !pulse.vitals().is_alive());
    // Settling what it still holds does not give it its place back.
    pulse.settled(0, 1, 0, None);
    assert!(!pulse.vitals().is_well());
    pulse.connected();
    assert!(pulse.vitals().is_well());
}

#[test]
fn an_idle_pipeline_never_stalls_and_its_next_message_has_all_the_time() {
    let (pulse, begun) = (Pulse::new(PATIENCE), Instant::now());
    let received = |count, at| pulse.state().received(count, 0, false, at);
    assert!(pulse.vitals_at(begun + 9 * PATIENCE).is_well());
    received(1, begun + 9 * PATIENCE);
    assert!(pulse.vitals_at(begun + 9 * PATIENCE + PATIENCE / 2).is_well());
    // More messages do not hide that none comes to an end.
    received(2, begun + 9 * PATIENCE + PATIENCE / 2);
    assert!(pulse.vitals_at(begun + 10 * PATIENCE).is_stalled);
}

#[test]
fn a_thread_that_waits_for_its_model_does_not_hang_and_has_all_its_time_when_that_is_back() {
    let (pulse, begun) = busy(2);
    pulse.state().enter(Place::Infer, 1, begun);
    let wait = pulse.state().wait(Some(Place::Infer), "model m (away)", begun + SECOND);
    let vitals = pulse.vitals_at(begun + PATIENCE + SECOND);
    assert_eq!(vitals.reason.as_deref(), Some("waits for model m (away) for 60 s"));
    assert!(vitals.is_stalled && vitals.is_alive());
    // Something else that is waited for excuses no thread.
    let other = pulse.state().wait(None, "database", begun + SECOND);
    let back = begun + 2 * PATIENCE;
    pulse.state().resume(wait, back);
    assert_eq!(pulse.vitals_at(back + PATIENCE - SECOND).hangs, None);
    assert_eq!(pulse.vitals_at(back + PATIENCE).hangs, Some("inference"));
    pulse.state().leave(Place::Infer, 1, back + PATIENCE);
    pulse.state().resume(other, back + PATIENCE);
    assert!(pulse.vitals_at(back + PATIENCE).is_well());
}

#[test]
fn pauses_double_from_a_tenth_of_a_second_to_five() {
    let mut pauses = Pauses::default();
    let milliseconds: Vec<_> = (0..8).map(|_| pauses.next().as_millis()).collect();
    assert_eq!(milliseconds, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
}
