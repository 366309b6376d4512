//! JSON objects that come back with the prediction in them; what was in them stays as it was, to the byte.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};

use super::{
    Answer, Codec, Message, Record, Request, Values,
    json::{Json, OUTPUT_BYTES, read, unwritable},
    record::JSON,
};
use crate::transport::{Outbound, Rejection, Stage};

/// The prediction beside the data: a result is the object as it came, byte for byte, with one member
/// added. Id and model are headers of the result.
///
/// An object that has the member already is refused, and so is a result that comes back as a message.
///
/// ```
/// use stream_inference::codec::Json;
///
/// # #[derive(serde::Deserialize)] struct Payment { amount: f32 }
/// # #[derive(serde::Serialize)] struct Risk { score: f32 }
/// // {"amount": 12.50} becomes {"amount": 12.50,"risk":{"score":0.25}}
/// let codec = Json::<Payment, Risk>::enriching("risk");
/// ```
pub struct Enriched<I, O> {
    member: Box<str>,
    output_bytes: usize,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Json<I, O> {
    /// A result is the object that came, with the output as one member more.
    pub fn enriching(member: impl Into<Box<str>>) -> Enriched<I, O> {
        Enriched { member: member.into(), output_bytes: OUTPUT_BYTES, types: PhantomData }
    }
}

impl<I, O> Enriched<I, O> {
    /// See [`Json::with_output_bytes`].
    #[must_use]
    pub fn with_output_bytes(self, output_bytes: usize) -> Self {
        Self { output_bytes, ..self }
    }
}

impl<I, O> Clone for Enriched<I, O> {
    fn clone(&self) -> Self {
        let (member, output_bytes) = (self.member.clone(), self.output_bytes);
        Self { member, output_bytes, types: PhantomData }
    }
}

impl<I, O> fmt::Debug for Enriched<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enriched").field("member", &self.member).finish()
    }
}

/// A result, and the object that it goes into.
#[derive(Clone, Debug, PartialEq)]
pub struct Enriching<O> {
    /// The result.
    pub record: Record<O>,
    /// The object as it came.
    pub object: Bytes,
}

impl<I, O> Codec for Enriched<I, O>
where
    I: DeserializeOwned + Send + Sync + 'static,
    O: Serialize + Send + Sync + 'static,
{
    type Input = I;
    type Output = O;
    type Inputs = Values<I>;
    type Context = Bytes;
    type Record = Enriching<O>;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        let input: I = read(message.payload)?;
        let object = object(message.payload);
        let members = Members::read(object)?;
        if members.contains(&*self.member) {
            let member = &self.member;
            let reason = format!("the object has a member {member:?} already: is it a result?");
            return Err(Rejection::new(Stage::Validate, reason));
        }
        // Read twice, so that inputs need not be such as can be copied.
        let kept = if message.keeps_inputs { vec![read(object)?] } else { Vec::new() };
        // What they hold beside themselves is about what was read.
        let bytes = (1 + kept.len()) * (size_of::<I>() + object.len());
        let request = Request::new(vec![input].into_iter(), message.payload.slice_ref(object));
        Ok(request.keeping(kept).with_bytes(bytes))
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<Enriching<O>, Rejection> {
        let (record, object) = Record::of(answer);
        Ok(Enriching { record, object })
    }

    fn encode(
        &self,
        Enriching { record, object }: &Enriching<O>,
        key: Option<&Bytes>,
    ) -> Result<Vec<Outbound>, Rejection> {
        let Some(output) = record.predictions.first() else { return Ok(Vec::new()) };
        // Without its last brace, which every object has.
        let open = object[..object.len() - 1].trim_ascii_end();
        let mut payload = BytesMut::with_capacity(object.len() + 64);
        payload.put_slice(open);
        if open.len() > 1 {
            payload.put_u8(b',');
        }
        let mut writer = payload.writer();
        serde_json::to_writer(&mut writer, &*self.member).map_err(unwritable)?;
        writer.get_mut().put_u8(b':');
        serde_json::to_writer(&mut writer, output).map_err(unwritable)?;
        writer.get_mut().put_u8(b'}');
        let payload = writer.into_inner().freeze();
        Ok(vec![record.outbound(key, JSON, &record.id, payload)])
    }

    fn output_bytes(&self) -> usize {
        self.output_bytes
    }
}

/// The object's own bytes, without what stands around it.
fn object(payload: &[u8]) -> &[u8] {
    crate::text::without_mark(payload).unwrap_or(payload).trim_ascii()
}

/// The names of an object's members.
struct Members;

impl Members {
    fn read(object: &[u8]) -> Result<BTreeSet<String>, Rejection> {
        let mut reader = serde_json::Deserializer::from_slice(object);
        reader
            .deserialize_map(Self)
            .map_err(|error| Rejection::new(Stage::Decode, format!("expected an object: {error}")))
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeSet<String>, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(twice) = names.replace(name) {
                return Err(serde::de::Error::custom(format!("member {twice:?} stands twice")));
            }
        }
        Ok(names)
    }
}
