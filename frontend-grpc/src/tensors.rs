//! Requests: the messages of `ModelInfer` as what the HTTP API reads of JSON.

use std::mem::take;

use fmnist_core::message::{AskedOutput, InferenceRequest, InputTensor, TensorData};
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::{
    message::Received,
    shared::Fault,
    wire::{
        InferParameter, InferTensorContents, ModelInferRequest,
        infer_parameter::ParameterChoice,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    },
};

/// Above the fields of any request, beside the numbers of its tensors. Two bytes of an empty field would take a
/// hundred times their size.
const MOST_FIELDS: usize = 1_000;
/// Above the bytes of any shape.
const MOST_SHAPE_BYTES: usize = 256;

/// The request of a message that takes no more memory than its size lets expect.
pub(crate) fn request(message: &Received) -> Result<ModelInferRequest, Fault> {
    count(message.bytes())?;
    message.read()
}

/// What is asked for, in the words of the HTTP API where it does not fit.
pub(crate) fn read(request: ModelInferRequest) -> Result<InferenceRequest, Fault> {
    let ModelInferRequest { id, mut inputs, outputs, raw_input_contents: raw, .. } = request;
    let as_bytes = !raw.is_empty();
    if as_bytes && raw.len() != inputs.len() {
        let (expected, found) = (inputs.len(), raw.len());
        return Err(Fault::Invalid(format!(
            "expected raw_input_contents of {expected} inputs, found {found}"
        )));
    }
    let inputs = inputs.iter_mut().enumerate().map(|(index, input)| {
        let contents = input.contents.take();
        let input = &*input;
        let data = match (raw.get(index), contents) {
            (Some(bytes), None) => TensorData::Bytes(bytes),
            (Some(_), Some(_)) => {
                let reason = format!("input {} has contents and raw_input_contents", input.name);
                return Err(Fault::Invalid(reason));
            }
            (None, Some(contents)) => numbers(input, contents)?,
            (None, None) => TensorData::Missing,
        };
        let (name, datatype) = (&*input.name, &*input.datatype);
        Ok(InputTensor { name, datatype, shape: shape(input)?, data })
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let outputs = outputs.into_iter().map(asked).collect::<Result<Vec<_>, _>>()?;
    // Without an id there is an empty one on the wire.
    let id = (!id.is_empty()).then_some(id);
    InferenceRequest::from_tensors(id, inputs, outputs, as_bytes)
        .map_err(|rejection| Fault::Invalid(rejection.reason))
}

fn shape(input: &InferInputTensor) -> Result<Vec<usize>, Fault> {
    let shape: Result<Vec<_>, _> = input.shape.iter().map(|&n| usize::try_from(n)).collect();
    let found = &input.shape;
    shape.map_err(|_| Fault::Invalid(format!("expected shape [n, 1, 28, 28], found {found:?}")))
}

/// The numbers of the field that belongs to the datatype.
fn numbers(
    input: &InferInputTensor,
    mut contents: InferTensorContents,
) -> Result<TensorData<'static>, Fault> {
    let (field, numbers) = match &*input.datatype {
        "FP32" => ("fp32_contents", take(&mut contents.fp32_contents)),
        "UINT8" => ("uint_contents", contents.uint_contents.iter().map(|&n| n as f32).collect()),
        // It is the datatype that is refused.
        _ => return Ok(TensorData::Bytes(&[])),
    };
    let is_elsewhere = numbers.is_empty() && contents != InferTensorContents::default();
    if is_elsewhere {
        let datatype = &input.datatype;
        return Err(Fault::Invalid(format!("expected {datatype} in {field}, found another field")));
    }
    Ok(if numbers.is_empty() { TensorData::Missing } else { TensorData::Numbers(numbers) })
}

fn asked(output: InferRequestedOutputTensor) -> Result<AskedOutput, Fault> {
    let InferRequestedOutputTensor { name, parameters } = output;
    let classification = parameters.get("classification").map(classes).transpose()?;
    let is_in_shared_memory = parameters.contains_key("shared_memory_region");
    Ok(AskedOutput { name, classification, is_in_shared_memory, as_bytes: None })
}

fn classes(parameter: &InferParameter) -> Result<usize, Fault> {
    let count = match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(count)) => usize::try_from(*count).ok(),
        Some(ParameterChoice::Uint64Param(count)) => usize::try_from(*count).ok(),
        _ => None,
    };
    let invalid = || Fault::Invalid("expected a number of classes as classification".to_owned());
    count.ok_or_else(invalid)
}

/// Refuses what would take much more memory than it has bytes, without reading any of it.
fn count(message: &[u8]) -> Result<(), Fault> {
    const INPUTS: u32 = 5;
    const SHAPE: u32 = 3;
    const CONTENTS: u32 = 5;
    const TEXTS: u32 = 8;
    let mut fields = 0;
    let mut counted = |field: Option<(u32, &_)>| {
        fields += usize::from(field.is_some());
        match fields > MOST_FIELDS {
            true => Err(Fault::Invalid(format!("expected at most {MOST_FIELDS} fields"))),
            false => Ok(()),
        }
    };
    let mut message = Fields(message);
    while let Some((tag, input)) = message.next()? {
        counted(Some((tag, input)))?;
        let mut input = Fields(if tag == INPUTS { input } else { &[] });
        while let Some((tag, field)) = input.next()? {
            counted(Some((tag, field)))?;
            if tag == SHAPE && field.len() > MOST_SHAPE_BYTES {
                return Err(Fault::Invalid("expected a shape of four dimensions".to_owned()));
            }
            let mut contents = Fields(if tag == CONTENTS { field } else { &[] });
            while let Some((tag, text)) = contents.next()? {
                counted((tag == TEXTS).then_some((tag, text)))?;
            }
        }
    }
    Ok(())
}

/// The fields of a message, with their bytes where they have a length.
struct Fields<'m>(&'m [u8]);

impl<'m> Fields<'m> {
    fn next(&mut self) -> Result<Option<(u32, &'m [u8])>, Fault> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let broken = || Fault::Invalid("the message can't be read".to_owned());
        let (tag, kind) = decode_key(&mut self.0).map_err(|_| broken())?;
        let length = match kind {
            WireType::LengthDelimited => decode_varint(&mut self.0).map_err(|_| broken())?,
            WireType::Varint => {
                decode_varint(&mut self.0).map_err(|_| broken())?;
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::StartGroup | WireType::EndGroup => {
                return Err(Fault::Invalid("expected no groups in the message".to_owned()));
            }
        };
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (field, rest) = split.ok_or_else(broken)?;
        self.0 = rest;
        Ok(Some((tag, field)))
    }
}
