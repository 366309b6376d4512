//! How much answers may take between the model and their settlement.

/// An eighth of the 512 MiB that `deploy/` gives a pod: 20 ranges of 10,000 images.
const ANSWER_BYTES: usize = 64 << 20;
/// A prediction: about 110 bytes as a record with its label, 95 as JSON, and the client's copy of that.
const PREDICTION_BYTES: usize = 320;
/// An entry of `top`: about 70 bytes as a record with its label, 65 as JSON, and the client's copy.
const TOP_CLASS_BYTES: usize = 224;

/// Of how many images answers may wait, with `top_k` of `classes` in each: no more messages are
/// received above that, and no later message is begun before an earlier one.
pub(super) fn answered_images(top_k: usize, classes: usize) -> usize {
    ANSWER_BYTES / (PREDICTION_BYTES + top_k.min(classes) * TOP_CLASS_BYTES)
}

/// What one piece of work for the decode thread has, unless a single message has more: pictures take
/// long to decode, and what was read goes on before the rest is.
pub(super) const DECODE_BYTES: usize = 1 << 20;
