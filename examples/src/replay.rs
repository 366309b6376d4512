use fmnist_core::{
    Classifier, Image,
    message::{PredictionRecord, Request, ResultRecord, decode},
    transport::Outbound,
};

use crate::Prepared;

/// Classifies messages again and compares with what was answered, bit for bit.
///
/// The same engine gives the same bits on the same kind of processor, however images are batched.
pub struct Replay {
    prepared: Prepared,
    /// What served beside the configured model.
    others: Vec<Classifier>,
    /// Results, or parts of results, that are the same to the last bit.
    pub agreed: usize,
    /// Ids of results of a model that is not here, by its SHA-256.
    pub other_models: Vec<String>,
    /// Ids of results that come out differently.
    pub different: Vec<String>,
}

impl Replay {
    /// A replay with this model and test set, and with the models that served beside that one.
    pub const fn new(prepared: Prepared, others: Vec<Classifier>) -> Self {
        Self { prepared, others, agreed: 0, other_models: Vec::new(), different: Vec::new() }
    }

    /// Whether everything was replayed and agreed.
    pub const fn agrees(&self) -> bool {
        self.other_models.is_empty() && self.different.is_empty()
    }

    /// Compares a result, or a part of one, with the answer to its message now.
    ///
    /// # Errors
    /// If the model fails on images that it answered before.
    pub fn compare(&mut self, input: &Outbound, result: &ResultRecord) -> anyhow::Result<()> {
        let mut models = [&self.prepared.model].into_iter().chain(&self.others);
        let Some(model) = models.find(|model| model.identity().sha256 == result.model.sha256)
        else {
            self.other_models.push(result.id.clone());
            return Ok(());
        };
        let test_images = &self.prepared.test_set.images;
        let agrees = match decode(&input.attributes, &input.payload, test_images.len()) {
            Ok(request) => agrees(model, &request, test_images, result)?,
            Err(_) => false,
        };
        if agrees {
            self.agreed += 1;
        } else {
            self.different.push(result.id.clone());
        }
        Ok(())
    }
}

fn agrees(
    model: &Classifier,
    request: &Request,
    test_images: &[Image],
    result: &ResultRecord,
) -> anyhow::Result<bool> {
    let (first, images) = match request {
        Request::Range { start, end } => (*start, &test_images[*start..*end]),
        Request::Images(images) => (0, &**images),
    };
    // A part has a run of the predictions.
    let Some(offset) = result.predictions.first().and_then(|p| p.index.checked_sub(first)) else {
        return Ok(result.predictions.is_empty() && images.is_empty());
    };
    let Some(share) = images.get(offset..offset + result.predictions.len()) else {
        return Ok(false);
    };
    let again = model.classify(share)?;
    let same = |(number, (prediction, recorded)): (usize, (_, &PredictionRecord))| {
        let index = first + offset + number;
        let now = PredictionRecord {
            blank: share[number].is_blank(),
            ..PredictionRecord::new(index, prediction, model.labels(), recorded.top.len())
        };
        now == *recorded && now.probability.to_bits() == recorded.probability.to_bits()
    };
    Ok(again.iter().zip(&result.predictions).enumerate().all(same))
}
