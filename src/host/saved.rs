//! What is kept of the streams themselves: one small JSON file, replaced as a whole.
//!
//! Owns `streams.json`: each stream's description with what its serialised form leaves out, its number in the log of
//! records, the sequence numbers reserved for its shards, and its consumers. A stream that is made anew under the same name
//! gets another number, so frames of the old one are known to be dead. Records are none of its business, but for which log
//! they are in. Its first line holds a CRC-32 of all that follows it; format 1, of earlier versions, has none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferrokinesis::types::{Consumer, Stream};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const VERSION: u32 = 2;
const FIRST_VERSION: u32 = 1;

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SavedError {
    /// The file system failed.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: String,
        /// Its words.
        source: io::Error,
    },
    /// Not the JSON that this module writes.
    #[error("{path} does not describe streams, and the records beside it cannot be read without it: {source}")]
    Malformed {
        /// The file.
        path: String,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// Bytes that are not as they were written.
    #[error("{path} is damaged (its checksum does not fit), and the records beside it cannot be read without it")]
    Damaged {
        /// The file.
        path: String,
    },
    /// A later format.
    #[error("{path} was written by a newer millstream (format {found}, this one reads {VERSION}): use that one")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
}

/// All streams as they were saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    /// Of format 1 alone; later ones have it on the first line.
    #[serde(default, skip_serializing, rename = "version")]
    _version: u32,
    /// Counts the file's replacements.
    #[serde(default)]
    pub(super) revision: u64,
    /// The log that goes with it.
    #[serde(default)]
    pub(super) log: LogSeen,
    /// The number that the next new stream gets.
    pub(super) next_number: u32,
    /// The latest creation time of a stream that was deleted, seconds since 1970 UTC.
    pub(super) newest_deleted: i64,
    /// The streams, by name.
    pub(super) streams: Vec<SavedStream>,
    /// Their fan-out consumers.
    pub(super) consumers: Vec<Consumer>,
}

/// The log as it was when the file was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogSeen {
    #[serde(with = "as_text")]
    /// Its id; nil for one of format 1.
    pub(super) id: Uuid,
    /// Its bytes, all synced.
    pub(super) bytes: u64,
}

mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Uuid, D::Error> {
        Uuid::parse_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A stream as it was saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedStream {
    /// Its number in the log of records.
    pub(super) number: u32,
    /// By shard, an index above those of all sequence numbers that anybody was told.
    pub(super) counters: Vec<u64>,
    stream: Stream,
    tags: BTreeMap<String, String>,
    key_id: Option<String>,
    warm_throughput_mibps: u32,
    max_record_size_kib: u32,
}

impl SavedStream {
    /// A stream with its number and what is reserved for its shards.
    pub(super) fn new(number: u32, counters: Vec<u64>, stream: Stream) -> Self {
        Self {
            number,
            counters,
            tags: stream.tags.clone(),
            key_id: stream.key_id.clone(),
            warm_throughput_mibps: stream.warm_throughput_mibps,
            max_record_size_kib: stream.max_record_size_kib,
            stream,
        }
    }

    /// The stream as it was.
    pub(super) fn stream(&self) -> Stream {
        let mut stream = self.stream.clone();
        stream.tags.clone_from(&self.tags);
        stream.key_id.clone_from(&self.key_id);
        stream.warm_throughput_mibps = self.warm_throughput_mibps;
        stream.max_record_size_kib = self.max_record_size_kib;
        stream
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.stream.stream_name
    }

    /// Its shards, open and closed.
    pub(super) fn shards(&self) -> usize {
        self.stream.shards.len()
    }

    /// How long a record is kept, seconds.
    pub(super) fn retention_seconds(&self) -> i64 {
        i64::from(self.stream.retention_period_hours) * 3600
    }

    /// When it was made, seconds since 1970 UTC.
    pub(super) fn created(&self) -> i64 {
        self.stream.stream_creation_timestamp.0 as i64
    }
}

impl Default for Saved {
    fn default() -> Self {
        Self {
            _version: 0,
            revision: 0,
            log: LogSeen::default(),
            next_number: 1,
            newest_deleted: 0,
            streams: Vec::new(),
            consumers: Vec::new(),
        }
    }
}

impl Saved {
    /// Reads the file; none where it is missing.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, SavedError> {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| SavedError::Io { path: name.clone(), source })?,
        };
        Self::parse(name, &bytes).map(Some)
    }

    fn parse(path: String, bytes: &[u8]) -> Result<Self, SavedError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |source| SavedError::Malformed { path: path.clone(), source };
        let (first, rest) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        if first == first_line(rest) {
            return serde_json::from_slice(&[b"{", rest].concat()).map_err(malformed);
        }
        match serde_json::from_slice(bytes).map_err(malformed)? {
            Version { version: FIRST_VERSION } => serde_json::from_slice(bytes).map_err(malformed),
            Version { version: found } if found > VERSION => Err(SavedError::Newer { path, found }),
            Version { .. } => Err(SavedError::Damaged { path }),
        }
    }

    /// Replaces the file, synced: after a crash it is the old one or the new one.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        replace(path, &self.text()?, true)
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let object = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let rest = [object.strip_prefix(b"{\n").unwrap_or(&object), b"\n"].concat();
        Ok([first_line(&rest), rest].concat())
    }
}
/// What stands before `rest`.
fn first_line(rest: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(rest);
    format!("{{ \"version\": {VERSION}, \"crc32_of_the_lines_below\": \"{crc:08x}\",\n").into_bytes()
}

/// Replaces a file as a whole, by way of a temporary one beside it; with `sync`, so that a power cut does not undo it.
pub(super) fn replace(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let temporary = beside(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        if sync { file.sync_all() } else { Ok(()) }
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    let replaced = renamed.and_then(|()| match path.parent() {
        Some(folder) if sync => File::open(folder)?.sync_all(),
        _ => Ok(()),
    });
    if replaced.is_err() {
        // What is left of it helps nobody; that it cannot be removed either changes nothing.
        let _ = std::fs::remove_file(&temporary);
    }
    replaced
}

/// The temporary file beside this one.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use ferrokinesis::types::{ConsumerStatus, EpochSeconds, StreamBuilder, StreamStatus};

    use super::*;

    fn saved() -> Saved {
        let stream =
            StreamBuilder::new("s".into(), "arn:s".into(), StreamStatus::Active, EpochSeconds(7.0), Vec::new())
                .retention_period_hours(48)
                .tags([("a".to_owned(), "b".to_owned())].into())
                .key_id(Some("key".into()))
                .warm_throughput_mibps(3)
                .max_record_size_kib(2048)
                .build();
        let consumer = Consumer {
            consumer_name: "c".into(),
            consumer_arn: "arn:s/consumer/c:1".into(),
            consumer_status: ConsumerStatus::Active,
            consumer_creation_timestamp: EpochSeconds(8.0),
        };
        Saved {
            revision: 3,
            log: LogSeen { id: Uuid::from_u128(9), bytes: 60 },
            next_number: 5,
            newest_deleted: 6,
            streams: vec![SavedStream::new(4, vec![1, 9], stream)],
            consumers: vec![consumer],
            ..Saved::default()
        }
    }

    #[test]
    fn what_the_serialised_stream_leaves_out_comes_back() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("streams.json");
        saved().save(&path).expect("save");
        let loaded = Saved::load(&path).expect("load").expect("a file");
        let stream = loaded.streams[0].stream();
        assert_eq!(stream.tags.get("a").map(String::as_str), Some("b"));
        assert_eq!(stream.key_id.as_deref(), Some("key"));
        assert_eq!((stream.warm_throughput_mibps, stream.max_record_size_kib), (3, 2048));
        assert_eq!((loaded.streams[0].created(), loaded.streams[0].retention_seconds()), (7, 48 * 3600));
        let text = |saved: &Saved| serde_json::to_string(saved).expect("json");
        assert_eq!(text(&loaded), text(&saved()));
        assert!(!beside(&path).exists());
    }

    #[test]
    fn the_file_has_exactly_these_bytes_and_format_1_is_read() {
        let text = saved().text().expect("text");
        assert_eq!(String::from_utf8(text).expect("UTF-8"), include_str!("fixtures/streams-format-2.json"));
        let first = Saved::parse(String::new(), include_bytes!("fixtures/streams-format-1.json")).expect("format 1");
        let expected = Saved { revision: 0, log: LogSeen::default(), ..saved() };
        let fields = |saved: &Saved| serde_json::to_string(saved).expect("json");
        assert_eq!(fields(&first), fields(&expected));
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("streams.json");
        assert!(Saved::load(&path).expect("no file").is_none());
        let texts =
            [("{\"version\": 3}", "newer millstream"), ("{", "does not describe"), ("{\"version\": 2}", "is damaged")];
        for (text, word) in texts {
            std::fs::write(&path, text).expect("write");
            let error = Saved::load(&path).expect_err(text).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_shorter_file_is_read() {
        let text = saved().text().expect("text");
        for (at, bit) in (0..text.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = text.clone();
            flipped[at] ^= 1 << bit;
            assert!(Saved::parse(String::new(), &flipped).is_err(), "bit {bit} of byte {at}");
        }
        for length in 0..text.len() {
            assert!(Saved::parse(String::new(), &text[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).expect("a folder where the file should be");
        replace(&path, b"x", false).expect_err("a folder is no file");
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 1);
    }
}
