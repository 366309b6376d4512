//! Writes `doors.onnx`, byte by byte: protobuf needs no more than this.
//!
//! ```sh
//! cargo run --bin make_onnx -- doors.onnx
//! ```
//!
//! The network is the classical one for exclusive or, `h = relu(x·A + a)`, `y = h·B`:
//! `h₁ = relu(l + r)`, `h₂ = relu(l + r − 1)`, `y = h₁ − 2·h₂`.
//! Numbers of fields are those of [onnx.proto](https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).

use std::{env, fs, io};

/// `onnx.TensorProto.DataType.FLOAT`
const FLOAT: u64 = 1;

fn main() -> io::Result<()> {
    let path = env::args().nth(1).ok_or_else(|| io::Error::other("expected a path to write to"))?;
    fs::write(path, model())
}

fn model() -> Vec<u8> {
    let graph = [
        node("Gemm", &["x", "A", "a"], "z"),
        node("Relu", &["z"], "h"),
        node("MatMul", &["h", "B"], "y"),
        text(2, "doors"),
        tensor("A", &[2, 2], &[1.0, 1.0, 1.0, 1.0]),
        tensor("a", &[2], &[0.0, -1.0]),
        tensor("B", &[2, 1], &[1.0, -2.0]),
        message(11, &value("x", 2)),
        message(12, &value("y", 1)),
    ];
    let operators = [text(1, ""), number(2, 13)].concat();
    let producer = text(2, "make_onnx");
    [number(1, 7), producer, message(7, &graph.concat()), message(8, &operators)].concat()
}

/// `GraphProto.node`
fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|input| text(1, input)).collect();
    message(1, &[inputs, text(2, output), text(3, output), text(4, operator)].concat())
}

/// `GraphProto.initializer`
fn tensor(name: &str, shape: &[u64], values: &[f32]) -> Vec<u8> {
    let shape = shape.iter().flat_map(|&length| number(1, length)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    message(5, &[shape, number(2, FLOAT), text(8, name), message(9, &raw)].concat())
}

/// `ValueInfoProto`: `[batch, width]` `f32`
fn value(name: &str, width: u64) -> Vec<u8> {
    let shape = [message(1, &text(2, "batch")), message(1, &number(1, width))].concat();
    let tensor = message(1, &[number(1, FLOAT), message(2, &shape)].concat());
    [text(1, name), message(2, &tensor)].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    message(field, value.as_bytes())
}

/// What has a length: messages, texts and bytes.
fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
