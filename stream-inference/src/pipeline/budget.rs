//! How much answers may take between the model and their settlement.

/// An eighth of the 512 MiB that `deploy/` gives a pod.
const ANSWER_BYTES: usize = 64 << 20;

/// Of how many inputs answers may wait, each of so many bytes: no more messages are received above that,
/// and no later message is begun before an earlier one.
pub(super) fn answers(output_bytes: usize) -> usize {
    (ANSWER_BYTES / output_bytes.max(1)).max(1)
}

/// What one piece of work for the decode thread has, unless a single message has more: pictures take
/// long to decode, and what was read goes on before the rest is.
pub(super) const DECODE_BYTES: usize = 1 << 20;
