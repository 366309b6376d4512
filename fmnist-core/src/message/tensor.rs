//! The input tensor of an Open Inference Protocol request.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor},
};
use stream_inference::transport::Rejection;

use super::request::{Few, MAX_IMAGES, check_count, invalid, malformed};
use crate::image::Image;

/// An input of a request in any encoding of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct InputTensor<'a> {
    /// Has to be `image`.
    pub name: &'a str,
    /// The protocol's name of its type.
    pub datatype: &'a str,
    /// The batch first.
    pub shape: Vec<usize>,
    /// In row-major order.
    pub data: TensorData<'a>,
}

/// What an [`InputTensor`] carries.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData<'a> {
    /// Numbers, each by itself.
    Numbers(Vec<f32>),
    /// Little-endian bytes.
    Bytes(&'a [u8]),
    /// Nothing.
    Missing,
}

/// One entry of `inputs`.
#[derive(Deserialize)]
pub(super) struct Tensor {
    name: String,
    shape: Few<usize>,
    datatype: String,
    parameters: Option<Parameters>,
    data: Option<Numbers>,
}

#[derive(Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
}

/// Numbers in row-major order, and how they were nested.
#[derive(Default)]
struct Numbers {
    flat: Vec<f32>,
    /// Length of the lists at each depth, as far as known.
    lengths: [Option<usize>; DEEPEST],
    /// How many lists enclose each number.
    depth: Option<usize>,
}

/// Lists in lists: the dimensions of the longest shape.
const DEEPEST: usize = 4;

/// The images of a request, which has one input, `image`.
///
/// `binary` is what follows the JSON text: the input's bytes, little-endian, if it says so.
///
/// # Shapes
/// `[n, 1, 28, 28]`, or the same pixels as `[n, 28, 28]`, `[n, 28, 28, 1]` or `[n, 784]`; `FP32` in
/// 0.0–1.0 (pixel / 255, rounded to the nearest pixel) or `UINT8` in 0–255; nested as the shape says
/// or flat.
pub(super) fn images(inputs: Few<Tensor>, binary: &[u8]) -> Result<Vec<Image>, Rejection> {
    let input = only(inputs.0, |input| input.name)?;
    let Tensor { name, shape: Few(shape), datatype, parameters, data } = input;
    let count = count(&name, &shape)?;
    let binary_size = parameters.and_then(|parameters| parameters.binary_data_size);
    if binary_size.unwrap_or(0) != binary.len() {
        let (expected, found) = (binary_size.unwrap_or(0), binary.len());
        return Err(malformed(format!("expected {expected} bytes of binary data, found {found}")));
    }
    let flat = match (data, binary_size) {
        (Some(_), Some(_)) => return Err(malformed("input image has data and binary data")),
        (None, None) => return Err(malformed("input image has no data")),
        (Some(numbers), None) => numbers.flat(&shape)?,
        (None, Some(_)) => from_bytes(binary, &datatype, count * Image::PIXELS)?,
    };
    pixels(&datatype, &flat)
}

/// [`images`] of another encoding than JSON.
pub(super) fn images_of(inputs: Vec<InputTensor<'_>>) -> Result<Vec<Image>, Rejection> {
    let InputTensor { name, datatype, shape, data } =
        only(inputs, |input: InputTensor<'_>| input.name.to_owned())?;
    let count = count(name, &shape)?;
    let flat = match data {
        TensorData::Numbers(flat) => Numbers::from(flat).flat(&shape)?,
        TensorData::Bytes(bytes) => from_bytes(bytes, datatype, count * Image::PIXELS)?,
        TensorData::Missing => return Err(malformed("input image has no data")),
    };
    pixels(datatype, &flat)
}

fn only<T>(inputs: Vec<T>, name: fn(T) -> String) -> Result<T, Rejection> {
    let one = <[T; 1]>::try_from(inputs).map_err(|inputs| {
        let names: Vec<_> = inputs.into_iter().map(name).collect();
        invalid(format!("expected one input, image, found {names:?}"))
    });
    one.map(|[input]| input)
}

/// How many images an input has by its shape.
fn count(name: &str, shape: &[usize]) -> Result<usize, Rejection> {
    if name != "image" {
        return Err(invalid(format!("expected input image, found {name:?}")));
    }
    let count = match shape {
        [n, 1, 28, 28] | [n, 28, 28] | [n, 28, 28, 1] | [n, 784] if *n > 0 => *n,
        _ => return Err(invalid(format!("expected shape [n, 1, 28, 28], found {shape:?}"))),
    };
    check_count(count)?;
    Ok(count)
}

fn pixels(datatype: &str, flat: &[f32]) -> Result<Vec<Image>, Rejection> {
    let pixel: fn(f32) -> Option<u8> = match datatype {
        "FP32" => |value: f32| (0.0..=1.0).contains(&value).then(|| (value * 255.0).round() as u8),
        "UINT8" => |value: f32| {
            ((0.0..=255.0).contains(&value) && value.fract() == 0.0).then_some(value as u8)
        },
        _ => return Err(invalid(format!("expected datatype FP32 or UINT8, found {datatype:?}"))),
    };
    flat.as_chunks::<{ Image::PIXELS }>()
        .0
        .iter()
        .map(|values| {
            let mut pixels = [0; Image::PIXELS];
            for (into, &value) in pixels.iter_mut().zip(values) {
                *into = pixel(value).ok_or_else(|| outside(datatype, value))?;
            }
            Ok(Image::new(pixels))
        })
        .collect()
}

/// Exactly `count` numbers of a type that images can have; none of another type, which is refused
/// later.
fn from_bytes(bytes: &[u8], datatype: &str, count: usize) -> Result<Vec<f32>, Rejection> {
    let (numbers, width): (Vec<f32>, _) = match datatype {
        "FP32" => (bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(), 4),
        "UINT8" => (bytes.iter().map(|byte| f32::from(*byte)).collect(), 1),
        _ => return Ok(Vec::new()),
    };
    if bytes.len() == count * width {
        return Ok(numbers);
    }
    let (expected, found) = (count * width, bytes.len());
    Err(malformed(format!("expected {expected} bytes for this shape, found {found}")))
}

fn outside(datatype: &str, value: f32) -> Rejection {
    invalid(match datatype {
        "FP32" => format!("expected FP32 pixels in 0.0–1.0 (pixel / 255), found {value}"),
        _ => format!("expected UINT8 pixels in 0–255, found {value}"),
    })
}

impl From<Vec<f32>> for Numbers {
    fn from(flat: Vec<f32>) -> Self {
        let lengths = [Some(flat.len()), None, None, None];
        Self { flat, lengths, depth: Some(1) }
    }
}

impl Numbers {
    /// The numbers, if they were nested as `shape` says, or not at all.
    fn flat(self, shape: &[usize]) -> Result<Vec<f32>, Rejection> {
        let dims: Vec<usize> = self.lengths.into_iter().flatten().collect();
        let all: usize = shape.iter().product();
        if dims == shape || dims == [all] {
            return Ok(self.flat);
        }
        let reason = format!("expected data nested as {shape:?} or flat, found lists of {dims:?}");
        Err(malformed(reason))
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Self::default();
        Element { depth: 0, into: &mut numbers }.deserialize(deserializer)?;
        Ok(numbers)
    }
}

/// A number, or a list of elements, inside `depth` lists.
struct Element<'a> {
    depth: usize,
    into: &'a mut Numbers,
}

impl Element<'_> {
    fn number<E: Error>(self, value: f32) -> Result<(), E> {
        if self.depth == 0 || *self.into.depth.get_or_insert(self.depth) != self.depth {
            return Err(E::custom("expected data as a list of numbers, or lists of equal depth"));
        }
        if self.into.flat.len() == MAX_IMAGES * Image::PIXELS {
            return Err(E::custom(format!("expected data of at most {MAX_IMAGES} images")));
        }
        self.into.flat.push(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers as data")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f32)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f32)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value as f32)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { depth, into } = self;
        if depth == DEEPEST || into.depth.is_some_and(|numbers| numbers <= depth) {
            return Err(A::Error::custom("expected numbers, found a list among or inside them"));
        }
        let mut length = 0;
        while list.next_element_seed(Element { depth: depth + 1, into: &mut *into })?.is_some() {
            length += 1;
        }
        let expected = *into.lengths[depth].get_or_insert(length);
        if length != expected {
            let reason = format!("expected lists of equal length, found {expected} and {length}");
            return Err(A::Error::custom(reason));
        }
        Ok(())
    }
}
