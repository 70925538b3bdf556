//! The journal as a relation: one row an entry.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use crate::batch::{DataFile, Entry};
use crate::error::{Error, Result};

/// The entries, in their order. Counts are Int64: subtracting unsigned ones overflows where a person expects -1.
pub(super) fn table(entries: &[Arc<Entry>]) -> Result<Arc<dyn TableProvider>> {
    let refused = |error| Error::internal("the journal does not fit its relation").with_source(error);
    let rows = RecordBatch::try_from_iter(columns(entries))
        .map_err(|error| refused(datafusion::error::DataFusionError::from(error)))?;
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(refused)?;
    Ok(Arc::new(table))
}

fn columns(entries: &[Arc<Entry>]) -> Vec<(&'static str, ArrayRef)> {
    let numbers = |value: fn(&Entry) -> u64| -> ArrayRef {
        Arc::new(entries.iter().map(|entry| i64::try_from(value(entry)).ok()).collect::<Int64Array>())
    };
    let written: TimestampMillisecondArray = entries.iter().map(|entry| Some(entry.written_at)).collect();
    let writers: StringArray = entries.iter().map(|entry| Some(entry.writer.as_str())).collect();
    vec![
        ("number", numbers(|entry| entry.number)),
        ("written_at", Arc::new(written.with_timezone("UTC"))),
        ("writer", Arc::new(writers)),
        ("shards", numbers(|entry| count(entry.ranges.len()))),
        ("records", numbers(|entry| entry.counts.records)),
        ("events", numbers(|entry| entry.counts.events)),
        ("undecodable", numbers(|entry| entry.counts.undecodable.values().sum())),
        ("failed_checks", numbers(|entry| entry.counts.failed_checks.values().sum())),
        ("rejected", numbers(|entry| entry.counts.rejected())),
        ("passed", numbers(|entry| entry.counts.passed)),
        ("tables", numbers(|entry| count(entry.tables.len()))),
        ("files", numbers(|entry| count(data_files(entry).count()))),
        ("rows", numbers(|entry| data_files(entry).map(|file| file.rows).sum())),
        ("bytes", numbers(|entry| data_files(entry).map(|file| file.bytes).sum())),
        ("quarantine_files", numbers(|entry| count(entry.quarantine.len()))),
        ("quarantine_rows", numbers(|entry| entry.quarantine.iter().map(|file| file.rows).sum())),
        ("quarantine_bytes", numbers(|entry| entry.quarantine.iter().map(|file| file.bytes).sum())),
    ]
}

fn data_files(entry: &Entry) -> impl Iterator<Item = &DataFile> {
    entry.tables.values().flatten()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
