//! The bytes of an aggregate: its magic, its two protobuf messages and its digest.

use bytes::{Buf, Bytes};
use md5::{Digest, Md5};
use prost::DecodeError;
use prost::encoding::{DecodeContext, decode_key, message, skip_field};

/// What an aggregate begins with.
pub(super) const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// Bytes of the MD5 at an aggregate's end.
pub(super) const DIGEST: usize = 16;

/// The keys, each once, and the records, which name them by their place.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    pub(super) partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) records: Vec<Record>,
}

/// The keys alone: the records are passed over.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Keys {
    #[prost(string, repeated, tag = "1")]
    pub(super) partition: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) explicit: Vec<String>,
}

/// The field of the records in an [`AggregatedRecord`].
const RECORDS: u32 = 3;

/// The records of a message, read out of its bytes one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records(pub(super) Bytes);

impl Iterator for Records {
    type Item = Result<Record, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.0.has_remaining() {
            if let Some(record) = field(&mut self.0).transpose() {
                return Some(record);
            }
        }
        None
    }
}

/// The next field of a message, where it is a record.
fn field(body: &mut Bytes) -> Result<Option<Record>, DecodeError> {
    let (tag, wire_type) = decode_key(body)?;
    if tag != RECORDS {
        return skip_field(wire_type, tag, body, DecodeContext::default()).map(|()| None);
    }
    let mut record = Record::default();
    message::merge(wire_type, &mut record, body, DecodeContext::default())?;
    Ok(Some(record))
}

/// A user record. The partition key's index and the data are required; prost would read a missing one as zero, so they
/// are optional here and looked at when taken apart. Tags (field 4), which no reader uses, are passed over.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(uint64, optional, tag = "1")]
    pub(super) partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) data: Option<Bytes>,
}

/// The MD5 of these bytes.
pub(super) fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    Md5::digest(bytes).into()
}
