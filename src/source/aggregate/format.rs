//! The bytes of an aggregate: its magic, its two protobuf messages and its digest.

use bytes::Bytes;
use md5::{Digest, Md5};

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
