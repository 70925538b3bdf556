//! Reading staged files back, and holding them against what the journal says of them.
//!
//! Owns the check of a file's rows and columns; that its bytes are those that were put is the store's to say. Files are
//! fetched whole, a few at once, and all of a load's part before the first row of it is used, so that a damaged one
//! keeps its whole entry out; or, for the columns alone, their footers are read. Rows come out in journal order: by
//! entry, then by file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{ConvertedType, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use super::arrow_bug;
use super::plan::StagedFile;
use super::shape::{conform, sql_type};
use crate::batch::{DataFile, Entry};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::store::Store;

/// Rows of a batch where rows are handed on at once.
const STREAMED_ROWS: usize = 8_192;

/// Files that are fetched at once.
const FETCHES: usize = 8;

/// Holds the footer of most staged files, so that one request is enough.
const FOOTER_BYTES: u64 = 64 << 10;

type Reader = ParquetRecordBatchReaderBuilder<Bytes>;

#[derive(Debug, thiserror::Error)]
enum Fault {
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
            format!("{fault}; the load stopped before it: restore the file from a backup, or stage its range anew");
        Error::corrupt(told).with_source(fault)
    }
}

/// The files of some entries, each checked, and what its rows take once they are read.
pub(super) struct Fetched(HashMap<String, (Bytes, u64)>);

impl Fetched {
    /// Fetches every table's files of these entries.
    ///
    /// # Errors
    /// Corrupt where one is not what the journal says: none of them is to be used; Transient.
    pub(super) async fn all(store: &Store, entries: &[Arc<Entry>]) -> Result<Self> {
        let named = entries.iter().flat_map(|entry| {
            let files = entry.tables.values().flatten();
            files.map(|file| (entry.number, file.clone()))
        });
        let fetching = named.map(|(entry, file)| async move {
            let bytes = fetch(store, entry, &file).await?;
            let (path, footer) = (file.path.clone(), bytes.clone());
            // One that cannot be read is told when its rows are.
            let size = move || Ok(Reader::try_new(footer).map_or(0, |reader| decoded_bytes(reader.metadata())));
            let rows = blocking(size).await?;
            Ok::<_, Error>((path, (bytes, rows)))
        });
        let fetching: Vec<_> = fetching.collect();
        stream::iter(fetching).buffer_unordered(FETCHES).try_collect().await.map(Self)
    }

    fn bytes(&self, path: &str) -> Result<Bytes> {
        let fetched = self.0.get(path).map(|(bytes, _)| bytes.clone());
        fetched.ok_or_else(|| Error::internal(format!("{path} is loaded and was not fetched")))
    }

    /// What the rows of an entry's files take in memory, in bytes: told by the files, for alike rows shrink to next to
    /// nothing.
    pub(super) fn decoded_bytes(&self, entry: &Entry) -> u64 {
        let files = entry.tables.values().flatten();
        files.filter_map(|file| self.0.get(&file.path)).map(|(_, rows)| rows).sum()
    }
}

/// What the rows of a file take in memory, in bytes.
fn decoded_bytes(file: &ParquetMetaData) -> u64 {
    let of_group = |group: &RowGroupMetaData| -> u64 {
        let rows = group.num_rows().unsigned_abs();
        group.columns().iter().map(|column| column_bytes(column, rows)).sum()
    };
    file.row_groups().iter().map(of_group).sum()
}

/// Values by their width, texts by their bytes, and for each text and list the place of its end.
fn column_bytes(column: &ColumnChunkMetaData, rows: u64) -> u64 {
    let values = column.num_values().unsigned_abs();
    let is_decimal = column.column_descr().converted_type() == ConvertedType::DECIMAL;
    let width = match column.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT if !is_decimal => 4,
        Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE if !is_decimal => 8,
        _ => 16,
    };
    let texts = match column.column_type() {
        Type::BYTE_ARRAY => column.unencoded_byte_array_data_bytes().unwrap_or(column.uncompressed_size()),
        _ => 0,
    };
    let ends = if column.column_descr().max_rep_level() > 0 { 4 * rows } else { 0 };
    values * width + ends + texts.unsigned_abs()
}

/// The rows of a table's files in these entries, with these columns (of those the file holds), in journal order.
///
/// # Errors
/// Corrupt where a file is not what the journal says.
pub(super) async fn rows(
    fetched: &Fetched,
    table: &str,
    entries: &[Arc<Entry>],
    columns: &SchemaRef,
) -> Result<RecordBatch> {
    let reading = files(table, entries).map(|(entry, file)| {
        let bytes = fetched.bytes(&file.path);
        read(bytes, entry, file, Arc::clone(columns))
    });
    let reading: Vec<_> = reading.collect();
    let batches: Vec<Vec<RecordBatch>> = stream::iter(reading).buffered(2).try_collect().await?;
    concat_batches(columns, batches.iter().flatten()).map_err(arrow_bug)
}

/// How many rows a table's files in these entries hold, by the files' own footers.
///
/// # Errors
/// As [`rows`].
pub(super) async fn count(fetched: &Fetched, table: &str, entries: &[Arc<Entry>]) -> Result<u64> {
    let counting = files(table, entries).map(|(entry, file)| footer(fetched.bytes(&file.path), entry, file));
    let counting: Vec<_> = counting.collect();
    let counts: Vec<u64> = stream::iter(counting).buffered(2).try_collect().await?;
    Ok(counts.iter().sum())
}

/// The columns of a file, by its own footer: no more of it is read than that takes. That it is the file that was put is
/// told by its size and e-tag, for a warehouse that reads it by itself.
///
/// # Errors
/// Corrupt where it is not what the journal says; Transient.
pub(super) async fn columns(store: &Store, entry: u64, file: &DataFile) -> Result<SchemaRef> {
    store.check_file(entry, file).await.map_err(stopped)?;
    let found = file.bytes;
    let mut wanted = FOOTER_BYTES.min(found);
    loop {
        let gone = || Error::corrupt(format!("the file {} was removed a moment ago", file.path));
        let tail = store.tail(&file.path, wanted).await?.ok_or_else(gone)?;
        match metadata(&tail, found) {
            Ok(metadata) => {
                check_rows(entry, file, metadata.metadata().file_metadata().num_rows().unsigned_abs())?;
                return Ok(Arc::clone(metadata.schema()));
            }
            Err(ParquetError::NeedMoreData(more)) if wanted < found => {
                wanted = found.min((more as u64).max(wanted + 1));
            }
            Err(error) => return Err(Fault::Unreadable(file.path.clone(), entry, error).into()),
        }
    }
}

/// What the end of a file of so many bytes tells of it.
fn metadata(tail: &Bytes, size: u64) -> Result<ArrowReaderMetadata, ParquetError> {
    let mut reader = ParquetMetaDataReader::new();
    reader.try_parse_sized(tail, size)?;
    ArrowReaderMetadata::try_new(Arc::new(reader.finish()?), ArrowReaderOptions::new())
}

/// Gives a fetched file's rows, as many as the journal says, batch by batch and with these columns.
///
/// # Errors
/// Corrupt where the file is not what the journal says; those of `each`.
pub(super) fn each_batch(
    bytes: Bytes,
    staged: &StagedFile,
    columns: &SchemaRef,
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let StagedFile { entry, file } = staged;
    let builder = opened(bytes, *entry, file)?;
    let unknown = builder.schema().fields().iter().find(|field| columns.index_of(field.name()).is_err()).cloned();
    let unreadable = |error| Fault::Unreadable(file.path.clone(), *entry, error);
    let reader = projected(builder, columns).with_batch_size(STREAMED_ROWS).build().map_err(unreadable)?;
    for batch in reader {
        let batch = batch.map_err(|error| unreadable(error.into()))?;
        let conformed = conform(&batch, columns);
        let rows = conformed.map_err(|error| Fault::Columns(file.path.clone(), *entry, error))?;
        match &unknown {
            Some(field) => return Err(unknown_column(staged, field)),
            None => each(rows)?,
        }
    }
    Ok(())
}

/// A file of another version of the pipeline: without the column its rows would lose values.
fn unknown_column(staged: &StagedFile, field: &Field) -> Error {
    let StagedFile { entry, file } = staged;
    let (path, name, holds) = (&file.path, field.name(), sql_type(field.data_type()));
    Error::invalid(format!(
        "entry {entry} of the journal: the staged file {path} has a column {name} {holds}, which the pipeline does not \
         have; nothing of the load went in: give the table the columns that it had until this entry is loaded"
    ))
}

/// A fetched file, of as many rows as the journal says.
fn opened(bytes: Bytes, entry: u64, file: &DataFile) -> Result<Reader> {
    let builder = Reader::try_new(bytes).map_err(|error| Fault::Unreadable(file.path.clone(), entry, error))?;
    check_rows(entry, file, builder.metadata().row_groups().iter().map(|group| group.num_rows().unsigned_abs()).sum())?;
    Ok(builder)
}

fn check_rows(entry: u64, file: &DataFile, found: u64) -> Result<(), Fault> {
    match found == file.rows {
        true => Ok(()),
        false => Err(Fault::Rows { path: file.path.clone(), entry, found, said: file.rows }),
    }
}

/// A table's files with their entries' numbers, in journal order.
fn files<'a>(table: &'a str, entries: &'a [Arc<Entry>]) -> impl Iterator<Item = (u64, DataFile)> + 'a {
    entries.iter().flat_map(move |entry| {
        let files = entry.tables.get(table).into_iter().flatten();
        files.map(|file| (entry.number, file.clone()))
    })
}

/// A file's bytes, as they were put.
///
/// # Errors
/// Corrupt where they are others, or gone; Transient.
pub(super) async fn fetch(store: &Store, entry: u64, file: &DataFile) -> Result<Bytes> {
    store.file(entry, file).await.map_err(stopped)
}

fn stopped(error: Error) -> Error {
    error.context("the load stopped before this file's entry")
}

async fn footer(bytes: Result<Bytes>, entry: u64, file: DataFile) -> Result<u64> {
    let bytes = bytes?;
    blocking(move || {
        opened(bytes, entry, &file)?;
        Ok(file.rows)
    })
    .await
}

async fn read(bytes: Result<Bytes>, entry: u64, file: DataFile, columns: SchemaRef) -> Result<Vec<RecordBatch>> {
    let bytes = bytes?;
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
    let reader = projected(Reader::try_new(bytes)?, columns).with_batch_size(65_536).build()?;
    reader.map(|batch| batch.map_err(ParquetError::from)).collect()
}

/// A reader of the columns of these names, of those that are there.
fn projected(builder: Reader, columns: &SchemaRef) -> Reader {
    let fields = builder.schema().fields().iter().enumerate();
    let wanted = fields.filter(|(_, field)| columns.index_of(field.name()).is_ok()).map(|(index, _)| index);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.collect::<Vec<_>>());
    builder.with_projection(mask)
}

#[cfg(test)]
mod tests;
