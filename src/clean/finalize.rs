//! Finalizing a batch: who is refused, what each table gets, and counts that add up.
//!
//! An event that any table refuses is taken out of all tables, so that facts and dimensions tell the same story. The
//! tables are therefore run again without the refused until nobody is refused any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::checks::{PlannedCheck, Refusal, refuse};
use super::newest::newest;
use super::offenders::offenders;
use super::relation::numbered;
use super::table::{Cause, PlannedTable, RunFault, TableRun};
use super::values::bad_rows;
use crate::batch::{Arrivals, Cleaned, Counts, Decoded, DimensionFile, Reject, TableCounts, TableRows};
use crate::error::{Error, Result};
use crate::runtime::blocking;

/// The reason of events that a table's SQL fails on.
pub(super) const SQL_ERROR: &str = "sql_error";

/// Runs after which what is left of a batch is refused as a whole. Two are enough where an event's rows depend on
/// that event alone.
const MAX_RUNS: usize = 16;

/// What a batch is finalized by; a clone costs some counters.
#[derive(Clone)]
pub(super) struct Rules {
    /// What the batch must be, with the hidden column.
    pub(super) input_schema: SchemaRef,
    /// The checks that events must pass.
    pub(super) checks: Arc<Vec<PlannedCheck>>,
    /// The tables that read the batch, in the pipeline's order.
    pub(super) tables: Vec<Arc<PlannedTable>>,
    /// The file that the rows come from, by table; empty for events.
    pub(super) dimension_files: BTreeMap<String, DimensionFile>,
}

/// Finalizes a batch whole.
///
/// # Errors
/// Where the machine fails, never for what an event holds.
pub(super) async fn finalize(decoded: Decoded, rules: Rules) -> Result<Cleaned> {
    let events = numbered(&rules.input_schema, &decoded.events)?;
    match run_all(&rules, &events, Shortage::Refuses).await? {
        Some((outputs, refused)) => finish_all(decoded, rules, (outputs, refused)).await,
        None => Err(Error::internal("a batch that is not to be cut was to be cut")),
    }
}

/// Finalizes as many records from the batch's start as fit into the session's memory, one at least and `most` at most, and
/// gives the rest.
///
/// # Errors
/// As [`finalize`].
pub(super) async fn finalize_some(decoded: Decoded, rules: Rules, most: usize) -> Result<(Cleaned, Option<Decoded>)> {
    let all = decoded.raw.records.len();
    let mut records = all.min(most.max(1));
    loop {
        let shortage = if records > 1 { Shortage::Cuts } else { Shortage::Refuses };
        let events = numbered(&rules.input_schema, &decoded.events.slice(0, decoded.rows_of(records)))?;
        let Some(finalized) = run_all(&rules, &events, shortage).await? else {
            records /= 2;
            continue;
        };
        let (first, rest) = if records == all {
            (decoded, None)
        } else {
            let (first, rest) = decoded.split_at(records);
            (first, Some(rest))
        };
        return Ok((finish_all(first, rules, finalized).await?, rest));
    }
}

/// What a lack of memory for all events together means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shortage {
    /// The batch is to be cut.
    Cuts,
    /// Some of them are refused.
    Refuses,
}

async fn finish_all(decoded: Decoded, rules: Rules, (outputs, refused): (Vec<TableRun>, Refused)) -> Result<Cleaned> {
    let passed = decoded.events.num_rows() - refused.len();
    let mut cleaned = open(&decoded, &refused, passed);
    let tables = rules.tables;
    let finished = blocking(move || {
        tables.iter().zip(outputs).map(|(table, run)| finish(table, run, passed)).collect::<Result<Vec<_>>>()
    });
    for (rows, counts) in finished.await? {
        cleaned.counts.tables.insert(rows.table.clone(), counts);
        if rows.rows.num_rows() > 0 {
            cleaned.tables.push(rows);
        }
    }
    cleaned.dimension_files = rules.dimension_files;
    cleaned.rejects = rejects(decoded, &refused)?;
    Ok(cleaned)
}

type Refused = BTreeMap<u32, Refusal>;

/// The first refusal of an event stands. Whether any was new.
fn add(refused: &mut Refused, found: Vec<Refusal>) -> bool {
    let before = refused.len();
    for refusal in found {
        refused.entry(refusal.event).or_insert(refusal);
    }
    refused.len() > before
}

/// The tables' rows and the events that are refused; none where the batch is to be cut.
async fn run_all(rules: &Rules, events: &RecordBatch, shortage: Shortage) -> Result<Option<(Vec<TableRun>, Refused)>> {
    let (checks, checked) = (Arc::clone(&rules.checks), events.clone());
    let mut refused = Refused::new();
    add(&mut refused, blocking(move || refuse(&checks, &checked)).await?);
    for _ in 0..MAX_RUNS {
        let left = without(events, &refused)?;
        let mut outputs = Vec::with_capacity(rules.tables.len());
        let mut found = Vec::new();
        for table in &rules.tables {
            match table.run(&left).await {
                Ok(run) => {
                    found.extend(refused_rows(table, &run, events)?);
                    outputs.push(run);
                }
                Err(RunFault::Events(failure)) if failure.cause == Cause::Memory && shortage == Shortage::Cuts => {
                    return Ok(None);
                }
                Err(RunFault::Events(failure)) => {
                    // They are run again, and would leave no memory for the search.
                    outputs.clear();
                    found.extend(offenders(table, &left, &failure).await?);
                }
                Err(RunFault::Stop(error)) => return Err(error),
            }
        }
        if found.is_empty() {
            return Ok(Some((outputs, refused)));
        }
        if !add(&mut refused, found) {
            return Err(Error::internal("an event that was refused came back"));
        }
    }
    let message =
        format!("after {MAX_RUNS} tries without events that failed, others fail: the rest of the batch is refused");
    let rest = (0u32..).take(events.num_rows()).map(|event| Refusal {
        event,
        reason: SQL_ERROR.to_owned(),
        message: message.clone(),
    });
    add(&mut refused, rest.collect());
    let none = events.slice(0, 0);
    let mut outputs = Vec::with_capacity(rules.tables.len());
    for table in &rules.tables {
        outputs.push(table.run(&none).await.map_err(|_| Error::internal("a run over no event failed"))?);
    }
    Ok(Some((outputs, refused)))
}

fn without(events: &RecordBatch, refused: &Refused) -> Result<RecordBatch> {
    if refused.is_empty() {
        return Ok(events.clone());
    }
    let keep = (0u32..).take(events.num_rows()).map(|event| Some(!refused.contains_key(&event)));
    filter_record_batch(events, &keep.collect::<BooleanArray>()).map_err(broken)
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("a batch cannot be taken apart").with_source(error)
}

/// The events whose rows a warehouse would refuse.
fn refused_rows(table: &PlannedTable, run: &TableRun, events: &RecordBatch) -> Result<Vec<Refusal>> {
    let bad = bad_rows(&table.output_schema, &table.spec, &run.columns);
    if bad.is_empty() {
        return Ok(Vec::new());
    }
    let by_position = if run.events.is_none() { positions(events) } else { HashMap::new() };
    let mut refusals = Vec::new();
    for row in bad {
        let found = match &run.events {
            Some(numbers) => vec![numbers.value(row.row)],
            None => {
                text(run.columns.last(), row.row).and_then(|place| by_position.get(place)).cloned().unwrap_or_default()
            }
        };
        if found.is_empty() {
            return Err(Error::invalid(format!(
                "{} yields a row that is refused ({}: {}), and its _position is that of no event; let the SQL take \
                 _position from the events, as in max(_position) AS _position",
                table.file, row.reason, row.message
            )));
        }
        let message = format!("{}: {}", table.spec.name, row.message);
        refusals.extend(found.into_iter().map(|event| Refusal {
            event,
            reason: row.reason.to_owned(),
            message: message.clone(),
        }));
    }
    Ok(refusals)
}

fn text(column: Option<&arrow::array::ArrayRef>, row: usize) -> Option<&str> {
    let column: &arrow::array::StringArray = column?.as_any().downcast_ref()?;
    column.is_valid(row).then(|| column.value(row))
}

/// The events of each position; shards number their records apart, so there may be several.
fn positions(events: &RecordBatch) -> HashMap<&str, Vec<u32>> {
    let mut found: HashMap<&str, Vec<u32>> = HashMap::new();
    let column = events.column_by_name(crate::schema::VERSION_COLUMNS[1]);
    for (row, event) in (0..events.num_rows()).zip(0u32..) {
        if let Some(position) = text(column, row) {
            found.entry(position).or_default().push(event);
        }
    }
    found
}

fn finish(table: &PlannedTable, run: TableRun, passed: usize) -> Result<(TableRows, TableCounts)> {
    let yielded = run.len();
    let rows = RecordBatch::try_new(Arc::clone(&table.output_schema), run.columns)
        .map_err(|error| Error::internal(format!("{} yields unsound rows", table.file)).with_source(error))?;
    let key = table.spec.key.iter().map(|name| table.output_schema.index_of(name)).collect::<Result<Vec<_>, _>>();
    let rows = key.and_then(|key| newest(rows, &key)).map_err(broken)?;
    let filtered = table.spec.one_to_one.then(|| as_u64(passed.saturating_sub(yielded)));
    let superseded = as_u64(yielded - rows.num_rows());
    let counts = TableCounts { filtered, superseded, refused: 0, staged: as_u64(rows.num_rows()) };
    Ok((TableRows { table: table.spec.name.clone(), rows }, counts))
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The batch with all its counts but those of the tables.
fn open(decoded: &Decoded, refused: &Refused, passed: usize) -> Cleaned {
    let by_reason = |reasons: &mut dyn Iterator<Item = &String>| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for reason in reasons {
            *counts.entry(reason.clone()).or_default() += 1;
        }
        counts
    };
    let arrivals = Arrivals::of(decoded.raw.records.iter().map(|record| record.arrived_at));
    let counts = Counts {
        records: as_u64(decoded.raw.records.len()),
        events: as_u64(decoded.events.num_rows() + decoded.rejects.len()),
        undecodable: by_reason(&mut decoded.rejects.iter().map(|reject| &reject.reason)),
        failed_checks: by_reason(&mut refused.values().map(|refusal| &refusal.reason)),
        passed: as_u64(passed),
        ..Counts::default()
    };
    Cleaned {
        counts,
        ranges: decoded.raw.ranges.clone(),
        marks: decoded.raw.marks.clone(),
        arrivals,
        ..Cleaned::default()
    }
}

/// Decode's rejects, then those of the refused events, in the events' order.
fn rejects(decoded: Decoded, refused: &Refused) -> Result<Vec<Reject>> {
    let Decoded { origins, rejects: mut all, raw, .. } = decoded;
    let shared: HashSet<_> = all.iter().map(|reject| (reject.shard.clone(), reject.position.clone())).collect();
    let same_record = |left: usize, right: Option<usize>| {
        right.and_then(|right| origins.get(right)).is_some_and(|other| other.record == origins[left].record)
    };
    for refusal in refused.values() {
        let row = refusal.event as usize;
        let unknown = || Error::internal(format!("event {row} of the batch has no origin"));
        let origin = origins.get(row).ok_or_else(unknown)?;
        let record = raw.records.get(origin.record as usize).ok_or_else(unknown)?;
        let alone = !same_record(row, row.checked_sub(1))
            && !same_record(row, Some(row + 1))
            && !shared.contains(&(record.shard.clone(), record.position.clone()));
        let bytes = origin.start as usize..origin.end as usize;
        let own = bytes.start <= bytes.end && bytes.end <= record.payload.len() && !alone;
        all.push(Reject {
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
            shard: record.shard.clone(),
            position: record.position.clone(),
            index: origin.index,
            arrived_at: record.arrived_at,
            payload: if own { record.payload.slice(bytes) } else { record.payload.clone() },
        });
    }
    Ok(all)
}
