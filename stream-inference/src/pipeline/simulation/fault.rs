//! The mistakes that the schedules must find.

use std::cell::Cell;

/// Mistakes that other systems made, or this one did, put back in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Fault {
    /// Offset N acknowledges everything before it, whatever became of it.
    CommitsTheMaximum,
    /// A crash between acknowledgement and publication loses the message.
    AcknowledgesBeforePublishing,
    /// A message that is to be delivered again is done with.
    LosesRetries,
    /// A retry leaves later messages of its lane where they are.
    PublishesPastARetry,
    /// The pipeline settles messages as they are done, whatever their lane.
    IgnoresLanes,
    /// Results are visible before the offsets are committed, in spite of exactly once.
    CommitsResultsWithoutOffsets,
    /// What is in flight at the end is acknowledged and forgotten.
    DropsOnShutdown,
    /// An outcome counts although the message was delivered again in the meantime.
    AcceptsLateOutcomes,
    /// A message that is handed back has got on, as far as the pulse can tell.
    RetriesAreProgress,
    /// Large ranges take turns at the model, and so all of them end last.
    LargeRangesInLockstep,
    /// A message is answered by two models, of which its record names one.
    MixesModels,
    /// A model that can't answer now has failed on the input, as far as the pipeline can tell.
    DeadLettersAnOutage,
}

impl Fault {
    pub(super) const ALL: [Self; 12] = [
        Self::CommitsTheMaximum,
        Self::AcknowledgesBeforePublishing,
        Self::LosesRetries,
        Self::PublishesPastARetry,
        Self::IgnoresLanes,
        Self::CommitsResultsWithoutOffsets,
        Self::DropsOnShutdown,
        Self::AcceptsLateOutcomes,
        Self::RetriesAreProgress,
        Self::LargeRangesInLockstep,
        Self::MixesModels,
        Self::DeadLettersAnOutage,
    ];
}

thread_local! {
    /// The fault of the schedule that runs on this thread.
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// From now on the pipelines of this thread make this mistake.
pub(super) fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Whether the pipeline is to make this mistake.
pub(in crate::pipeline) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}
