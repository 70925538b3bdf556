//! The ledger of a warehouse that speaks SQL, read back.
//!
//! Owns how its rows become receipts. That they are of this pipeline is checked here: two pipelines in one schema would
//! each take the other's loads for its own.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::super::arrow_bug;
use super::super::script::{ledger_query, receipts_query};
use super::super::tables::LEDGER;
use super::UpsertWarehouse;
use crate::batch::Receipt;
use crate::error::{Error, ErrorKind, Result};
use crate::load::Ledger;

impl UpsertWarehouse {
    /// What the ledger says; none where there is no ledger.
    pub(super) async fn read_ledger(&self) -> Result<Option<Ledger>> {
        let Some(rows) = self.ledger_rows(&ledger_query(&self.target)).await? else { return Ok(None) };
        let Some(last) = receipts(&rows)?.into_iter().next() else { return Ok(Some(Ledger::default())) };
        let loads = numbers(&rows, "loads")?;
        Ok(Some(Ledger { loaded_through: last.loaded_through, loads: loads[0], last: Some(last) }))
    }

    /// The newest receipts; none where there is no ledger.
    pub(super) async fn read_receipts(&self, limit: u64) -> Result<Vec<Receipt>> {
        match self.ledger_rows(&receipts_query(&self.target, limit)).await? {
            Some(rows) => receipts(&rows),
            None => Ok(Vec::new()),
        }
    }

    /// Rows of the ledger, all of this pipeline; none where there is no ledger.
    async fn ledger_rows(&self, sql: &str) -> Result<Option<RecordBatch>> {
        let rows = match self.few(sql).await {
            // Because there is none yet, because there was none until now, or for a reason that a person must see.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                if !self.found().await?.iter().any(|column| column.table.eq_ignore_ascii_case(LEDGER)) {
                    return Ok(None);
                }
                self.few(sql).await?
            }
            answered => answered?,
        };
        let pipelines = texts(&rows, "pipeline")?;
        if let Some(other) = pipelines.iter().flatten().find(|pipeline| *pipeline != self.pipeline) {
            return Err(Error::invalid(format!(
                "the schema {} holds the pipeline {other}, not {}: give each a schema of its own (schema = … of the \
                 warehouse); nothing was changed in {}",
                self.target.schema, self.pipeline, self.address
            )));
        }
        Ok(Some(rows))
    }
}

fn receipts(rows: &RecordBatch) -> Result<Vec<Receipt>> {
    let [after, through, at] = ["loaded_after", "loaded_through", "loaded_at"].map(|name| numbers(rows, name));
    let (after, through, at) = (after?, through?, at?);
    let (copied, attempts) = (texts(rows, "copied")?, texts(rows, "attempt")?);
    let receipt = |row: usize| {
        Ok(Receipt {
            loaded_after: after[row],
            loaded_through: through[row],
            copied: serde_json::from_str(copied.value(row)).map_err(|error| damaged().with_source(error))?,
            loaded_at: i64::try_from(at[row]).map_err(|_| damaged())?,
            attempt: Some(attempts.value(row).to_owned()),
        })
    };
    (0..rows.num_rows()).map(receipt).collect()
}

fn numbers(rows: &RecordBatch, name: &str) -> Result<Vec<u64>> {
    whole(rows.column_by_name(name).ok_or_else(damaged)?)
}

/// A column of whole numbers, none of which is null or negative.
pub(super) fn whole(column: &ArrayRef) -> Result<Vec<u64>> {
    let column = cast(column, &DataType::Int64).map_err(arrow_bug)?;
    let numbers = column.as_primitive::<Int64Type>().iter();
    numbers.map(|number| number.and_then(|number| u64::try_from(number).ok()).ok_or_else(damaged)).collect()
}

fn texts(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    let column = rows.column_by_name(name).filter(|column| column.null_count() == 0).ok_or_else(damaged)?;
    Ok(cast(column, &DataType::Utf8).map_err(arrow_bug)?.as_string().clone())
}

fn damaged() -> Error {
    Error::corrupt("the ledger has rows that are no receipts; restore the table _ledger from a backup")
}
