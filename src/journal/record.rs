//! The bytes of what the journal keeps: one JSON object in one line, with the number of its format and its checksum.
//!
//! Owns the objects' names and format 3:
//!
//! ```text
//! {"format":3,"number":42,"previous":"…",…,"checksum":"9f86…"}⏎
//! └──────────── the checksum is of these bytes ─┘
//! ```
//!
//! The checksum is the SHA-256 of the exact bytes before `,"checksum":"`, so it is checked before anything is parsed,
//! and no byte of the object can change unseen. It is also the entry's *digest*, which the next entry names as its
//! `previous`; the digest of an entry of format 1 or 2, which has no checksum, is the SHA-256 of its whole object.
//! Format 2 is format 1 with marks and an opening's shards. Format 3 adds the chain, the files' checksums and e-tags,
//! and what a dimension file replaces; `refused` and `foreign` among the counts are part of the identities already,
//! though 0 (and absent) until something counts them. Nothing else is reserved: a shard that is parked is a worker's
//! present trouble and stands in its heartbeat, and which checkpoint the log rests on is said by whoever writes one.
//! An unknown field is refused, in every format. It judges no contents: that is `check`'s and `state`'s.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::batch::{Checksum, Entry};
use crate::error::{Error, ErrorKind, Result};

/// The format that is written.
pub(super) const FORMAT: u32 = 3;

/// From this format on records end with a checksum, and entries name the digest of the one before.
pub(super) const SEALED: u32 = 3;

/// What stands before and after the checksum at a record's end.
const BEFORE: &[u8] = br#","checksum":""#;
const AFTER: &[u8] = b"\"}\n";

/// The folder of the log.
pub(super) const FOLDER: &str = "journal";

/// The folder of the snapshots.
pub(super) const SNAPSHOTS: &str = "journal/snapshots";

/// The path of an entry's object, from the store's root: `journal/00000000000000000042.json`.
pub fn entry_path(number: u64) -> String {
    format!("{FOLDER}/{number:020}.json")
}

/// The number in an object's path `FOLDER/NUMBER.json`; none for the path of anything else.
pub(super) fn number_in(folder: &str, path: &str) -> Option<u64> {
    let digits = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".json")?;
    let valid = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if valid { digits.parse().ok() } else { None }
}

/// A record that carries the number of its format.
pub(super) trait Versioned: Serialize + DeserializeOwned {
    /// The oldest format that is read.
    const OLDEST: u32;

    /// The format that the record says it has.
    fn format(&self) -> u32;
}

impl Versioned for Entry {
    const OLDEST: u32 = 1;

    fn format(&self) -> u32 {
        self.format
    }
}

/// An entry that stands in the log, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The entry.
    pub(super) entry: Arc<Entry>,
    /// What the next one names as its `previous`.
    pub(super) digest: Checksum,
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(
        "it was written by a newer Millstream (format {0}; this one reads {FORMAT}): go on with that one, or a newer"
    )]
    Newer(u32),
    #[error("it is of format {found}, and none before {oldest} is read")]
    Older { found: u32, oldest: u32 },
    #[error("it is no record of format {FORMAT}: {0}")]
    Torn(serde_json::Error),
    #[error("it says that it is of format {0}, and does not end with a checksum as that format does: it was altered")]
    Unsealed(u32),
    #[error("format {0} has no checksum, and it ends with one: it was altered")]
    Oversealed(u32),
    #[error(
        "it was altered or damaged after it was written: the SHA-256 of its bytes is {found}, and it ends with {said}"
    )]
    Damaged { found: Checksum, said: Checksum },
}

/// All that can be said of a record of any format.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// A record's bytes, compact JSON and a newline, and its digest; the same record always gives the same bytes.
pub(super) fn encode(record: &impl Versioned) -> Result<(Bytes, Checksum)> {
    let refused = |error| Error::internal("cannot write a journal record as JSON").with_source(error);
    let mut bytes = serde_json::to_vec(record).map_err(refused)?;
    bytes.pop();
    let digest = Checksum::of(&bytes);
    for part in [BEFORE, digest.to_string().as_bytes(), AFTER] {
        bytes.extend_from_slice(part);
    }
    Ok((bytes.into(), digest))
}

/// The record in the object at `path`, and its digest: Invalid where it is of a newer format, Corrupt where it is none.
pub(super) fn decode<T: Versioned>(path: &str, bytes: &[u8]) -> Result<(T, Checksum)> {
    read(bytes).map_err(|reason| {
        let kind = if matches!(reason, Unreadable::Newer(_)) { ErrorKind::Invalid } else { ErrorKind::Corrupt };
        let now = match kind {
            ErrorKind::Corrupt => {
                "; until this object is as it was written (bring it back from a backup or an older version in the bucket) \
                 nothing is read or loaded, and stream and warehouse stay as they are"
            }
            _ => "",
        };
        Error::new(kind, format!("{path} cannot be read: {reason}{now}"))
    })
}

fn read<T: Versioned>(bytes: &[u8]) -> Result<(T, Checksum), Unreadable> {
    let Some((body, said)) = sealed(bytes) else {
        let record: T = parse(bytes)?;
        return match record.format() {
            format if format >= SEALED => Err(Unreadable::Unsealed(format)),
            _ => Ok((record, Checksum::of(bytes))),
        };
    };
    let found = Checksum::of(body);
    if found != said {
        return Err(Unreadable::Damaged { found, said });
    }
    let record: T = parse(&[body, b"}"].concat())?;
    match record.format() {
        format if format < SEALED => Err(Unreadable::Oversealed(format)),
        _ => Ok((record, said)),
    }
}

/// Whether it is a record of a format that had no checksum yet.
pub(super) fn is_unsealed(bytes: &[u8]) -> bool {
    let format = || serde_json::from_slice::<Format>(bytes).is_ok_and(|record| record.format < SEALED);
    sealed(bytes).is_none() && format()
}

/// The bytes before the checksum, and what it says; none where the record does not end with one.
fn sealed(bytes: &[u8]) -> Option<(&[u8], Checksum)> {
    let (rest, digits) = bytes.strip_suffix(AFTER)?.split_last_chunk::<{ Checksum::DIGITS }>()?;
    let body = rest.strip_suffix(BEFORE)?;
    Some((body, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

fn parse<T: Versioned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let parsed = serde_json::from_slice::<T>(bytes);
    let format = match &parsed {
        Ok(record) => record.format(),
        // Another format need not have this one's fields.
        Err(_) => serde_json::from_slice::<Format>(bytes).map_or(FORMAT, |record| record.format),
    };
    if format > FORMAT {
        return Err(Unreadable::Newer(format));
    }
    if format < T::OLDEST {
        return Err(Unreadable::Older { found: format, oldest: T::OLDEST });
    }
    parsed.map_err(Unreadable::Torn)
}
