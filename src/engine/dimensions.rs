//! Dimension files and generated dates on their way into the journal.
//!
//! Owns when a file is staged: when its bytes, or what reads them, are not those of the newest entry for its table.
//! Each file is a journal entry of its own, so that the audit identity holds for it. An entry names the fingerprint that
//! it replaces: of several workers that see a change at the same time one stages it, and the others are fenced.

use std::sync::Arc;

use bytes::Bytes;

use super::Job;
use crate::batch::{Checksummer, Cleaned, DimensionFile, Entry};
use crate::config::{Input, Table};
use crate::decode::{self, FileInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::runtime::blocking;

/// A dimension that had changed.
#[derive(Debug, Clone)]
pub struct ChangedDimension {
    /// The table.
    pub table: String,
    /// What became of it.
    pub outcome: DimensionOutcome,
}

/// What became of a dimension that had changed.
#[derive(Debug, Clone)]
pub enum DimensionOutcome {
    /// It was staged as this journal entry.
    Staged(Arc<Entry>),
    /// Another process has staged the very same meanwhile.
    StagedElsewhere,
    /// Another process has staged another version meanwhile: that one holds, and ours is not staged.
    Overtaken,
}

impl ChangedDimension {
    /// The journal entry, where it was staged here.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match &self.outcome {
            DimensionOutcome::Staged(entry) => Some(entry),
            DimensionOutcome::StagedElsewhere | DimensionOutcome::Overtaken => None,
        }
    }
}

/// The dimensions of a pipeline that do not come from the stream.
pub struct Dimensions<'a> {
    job: &'a Job,
    effective_at: i64,
}

impl<'a> Dimensions<'a> {
    /// The dimensions as they are now: their rows hold from the present time on.
    pub fn new(job: &'a Job) -> Self {
        Self { job, effective_at: job.context.clock.now_micros() }
    }

    /// Their rows hold from this time on, µs since 1970 UTC.
    pub fn effective_at(self, effective_at: i64) -> Self {
        Self { effective_at, ..self }
    }

    /// Stages those that the journal does not hold as they are now, and says what became of each.
    ///
    /// # Errors
    /// Invalid where a file cannot be read; the store's and the journal's.
    pub async fn stage_changed(&self, journal: &mut Journal) -> Result<Vec<ChangedDimension>> {
        let mut changed = Vec::new();
        for table in &self.job.pipeline.tables {
            let Some(mut source) = self.source(table).await? else { continue };
            let newest = |journal: &Journal| {
                journal.state().dimension_files.get(&table.name).map(|newest| newest.fingerprint.clone())
            };
            source.file.replaces = newest(journal);
            let ours = Some(source.file.fingerprint.clone());
            if source.file.replaces == ours {
                continue;
            }
            let cleaned = self.clean(table, source).await?;
            let outcome = match journal.commit(&self.job.stager.stage(cleaned).await?).await {
                Err(error) if error.kind() == ErrorKind::Fenced && newest(journal) == ours => {
                    DimensionOutcome::StagedElsewhere
                }
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    tracing::warn!(
                        table = table.name,
                        %error,
                        "another worker has staged another version of this dimension file meanwhile, and that one holds: \
                         give all workers the same file"
                    );
                    DimensionOutcome::Overtaken
                }
                Ok(entry) => {
                    tracing::info!(table = table.name, rows = entry.rows(&table.name), "staged a dimension");
                    DimensionOutcome::Staged(entry)
                }
                Err(error) => return Err(error),
            };
            changed.push(ChangedDimension { table: table.name.clone(), outcome });
        }
        Ok(changed)
    }

    async fn source(&self, table: &Table) -> Result<Option<DimensionSource>> {
        let (path, bytes, shape) = match &table.input {
            Input::Events => return Ok(None),
            Input::File { path, allow_outside, fields } => {
                let (pipeline, named, allow_outside) = (Arc::clone(&self.job.pipeline), path.clone(), *allow_outside);
                let bytes = Bytes::from(blocking(move || pipeline.read_dimension(&named, allow_outside)).await?);
                (path.display().to_string(), bytes, format!("{fields:?}"))
            }
            Input::Dates { from, through } => ("dates".to_owned(), Bytes::new(), format!("{from}..{through}")),
        };
        let fingerprint = fingerprint(&[&bytes, table.sql.as_bytes(), shape.as_bytes()]);
        let file = DimensionFile { path, fingerprint, replaces: None, effective_at: self.effective_at };
        Ok(Some(DimensionSource { bytes, file }))
    }

    async fn clean(&self, table: &Table, source: DimensionSource) -> Result<Cleaned> {
        let cleaner = &self.job.cleaner;
        let staged_at = self.job.context.clock.now_micros();
        let Input::File { path, fields, .. } = &table.input else {
            return cleaner.clean_dates(&table.name, source.file, staged_at).await;
        };
        let (name, fields) = (source.file.path.clone(), fields.clone());
        let info = FileInfo { name, effective_at: self.effective_at, staged_at };
        let decoded = blocking(move || {
            decode::decode_file(&fields, &info, source.bytes)
                .map_err(|fault| Error::invalid(format!("{}: {fault}", info.name)))
        })
        .await
        .map_err(|error| error.context(self.job.pipeline.folder.join(path).display()))?;
        cleaner.clean_file(&table.name, decoded, source.file).await
    }
}

struct DimensionSource {
    bytes: Bytes,
    file: DimensionFile,
}

/// A stable fingerprint (SHA-256, hexadecimal) of all parts; the length of each goes in, so that parts cannot shift.
fn fingerprint(parts: &[&[u8]]) -> String {
    let mut summer = Checksummer::default();
    for part in parts {
        summer.add(&(part.len() as u64).to_le_bytes());
        summer.add(part);
    }
    summer.finish().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_parts_apart() {
        assert_eq!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"ab", b"c"]));
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
        assert_eq!(fingerprint(&[b""]).len(), 64);
    }
}
