//! Reading staged files back, and holding them against what the journal says of them.
//!
//! Owns the check of a file's size, rows and columns. It reads whole files, a few at once; rows come out in journal
//! order: by entry, then by file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::arrow_bug;
use super::shape::conform;
use crate::batch::{DataFile, Entry};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::store::Store;

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the staged file {0} is not in the object store, though entry {1} of the journal names it")]
    Missing(String, u64),
    #[error("the staged file {path} has {found} bytes, and entry {entry} of the journal says {said}")]
    Size { path: String, entry: u64, found: u64, said: u64 },
    #[error("the staged file {path} has {found} rows, and entry {entry} of the journal says {said}")]
    Rows { path: String, entry: u64, found: u64, said: u64 },
    #[error("the staged file {0} of entry {1} cannot be read as Parquet")]
    Unreadable(String, u64, #[source] ParquetError),
    #[error("the staged file {0} of entry {1} does not have the table's columns")]
    Columns(String, u64, #[source] ArrowError),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let told =
            format!("{fault}; nothing of it was loaded: restore the file from a backup, or stage its range anew");
        Error::corrupt(told).with_source(fault)
    }
}

/// The rows of a table's files in these entries, with these columns (of those the file holds), in journal order.
///
/// # Errors
/// Corrupt where a file is not what the journal says; Transient.
pub(super) async fn rows(
    store: &Store,
    table: &str,
    entries: &[Arc<Entry>],
    columns: &SchemaRef,
) -> Result<RecordBatch> {
    let files = entries.iter().flat_map(|entry| {
        let files = entry.tables.get(table).into_iter().flatten();
        files.map(|file| (entry.number, file.clone()))
    });
    let files: Vec<_> = files.map(|(entry, file)| read(store.clone(), entry, file, Arc::clone(columns))).collect();
    let batches: Vec<Vec<RecordBatch>> = stream::iter(files).buffered(2).try_collect().await?;
    concat_batches(columns, batches.iter().flatten()).map_err(arrow_bug)
}

async fn read(store: Store, entry: u64, file: DataFile, columns: SchemaRef) -> Result<Vec<RecordBatch>> {
    let bytes = store.get(&file.path).await?;
    let bytes = bytes.ok_or_else(|| Fault::Missing(file.path.clone(), entry))?;
    let found = bytes.len() as u64;
    if found != file.bytes {
        return Err(Fault::Size { path: file.path, entry, found, said: file.bytes }.into());
    }
    blocking(move || {
        let batches = parquet(bytes, &columns).map_err(|error| Fault::Unreadable(file.path.clone(), entry, error))?;
        let found = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if found != file.rows {
            return Err(Fault::Rows { path: file.path, entry, found, said: file.rows }.into());
        }
        let conformed = batches.iter().map(|batch| conform(batch, &columns)).collect::<Result<Vec<_>, _>>();
        conformed.map_err(|error| Fault::Columns(file.path, entry, error).into())
    })
    .await
}

/// The columns of these names (those that are there) of a Parquet file.
pub(super) fn parquet(bytes: Bytes, columns: &SchemaRef) -> Result<Vec<RecordBatch>, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let fields = builder.schema().fields().iter().enumerate();
    let wanted = fields.filter(|(_, field)| columns.index_of(field.name()).is_ok()).map(|(index, _)| index);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.collect::<Vec<_>>());
    let reader = builder.with_projection(mask).with_batch_size(65_536).build()?;
    reader.map(|batch| batch.map_err(ParquetError::from)).collect()
}
