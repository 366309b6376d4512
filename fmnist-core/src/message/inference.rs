//! Requests and responses of the Open Inference Protocol, version 2, and its extension for binary
//! tensors (<https://github.com/kserve/open-inference-protocol>, Triton's
//! `protocol/extension_binary_data`) and for classifications (`protocol/extension_classification`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use stream_inference::transport::Rejection;

use super::{
    request::{Few, invalid, malformed},
    tensor::{self, InputTensor, Tensor},
};
use crate::{
    classifier::{ModelIdentity, Prediction},
    image::Image,
    text,
};

/// One of the three outputs of every model, or a form of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// `probabilities`, `FP32 [n, classes]`.
    Probabilities,
    /// `class`, the most probable, `INT64 [n]`.
    Class,
    /// `label`, that class's name, `BYTES [n]`.
    Label,
    /// `probabilities` as the so many most probable classes, at most all, `BYTES [n, k]`: each
    /// `probability:class:label`, as Triton writes them.
    Top(usize),
}

/// Every output, in the order of the models' metadata.
pub const OUTPUTS: [Output; 3] = [Output::Probabilities, Output::Class, Output::Label];

impl Output {
    /// The name in requests and responses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probabilities | Self::Top(_) => "probabilities",
            Self::Class => "class",
            Self::Label => "label",
        }
    }

    /// The protocol's name of its type.
    pub const fn datatype(self) -> &'static str {
        match self {
            Self::Probabilities => "FP32",
            Self::Class => "INT64",
            Self::Label | Self::Top(_) => "BYTES",
        }
    }

    /// Of an answer about so many images, by a model with so many classes.
    pub fn shape(self, images: usize, classes: usize) -> Vec<usize> {
        match self {
            Self::Probabilities => vec![images, classes],
            Self::Class | Self::Label => vec![images],
            Self::Top(count) => vec![images, count.min(classes)],
        }
    }

    /// As metadata declares it: −1 for as many images as are asked for.
    pub fn declared_shape(self, classes: usize) -> Vec<i64> {
        let mut shape: Vec<i64> = self.shape(1, classes).iter().map(|&n| n as i64).collect();
        shape[0] = -1;
        shape
    }

    /// The values, each by itself.
    pub fn data<'a>(self, predictions: &[Prediction], labels: &'a [String]) -> OutputData<'a> {
        let all = predictions.iter();
        match self {
            Self::Probabilities => {
                OutputData::Fp32(all.flat_map(|p| p.probabilities.iter().copied()).collect())
            }
            Self::Class => OutputData::Int64(all.map(|p| p.class as i64).collect()),
            Self::Label => {
                OutputData::Bytes(all.map(|p| labels[p.class].as_str().into()).collect())
            }
            Self::Top(count) => {
                let texts = all.flat_map(|p| classifications(p, count, labels));
                OutputData::Bytes(texts.map(Cow::from).collect())
            }
        }
    }

    /// Appends the values as bytes, little-endian; each of `BYTES` behind its length as `u32`.
    pub fn append(self, into: &mut Vec<u8>, predictions: &[Prediction], labels: &[String]) {
        for prediction in predictions {
            match self {
                Self::Probabilities => {
                    into.extend(prediction.probabilities.iter().flat_map(|p| p.to_le_bytes()));
                }
                Self::Class => into.extend((prediction.class as i64).to_le_bytes()),
                Self::Label => append_text(into, &labels[prediction.class]),
                Self::Top(count) => classifications(prediction, count, labels)
                    .for_each(|classification| append_text(into, &classification)),
            }
        }
    }
}

/// The values of an [`Output`], in row-major order, by its datatype.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OutputData<'a> {
    /// `FP32`
    Fp32(Vec<f32>),
    /// `INT64`
    Int64(Vec<i64>),
    /// `BYTES`
    Bytes(Vec<Cow<'a, str>>),
}

/// An output that is asked for in any encoding of the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedOutput {
    /// Has to be that of one of [`OUTPUTS`].
    pub name: String,
    /// So many of the most probable classes; 0 is Triton's word for none.
    pub classification: Option<usize>,
    /// In memory that the server shares, which is refused.
    pub is_in_shared_memory: bool,
    /// Whether as bytes; without it, as the request says of all.
    pub as_bytes: Option<bool>,
}

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceRequest {
    /// Comes back with the response.
    pub id: Option<String>,
    /// 1 to [`MAX_IMAGES`](super::MAX_IMAGES).
    pub images: Vec<Image>,
    /// In this order, each once, with whether it is to come as bytes.
    pub outputs: Vec<(Output, bool)>,
}

/// A response as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceBody {
    /// JSON, then the binary outputs.
    pub bytes: Vec<u8>,
    /// Bytes of JSON, if binary outputs follow.
    pub json_bytes: Option<usize>,
}

#[derive(Deserialize)]
struct Document {
    id: Option<String>,
    parameters: Option<RequestParameters>,
    inputs: Few<Tensor>,
    outputs: Option<Vec<OutputDocument>>,
}

#[derive(Deserialize)]
struct RequestParameters {
    binary_data_output: Option<bool>,
}

#[derive(Deserialize)]
struct OutputDocument {
    name: String,
    parameters: Option<OutputParameters>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<usize>,
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Serialize)]
struct Response<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<OutputTensor<'a>>,
}

#[derive(Serialize)]
struct OutputTensor<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<OutputData<'a>>,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

impl InferenceRequest {
    /// Reads a request's body, of which `json_bytes` are JSON, if that is said, and all otherwise.
    ///
    /// # Errors
    /// A [`Rejection`] that says what was expected and found.
    pub fn read(body: &[u8], json_bytes: Option<usize>) -> Result<Self, Rejection> {
        let (text, binary) =
            body.split_at_checked(json_bytes.unwrap_or(body.len())).ok_or_else(|| {
                let (expected, found) = (json_bytes.unwrap_or_default(), body.len());
                malformed(format!("expected {expected} bytes of JSON, found a body of {found}"))
            })?;
        let text = text::without_mark(text)
            .map_err(|error| malformed(format!("expected an inference request: {error}")))?;
        let document: Document = serde_json::from_slice(text)
            .map_err(|error| malformed(format!("expected an inference request: {error}")))?;
        let parameters = document.parameters;
        let binary_by_default = parameters.and_then(|p| p.binary_data_output).unwrap_or(false);
        let asked = document.outputs.into_iter().flatten().map(AskedOutput::from);
        let outputs = known(asked, binary_by_default)?;
        let images = tensor::images(document.inputs, binary)?;
        Ok(Self { id: document.id, images, outputs })
    }

    /// Reads a request that came in another encoding than JSON; `as_bytes` says in which form outputs are to
    /// come that don't say it themselves.
    ///
    /// # Errors
    /// As [`InferenceRequest::read`].
    pub fn from_tensors(
        id: Option<String>,
        inputs: Vec<InputTensor<'_>>,
        outputs: impl IntoIterator<Item = AskedOutput>,
        as_bytes: bool,
    ) -> Result<Self, Rejection> {
        let outputs = known(outputs, as_bytes)?;
        Ok(Self { id, images: tensor::images_of(inputs)?, outputs })
    }

    /// Writes the response with one prediction for each image.
    pub fn respond(
        &self,
        predictions: &[Prediction],
        labels: &[String],
        model: &ModelIdentity,
    ) -> InferenceBody {
        let mut binary = Vec::new();
        let outputs = self.outputs.iter().map(|&(output, as_bytes)| {
            let before = binary.len();
            if as_bytes {
                output.append(&mut binary, predictions, labels);
            }
            let binary_data_size = binary.len() - before;
            OutputTensor {
                name: output.name(),
                datatype: output.datatype(),
                shape: output.shape(predictions.len(), labels.len()),
                parameters: as_bytes.then_some(Size { binary_data_size }),
                data: (!as_bytes).then(|| output.data(predictions, labels)),
            }
        });
        let document = Response {
            model_name: &model.name,
            model_version: &model.version,
            id: self.id.as_deref(),
            outputs: outputs.collect(),
        };
        let mut bytes = serde_json::to_vec(&document).expect("names, shapes and numbers are JSON");
        let json_bytes = self.outputs.iter().any(|(_, as_bytes)| *as_bytes).then_some(bytes.len());
        bytes.append(&mut binary);
        InferenceBody { bytes, json_bytes }
    }
}

/// What is asked for, each output once: a response is no larger than that of a request without
/// `outputs`, which asks for all.
fn known(
    asked: impl IntoIterator<Item = AskedOutput>,
    binary_by_default: bool,
) -> Result<Vec<(Output, bool)>, Rejection> {
    let mut outputs: Vec<(Output, bool)> = Vec::with_capacity(OUTPUTS.len());
    for output in asked {
        if outputs.iter().any(|(other, _)| other.name() == output.name) {
            return Err(invalid(format!(
                "expected each output once, found {:?} twice",
                output.name
            )));
        }
        outputs.push((output.known()?, output.as_bytes.unwrap_or(binary_by_default)));
    }
    if outputs.is_empty() {
        return Ok(OUTPUTS.map(|output| (output, binary_by_default)).into());
    }
    Ok(outputs)
}

impl From<OutputDocument> for AskedOutput {
    fn from(OutputDocument { name, parameters }: OutputDocument) -> Self {
        let OutputParameters { binary_data, classification, shared_memory_region } =
            parameters.unwrap_or_default();
        let is_in_shared_memory = shared_memory_region.is_some();
        Self { name, classification, is_in_shared_memory, as_bytes: binary_data }
    }
}

impl AskedOutput {
    fn known(&self) -> Result<Output, Rejection> {
        let Some(output) = OUTPUTS.into_iter().find(|output| output.name() == self.name) else {
            let names = OUTPUTS.map(Output::name).join(", ");
            return Err(invalid(format!("expected outputs among {names}, found {:?}", self.name)));
        };
        if self.is_in_shared_memory {
            return Err(invalid(format!("shared memory is not offered for output {}", self.name)));
        }
        match (output, self.classification) {
            (_, None | Some(0)) => Ok(output),
            (Output::Probabilities, Some(count)) => Ok(Output::Top(count)),
            (_, Some(_)) => Err(invalid(format!(
                "expected classification of probabilities alone, found of {}",
                self.name
            ))),
        }
    }
}

/// `probability:class:label` of the most probable classes; six decimals, as Triton has them.
fn classifications(
    prediction: &Prediction,
    count: usize,
    labels: &[String],
) -> impl Iterator<Item = String> {
    let top = prediction.top(count).into_iter();
    top.map(|(class, probability)| format!("{probability:.6}:{class}:{}", labels[class]))
}

fn append_text(into: &mut Vec<u8>, text: &str) {
    into.extend((text.len() as u32).to_le_bytes());
    into.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{super::tensor::TensorData, *};

    fn read(text: &str, binary: &[u8]) -> Result<InferenceRequest, String> {
        let body = [text.as_bytes(), binary].concat();
        let json_bytes = (!binary.is_empty()).then_some(text.len());
        InferenceRequest::read(&body, json_bytes).map_err(|rejection| rejection.reason)
    }

    /// A request of one input of bytes, whose first pixel is 9 or 9 / 255.
    fn binary_request(datatype: &str, size: usize) -> Result<InferenceRequest, String> {
        let input = json!({ "name": "image", "shape": [1, 784], "datatype": datatype,
            "parameters": { "binary_data_size": size } });
        let text = json!({ "id": "a", "inputs": [input] }).to_string();
        let pixels = Image::from_fn(|row, column| if row + column == 0 { 9 } else { 0 });
        let bytes: Vec<u8> = match datatype {
            "FP32" => {
                let numbers = pixels.pixels().iter().map(|&p| f32::from(p) / 255.0);
                numbers.flat_map(f32::to_le_bytes).collect()
            }
            _ => pixels.pixels().to_vec(),
        };
        read(&text, &bytes)
    }

    #[test]
    fn a_byte_order_mark_before_a_request_is_no_part_of_it() {
        let pixels = vec![0.0; Image::PIXELS];
        let input =
            json!({"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": pixels});
        let body = format!("\u{feff}{}", json!({"id": "7", "inputs": [input]}));
        let request = InferenceRequest::read(body.as_bytes(), None).expect("a request");
        assert_eq!((request.id.as_deref(), request.images.len()), (Some("7"), 1));
        let request = InferenceRequest::read(body.as_bytes(), Some(body.len())).expect("a request");
        assert_eq!(request.images.len(), 1);
    }

    #[test]
    fn binary_tensors_are_read_little_endian() {
        for (datatype, size) in [("FP32", 3136), ("UINT8", 784)] {
            let request = binary_request(datatype, size).expect("one image");
            assert_eq!(request.images[0].pixels()[..2], [9, 0]);
            assert_eq!(request.id.as_deref(), Some("a"));
            assert_eq!(request.outputs, OUTPUTS.map(|output| (output, false)));
        }
    }

    #[test]
    fn tensors_of_another_encoding_are_read_and_refused_as_those_of_json() {
        let tensor = |shape: &[usize], data| InputTensor {
            name: "image",
            datatype: "FP32",
            shape: shape.to_vec(),
            data,
        };
        let read = |input: InputTensor<'_>| {
            InferenceRequest::from_tensors(Some("a".to_owned()), vec![input], [], true)
                .map_err(|rejection| rejection.reason)
        };
        let mut numbers = vec![0.0; Image::PIXELS];
        numbers[0] = 9.0 / 255.0;
        let bytes: Vec<u8> = numbers.iter().copied().flat_map(f32::to_le_bytes).collect();
        let expected = binary_request("FP32", 3136).expect("one image");
        let expected =
            InferenceRequest { outputs: OUTPUTS.map(|output| (output, true)).into(), ..expected };
        let shape = &[1, 784];
        for data in [TensorData::Numbers(numbers.clone()), TensorData::Bytes(&bytes)] {
            assert_eq!(read(tensor(shape, data)).as_ref(), Ok(&expected));
        }

        let refused = |input| read(input).expect_err("it does not fit");
        let found = refused(tensor(shape, TensorData::Numbers(vec![0.0; 783])));
        assert_eq!(found, "expected data nested as [1, 784] or flat, found lists of [783]");
        let found = refused(tensor(&[2, 784], TensorData::Bytes(&[1, 2, 3])));
        assert_eq!(found, "expected 6272 bytes for this shape, found 3");
        let found = refused(tensor(shape, TensorData::Missing));
        assert_eq!(found, "input image has no data");
        let input = InputTensor { datatype: "FP16", ..tensor(shape, TensorData::Bytes(&[])) };
        assert_eq!(refused(input), "expected datatype FP32 or UINT8, found \"FP16\"");
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused_with_both_lengths() {
        let message = binary_request("UINT8", 785).expect_err("too few");
        assert_eq!(message, "expected 785 bytes of binary data, found 784");
        let text = r#"{"inputs": [{"name": "image", "shape": [2, 784], "datatype": "UINT8",
            "parameters": {"binary_data_size": 3}}]}"#;
        let message = read(text, &[1, 2, 3]).expect_err("too few");
        assert_eq!(message, "expected 1568 bytes for this shape, found 3");
        let message = InferenceRequest::read(b"{}", Some(3)).expect_err("too short").reason;
        assert_eq!(message, "expected 3 bytes of JSON, found a body of 2");
    }

    #[test]
    fn an_output_that_no_model_has_is_refused_with_those_that_there_are() {
        let text = r#"{"inputs": [], "outputs": [{"name": "logits"}]}"#;
        let message = read(text, &[]).expect_err("unknown");
        assert_eq!(message, "expected outputs among probabilities, class, label, found \"logits\"");
    }

    #[test]
    fn an_output_that_is_asked_for_twice_is_refused() {
        let class = json!({ "name": "class" });
        let text = json!({ "inputs": [], "outputs": vec![class; 2_000] }).to_string();
        let message = read(&text, &[]).expect_err("one is enough");
        assert_eq!(message, "expected each output once, found \"class\" twice");
        let text = r#"{"inputs": [], "outputs": [{"name": "probabilities"},
            {"name": "probabilities", "parameters": {"classification": 2}}]}"#;
        let message = read(text, &[]).expect_err("the same in two forms");
        assert_eq!(message, "expected each output once, found \"probabilities\" twice");
    }

    /// The outputs of a request for one image.
    fn outputs(asked: &str) -> Result<Vec<(Output, bool)>, String> {
        let data = vec![0; Image::PIXELS];
        let input =
            json!({ "name": "image", "shape": [1, 784], "datatype": "UINT8", "data": data });
        let text = format!(r#"{{"inputs": [{input}], "outputs": [{asked}]}}"#);
        read(&text, &[]).map(|request| request.outputs)
    }

    #[test]
    fn a_classification_is_obeyed_for_probabilities_and_refused_for_others() {
        let asked = |name: &str, parameters: &str| {
            outputs(&format!(r#"{{"name": "{name}", "parameters": {{{parameters}}}}}"#))
        };
        let found = asked("probabilities", r#""classification": 3, "binary_data": true"#);
        assert_eq!(found, Ok(vec![(Output::Top(3), true)]));
        let found = asked("class", r#""classification": 0"#);
        assert_eq!(found, Ok(vec![(Output::Class, false)]), "0 is Triton's word for none");
        let message = asked("label", r#""classification": 1"#).expect_err("of a label");
        assert_eq!(message, "expected classification of probabilities alone, found of label");
        for wrong in ["-1", "1.5", r#""three""#] {
            let message = asked("probabilities", &format!(r#""classification": {wrong}"#));
            let message = message.expect_err("no number of classes");
            assert!(message.starts_with("expected an inference request: invalid "), "{message}");
        }
        let message = asked("class", r#""shared_memory_region": "r""#).expect_err("no such memory");
        assert_eq!(message, "shared memory is not offered for output class");
    }

    #[test]
    fn classifications_are_the_most_probable_first_and_no_more_than_there_are_classes() {
        let identity = ModelIdentity { name: "m".into(), version: "2".into(), sha256: "0".into() };
        let labels = ["cat", "cow", "dog"].map(str::to_owned);
        let model = Arc::new(identity.clone());
        let prediction = Prediction { class: 2, probabilities: [0.25, 0.125, 0.625].into(), model };
        let respond = |output, as_bytes| {
            let outputs = vec![(output, as_bytes)];
            let request = InferenceRequest { id: None, images: Vec::new(), outputs };
            let body = request.respond(std::slice::from_ref(&prediction), &labels, &identity);
            let (text, binary) = body.bytes.split_at(body.json_bytes.unwrap_or(body.bytes.len()));
            let document: Value = serde_json::from_slice(text).expect("JSON");
            (document["outputs"][0].clone(), binary.to_vec())
        };
        let (output, _) = respond(Output::Top(2), false);
        let expected = json!({ "name": "probabilities", "datatype": "BYTES", "shape": [1, 2],
            "data": ["0.625000:2:dog", "0.250000:0:cat"] });
        assert_eq!(output, expected);
        let (output, binary) = respond(Output::Top(9), true);
        assert_eq!(output["shape"], json!([1, 3]));
        assert_eq!(output["parameters"]["binary_data_size"], json!(3 * (4 + 14)));
        assert_eq!(binary[..18], *b"\x0e\0\0\x000.625000:2:dog");
    }

    #[test]
    fn a_response_has_the_outputs_asked_for_as_asked_for() {
        let identity =
            ModelIdentity { name: "m".into(), version: "2".into(), sha256: "0".repeat(64) };
        let labels = ["cat".to_owned(), "cow".to_owned()];
        let probabilities = [0.25, 0.75].into();
        let prediction = Prediction { class: 1, probabilities, model: Arc::new(identity.clone()) };
        let mut request = InferenceRequest {
            id: Some("7".to_owned()),
            images: Vec::new(),
            outputs: vec![(Output::Label, false), (Output::Probabilities, false)],
        };
        let body = request.respond(std::slice::from_ref(&prediction), &labels, &identity);
        let document: Value = serde_json::from_slice(&body.bytes).expect("JSON alone");
        let expected = json!({
            "id": "7", "model_name": "m", "model_version": "2",
            "outputs": [
                { "name": "label", "datatype": "BYTES", "shape": [1], "data": ["cow"] },
                { "name": "probabilities", "datatype": "FP32", "shape": [1, 2],
                  "data": [0.25, 0.75] },
            ],
        });
        assert_eq!((document, body.json_bytes), (expected, None));

        request.outputs = OUTPUTS.map(|output| (output, true)).into();
        let body = request.respond(&[prediction], &labels, &identity);
        let (text, binary) = body.bytes.split_at(body.json_bytes.expect("bytes follow"));
        let document: Value = serde_json::from_slice(text).expect("JSON");
        let sizes = document["outputs"].as_array().expect("outputs").iter();
        let sizes: Vec<_> = sizes.map(|o| o["parameters"]["binary_data_size"].as_u64()).collect();
        assert_eq!(sizes, [Some(8), Some(8), Some(7)]);
        let probabilities = [0.25_f32.to_le_bytes(), 0.75_f32.to_le_bytes()].concat();
        let class = 1_i64.to_le_bytes();
        assert_eq!(binary, [&probabilities[..], &class, b"\x03\0\0\0cow"].concat());
    }
}
