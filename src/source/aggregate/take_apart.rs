//! Taking a Kinesis record's payload apart, where it is an aggregate.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::format::{DIGEST, Keys, MAGIC, Record, Records, digest};
use super::hash_key::{InvalidHashKey, explicit_hash_key, partition_key_hash};

/// The largest record that a stream can be set to take; a part needs 6 bytes at least, so this bounds the parts too.
const LARGEST: usize = 10 * 1024 * 1024;

/// What a payload was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// No aggregate: the payload is the user's record.
    Plain,
    /// An aggregate's user records, one at least; the index of each is its sub-sequence.
    Parts(Parts),
    /// It begins as an aggregate and is none: what is wrong, with the bytes or digests that show it.
    Damaged(String),
}

/// The user records of an aggregate that was looked at whole and is sound. They are read out of its bytes one by one:
/// all together they may take many times as much.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts {
    records: Records,
    hash_keys: Arc<HashKeys>,
    left: usize,
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let record = self.records.next().and_then(Result::ok);
        // Each of them was read before, so there are as many as were counted.
        let part = record.and_then(|record| self.hash_keys.part(0, record).ok());
        self.left = if part.is_some() { self.left.saturating_sub(1) } else { 0 };
        part
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Parts {}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Parts({})", self.left)
    }
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

fn parts(payload: &Bytes) -> Result<Parts, Damage> {
    let body = body(payload)?;
    let protobuf = |source| Damage::Protobuf { bytes: body.len(), source };
    let keys = Keys::decode(body.clone()).map_err(protobuf)?;
    let hash_keys = HashKeys {
        explicit: keys.explicit.iter().map(|key| explicit_hash_key(key)).collect::<Result<_, _>>()?,
        partition: keys.partition.iter().map(|key| partition_key_hash(key)).collect(),
    };
    let records = Records(body.clone());
    let mut left = 0;
    for record in records.clone() {
        hash_keys.part(left, record.map_err(protobuf)?)?;
        left += 1;
    }
    match left {
        0 => Err(Damage::Empty),
        _ => Ok(Parts { records, hash_keys: Arc::new(hash_keys), left }),
    }
}

/// The protobuf bytes, which are those that the MD5 is of.
fn body(payload: &Bytes) -> Result<Bytes, Damage> {
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
    Ok(body)
}

/// The hash keys of an aggregate's tables.
#[derive(PartialEq, Eq)]
struct HashKeys {
    partition: Vec<u128>,
    explicit: Vec<u128>,
}

impl HashKeys {
    fn part(&self, number: usize, record: Record) -> Result<Part, Damage> {
        let missing = |field| Damage::Missing { record: number, field };
        let look_up = |keys: &[u128], table, index: u64| {
            let key = usize::try_from(index).ok().and_then(|index| keys.get(index)).copied();
            key.ok_or(Damage::OutsideTable { record: number, table, index, length: keys.len() })
        };
        let index = record.partition_key_index.ok_or_else(|| missing("partition key"))?;
        let by_partition_key = look_up(&self.partition, "partition key", index)?;
        let by_explicit = record.explicit_hash_key_index;
        let by_explicit = by_explicit.map(|index| look_up(&self.explicit, "explicit hash key", index)).transpose()?;
        let payload = record.data.ok_or_else(|| missing("data"))?;
        Ok(Part { payload, hash_key: by_explicit.unwrap_or(by_partition_key) })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
