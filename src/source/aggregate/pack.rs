//! Packing user records into aggregates, each partition key and explicit hash key written once.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encoded_len_varint;

use super::format::{AggregatedRecord, DIGEST, MAGIC, Record, digest};
use super::hash_key::partition_key_hash;

/// What the producer library fills an aggregate to unless told otherwise.
const USUAL_BYTES: usize = 51_200;
/// What a Kinesis record may have, payload and partition key together, unless the stream allows more.
const MOST_BYTES: usize = 1024 * 1024;

/// One Kinesis record to put: user records packed together, or one alone as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// The first user record's.
    pub partition_key: String,
    /// The first user record's hash key, decimal, so that the aggregate goes to its shard; for a record that is put
    /// alone, the explicit hash key it came with.
    pub explicit_hash_key: Option<String>,
    /// The Kinesis record's bytes.
    pub payload: Bytes,
    /// User records in it.
    pub records: u64,
}

/// Packs user records, in the order added. They must all belong to one shard: the aggregate goes where its first
/// record goes, and a reader drops those that do not belong there.
pub struct Aggregator {
    max_bytes: usize,
    partition_keys: KeyTable,
    explicit_hash_keys: KeyTable,
    records: Vec<Record>,
    /// Bytes of the protobuf message so far.
    body: usize,
}

impl Default for Aggregator {
    /// Fills aggregates to 51,200 bytes, as the producer library does.
    fn default() -> Self {
        Self::new(USUAL_BYTES)
    }
}

impl Aggregator {
    /// Fills aggregates to so many bytes, payload and partition key together, and to 1 MiB at most.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes: max_bytes.min(MOST_BYTES),
            partition_keys: KeyTable::default(),
            explicit_hash_keys: KeyTable::default(),
            records: Vec::new(),
            body: 0,
        }
    }

    /// Adds a record. Gives the aggregate before it, where the record found no room in that one.
    pub fn add(
        &mut self,
        partition_key: String,
        explicit_hash_key: Option<String>,
        payload: Bytes,
    ) -> Option<Aggregate> {
        let added = self.added(&partition_key, explicit_hash_key.as_deref(), &payload);
        let first_key = self.partition_keys.keys.first().map_or(0, String::len);
        let bytes = MAGIC.len() + self.body + added + DIGEST + first_key;
        let full = if bytes > self.max_bytes { self.flush() } else { None };
        // The tables may be new, so it is measured anew.
        self.body += self.added(&partition_key, explicit_hash_key.as_deref(), &payload);
        self.records.push(Record {
            partition_key_index: Some(self.partition_keys.place(partition_key)),
            explicit_hash_key_index: explicit_hash_key.map(|key| self.explicit_hash_keys.place(key)),
            data: Some(payload),
        });
        full
    }

    /// What was added since the last full aggregate; none if nothing was. A record alone is not packed, as the
    /// producer library does it, unless its payload would be taken for an aggregate.
    pub fn flush(&mut self) -> Option<Aggregate> {
        let records = self.records.len() as u64;
        let alone = if records == 1 { self.records.first().and_then(|record| record.data.clone()) } else { None };
        let partition_key = self.partition_keys.keys.first()?.clone();
        let first_explicit = self.explicit_hash_key_of_first();
        let message = AggregatedRecord {
            partition_key_table: self.partition_keys.take(),
            explicit_hash_key_table: self.explicit_hash_keys.take(),
            records: std::mem::take(&mut self.records),
        };
        self.body = 0;
        if let Some(payload) = alone.filter(|payload| !payload.starts_with(&MAGIC)) {
            return Some(Aggregate { partition_key, explicit_hash_key: first_explicit, payload, records });
        }
        let hash_key = first_explicit.unwrap_or_else(|| partition_key_hash(&partition_key).to_string());
        Some(Aggregate { partition_key, explicit_hash_key: Some(hash_key), payload: encoded(&message), records })
    }

    fn explicit_hash_key_of_first(&self) -> Option<String> {
        self.records.first()?.explicit_hash_key_index?;
        self.explicit_hash_keys.keys.first().cloned()
    }

    /// By how many bytes this record would lengthen the message.
    fn added(&self, partition_key: &str, explicit_hash_key: Option<&str>, payload: &Bytes) -> usize {
        let record = Record {
            partition_key_index: Some(self.partition_keys.place_of(partition_key)),
            explicit_hash_key_index: explicit_hash_key.map(|key| self.explicit_hash_keys.place_of(key)),
            data: Some(payload.clone()),
        };
        let explicit = explicit_hash_key.map_or(0, |key| self.explicit_hash_keys.added(key));
        self.partition_keys.added(partition_key) + explicit + field(record.encoded_len())
    }
}

/// Bytes of a field of this length, its tag (one byte) and its length included.
fn field(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn encoded(message: &AggregatedRecord) -> Bytes {
    let body = message.encode_to_vec();
    let mut bytes = BytesMut::with_capacity(MAGIC.len() + body.len() + DIGEST);
    bytes.put_slice(&MAGIC);
    bytes.put_slice(&body);
    bytes.put_slice(&digest(&body));
    bytes.freeze()
}

/// Keys, each with its place.
#[derive(Default)]
struct KeyTable {
    keys: Vec<String>,
    places: HashMap<String, u64>,
}

impl KeyTable {
    /// The key's place, at the end if it is new.
    fn place_of(&self, key: &str) -> u64 {
        self.places.get(key).copied().unwrap_or(self.keys.len() as u64)
    }

    /// By how many bytes the key would lengthen the table.
    fn added(&self, key: &str) -> usize {
        if self.places.contains_key(key) { 0 } else { field(key.len()) }
    }

    fn place(&mut self, key: String) -> u64 {
        let place = self.place_of(&key);
        if !self.places.contains_key(&key) {
            self.keys.push(key.clone());
            self.places.insert(key, place);
        }
        place
    }

    fn take(&mut self) -> Vec<String> {
        self.places.clear();
        std::mem::take(&mut self.keys)
    }
}
