//! Writes a cleaned batch to the object store as Parquet: `staged/<table>/date=YYYY-MM-DD/<id>.parquet` and
//! `quarantine/date=YYYY-MM-DD/<id>.parquet`, the date being the UTC day of `_arrived_at`.
//!
//! Owns the files' names and their split by day and size; `encode` and `decimals` own their form. It does not commit: until a
//! journal entry names the files nobody reads them, so where a batch fails half-way the ones already written are
//! harmless orphans. File names are fresh ids, so two workers never meet.

mod days;
mod decimals;
mod encode;
mod footer;
mod quarantine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::{StreamExt, TryStreamExt};

use crate::batch::{Cleaned, DataFile, Staged};
use crate::error::Result;
use crate::runtime::{Context, blocking};
use crate::store::Store;
pub use footer::count_rows;

use decimals::Decimals;
use encode::{ENCODED_BYTES, Encoded, encode};

/// The tables, and the quarantine, that are encoded and written at a time.
const AT_A_TIME: usize = 4;

/// Stages batches into one store.
#[derive(Clone)]
pub struct Stager {
    store: Store,
    context: Context,
    decimals: Decimals,
}

/// Rows that go to one folder of the store.
struct Part {
    /// None for the quarantine.
    table: Option<String>,
    rows: RecordBatch,
}

impl Stager {
    /// A stager into this store; file names come from the context's dice.
    pub fn new(store: Store, context: Context) -> Self {
        Self { store, context, decimals: Decimals::default() }
    }

    /// The same stager, writing every decimal as fixed-length bytes whatever its precision, or again as by default:
    /// INT32 to 9 digits, INT64 to 18.
    pub fn with_fixed_length_decimals(mut self, fixed_length: bool) -> Self {
        self.decimals = if fixed_length { Decimals::FixedLength } else { Decimals::ByPrecision };
        self
    }

    /// Writes a batch's rows and rejects; what is empty writes nothing. Every file is whole and synced on return.
    ///
    /// # Errors
    /// The store's: Transient, or Invalid where it is full. The batch is then not staged, whatever was written.
    pub async fn stage(&self, cleaned: Cleaned) -> Result<Staged> {
        let Cleaned { tables, rejects, counts, ranges, marks, arrivals, dimension_files } = cleaned;
        let mut parts: Vec<Part> =
            tables.into_iter().map(|rows| Part { table: Some(rows.table), rows: rows.rows }).collect();
        parts.push(Part { table: None, rows: blocking(move || quarantine::rows(&rejects)).await? });
        let written: Vec<(Option<String>, Vec<DataFile>)> =
            futures::stream::iter(parts).map(|part| self.write(part)).buffered(AT_A_TIME).try_collect().await?;
        let (mut tables, mut quarantine) = (BTreeMap::new(), Vec::new());
        for (table, files) in written.into_iter().filter(|(_, files)| !files.is_empty()) {
            match table {
                Some(table) => {
                    tables.insert(table, files);
                }
                None => quarantine = files,
            }
        }
        Ok(Staged { tables, quarantine, counts, ranges, marks, arrivals, dimension_files })
    }

    async fn write(&self, part: Part) -> Result<(Option<String>, Vec<DataFile>)> {
        let Part { table, rows } = part;
        let (folder, label) = match &table {
            Some(table) => (format!("staged/{table}"), table.clone()),
            None => ("quarantine".to_owned(), "quarantine".to_owned()),
        };
        let mut files = Vec::new();
        for (day, rows) in blocking(move || days::split(rows)).await? {
            let label: Arc<str> = label.as_str().into();
            let mut rest = Some(rows);
            // One file is encoded and written at a time, so that no more than one of a table is in memory.
            while let Some(rows) = rest.take() {
                let (label, decimals) = (Arc::clone(&label), self.decimals);
                let encoding = blocking(move || encode(&label, rows, decimals, ENCODED_BYTES));
                let mut encoded = encoding.await?;
                rest = encoded.left.take();
                files.push(self.put(format!("{folder}/date={day}"), encoded).await?);
            }
        }
        Ok((table, files))
    }

    async fn put(&self, folder: String, encoded: Encoded) -> Result<DataFile> {
        let Encoded { bytes, checksum, rows, .. } = encoded;
        let path = format!("{folder}/{}.parquet", self.context.random.id());
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let etag = self.store.put(&path, bytes).await?;
        Ok(DataFile { path, rows, bytes: size, checksum: Some(checksum), etag })
    }
}
