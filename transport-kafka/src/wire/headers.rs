//! Headers with their names' bytes: rdkafka's own reader panics over a name that is not UTF-8, which
//! Kafka allows, and its writer takes text alone. The only `unsafe` code outside the engine's kernels.

use std::{
    ffi::{CStr, c_void},
    ptr, slice,
};

use bytes::Bytes;
use rdkafka::{
    bindings::{
        rd_kafka_header_add, rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers,
        rd_kafka_resp_err_t,
    },
    message::{BorrowedHeaders, BorrowedMessage, OwnedHeaders},
};
use stream_inference::transport::Attributes;

/// The headers of a message, in order. librdkafka ends a name at its first zero byte.
pub(crate) fn read(message: &BorrowedMessage<'_>) -> Attributes {
    const NONE: rd_kafka_resp_err_t = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    let mut attributes = Attributes::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive, and so are its headers, which stay librdkafka's.
    if unsafe { rd_kafka_message_headers(message.ptr(), &mut headers) } != NONE {
        return attributes;
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` was given by the call above; the three places are written to, or the
        // index is behind the last header and an error is returned.
        let found =
            unsafe { rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) };
        if found != NONE {
            break;
        }
        // SAFETY: names end with a zero byte; a value that is not null has `size` bytes. Both live as
        // long as the message and are copied here.
        let (name, value) = unsafe {
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast::<u8>(), size));
            (CStr::from_ptr(name).to_bytes(), value)
        };
        attributes.push_raw(name, value.map(Bytes::copy_from_slice));
    }
    attributes
}

/// Headers for a message that goes out; `None` where there are none.
pub(crate) fn write(attributes: &Attributes) -> Option<OwnedHeaders> {
    if attributes.is_empty() {
        return None;
    }
    let headers = OwnedHeaders::new_with_capacity(attributes.len());
    let native = ptr::from_ref::<BorrowedHeaders>(headers.as_borrowed());
    for (name, value) in attributes.iter_raw() {
        let (value, size) = match value {
            Some(value) => (value.as_ptr().cast::<c_void>(), value.len()),
            None => (ptr::null(), 0),
        };
        // SAFETY: rdkafka's borrowed headers are librdkafka's own behind a reference (its
        // `as_borrowed` casts the pointer), these are not shared yet, and name and value are copied.
        let added = unsafe {
            rd_kafka_header_add(
                native.cast_mut().cast::<rd_kafka_headers_t>(),
                name.as_ptr().cast(),
                name.len() as isize,
                value.cast_mut(),
                size as isize,
            )
        };
        debug_assert_eq!(added, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    Some(headers)
}
