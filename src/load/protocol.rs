//! The order of a load, the same for every warehouse.
//!
//! Owns the steps: the ledger is read; the entries must follow it; dimensions, the members that facts infer, facts; the
//! ledger is written last. Each table remembers the last entry that it holds, and a table changes together with that
//! number or not at all. So a load that was cut off anywhere is finished by the next one, table by table, and two
//! loaders at once do no entry twice: the slower one finds the table further on. It knows no table's form.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use async_trait::async_trait;

use super::merge::Merge;
use super::shape::{Shape, Style, only};
use super::staged::{self, Fetched};
use super::{Ledger, LoadBounds, arrow_bug};
use crate::batch::{Entry, Receipt};
use crate::error::{Error, Result};
use crate::runtime::Context;
use crate::store::Store;

/// How a conditional change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in.
    Done,
    /// The table (or the ledger) was changed by someone else; nothing happened.
    Overtaken,
}

/// The entries `(after, through]` that a change brings into a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The entry that the table holds now.
    pub(super) after: u64,
    /// The entry that it holds then.
    pub(super) through: u64,
}

/// What a warehouse does for the protocol.
#[async_trait]
pub(super) trait Tables: Send + Sync {
    /// The last entry that a table holds, as it is stored now; 0 for none.
    async fn holds(&self, shape: &Shape) -> Result<u64>;

    /// Changes a table and the number of the entry that it holds, both or neither, if it still holds `step.after`.
    async fn merge(&self, merge: Merge, step: Step) -> Result<Outcome>;

    /// The ledger as it is stored now.
    async fn ledger(&self) -> Result<Ledger>;

    /// Writes a receipt, if the ledger still stands at `receipt.loaded_after`.
    async fn record(&self, receipt: &Receipt) -> Result<Outcome>;
}

/// What every load of a pipeline needs.
pub(super) struct Loader {
    pub(super) pipeline: String,
    pub(super) store: Store,
    /// Dimensions first.
    pub(super) shapes: Vec<Arc<Shape>>,
    pub(super) context: Context,
    pub(super) bounds: LoadBounds,
}

/// What a row's position takes.
const POSITION_BYTES: u64 = 90;

/// How often a table may be changed under a load before it gives up for now.
const TRIES: usize = 5;

impl Loader {
    /// Loads these entries; see [`super::Warehouse::load`].
    pub(super) async fn load(&self, tables: &dyn Tables, entries: &[Arc<Entry>]) -> Result<Receipt> {
        let ledger = tables.ledger().await?;
        let (first, last) = check_entries(&self.pipeline, &self.shapes, entries)?;
        if first != ledger.loaded_through + 1 {
            return Err(overtaken(first, ledger.loaded_through));
        }
        let mut copied = BTreeMap::new();
        // A merge holds its rows several times.
        let room = (self.bounds.memory_bytes / 4) as u64;
        for fetched in parts(entries, room, |entry| self.expected_bytes(entry)) {
            let files = Fetched::all(&self.store, fetched).await?;
            for part in parts(fetched, room, |entry| files.decoded_bytes(entry)) {
                for shape in &self.shapes {
                    let rows = self.bring(tables, shape, part, &files).await?;
                    if part.iter().any(|entry| entry.tables.contains_key(&shape.name)) {
                        *copied.entry(shape.name.clone()).or_default() += rows;
                    }
                }
            }
        }
        let receipt = Receipt {
            loaded_after: first - 1,
            loaded_through: last,
            copied,
            loaded_at: self.context.clock.now_millis(),
            attempt: entries.last().map(|entry| entry.attempt.clone()),
        };
        match tables.record(&receipt).await? {
            Outcome::Done => Ok(receipt),
            Outcome::Overtaken => {
                let ledger = tables.ledger().await?;
                Err(overtaken(first, ledger.loaded_through))
            }
        }
    }

    /// What the rows of an entry most likely take in memory, as far as the journal tells: staged bytes grow some
    /// eightfold, and a row takes what its columns and its position do at least. Alike texts take more: that is known
    /// once the files are there.
    fn expected_bytes(&self, entry: &Entry) -> u64 {
        let files = self.shapes.iter().filter_map(|shape| Some((shape, entry.tables.get(&shape.name)?)));
        let held = files.flat_map(|(shape, files)| {
            let width = POSITION_BYTES + 8 * shape.staged.fields().len() as u64;
            files.iter().map(move |file| (file.bytes * 8).max(file.rows * width))
        });
        held.sum()
    }

    /// Brings a table up to the last of these entries, and tells the rows of its own files as counted in the files:
    /// also of those that an earlier attempt brought in.
    async fn bring(
        &self,
        tables: &dyn Tables,
        shape: &Arc<Shape>,
        entries: &[Arc<Entry>],
        files: &Fetched,
    ) -> Result<u64> {
        let touched = |entry: &&Arc<Entry>| self.sources(shape).any(|source| entry.tables.contains_key(source));
        let Some(through) = entries.iter().filter(touched).map(|entry| entry.number).max() else {
            return Ok(0);
        };
        for _ in 0..TRIES {
            let after = tables.holds(shape).await?;
            let (held, open) = entries.split_at(entries.partition_point(|entry| entry.number <= after));
            let counted = staged::count(files, &shape.name, held).await?;
            if after >= through {
                return Ok(counted);
            }
            let rows = staged::rows(files, &shape.name, open, &shape.staged).await?;
            let copied = counted + rows.num_rows() as u64;
            let pointed_at = self.pointed_at(shape, open, files).await?;
            let merge = Merge::new(shape, rows, &pointed_at)?;
            if tables.merge(merge, Step { after, through }).await? == Outcome::Done {
                tracing::debug!(table = shape.name, after, through, "table brought forward");
                return Ok(copied);
            }
        }
        Err(Error::transient(format!(
            "the table {} is changed by others all the time; the load goes on later",
            shape.name
        )))
    }

    /// The tables whose staged rows change this one: itself, and for a dimension the facts that point at it.
    fn sources<'a>(&'a self, shape: &'a Shape) -> impl Iterator<Item = &'a str> {
        let points = |fact: &&Arc<Shape>| fact.references.iter().any(|reference| reference.dimension == shape.name);
        let facts = self.shapes.iter().filter(points).map(|fact| fact.name.as_str());
        std::iter::once(shape.name.as_str()).chain(facts)
    }

    /// The values by which the facts of these entries point at a dimension.
    async fn pointed_at(&self, dimension: &Shape, entries: &[Arc<Entry>], files: &Fetched) -> Result<Vec<ArrayRef>> {
        let mut values = Vec::new();
        if !matches!(dimension.style, Style::Overwrite | Style::Keep) {
            return Ok(values);
        }
        for fact in &self.shapes {
            let references = fact.references.iter().filter(|reference| reference.dimension == dimension.name);
            let columns: Vec<&str> = references.map(|reference| reference.column.as_str()).collect();
            if columns.is_empty() {
                continue;
            }
            let wanted = only(&fact.staged, &columns).map_err(arrow_bug)?;
            let rows = staged::rows(files, &fact.name, entries, &wanted).await?;
            values.extend(as_keys(dimension, fact, &rows)?);
        }
        Ok(values)
    }
}

/// Cuts the entries into parts of at most so many bytes, one entry at least.
fn parts(entries: &[Arc<Entry>], room: u64, bytes: impl Fn(&Entry) -> u64) -> Vec<&[Arc<Entry>]> {
    let mut parts = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (index, entry) in entries.iter().enumerate() {
        let more = bytes(entry);
        if index > start && held + more > room {
            parts.push(&entries[start..index]);
            (start, held) = (index, 0);
        }
        held += more;
    }
    parts.push(&entries[start..]);
    parts
}

/// The first and last number of entries that can be loaded together: consecutive ones of this pipeline, whose tables it
/// has.
///
/// # Errors
/// Corrupt where an entry is another pipeline's; Invalid where the pipeline no longer has one of its tables; Internal.
pub(super) fn check_entries(pipeline: &str, shapes: &[Arc<Shape>], entries: &[Arc<Entry>]) -> Result<(u64, u64)> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Err(Error::internal("a load of no entries"));
    };
    for (entry, number) in entries.iter().zip(first.number..) {
        if entry.number != number {
            return Err(Error::internal(format!("entry {} does not follow {}", entry.number, number - 1)));
        }
        if entry.pipeline != pipeline {
            return Err(Error::corrupt(format!(
                "entry {number} of the journal is of the pipeline {}, not {pipeline}; it was not loaded",
                entry.pipeline
            )));
        }
        let unknown = entry.tables.keys().find(|table| !shapes.iter().any(|shape| shape.name == **table));
        if let Some(table) = unknown {
            return Err(Error::invalid(format!(
                "entry {number} of the journal holds rows of the table {table}, which the pipeline no longer has; \
                 declare it again until they are loaded"
            )));
        }
    }
    Ok((first.number, last.number))
}

/// The columns of a fact as the type of a dimension's key.
fn as_keys(dimension: &Shape, fact: &Shape, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let key = dimension.staged.field_with_name(&dimension.key[0]).map_err(arrow_bug)?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |column: &ArrayRef| {
        cast_with_options(column, key.data_type(), &options).map_err(|error| {
            let (fact, dimension) = (&fact.name, &dimension.name);
            Error::invalid(format!("a row of {fact} points at {dimension} with a key that cannot be one there"))
                .with_source(error)
        })
    };
    rows.columns().iter().map(cast).collect()
}

/// Another loader was faster.
pub(super) fn overtaken(first: u64, loaded_through: u64) -> Error {
    Error::fenced(format!(
        "a load from entry {first} on does not follow the warehouse, which holds everything through entry \
         {loaded_through}: another loader was faster"
    ))
}
