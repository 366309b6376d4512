//! Samples that a model answered where it was made, asked again where it serves.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    file::save,
    predict::{PredictError, Predictor, checked},
};

/// What a model answered where it was made, to be answered again where it serves: another processor, another
/// runtime or a damaged file would show.
///
/// ```
/// use stream_inference::{
///     predict::{ModelIdentity, PredictError, function},
///     slot::Golden,
/// };
///
/// let model = |factor: f64| {
///     function(ModelIdentity::of_code("scaled", "1"), move |batch: &[f64]| {
///         Ok::<_, PredictError>(batch.iter().map(|x| factor * x).collect())
///     })
/// };
/// let golden = Golden::of(&model(2.0), vec![0.5, 3.0])?;
/// assert!(golden.check(&model(2.0), 1e-6).is_ok());
/// assert!(golden.check(&model(2.1), 1e-6).is_err());
/// # Ok::<(), PredictError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Golden<I> {
    inputs: Vec<I>,
    outputs: Vec<Value>,
}

impl<I> Golden<I> {
    /// The answers of `model` to these inputs.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn of<P>(model: &P, inputs: Vec<I>) -> Result<Self, PredictError>
    where
        P: Predictor<Input = I, Output: Serialize> + ?Sized,
    {
        let outputs = answers(model, &inputs)?;
        Ok(Self { inputs, outputs })
    }

    /// Whether `model` gives the same answers: numbers within `tolerance` of the larger of the two and of
    /// 1, everything else equal.
    ///
    /// # Errors
    /// The first answer that differs, or why there is none.
    pub fn check<P>(&self, model: &P, tolerance: f64) -> Result<(), String>
    where
        P: Predictor<Input = I, Output: Serialize> + ?Sized,
    {
        let found = answers(model, &self.inputs).map_err(|error| error.to_string())?;
        for (number, (expected, found)) in self.outputs.iter().zip(&found).enumerate() {
            if !agrees(expected, found, tolerance) {
                return Err(format!("golden sample {number}: expected {expected}, found {found}"));
            }
        }
        Ok(())
    }
}

impl<I: Serialize + DeserializeOwned> Golden<I> {
    /// Writes the samples as JSON, whole at once.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        save(self, path)
    }

    /// Reads what [`Golden::save`] wrote.
    ///
    /// # Errors
    /// If the file can't be read, or is none of these.
    pub fn load(path: &Path) -> io::Result<Self> {
        let golden: Self = serde_json::from_slice(&fs::read(path)?)?;
        if golden.inputs.len() != golden.outputs.len() || golden.inputs.is_empty() {
            let odd = "golden samples have as many outputs as inputs, and at least one";
            return Err(io::Error::new(io::ErrorKind::InvalidData, odd));
        }
        Ok(golden)
    }
}

fn answers<P>(model: &P, inputs: &[P::Input]) -> Result<Vec<Value>, PredictError>
where
    P: Predictor<Output: Serialize> + ?Sized,
{
    let served = checked(model, inputs)?;
    let written = |output: &P::Output| {
        serde_json::to_value(output)
            .map_err(|error| PredictError::from(format!("an answer is no JSON: {error}")))
    };
    served.outputs.iter().map(written).collect()
}

fn agrees(expected: &Value, found: &Value, tolerance: f64) -> bool {
    match (expected, found) {
        (Value::Number(expected), Value::Number(found)) => {
            let (Some(expected), Some(found)) = (expected.as_f64(), found.as_f64()) else {
                return false;
            };
            let scale = expected.abs().max(found.abs()).max(1.0);
            (expected - found).abs() <= tolerance * scale
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(e, f)| agrees(e, f, tolerance))
        }
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected.iter().all(|(name, value)| {
                    found.get(name).is_some_and(|found| agrees(value, found, tolerance))
                })
        }
        _ => expected == found,
    }
}
