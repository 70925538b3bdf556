//! What the ledger remembers of each table's log, and whether the log is still that.
//!
//! A Delta log has no checksums, and a log whose last commits are gone is a good one of an earlier state: rows would be
//! loaded on top of what is lost. So each receipt carries the version of every table's log, and the SHA-256 of the log's
//! files that came since the receipt before. Owns both, and the look at the log: at the versions whenever a load begins,
//! at the files that a reader needs (the newest checkpoint and the commits after it) when a process begins, and in an
//! audit. What other writers committed is not remembered, and passes.

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

/// A table's log as it lies there.
pub(super) struct Log<'a> {
    table: &'a str,
    log: LogStoreRef,
    /// Its commits and checkpoints by version.
    files: Vec<(u64, String)>,
}

impl<'a> Log<'a> {
    /// Lists the log of a table.
    ///
    /// # Errors
    /// Transient.
    pub(super) async fn list(table: &'a str, log: LogStoreRef) -> Result<Self> {
        let objects = log.object_store(None);
        let listed: Result<Vec<_>, ObjectStoreError> =
            objects.list(Some(&Path::from("_delta_log"))).try_collect().await;
        let listed = listed.map_err(|error| fault("read", table, error.into()))?;
        let names = listed.iter().filter_map(|object| object.location.filename());
        let mut files: Vec<_> = names.filter_map(|name| Some((version(name)?, name.to_owned()))).collect();
        files.sort();
        Ok(Self { table, log, files })
    }

    /// What is to be remembered of it, the files being those that came after `known`.
    ///
    /// # Errors
    /// Transient.
    pub(super) async fn since(&self, known: Option<&LogState>) -> Result<LogState> {
        let Some((version, _)) = self.files.last() else { return Ok(LogState::default()) };
        let new = |file: &&(u64, String)| known.is_none_or(|known| file.0 > known.version);
        let files = self.needed().filter(new).map(|(_, name)| name);
        Ok(LogState { version: *version, files: self.checksums(files).await?.into_iter().collect() })
    }

    /// That it reaches as far as is remembered.
    ///
    /// # Errors
    /// Corrupt where commits are gone.
    pub(super) fn check_version(&self, known: &LogState) -> Result<()> {
        let found = self.files.last().map(|(version, _)| *version);
        if found.is_some_and(|found| found >= known.version) {
            return Ok(());
        }
        let (table, known) = (self.table, known.version);
        let stands = found.map_or("it has no commit".to_owned(), |found| format!("its last commit is version {found}"));
        Err(Error::corrupt(format!(
            "commits of the warehouse's table {table} are gone: the ledger says that its last load left the table's log at \
             version {known}, and {stands}; nothing is loaded on top of what is left: {WHAT_NOW}"
        )))
    }

    /// That the files of which a reader makes the table are those that are remembered.
    ///
    /// # Errors
    /// Corrupt with the first that is not; Transient.
    pub(super) async fn check_files(&self, known: &LogState) -> Result<()> {
        let names = self.needed().map(|(_, name)| name).filter(|name| known.files.contains_key(*name));
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

    /// The newest checkpoint and the commits after it.
    fn needed(&self) -> impl Iterator<Item = &(u64, String)> {
        let checkpoint =
            self.files.iter().filter(|(_, name)| !name.ends_with(".json")).map(|(version, _)| *version).max();
        self.files.iter().filter(move |(version, name)| match checkpoint {
            Some(checkpoint) => *version > checkpoint || (*version == checkpoint && !name.ends_with(".json")),
            None => true,
        })
    }

    async fn checksums<'b>(&self, names: impl Iterator<Item = &'b String>) -> Result<Vec<(String, Checksum)>> {
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

/// The version of a commit or a checkpoint; none of anything else.
fn version(name: &str) -> Option<u64> {
    let (digits, kind) = name.split_once('.')?;
    let known = kind == "json" || kind == "checkpoint.parquet";
    let valid = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if known && valid { digits.parse().ok() } else { None }
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
}
