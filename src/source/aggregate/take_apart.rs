//! Taking a Kinesis record's payload apart, where it is an aggregate.

use std::fmt::Write as _;

use bytes::Bytes;
use prost::Message;

use super::format::{AggregatedRecord, DIGEST, MAGIC, Record, digest};
use super::hash_key::{InvalidHashKey, explicit_hash_key, partition_key_hash};

/// The largest record that a stream can be set to take; a part needs 6 bytes at least, so this bounds the parts too.
const LARGEST: usize = 10 * 1024 * 1024;

/// What a payload was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// No aggregate: the payload is the user's record.
    Plain,
    /// An aggregate's user records, one at least; the index of each is its sub-sequence.
    Parts(Vec<Part>),
    /// It begins as an aggregate and is none: what is wrong, with the bytes or digests that show it.
    Damaged(String),
}

/// A user record.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Its bytes, shared with the aggregate's.
    pub payload: Bytes,
    /// Where it belongs: a shard whose range of hash keys does not hold this must not give it.
    pub hash_key: u128,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Part({} bytes, hash key {})", self.payload.len(), self.hash_key)
    }
}

#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("an aggregate of {0} bytes is longer than any Kinesis record")]
    TooLong(usize),
    #[error("an aggregate of {0} bytes is too short: its magic and its MD5 alone take {least}", least = MAGIC.len() + DIGEST)]
    TooShort(usize),
    #[error("the aggregate ends with the MD5 {told}, but the MD5 of its {bytes} bytes of protobuf is {found}")]
    WrongDigest { told: String, found: String, bytes: usize },
    #[error("the aggregate's {bytes} bytes of protobuf have the right MD5 and cannot be read: {source}")]
    Protobuf { bytes: usize, source: prost::DecodeError },
    #[error("the aggregate holds no record")]
    Empty,
    #[error("record {record} of the aggregate lacks its {field}")]
    Missing { record: usize, field: &'static str },
    #[error("record {record} of the aggregate names {table} {index}, but there are {length} (the first is number 0)")]
    OutsideTable { record: usize, table: &'static str, index: u64, length: usize },
    #[error("in the aggregate, {0}")]
    HashKey(#[from] InvalidHashKey),
}

/// Takes a payload apart; the parts share its bytes.
pub fn take_apart(payload: &Bytes) -> Taken {
    if !payload.starts_with(&MAGIC) {
        return Taken::Plain;
    }
    match parts(payload) {
        Ok(parts) => Taken::Parts(parts),
        Err(damage) => Taken::Damaged(damage.to_string()),
    }
}

fn parts(payload: &Bytes) -> Result<Vec<Part>, Damage> {
    let message = read(payload)?;
    if message.records.is_empty() {
        return Err(Damage::Empty);
    }
    let explicit: Vec<u128> =
        message.explicit_hash_key_table.iter().map(|key| explicit_hash_key(key)).collect::<Result<_, _>>()?;
    let partition: Vec<u128> = message.partition_key_table.iter().map(|key| partition_key_hash(key)).collect();
    let numbered = message.records.into_iter().enumerate();
    numbered.map(|(number, record)| part(number, record, &partition, &explicit)).collect()
}

fn read(payload: &Bytes) -> Result<AggregatedRecord, Damage> {
    let length = payload.len();
    if length > LARGEST {
        return Err(Damage::TooLong(length));
    }
    let end = length.checked_sub(DIGEST).filter(|end| *end >= MAGIC.len()).ok_or(Damage::TooShort(length))?;
    let (body, told) = (payload.slice(MAGIC.len()..end), payload.slice(end..));
    let (found, bytes) = (digest(&body), body.len());
    if *told != found {
        return Err(Damage::WrongDigest { told: hexadecimal(&told), found: hexadecimal(&found), bytes });
    }
    AggregatedRecord::decode(body).map_err(|source| Damage::Protobuf { bytes, source })
}

fn part(number: usize, record: Record, partition: &[u128], explicit: &[u128]) -> Result<Part, Damage> {
    let missing = |field| Damage::Missing { record: number, field };
    let look_up = |keys: &[u128], table, index: u64| {
        let key = usize::try_from(index).ok().and_then(|index| keys.get(index)).copied();
        key.ok_or(Damage::OutsideTable { record: number, table, index, length: keys.len() })
    };
    let index = record.partition_key_index.ok_or_else(|| missing("partition key"))?;
    let by_partition_key = look_up(partition, "partition key", index)?;
    let by_explicit =
        record.explicit_hash_key_index.map(|index| look_up(explicit, "explicit hash key", index)).transpose()?;
    let payload = record.data.ok_or_else(|| missing("data"))?;
    Ok(Part { payload, hash_key: by_explicit.unwrap_or(by_partition_key) })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
