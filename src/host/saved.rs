//! What is kept of the streams themselves: one small JSON file, replaced as a whole.
//!
//! Owns `streams.json`: each stream's description with what its serialised form leaves out, its number in the log of
//! records, the sequence numbers reserved for its shards, and its consumers. A stream that is made anew under the same name gets another
//! number, so frames of the old one are known to be dead. Records are none of its business.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferrokinesis::types::{Consumer, Stream};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

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
    #[error(
        "{path} does not describe streams: {source}; the records beside it cannot be read without it: put back a copy, \
         or move the folder away to start with an empty stream"
    )]
    Malformed {
        /// The file.
        path: String,
        /// Where it stops making sense.
        source: serde_json::Error,
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
    version: u32,
    /// The number that the next new stream gets.
    pub(super) next_number: u32,
    /// The latest creation time of a stream that was deleted, seconds since 1970 UTC.
    pub(super) newest_deleted: i64,
    /// The streams, by name.
    pub(super) streams: Vec<SavedStream>,
    /// Their fan-out consumers.
    pub(super) consumers: Vec<Consumer>,
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
        Self { version: VERSION, next_number: 1, newest_deleted: 0, streams: Vec::new(), consumers: Vec::new() }
    }
}

impl Saved {
    /// Reads the file; no stream where it is missing.
    pub(super) fn load(path: &Path) -> Result<Self, SavedError> {
        let name = path.display().to_string();
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|source| SavedError::Io { path: name.clone(), source })?,
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |source| SavedError::Malformed { path: name.clone(), source };
        let Version { version: found } = serde_json::from_slice(&text).map_err(malformed)?;
        if found != VERSION {
            return Err(SavedError::Newer { path: name, found });
        }
        serde_json::from_slice(&text).map_err(malformed)
    }

    /// Replaces the file, synced: after a crash it is the old one or the new one.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        replace(path, &text, true)
    }
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
        let loaded = Saved::load(&path).expect("load");
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
    fn the_file_has_exactly_these_bytes() {
        let expected = include_str!("fixtures/streams.json");
        let text = serde_json::to_string_pretty(&saved()).expect("json");
        assert_eq!(text, expected.trim_end());
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("streams.json");
        assert_eq!(Saved::load(&path).expect("no file").next_number, 1);
        for (text, word) in [("{\"version\": 2}", "newer millstream"), ("{", "does not describe streams")] {
            std::fs::write(&path, text).expect("write");
            let error = Saved::load(&path).expect_err(text).to_string();
            assert!(error.contains(word), "{error}");
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
