use jiff::Timestamp;

use super::{Answered, worker::Received};
use crate::{
    classifier::{Infer, Prediction},
    image::Image,
    message::{PredictionRecord, Request, ResultRecord, rfc3339},
    transport::{Rejection, Stage},
};

/// What has been found out about one message so far.
#[derive(Debug)]
pub(super) struct Answer {
    /// First and one past the last index, if a range was asked for.
    range: Option<(usize, usize)>,
    images: usize,
    answered: usize,
    /// What the message carried, where it is to be kept.
    kept: Vec<Image>,
    predictions: Vec<PredictionRecord>,
    rejection: Option<Rejection>,
}

impl Answer {
    pub(super) fn new(request: &Request, keeps_images: bool) -> Self {
        let images = request.images();
        let (range, kept) = match request {
            Request::Range { start, end } => (Some((*start, *end)), Vec::new()),
            Request::Images(images) if keeps_images => (None, images.clone()),
            Request::Images(_) => (None, Vec::new()),
        };
        // Room for predictions is made when the first is there: of large messages few are begun.
        Self { range, images, answered: 0, kept, predictions: Vec::new(), rejection: None }
    }

    /// Takes the answer for the next image.
    pub(super) fn push<M: Infer>(
        &mut self,
        answer: Result<Prediction, String>,
        blank: bool,
        model: &M,
        top_k: usize,
    ) {
        let index = self.range.map_or(0, |(start, _)| start) + self.answered;
        self.answered += 1;
        match answer {
            // The message will have no result.
            Ok(_) if self.rejection.is_some() => {}
            Ok(prediction) => {
                if self.predictions.capacity() == 0 {
                    self.predictions.reserve_exact(self.images);
                }
                let record = PredictionRecord::new(index, &prediction, model.labels(), top_k);
                self.predictions.push(PredictionRecord { blank, ..record });
            }
            Err(reason) => {
                let found = || Rejection::new(Stage::Infer, format!("image {index}: {reason}"));
                self.rejection.get_or_insert_with(found);
                self.predictions = Vec::new();
            }
        }
    }

    /// How many images the message has.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    pub(super) fn is_complete(&self) -> bool {
        self.answered == self.images
    }

    /// The result, or the first image's reason why there is none.
    pub(super) fn finish<T, M: Infer>(
        self,
        received: &Received<T>,
        model: &M,
        inferred_at: Timestamp,
    ) -> Result<Answered, Rejection> {
        if let Some(rejection) = self.rejection {
            return Err(rejection);
        }
        let record = ResultRecord {
            schema: ResultRecord::SCHEMA,
            id: received.delivery.id.clone(),
            source: received.delivery.source.clone(),
            model: model.identity().clone(),
            start_idx: self.range.map(|(start, _)| start),
            end_idx: self.range.map(|(_, end)| end),
            predictions: self.predictions,
            received_at: rfc3339(received.at),
            inferred_at: rfc3339(inferred_at),
        };
        Ok(Answered { record, images: self.kept })
    }
}
