//! Tensors of a network by name.

use std::collections::BTreeMap;

use super::WeightsError;

/// Values and shape of one parameter or running statistic.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Row-major values; as many as the shape says.
    pub values: Vec<f32>,
}

impl NamedTensor {
    /// The values, if they have this shape and are as many as it says.
    ///
    /// # Errors
    /// [`WeightsError::Shape`], of the tensor's `name`.
    pub(crate) fn of_shape(&self, name: &str, shape: &[usize]) -> Result<&[f32], WeightsError> {
        let is_complete = self.values.len() == self.shape.iter().product::<usize>();
        if self.shape == shape && is_complete {
            return Ok(&self.values);
        }
        let found = if is_complete { self.shape.clone() } else { vec![self.values.len()] };
        Err(WeightsError::Shape { name: name.to_owned(), expected: shape.to_vec(), found })
    }
}

/// Every tensor of a network by its path in the modules, such as `blocks.0.first.conv.weight`.
pub type Tensors = BTreeMap<String, NamedTensor>;
