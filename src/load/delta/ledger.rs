//! The ledger as a Delta table: one row a load, written last.
//!
//! Owns the ledger's columns and reads them back; what it remembers of the tables' logs is `guard`'s. `_ledger` sorts by
//! `loaded_through`, so its newest rows stand in the file with the highest bound, which is all that a load reads. Only the
//! newest receipt keeps what is remembered of the logs: it is taken from the one before when it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};

use super::super::merge::utc;
use super::super::protocol::{Outcome, Step};
use super::super::shape::{Shape, Style};
use super::super::{Ledger, arrow_bug};
use super::guard::LogStates;
use super::table::DeltaTable;
use crate::batch::Receipt;
use crate::error::{Error, Result};
use crate::schema::TableLayout;

const LOADED_THROUGH: &str = "loaded_through";
const COLUMNS: [&str; 4] = ["loaded_after", LOADED_THROUGH, "copied", "loaded_at"];

/// What is remembered of the tables' logs, as JSON; null in all but the newest receipt, and in those of an earlier Millstream.
const LOGS: &str = "logs";

/// The attempt that wrote the entry `loaded_through`; null in the receipts of an earlier Millstream.
const ATTEMPT: &str = "attempt";

/// How often others may change the table under a receipt before it gives up for now.
const TRIES: usize = 5;

/// The table `_ledger`: `loaded_after`, `loaded_through`, `copied` (JSON: rows by table), `loaded_at`, `logs`, `attempt`.
pub(super) fn shape() -> Arc<Shape> {
    let instant = arrow::datatypes::TimeUnit::Microsecond;
    let types = [DataType::Int64, DataType::Int64, DataType::Utf8, DataType::Timestamp(instant, Some("UTC".into()))];
    let fields = COLUMNS.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type, false));
    let later = [LOGS, ATTEMPT].map(|name| Field::new(name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.chain(later).collect::<Vec<_>>()));
    Arc::new(Shape {
        name: "_ledger".to_owned(),
        style: Style::Append,
        key: vec![LOADED_THROUGH.to_owned()],
        staged: Arc::clone(&schema),
        table: schema,
        references: Vec::new(),
        // Few: the newest file is written anew by each load.
        rows_per_file: 1_024,
        max_bytes: BTreeMap::new(),
        layout: TableLayout::default(),
    })
}

/// The ledger's table.
pub(super) struct LedgerTable(DeltaTable);

impl LedgerTable {
    pub(super) fn new(table: DeltaTable) -> Self {
        Self(table)
    }

    pub(super) fn table(&self) -> &DeltaTable {
        &self.0
    }

    /// What the ledger says now; before the warehouse is made, that nothing is loaded.
    pub(super) async fn read(&self) -> Result<Ledger> {
        if !self.0.is_there().await? {
            return Ok(Ledger::default());
        }
        let loaded_through = self.0.holds().await?;
        let loads = self.0.rows().await?;
        let last = self.newest(1).await?.into_iter().next();
        let told = last.as_ref().map_or(0, |receipt| receipt.loaded_through);
        if told != loaded_through {
            return Err(Error::corrupt(format!(
                "the ledger's last row says that everything through entry {told} is loaded, and its log says \
                 {loaded_through}: somebody else wrote to the table _ledger; restore it from a backup"
            )));
        }
        Ok(Ledger { loaded_through, loads, last })
    }

    /// The newest receipts, newest first; none before the warehouse is made.
    pub(super) async fn receipts(&self, limit: usize) -> Result<Vec<Receipt>> {
        if !self.0.is_there().await? {
            return Ok(Vec::new());
        }
        self.0.holds().await?;
        self.newest(limit).await
    }

    /// What is remembered of the tables' logs.
    pub(super) async fn logs(&self) -> Result<LogStates> {
        if !self.0.is_there().await? {
            return Ok(LogStates::default());
        }
        self.0.holds().await?;
        match self.newest(1).await?.first() {
            Some(Receipt { attempt: None, .. }) => self.all_logs().await,
            _ => Ok(logs(&self.0.newest(1).await?)?.pop_last().map(|(_, logs)| logs).unwrap_or_default()),
        }
    }

    /// What all receipts together say of them, where an earlier Millstream wrote the newest: it put into each what was new.
    async fn all_logs(&self) -> Result<LogStates> {
        let batches = self.0.newest(usize::MAX).await?;
        let mut all = LogStates::new();
        for (table, state) in logs(&batches)?.into_values().flatten() {
            all.entry(table).or_default().extend(state);
        }
        for receipt in batches.iter().map(receipts).collect::<Result<Vec<_>>>()?.concat() {
            for (table, _) in receipt.copied.into_iter().filter(|(_, rows)| *rows > 0) {
                // Version 0 is the making of a table.
                let state = all.entry(table).or_default();
                state.version = state.version.max(1);
            }
        }
        Ok(all)
    }

    /// Writes a receipt after the one that stands there.
    pub(super) async fn record(&self, receipt: &Receipt, logs: &LogStates) -> Result<Outcome> {
        let step = Step { after: receipt.loaded_after, through: receipt.loaded_through };
        for _ in 0..TRIES {
            let added = row(receipt, logs)?;
            if self.0.rewrite_newest(|newest| followed(newest, &added), step).await? == Outcome::Done {
                return Ok(Outcome::Done);
            }
            // After an ambiguous commit, or one beside another writer's tidying, the ledger itself tells.
            let ledger = self.read().await?;
            if ledger.last.as_ref() == Some(receipt) {
                return Ok(Outcome::Done);
            }
            if ledger.loaded_through != receipt.loaded_after {
                return Ok(Outcome::Overtaken);
            }
        }
        Err(Error::transient("the ledger's table is changed by others all the time; the load goes on later"))
    }

    async fn newest(&self, limit: usize) -> Result<Vec<Receipt>> {
        let batches = self.0.newest(limit).await?;
        let mut receipts = batches.iter().map(receipts).collect::<Result<Vec<_>>>()?.concat();
        receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.loaded_through));
        receipts.truncate(limit);
        Ok(receipts)
    }
}

fn row(receipt: &Receipt, logs: &LogStates) -> Result<RecordBatch> {
    let number = |number: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![number as i64])) };
    let copied = serde_json::to_string(&receipt.copied)
        .map_err(|error| Error::internal("a receipt cannot be written as JSON").with_source(error))?;
    let logs = serde_json::to_string(logs)
        .map_err(|error| Error::internal("a receipt cannot be written as JSON").with_source(error))?;
    let columns: Vec<ArrayRef> = vec![
        number(receipt.loaded_after),
        number(receipt.loaded_through),
        Arc::new(StringArray::from(vec![copied])),
        utc(vec![Some(receipt.loaded_at * 1000)]),
        Arc::new(StringArray::from(vec![logs])),
        Arc::new(StringArray::from(vec![receipt.attempt.clone()])),
    ];
    RecordBatch::try_new(Arc::clone(&shape().table), columns).map_err(arrow_bug)
}

/// The newest rows with another behind them, which alone keeps what is remembered of the logs.
fn followed(newest: Option<RecordBatch>, added: &RecordBatch) -> Result<RecordBatch> {
    let Some(newest) = newest else { return Ok(added.clone()) };
    let mut columns = newest.columns().to_vec();
    let logs = newest.schema().index_of(LOGS).map_err(arrow_bug)?;
    columns[logs] = new_null_array(&DataType::Utf8, newest.num_rows());
    let newest = RecordBatch::try_new(newest.schema(), columns).map_err(arrow_bug)?;
    concat_batches(&added.schema(), [&newest, added]).map_err(arrow_bug)
}

fn damaged() -> Error {
    Error::corrupt("the ledger has rows that are no receipts; restore the table _ledger from a backup")
}

/// What receipts say of the logs, by the last entry that each loaded.
fn logs(batches: &[RecordBatch]) -> Result<BTreeMap<i64, LogStates>> {
    let mut found = BTreeMap::new();
    for rows in batches {
        let through = rows.column_by_name(LOADED_THROUGH).ok_or_else(damaged)?.as_primitive::<Int64Type>();
        let texts = rows.column_by_name(LOGS).ok_or_else(damaged)?.as_string::<i32>();
        for (through, text) in through.values().iter().zip(texts) {
            let Some(text) = text else { continue };
            found.insert(*through, serde_json::from_str(text).map_err(|error| damaged().with_source(error))?);
        }
    }
    Ok(found)
}

fn receipts(rows: &RecordBatch) -> Result<Vec<Receipt>> {
    let column = |name: &str| rows.column_by_name(name).filter(|column| column.null_count() == 0).ok_or_else(damaged);
    let number = |name: &str| column(name).map(|column| column.as_primitive::<Int64Type>());
    let (after, through) = (number(COLUMNS[0])?, number(COLUMNS[1])?);
    let copied = column(COLUMNS[2])?.as_string::<i32>();
    let loaded_at = column(COLUMNS[3])?.as_primitive::<TimestampMicrosecondType>();
    let attempts = rows.column_by_name(ATTEMPT).ok_or_else(damaged)?.as_string::<i32>();
    let receipt = |row: usize| {
        let copied = serde_json::from_str(copied.value(row)).map_err(|error| damaged().with_source(error))?;
        Ok(Receipt {
            loaded_after: u64::try_from(after.value(row)).map_err(|error| damaged().with_source(error))?,
            loaded_through: u64::try_from(through.value(row)).map_err(|error| damaged().with_source(error))?,
            copied,
            loaded_at: loaded_at.value(row) / 1000,
            attempt: attempts.is_valid(row).then(|| attempts.value(row).to_owned()),
        })
    };
    (0..rows.num_rows()).map(receipt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_receipt_reads_back_as_it_was_written() {
        let receipt = Receipt {
            loaded_after: 3,
            loaded_through: 9,
            copied: [("fact_orders".to_owned(), 12)].into(),
            loaded_at: 1_763_600_000_123,
            attempt: None,
        };
        for attempt in [None, Some("who wrote it".to_owned())] {
            let receipt = Receipt { attempt, ..receipt.clone() };
            assert_eq!(receipts(&row(&receipt, &LogStates::default()).expect("row")).expect("receipts"), [receipt]);
        }
    }

    #[test]
    fn a_row_that_is_no_receipt_is_corrupt() {
        let good = row(&Receipt::default(), &LogStates::default()).expect("row");
        let mut columns = good.columns().to_vec();
        columns[2] = Arc::new(StringArray::from(vec!["{"]));
        let bad = RecordBatch::try_new(good.schema(), columns).expect("batch");
        assert_eq!(receipts(&bad).expect_err("no JSON").kind(), ErrorKind::Corrupt);
    }
}
