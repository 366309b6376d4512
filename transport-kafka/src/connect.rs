//! How clients of Kafka are made.

pub(crate) mod log;
