//! The events that a table's SQL fails on, found by halving the batch.
//!
//! A failing event is found alone where it fails alone. Where only several together fail (a sum that overflows) the
//! event is found whose arrival makes the batch fail; what remains without it is tried again by the caller. Where very many fail the search is cut short: see `search`.

use std::ops::Range;
use std::sync::atomic::Ordering;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;

use super::checks::Refusal;
use super::search::{self, company};
use super::table::{Cause, Failure, Planned, PlannedTable, RunFault};
use crate::config::Input;
use crate::error::{Error, Result};

/// The events of `rows` that the table's SQL fails on, at least one; `rows` as a whole make it fail by `whole`. Where all
/// together need more memory than there is and none does alone, those from where it is used up.
///
/// # Errors
/// Invalid where the rows are a file's, which no event is to blame for; where the SQL fails for another reason than the
/// events.
pub(super) async fn offenders(table: &PlannedTable, rows: &RecordBatch, whole: &Failure) -> Result<Vec<Refusal>> {
    let search = Search { table, rows, plan: table.physical().await? };
    let found = search.alone().await?;
    if whole.cause != Cause::Data && found.len() == rows.num_rows() {
        search.tell_bug(whole).await?;
    }
    match whole.cause {
        _ if !found.is_empty() => Ok(found),
        Cause::Memory if !matches!(table.input, Input::Events) => Err(table.exhausted()),
        Cause::Memory => search.since_the_tipping().await,
        Cause::Data | Cause::Internal => Ok(vec![search.tipping().await?.1]),
    }
}

struct Search<'a> {
    table: &'a PlannedTable,
    rows: &'a RecordBatch,
    plan: Planned,
}

impl Search<'_> {
    async fn fails(&self, stretch: Range<usize>) -> Result<Option<Failure>> {
        let rows = self.rows.slice(stretch.start, stretch.len());
        match self.table.whole(&self.plan, &rows).await {
            Ok(_) => Ok(None),
            Err(RunFault::Events(failure)) => Ok(Some(failure)),
            Err(RunFault::Stop(error)) => Err(error),
        }
    }

    /// The events that fail alone, and after many of them those that fail with a few others.
    async fn alone(&self) -> Result<Vec<Refusal>> {
        let mut search = search::Search::new(self.rows.num_rows());
        let mut found = Vec::new();
        while let Some(stretch) = search.next() {
            let Some(failure) = self.fails(stretch.clone()).await? else { continue };
            if search.gives_up(&stretch) {
                let words = format!("{}{}", failure.words, company(&stretch));
                for row in stretch {
                    found.push(self.refusal(row, &words)?);
                }
            }
        }
        Ok(found)
    }

    /// The event that ends the shortest failing stretch from the batch's start, and its row.
    async fn tipping(&self) -> Result<(usize, Refusal)> {
        let (mut good, mut bad) = (0, self.rows.num_rows());
        let mut words = "it fails on this event and those before it".to_owned();
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.fails(0..middle).await? {
                Some(failure) => (bad, words) = (middle, failure.words),
                None => good = middle,
            }
        }
        Ok((good, self.refusal(good, &words)?))
    }

    /// All events from that one on.
    async fn since_the_tipping(&self) -> Result<Vec<Refusal>> {
        let (first, _) = self.tipping().await?;
        let words = "with the events of its record before it, it needs more memory than a batch may take";
        (first..self.rows.num_rows()).map(|row| self.refusal(row, words)).collect()
    }

    /// Says once, for a person, that no event passes this table, where that looks like a fault of the SQL: it fails on
    /// several events, or even on a batch of none.
    async fn tell_bug(&self, whole: &Failure) -> Result<()> {
        let bug = self.rows.num_rows() > 1 || self.fails(0..0).await?.is_some();
        if bug && !self.table.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                table = self.table.spec.name,
                error = whole.words,
                "the table's sql fails on every event of a batch: correct it, and put the quarantined events into the \
                 stream again"
            );
        }
        Ok(())
    }

    fn refusal(&self, row: usize, words: &str) -> Result<Refusal> {
        let numbers = self.rows.columns().last().and_then(|column| column.as_primitive_opt::<UInt32Type>());
        let event =
            numbers.map(|numbers| numbers.value(row)).ok_or_else(|| Error::internal("events without numbers"))?;
        let message = format!("the SQL of {} fails on it: {words}", self.table.spec.name);
        Ok(Refusal { event, reason: super::finalize::SQL_ERROR.to_owned(), message })
    }
}
