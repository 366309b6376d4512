use std::sync::Arc;

use jiff::Timestamp;

#[cfg(test)]
use super::simulation;
use super::{
    Answered,
    in_flight::{End, Message},
    shield,
};
use crate::{
    codec::{self, Codec},
    predict::ModelIdentity,
    transport::{Rejection, Stage},
};

/// For how many outputs room is made at once, whatever a message asks for.
const MOST_AT_ONCE: usize = 65_536;

/// What has been found out about one message so far.
pub(super) struct Answer<C: Codec> {
    inputs: usize,
    answered: usize,
    context: C::Context,
    /// What the message carried, where it is to be kept.
    kept: Vec<C::Input>,
    outputs: Vec<C::Output>,
    /// Who answered first.
    model: Option<Arc<ModelIdentity>>,
    /// Another model answered later.
    is_mixed: bool,
    rejection: Option<Rejection>,
}

impl<C: Codec> Answer<C> {
    pub(super) fn new(inputs: usize, context: C::Context, kept: Vec<C::Input>) -> Self {
        // Room for outputs is made when the first is there: of large messages few are begun.
        let (outputs, model, rejection) = (Vec::new(), None, None);
        Self { inputs, answered: 0, context, kept, outputs, model, is_mixed: false, rejection }
    }

    /// Takes the answers for the next inputs, all of one model.
    pub(super) fn extend(
        &mut self,
        answers: impl Iterator<Item = Result<C::Output, String>>,
        model: &Arc<ModelIdentity>,
        codec: &C,
    ) {
        self.is_mixed |= self.model.get_or_insert_with(|| Arc::clone(model)) != model;
        #[cfg(test)]
        if simulation::is_planted(simulation::Fault::MixesModels) {
            self.is_mixed = false;
        }
        for answer in answers {
            match answer {
                // The message will have no result.
                Ok(_) if self.rejection.is_some() => {}
                Ok(output) => {
                    if self.outputs.capacity() == 0 {
                        self.outputs.reserve_exact(self.inputs.min(MOST_AT_ONCE));
                    }
                    self.outputs.push(output);
                }
                Err(reason) => {
                    let failed = || shield::failed(codec, &self.context, self.answered, &reason);
                    self.rejection.get_or_insert_with(failed);
                    self.outputs = Vec::new();
                }
            }
            self.answered += 1;
        }
    }

    /// Takes note that so many of the inputs do not come after all.
    pub(super) fn shorten(&mut self, missing: usize) {
        self.inputs -= missing;
        self.outputs = Vec::new();
        let reason = "the codec gave fewer inputs than it had counted";
        self.rejection.get_or_insert_with(|| Rejection::new(Stage::Decode, reason));
    }

    /// How many inputs the message has.
    pub(super) const fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.answered == self.inputs
    }

    /// The result, or a retry where two models had a share in it.
    ///
    /// # Errors
    /// The first input's reason why there is none, or the codec's.
    pub(super) fn finish<T>(
        self,
        message: &Message<T>,
        codec: &C,
        inferred_at: Timestamp,
    ) -> Result<End<C>, Rejection> {
        if self.is_mixed {
            return Ok(End::Retry);
        }
        if let Some(rejection) = self.rejection {
            return Err(rejection);
        }
        let Some(model) = self.model else { return Ok(End::Retry) };
        let answer = codec::Answer {
            id: &message.delivery.id,
            source: &message.delivery.source,
            context: self.context,
            outputs: self.outputs,
            model: &model,
            received_at: message.at,
            inferred_at,
        };
        let record = shield::record(codec, answer)?;
        Ok(End::Answer(Answered { record, inputs: self.kept }, self.inputs))
    }
}
