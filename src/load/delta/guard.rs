//! What the ledger remembers of each table's log, and whether the log is still that.
//!
//! A Delta log has no checksums, and a log whose last commits are gone is a good one of an earlier state: rows would be
//! loaded on top of what is lost. So the newest receipt carries the version of every table's log, and the SHA-256 of the
//! files of which a reader makes the table: the newest checkpoint and the commits after it. Owns that memory, and the look
//! at the log: at the versions whenever a load begins, at the files when a process begins, and in an audit.
//!
//! What this costs does not grow with a warehouse's age: a checkpoint comes every 32 commits, only the newest receipt is
//! read, and a log is listed from the first version that matters. What other writers committed passes until the next
//! receipt takes it in. So does a checkpoint that another writer made: until then the commits that are remembered are
//! compared as long as they are there.
//!
//! What remains: the newest commit of the ledger's own log is remembered by the next receipt only. Where it is gone, the last
//! load is done again and changes nothing. The entry that it says is loaded stands in its row once more, and its data file
//! has its checksum there; its times and statistics decide nothing but how many loads `status` counts.

use std::collections::BTreeMap;

use deltalake::logstore::LogStoreRef;
use deltalake::{ObjectStore, ObjectStoreError, Path};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::fault::{WHAT_NOW, fault};
use crate::batch::Checksum;
use crate::error::{Error, Result};

/// Files read at once.
const AT_ONCE: usize = 8;

const COMMIT: &str = ".json";
const CHECKPOINT: &str = ".checkpoint.parquet";

/// What a receipt says of the logs, by table.
pub(super) type LogStates = BTreeMap<String, LogState>;

/// What is remembered of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogState {
    /// Its last version.
    pub(super) version: u64,
    /// The checksums of its files, by their names.
    pub(super) files: BTreeMap<String, Checksum>,
}

impl LogState {
    /// The first version of which a file is remembered.
    pub(super) fn first(&self) -> u64 {
        self.files.keys().next().and_then(|name| version(name)).unwrap_or(self.version)
    }

    /// Adds what a later receipt of an earlier Millstream says: such a one names only the files that came since the one
    /// before it.
    pub(super) fn extend(&mut self, later: Self) {
        self.version = self.version.max(later.version);
        self.files.extend(later.files);
        self.files = needed(std::mem::take(&mut self.files));
    }
}

/// A table's log as it lies there, from a version on.
pub(super) struct Log<'a> {
    pub(super) table: &'a str,
    log: LogStoreRef,
    /// The names of its commits and checkpoints, in order.
    files: Vec<String>,
}

impl<'a> Log<'a> {
    /// Lists the log of a table from this version on.
    ///
    /// # Errors
    /// Transient.
    pub(super) async fn list(table: &'a str, log: LogStoreRef, from: u64) -> Result<Self> {
        let objects = log.object_store(None);
        // The name of a file of that version comes behind it.
        let offset = Path::from(format!("_delta_log/{from:020}"));
        let listed: Result<Vec<_>, ObjectStoreError> =
            objects.list_with_offset(Some(&Path::from("_delta_log")), &offset).try_collect().await;
        let listed = listed.map_err(|error| fault("read", table, error.into()))?;
        let names = listed.iter().filter_map(|object| object.location.filename());
        let mut files: Vec<_> = names.filter(|name| version(name).is_some()).map(str::to_owned).collect();
        files.sort();
        Ok(Self { table, log, files })
    }

    /// What is to be remembered of it, where `known` is so far; it must be listed from that version on.
    ///
    /// # Errors
    /// Transient.
    pub(super) async fn since(&self, known: LogState) -> Result<LogState> {
        let version = self.files.last().and_then(|name| version(name)).unwrap_or(known.version);
        let found = self.files.iter().map(|name| (name.clone(), None));
        let known = known.files.into_iter().map(|(name, checksum)| (name, Some(checksum)));
        let needed = needed(found.chain(known).collect());
        let new = self.checksums(needed.iter().filter(|(_, known)| known.is_none()).map(|(name, _)| name)).await?;
        let known = needed.into_iter().filter_map(|(name, checksum)| Some((name, checksum?)));
        Ok(LogState { version, files: known.chain(new).collect() })
    }

    /// That it reaches as far as is remembered.
    ///
    /// # Errors
    /// Corrupt where commits are gone.
    pub(super) fn check_version(&self, known: &LogState) -> Result<()> {
        let found = self.files.last().and_then(|name| version(name));
        if found.is_some_and(|found| found >= known.version) {
            return Ok(());
        }
        let (table, known) = (self.table, known.version);
        let stands = found.map_or("it ends before".to_owned(), |found| format!("its last commit is version {found}"));
        Err(Error::corrupt(format!(
            "commits of the warehouse's table {table} are gone: the ledger says that its last load left the table's log at \
             version {known}, and {stands}; nothing is loaded on top of what is left: {WHAT_NOW}"
        )))
    }

    /// That the files that are remembered, as far as they are there, are as they were.
    ///
    /// # Errors
    /// Corrupt with the first that is not; Transient.
    pub(super) async fn check_files(&self, known: &LogState) -> Result<()> {
        let names = self.files.iter().filter(|name| known.files.contains_key(*name));
        for (name, found) in self.checksums(names).await? {
            if known.files.get(&name) != Some(&found) {
                return Err(Error::corrupt(format!(
                    "the file _delta_log/{name} of the warehouse's table {} was altered or damaged after it was written (its \
                     SHA-256 is not the one in the ledger); the table is not used: {WHAT_NOW}",
                    self.table
                )));
            }
        }
        Ok(())
    }

    async fn checksums(&self, names: impl Iterator<Item = &String>) -> Result<Vec<(String, Checksum)>> {
        let objects = self.log.object_store(None);
        let reading: Vec<_> = names
            .map(|name| {
                let objects = &objects;
                async move {
                    let path = Path::from(format!("_delta_log/{name}"));
                    let bytes = objects.get_opts(&path, Default::default()).await?.bytes().await?;
                    Ok::<_, ObjectStoreError>((name.clone(), Checksum::of(&bytes)))
                }
            })
            .collect();
        let read: Result<Vec<_>, ObjectStoreError> = stream::iter(reading).buffered(AT_ONCE).try_collect().await;
        read.map_err(|error| fault("read", self.table, error.into()))
    }
}

/// Of a log's files those of which a reader makes the table: the newest checkpoint and the commits after it.
fn needed<T>(mut files: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let Some(checkpoint) = files.keys().rev().find(|name| name.ends_with(CHECKPOINT)).cloned() else { return files };
    // A commit's name comes behind that of a checkpoint of the same version, which holds it already.
    let mut needed = files.split_off(&checkpoint);
    needed.remove(&checkpoint.replace(CHECKPOINT, COMMIT));
    needed
}

/// The version of a commit or a checkpoint; none of anything else.
fn version(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(COMMIT).or_else(|| name.strip_suffix(CHECKPOINT))?;
    let valid = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if valid { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_and_checkpoints_have_a_version() {
        assert_eq!(version("00000000000000000007.json"), Some(7));
        assert_eq!(version("00000000000000000032.checkpoint.parquet"), Some(32));
        for name in ["_last_checkpoint", "7.json", "00000000000000000007.crc", "0000000000000000000x.json"] {
            assert_eq!(version(name), None, "{name}");
        }
    }

    #[test]
    fn a_reader_needs_the_newest_checkpoint_and_the_commits_after_it() {
        let commit = |version: u64| (format!("{version:020}.json"), ());
        let checkpoint = |version: u64| (format!("{version:020}.checkpoint.parquet"), ());
        let cases = [
            (vec![], vec![]),
            (vec![commit(0), commit(1)], vec![commit(0), commit(1)]),
            (vec![commit(0), commit(1), checkpoint(1), commit(2)], vec![checkpoint(1), commit(2)]),
            (vec![checkpoint(1), commit(2), commit(3), checkpoint(3)], vec![checkpoint(3)]),
        ];
        for (files, expected) in cases {
            assert_eq!(needed(BTreeMap::from_iter(files)), BTreeMap::from_iter(expected));
        }
    }
}
