//! Weights files: safetensors with what is needed to trust them.
//!
//! A file holds the tensors of one network by their path in the modules, a few golden images with
//! the logits that training computed for them, and one metadata entry, `fmnist`, with
//! [`Metadata`] as JSON. Python's `safetensors` reads it too.

mod error;
mod metadata;
#[cfg(feature = "burn")]
mod modules;
mod tensors;
#[cfg(test)]
pub(crate) mod tests;

use std::{borrow::Cow, collections::HashMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

pub use error::WeightsError;
pub use metadata::{Baseline, Metadata, NAME, Origin, Score, is_name};
pub use stream_inference::sha256;
pub use tensors::{NamedTensor, Tensors};

#[cfg(feature = "burn")]
pub use modules::{ids_of, tensors_of, with_tensors};

use crate::{image::Image, model::Architecture, text};

/// The version of the format that this library reads and writes.
pub const FORMAT: u32 = 1;
const METADATA_KEY: &str = "fmnist";
const GOLDEN_IMAGES: &str = "golden.images";
const GOLDEN_LOGITS: &str = "golden.logits";

/// A trained network with everything that its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// What the file says of itself.
    pub metadata: Metadata,
    /// The network's tensors.
    pub tensors: Tensors,
    /// Images and the logits that every machine must compute for them, as good as equal.
    pub golden: Vec<(Image, Vec<f32>)>,
}

impl Weights {
    /// Reads a file's content.
    ///
    /// # Errors
    /// Any [`WeightsError`] but [`WeightsError::File`] and [`WeightsError::Golden`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let format = |source| WeightsError::Format { length_bytes: bytes.len(), source };
        let metadata = read_metadata(bytes)?;
        let file = SafeTensors::deserialize(bytes).map_err(format)?;

        let mut tensors = Tensors::new();
        let (mut images, mut logits) = (None, None);
        for (name, view) in file.iter() {
            match name {
                GOLDEN_IMAGES => images = Some(read_images(&view)?),
                GOLDEN_LOGITS => logits = Some(read_f32(name, &view)?),
                _ => {
                    tensors.insert(name.to_owned(), read_f32(name, &view)?);
                }
            }
        }
        let missing = |name: &str| WeightsError::MissingTensor { name: name.to_owned() };
        let images = images.ok_or_else(|| missing(GOLDEN_IMAGES))?;
        let logits = logits.ok_or_else(|| missing(GOLDEN_LOGITS))?;
        let expected = vec![images.len(), metadata.classes.len()];
        if logits.shape != expected {
            let (name, found) = (GOLDEN_LOGITS.to_owned(), logits.shape);
            return Err(WeightsError::Shape { name, expected, found });
        }
        let rows = logits.values.chunks(metadata.classes.len().max(1)).map(<[f32]>::to_vec);
        Ok(Self { golden: images.into_iter().zip(rows).collect(), metadata, tensors })
    }

    /// Writes a file: beside its place first, then renamed, so that no reader sees half of it.
    ///
    /// # Errors
    /// [`WeightsError::File`]
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let file = |source| WeightsError::File { path: path.to_owned(), source };
        let beside = path.with_added_extension("partial");
        fs::write(&beside, self.to_bytes()).map_err(file)?;
        fs::rename(&beside, path).map_err(file)
    }

    /// The file's content; equal weights give equal bytes.
    ///
    /// # Panics
    /// If a tensor has not as many values as its shape says, or a golden row not one logit for
    /// each class.
    pub fn to_bytes(&self) -> Vec<u8> {
        let little_endian = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        type Entry<'a> = (&'a str, Dtype, Vec<usize>, Cow<'a, [u8]>);
        let mut entries: Vec<Entry<'_>> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let bytes: Vec<u8> = little_endian(&tensor.values);
                (name.as_str(), Dtype::F32, tensor.shape.clone(), bytes.into())
            })
            .collect();

        let images: Vec<u8> = self.golden.iter().flat_map(|(image, _)| *image.pixels()).collect();
        let logits: Vec<f32> = self.golden.iter().flat_map(|(_, logits)| logits.clone()).collect();
        let image_shape = vec![self.golden.len(), 1, Image::HEIGHT, Image::WIDTH];
        let logit_shape = vec![self.golden.len(), self.metadata.classes.len()];
        entries.push((GOLDEN_IMAGES, Dtype::U8, image_shape, images.into()));
        entries.push((GOLDEN_LOGITS, Dtype::F32, logit_shape, little_endian(&logits).into()));

        let views = entries.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes)
                .expect("a tensor has as many values as its shape says");
            (*name, view)
        });
        let metadata = serde_json::to_string(&self.metadata).expect("plain data becomes JSON");
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
        safetensors::serialize(views, Some(metadata))
            .expect("names are unique and the header small")
    }

    /// The network's architecture.
    ///
    /// # Errors
    /// [`WeightsError::Architecture`]
    pub fn architecture(&self) -> Result<Architecture, WeightsError> {
        self.metadata.architecture.parse().map_err(|_| WeightsError::Architecture {
            expected: Architecture::ALL.map(Architecture::name).join(" or "),
            found: self.metadata.architecture.clone(),
        })
    }

    /// Builds the network on a device without autodiff.
    ///
    /// # Errors
    /// [`WeightsError::Architecture`], or where tensors and network disagree.
    #[cfg(feature = "burn")]
    pub fn network(
        &self,
        device: &burn::tensor::Device,
    ) -> Result<crate::model::Network, WeightsError> {
        let architecture = self.architecture()?;
        let network = crate::model::Network::new(architecture, self.metadata.classes.len(), device);
        with_tensors(network, self.tensors.clone())
    }
}

fn read_metadata(bytes: &[u8]) -> Result<Metadata, WeightsError> {
    const EXPECTED: &str = "`fmnist`, format 1";
    let wrong = |found: String| WeightsError::Metadata { expected: EXPECTED, found };
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|source| WeightsError::Format { length_bytes: bytes.len(), source })?;
    let json = header
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(METADATA_KEY))
        .ok_or_else(|| wrong("none".to_owned()))?;
    let mut metadata: Metadata =
        serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
    metadata.classes.iter_mut().for_each(|class| *class = text::name(class));
    if metadata.format != FORMAT {
        return Err(wrong(format!("format {}", metadata.format)));
    }
    let input = [1, Image::HEIGHT, Image::WIDTH];
    if metadata.input_shape != input {
        let (name, found) = ("input".to_owned(), metadata.input_shape.to_vec());
        return Err(WeightsError::Shape { name, expected: input.to_vec(), found });
    }
    let positive = |value: f32| value.is_finite() && value > 0.0;
    if !positive(metadata.temperature) || !positive(metadata.normalisation.deviation) {
        return Err(wrong("a temperature or a deviation that is not positive".to_owned()));
    }
    if metadata.name.as_ref().is_some_and(|name| !is_name(name)) {
        return Err(wrong(format!("{:?}, which is not {NAME}", metadata.name)));
    }
    if metadata.classes.is_empty() {
        return Err(wrong("no classes".to_owned()));
    }
    let answers = metadata.baseline.as_ref().map(|baseline| baseline.answers.len());
    if answers.is_some_and(|answers| answers != metadata.classes.len()) {
        return Err(wrong("a baseline of another number of classes".to_owned()));
    }
    Ok(metadata)
}

fn read_f32(name: &str, view: &TensorView<'_>) -> Result<NamedTensor, WeightsError> {
    expect_type(name, view, Dtype::F32, "F32")?;
    let (chunks, _) = view.data().as_chunks::<4>();
    let values: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if let Some(position) = values.iter().position(|value| !value.is_finite()) {
        let found = values[position];
        return Err(WeightsError::NotFinite { name: name.to_owned(), position, found });
    }
    Ok(NamedTensor { shape: view.shape().to_vec(), values })
}

fn read_images(view: &TensorView<'_>) -> Result<Vec<Image>, WeightsError> {
    expect_type(GOLDEN_IMAGES, view, Dtype::U8, "U8")?;
    let (images, _) = view.data().as_chunks::<{ Image::PIXELS }>();
    let expected = vec![images.len(), 1, Image::HEIGHT, Image::WIDTH];
    if view.shape() != expected {
        let (name, found) = (GOLDEN_IMAGES.to_owned(), view.shape().to_vec());
        return Err(WeightsError::Shape { name, expected, found });
    }
    Ok(images.iter().copied().map(Image::new).collect())
}

fn expect_type(
    name: &str,
    view: &TensorView<'_>,
    dtype: Dtype,
    expected: &'static str,
) -> Result<(), WeightsError> {
    if view.dtype() == dtype {
        return Ok(());
    }
    let (name, found) = (name.to_owned(), format!("{:?}", view.dtype()));
    Err(WeightsError::Type { name, expected, found })
}
