//! The deep audit: every row and column of the warehouse against what the staged files say should stand there.
//!
//! Owns the walk along both sides of a table (`query` sorts them by key, spilling to disk, so that memory is bounded by
//! the rows of one key), and that loads which go on meanwhile are no finding: a side of the warehouse counts only where
//! the table held the same entry before and after it was read. `expected` owns what should stand there, worked out
//! without the loaders' code; `row` how two rows are compared; `tell` the sentences.
//!
//! | table | what should stand there |
//! |---|---|
//! | fact with a key, type 1 dimension | of each key the newest row by (`_arrived_at`, `_position`) |
//! | fact without a key | every staged row |
//! | type 2 dimension | of each key its rows in time's order, a run of equal ones being a version |
//! | any dimension | an inferred member for each key that only facts know |
//!
//! The versions of a key whose rows came late are those of time's order only as far as all loaders agree (see
//! `load::history`): where its instants are distinct and no attributes came more than twice all but `_position` and
//! `_confirmed_at` is compared; of others that versions join, that each was staged, and that the newest is open.

mod expected;
mod row;
mod tell;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use self::expected::{Expectation, expected};
use self::row::{Cursor, Form, Tells};
use self::tell::Differences;
use super::Finding;
use super::audit::catch_up;
use crate::batch::Entry;
use crate::error::{Error, Result};
use crate::load::{SqlWarehouse, Warehouse};
use crate::query::{Compared, Loaded, QuerySettings, Rows, Sides, TableReader, sides};
use crate::schema::TableSpec;
use crate::sql::Spill;
use crate::store::Store;

/// How often a table is read anew because it was loaded into meanwhile.
const TRIES: usize = 5;

/// What is compared.
#[derive(Clone, Copy)]
pub struct DeepAudit<'a> {
    /// Where the staged files are.
    pub store: &'a Store,
    /// What says how far each table is loaded.
    pub warehouse: &'a dyn Warehouse,
    /// The same, where it has an engine of its own.
    pub sql: Option<&'a dyn SqlWarehouse>,
    /// Its tables, where it has none.
    pub loaded: Loaded<'a>,
    /// The pipeline's tables.
    pub specs: &'a [TableSpec],
    /// The bounds of each sort; two stand at once.
    pub settings: QuerySettings,
    /// Where both spill, each at most so much.
    pub spill: &'a Spill,
}

/// What a deep audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deep {
    /// Rows of the warehouse compared.
    pub rows: u64,
    /// Keys of type 2 dimensions whose late rows leave it open when their versions hold: only their form was checked.
    pub open: u64,
    /// What differs.
    pub findings: Vec<Finding>,
}

impl DeepAudit<'_> {
    /// Compares every table with the rows that these entries staged, as far as they are loaded.
    ///
    /// # Errors
    /// Transient where loads into a table leave no time to read it; the store's and the warehouse's.
    pub async fn run(&self, entries: &[Arc<Entry>]) -> Result<Deep> {
        let (mut deep, mut entries) = (Deep::default(), entries.to_vec());
        for spec in self.specs {
            let form = Arc::new(Form::of(spec, Tells::of(self.sql))?);
            let Sides { staged, loaded } = self.sides(spec, &mut entries, form.tells.pads_texts).await?;
            // A sort gives its first row when it has read all: no transaction stays open while the staged rows are sorted.
            let loaded = Cursor::of(loaded, &form).await?;
            let staged = Cursor::of(staged, &form).await?;
            walk(&form, staged, loaded, &mut deep).await?;
        }
        Ok(deep)
    }

    /// Both sides of a table, of one state of it.
    async fn sides(&self, spec: &TableSpec, entries: &mut Vec<Arc<Entry>>, pads_texts: bool) -> Result<Sides> {
        for _ in 0..TRIES {
            let through = self.warehouse.loaded_through(&spec.name).await?;
            catch_up(self.store, entries, through).await?;
            let loaded = &entries[..entries.partition_point(|entry| entry.number <= through)];
            let compared = Compared { spec, specs: self.specs, entries: loaded, pads_texts };
            let begun: Arc<dyn TableReader>;
            let place = match self.sql {
                None => self.loaded,
                // Nothing is loaded, and the tables may not have been made.
                Some(_) if through == 0 => Loaded::Nothing,
                Some(warehouse) => {
                    begun = Arc::new(Begun::of(warehouse, spec, &compared.columns()).await?);
                    Loaded::Remote(&begun)
                }
            };
            let sides = sides(self.store, place, compared, (self.settings, self.spill)).await?;
            if self.warehouse.loaded_through(&spec.name).await? == through {
                return Ok(sides);
            }
        }
        Err(Error::transient(format!(
            "the table {} was loaded into each of the {TRIES} times that it was about to be compared; nothing is wrong with \
             it that is known: audit again while fewer loads go on",
            spec.name
        )))
    }
}

/// A read of a database's table that has begun: its first rows are here, so what it gives is of one state.
struct Begun(Mutex<Option<Rows>>);

impl Begun {
    async fn of(warehouse: &dyn SqlWarehouse, spec: &TableSpec, columns: &[String]) -> Result<Self> {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut rows = warehouse.rows(&spec.name, &columns, None).await?.batches;
        let first = rows.try_next().await?;
        Ok(Self(Mutex::new(Some(stream::iter(first.map(Ok)).chain(rows).boxed()))))
    }
}

#[async_trait]
impl TableReader for Begun {
    async fn rows(&self, table: &str, columns: &[&str], _limit: Option<u64>) -> Result<Rows> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let rows = rows.ok_or_else(|| Error::internal(format!("{table} is read twice for one comparison")))?;
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        Ok(rows.map(move |batch| chosen(&batch?, &columns)).boxed())
    }
}

/// These columns of a batch.
fn chosen(batch: &RecordBatch, columns: &[String]) -> Result<RecordBatch> {
    let column = |name: &String| -> Result<(String, ArrayRef)> {
        let found = batch.column_by_name(name).cloned();
        found.map(|found| (name.clone(), found)).ok_or_else(|| Error::internal(format!("no column {name} was read")))
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(arrow_bug)
}

/// Goes along both sides, key by key.
async fn walk(form: &Form, mut staged: Cursor, mut loaded: Cursor, deep: &mut Deep) -> Result<()> {
    let mut differences = Differences::of(form);
    while let Some(key) = lower(staged.key(), loaded.key()) {
        let rows = staged.of_key(&key, form.needs_all()).await?;
        let found = loaded.of_key(&key, true).await?;
        deep.rows += found.len() as u64;
        match expected(form, rows)? {
            Expectation::Rows { rows, late } => differences.pair(&rows, &found, late)?,
            Expectation::Versions(seen) => {
                deep.open += 1;
                differences.versions(&seen, &found)?;
            }
        }
    }
    deep.findings.extend(differences.findings());
    Ok(())
}

fn lower(left: Option<&[u8]>, right: Option<&[u8]>) -> Option<Vec<u8>> {
    left.into_iter().chain(right).min().map(<[u8]>::to_vec)
}

/// Arrow refused what the code above it had checked.
fn arrow_bug(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows cannot be compared").with_source(error)
}
