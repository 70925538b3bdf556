//! The events that a table's SQL fails on, found by halving the batch.
//!
//! A failing event is found alone where it fails alone. Where only several together fail (a sum that overflows) the
//! event is found whose arrival makes the batch fail; what remains without it is tried again by the caller.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;

use super::checks::Refusal;
use super::table::{PlannedTable, RunFault};
use crate::error::{Error, Result};

/// The events of `rows` that the table's SQL fails on, at least one; `rows` as a whole make it fail.
///
/// # Errors
/// Where the SQL fails for another reason than the events.
pub(super) async fn offenders(table: &PlannedTable, rows: &RecordBatch) -> Result<Vec<Refusal>> {
    let search = Search { table, rows, plan: table.physical().await.map_err(|fault| stopped(table, fault))? };
    let mut alone = Vec::new();
    let mut stretches = vec![(0, rows.num_rows())];
    while let Some((start, length)) = stretches.pop() {
        match search.fails(start, length).await? {
            Some(words) if length == 1 => alone.push(search.refusal(start, &words)?),
            Some(_) => {
                let half = length / 2;
                stretches.extend([(start + half, length - half), (start, half)]);
            }
            None => {}
        }
    }
    if alone.is_empty() { search.tipping().await } else { Ok(alone) }
}

struct Search<'a> {
    table: &'a PlannedTable,
    rows: &'a RecordBatch,
    plan: Arc<dyn ExecutionPlan>,
}

impl Search<'_> {
    async fn fails(&self, start: usize, length: usize) -> Result<Option<String>> {
        let fresh = reset_plan_states(Arc::clone(&self.plan))
            .map_err(|error| Error::internal(format!("{} cannot be run again", self.table.file)).with_source(error))?;
        self.table.fails(fresh, self.rows.slice(start, length)).await.map_err(|fault| stopped(self.table, fault))
    }

    /// The event that ends the shortest failing stretch from the batch's start.
    async fn tipping(&self) -> Result<Vec<Refusal>> {
        let (mut good, mut bad) = (0, self.rows.num_rows());
        let mut words = "it fails on this event and those before it".to_owned();
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.fails(0, middle).await? {
                Some(told) => (bad, words) = (middle, told),
                None => good = middle,
            }
        }
        Ok(vec![self.refusal(good, &words)?])
    }

    fn refusal(&self, row: usize, words: &str) -> Result<Refusal> {
        let numbers = self.rows.columns().last().and_then(|column| column.as_primitive_opt::<UInt32Type>());
        let event =
            numbers.map(|numbers| numbers.value(row)).ok_or_else(|| Error::internal("events without numbers"))?;
        let message = format!("the SQL of {} fails on it: {words}", self.table.spec.name);
        Ok(Refusal { event, reason: super::settle::SQL_ERROR.to_owned(), message })
    }
}

fn stopped(table: &PlannedTable, fault: RunFault) -> Error {
    match fault {
        RunFault::Stop(error) => error,
        RunFault::Data(words) => Error::internal(format!("{} cannot be run: {words}", table.file)),
    }
}
