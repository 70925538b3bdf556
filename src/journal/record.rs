//! The bytes of what the journal keeps: one JSON object in one line, with the number of its format.
//!
//! Owns the objects' names and format 2, which is format 1 with marks and an opening's shards. It judges no contents: that is `check`'s and `state`'s.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::batch::Entry;
use crate::error::{Error, ErrorKind, Result};

/// The format that is written.
pub(super) const FORMAT: u32 = 2;

/// The oldest format that is read.
const OLDEST: u32 = 1;

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
    /// The format that the record says it has.
    fn format(&self) -> u32;
}

impl Versioned for Entry {
    fn format(&self) -> u32 {
        self.format
    }
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(
        "it was written by a newer Millstream (format {0}; this one reads {FORMAT}): go on with that one, or a newer"
    )]
    Newer(u32),
    #[error("there is no format {0}")]
    Unknown(u32),
    #[error("it is no record of format {FORMAT}: {0}")]
    Torn(serde_json::Error),
}

/// All that can be said of a record of any format.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The record's bytes: compact JSON and a newline; the same record always gives the same bytes.
pub(super) fn encode(record: &impl Versioned) -> Result<Bytes> {
    let refused = |error| Error::internal("cannot write a journal record as JSON").with_source(error);
    let mut bytes = serde_json::to_vec(record).map_err(refused)?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

/// The record in the object at `path`: Invalid where it is of a newer format, Corrupt where it is none.
pub(super) fn decode<T: Versioned>(path: &str, bytes: &[u8]) -> Result<T> {
    read(bytes).map_err(|reason| {
        let kind = if matches!(reason, Unreadable::Newer(_)) { ErrorKind::Invalid } else { ErrorKind::Corrupt };
        Error::new(kind, format!("{path} cannot be read: {reason}"))
    })
}

fn read<T: Versioned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let parsed = serde_json::from_slice::<T>(bytes);
    let format = match &parsed {
        Ok(record) => record.format(),
        // Another format need not have this one's fields.
        Err(_) => serde_json::from_slice::<Format>(bytes).map_or(FORMAT, |record| record.format),
    };
    if format > FORMAT {
        return Err(Unreadable::Newer(format));
    }
    if format < OLDEST {
        return Err(Unreadable::Unknown(format));
    }
    parsed.map_err(Unreadable::Torn)
}
