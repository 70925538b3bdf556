//! Checks events and makes each table's rows of them, with DataFusion SQL that is planned once at start.
//!
//! Owns the checks, the run of each table's SQL, the version columns, the rule that the newest row of a key wins, the
//! refusal of rows that no warehouse would take, and the counts of the audit identity. It does no IO, knows no file
//! format and decodes nothing. In goes a `Decoded`, out comes a `Cleaned` that for the same events is always the same.
//!
//! What an event holds is never an error: an event that fails a check, that a table's SQL fails on (by an overflow, a
//! value that a function does not take, a panic), or whose row a COPY would refuse goes to the rejects, and then it is
//! in no table. So does what DataFusion calls a bug of its own.
//! Where very many events fail, some are refused with a failing neighbour, and their message says so. Reasons beside the checks' names: `sql_error`
//! and those of `values`.
//!
//! `SELECT *` at the top of a table's SQL stands for the declared fields; the system columns stay behind, and by
//! name they are refused but for the version columns.

mod across;
mod carry;
mod checks;
mod columns;
mod dates;
mod faults;
mod finalize;
mod newest;
mod offenders;
mod plan;
mod references;
mod relation;
mod search;
mod statement;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod widths;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use faults::PlanFault;

use arrow::datatypes::SchemaRef;

use crate::batch::{Cleaned, Decoded, DimensionFile};
use crate::config::{Input, Pipeline};
use crate::error::{Error, Result};
use crate::schema::{TableSpec, input_schema};
use crate::sql::SessionSettings;
use checks::PlannedCheck;
use finalize::{Rules, finalize, finalize_some};
use table::PlannedTable;

/// A pipeline's checks and tables, planned. Batches may be cleaned side by side.
pub struct Cleaner {
    events: SchemaRef,
    checks: Arc<Vec<PlannedCheck>>,
    tables: Vec<Arc<PlannedTable>>,
    specs: Vec<TableSpec>,
}

impl Cleaner {
    /// Plans every check and every table's SQL; `settings` bound what a batch may take.
    ///
    /// # Errors
    /// All faults together, by file and place.
    pub async fn plan(pipeline: &Pipeline, settings: SessionSettings) -> Result<Self, Vec<PlanFault>> {
        let refused = |error: Error| vec![PlanFault::toml(1, error.to_string())];
        let state = Arc::new(relation::state(settings).map_err(refused)?);
        let seen = input_schema(&pipeline.fields);
        let (mut checks, mut tables, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for check in &pipeline.checks {
            match checks::plan(&state, check, &seen) {
                Ok(planned) => checks.push(planned),
                Err(found) => faults.extend(found),
            }
        }
        for table in &pipeline.tables {
            match plan::plan(&state, table, &seen, &pipeline.fields).await {
                Ok(planned) => tables.push(planned),
                Err(found) => faults.extend(found),
            }
        }
        let mut specs: Vec<TableSpec> = tables.iter().map(|table| table.spec.clone()).collect();
        faults.extend(references::mismatched(pipeline, &specs));
        faults.extend(references::widen_keys(pipeline, &mut specs));
        if faults.is_empty() {
            let widened = tables.into_iter().zip(specs.iter().cloned());
            let tables = widened.map(|(table, spec)| Arc::new(PlannedTable { spec, ..table })).collect();
            return Ok(Self { events: relation::numbered_schema(&seen), checks: Arc::new(checks), tables, specs });
        }
        faults.sort();
        Err(faults)
    }

    /// The tables as the warehouse sees them, in the pipeline's order.
    pub fn specs(&self) -> &[TableSpec] {
        &self.specs
    }

    /// Checks a batch's events and makes the rows of every table that reads `events`. Events for whose rows the session
    /// has not the memory are refused.
    ///
    /// # Errors
    /// Internal for a bug, never for what an event holds.
    pub async fn clean(&self, decoded: Decoded) -> Result<Cleaned> {
        finalize(decoded, self.rules_of_events()).await
    }

    /// As [`Cleaner::clean`], of as many records from the batch's start as fit into the session's memory, one at least and
    /// `most` at most; the rest, still to be cleaned, comes second. Only of a record that has no room in all of it are
    /// events refused. Of a batch that was cut, the next part most likely has room for about as many as the last one.
    ///
    /// # Errors
    /// As [`Cleaner::clean`].
    pub async fn clean_some(&self, decoded: Decoded, most: usize) -> Result<(Cleaned, Option<Decoded>)> {
        finalize_some(decoded, self.rules_of_events(), most).await
    }

    fn rules_of_events(&self) -> Rules {
        let reads_events = |table: &&Arc<PlannedTable>| matches!(table.input, Input::Events);
        let tables = self.tables.iter().filter(reads_events).cloned().collect();
        let (input_schema, checks) = (Arc::clone(&self.events), Arc::clone(&self.checks));
        Rules { input_schema, checks, tables, dimension_files: BTreeMap::new() }
    }

    /// Makes the rows of a table that reads a file, from the file's decoded rows. Checks are of events only.
    ///
    /// # Errors
    /// As [`Cleaner::clean`]; Internal where there is no such table.
    pub async fn clean_file(&self, table: &str, decoded: Decoded, file: DimensionFile) -> Result<Cleaned> {
        let found = self.table(table, |input| matches!(input, Input::File { .. }))?;
        finalize(decoded, of_one(found, file)).await
    }

    /// Makes the rows of a table that reads `dates`, staged at this time (µs since 1970 UTC): it makes them newer than
    /// rows that hold from the same time and were staged earlier.
    ///
    /// # Errors
    /// As [`Cleaner::clean_file`].
    pub async fn clean_dates(&self, table: &str, file: DimensionFile, staged_at: i64) -> Result<Cleaned> {
        let found = self.table(table, |input| matches!(input, Input::Dates { .. }))?;
        let Input::Dates { from, through } = found.input else {
            return Err(Error::internal(format!("the table {table:?} reads no dates")));
        };
        let decoded = dates::days(from, through, &file, staged_at)?;
        finalize(decoded, of_one(found, file)).await
    }

    fn table(&self, name: &str, reads: impl Fn(&Input) -> bool) -> Result<Arc<PlannedTable>> {
        let found = self.tables.iter().find(|table| table.spec.name == name && reads(&table.input));
        found.cloned().ok_or_else(|| Error::internal(format!("no table {name:?} reads such an input")))
    }
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cleaner({} checks, {} tables)", self.checks.len(), self.tables.len())
    }
}

/// The rules for a table that does not read events.
fn of_one(table: Arc<PlannedTable>, file: DimensionFile) -> Rules {
    let dimension_files = BTreeMap::from([(table.spec.name.clone(), file)]);
    let input_schema = Arc::clone(&table.input_schema);
    Rules { input_schema, checks: Arc::default(), tables: vec![table], dimension_files }
}
