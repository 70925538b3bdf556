//! One planned table, run over the events of each batch.
//!
//! Owns the run that turns a plan's output into the table's rows, and what a failing run looks like: whatever fails over
//! events may be the events' fault. It refuses no row: `values` does, and `offenders` finds whose fault a failing run is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;

use super::faults::root_words;
use super::relation::{Memory, execute};
use crate::config::Input;
use crate::error::{Error, Result};
use crate::schema::TableSpec;

/// A table whose SQL is planned.
pub(super) struct PlannedTable {
    /// What the warehouse sees of it.
    pub(super) spec: TableSpec,
    /// The SQL file as messages name it.
    pub(super) file: String,
    /// What it reads.
    pub(super) input: Input,
    /// The schema of what it reads, with the hidden row number.
    pub(super) input_schema: SchemaRef,
    /// The table's columns, then the version columns.
    pub(super) output_schema: SchemaRef,
    /// Whether the plan's last column is the row number.
    pub(super) carries: bool,
    /// Optimised.
    pub(super) plan: LogicalPlan,
    /// What the plan runs in.
    pub(super) state: Arc<SessionState>,
    /// Whether the log has told that the SQL fails on all that comes.
    pub(super) told: AtomicBool,
}

/// The rows of one run.
pub(super) struct TableRun {
    /// The table's columns, then the version columns; nulls may stand where none are allowed.
    pub(super) columns: Vec<ArrayRef>,
    /// For each row its event's number; none where rows of several events became one.
    pub(super) events: Option<UInt32Array>,
    /// What the rows take of the session's memory; none where there are none.
    _held: Option<MemoryReservation>,
}

impl TableRun {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| column.len())
    }
}

impl PlannedTable {
    /// The SQL's rows for these events.
    ///
    /// # Errors
    /// [`RunFault::Events`] where the events make the SQL fail.
    pub(super) async fn run(&self, events: &RecordBatch) -> Result<TableRun, RunFault> {
        if events.num_rows() == 0 {
            // An aggregate without GROUP BY makes a row even out of none.
            let columns = RecordBatch::new_empty(Arc::clone(&self.output_schema)).columns().to_vec();
            let events = self.carries.then(|| UInt32Array::from_iter_values([]));
            return Ok(TableRun { columns, events, _held: None });
        }
        let plan = self.physical().await?;
        let (whole, held) = self.whole(&plan, events).await?;
        Ok(TableRun { _held: Some(held), ..self.shape(whole)? })
    }

    /// A plan of this table's own.
    ///
    /// # Errors
    /// Internal: no event has a part in it.
    pub(super) async fn physical(&self) -> Result<Planned> {
        let plan = self.state.query_planner().create_physical_plan(&self.plan, self.state.as_ref()).await;
        plan.map(Planned).map_err(|error| self.unplanned(error))
    }

    /// The plan's rows over these events, and what they take of the session's memory.
    ///
    /// # Errors
    /// As [`PlannedTable::run`].
    pub(super) async fn whole(
        &self,
        plan: &Planned,
        events: &RecordBatch,
    ) -> Result<(RecordBatch, MemoryReservation), RunFault> {
        let fresh = reset_plan_states(Arc::clone(&plan.0)).map_err(|error| self.unplanned(error))?;
        let memory = if matches!(self.input, Input::Events) { Memory::Shared } else { Memory::OwnLarger };
        let output = execute(fresh, &self.state, memory, events.clone()).await;
        output.and_then(|output| output.whole(&plan.0.schema())).map_err(|error| failure(&error))
    }

    /// The error of a file for which no memory is enough.
    pub(super) fn exhausted(&self) -> Error {
        Error::invalid(format!(
            "{} needs more memory than a file may take; put the file in parts or make the SQL lighter",
            self.file
        ))
    }

    fn unplanned(&self, error: DataFusionError) -> Error {
        Error::internal(format!("{} cannot be run", self.file)).with_source(error)
    }

    fn shape(&self, whole: RecordBatch) -> Result<TableRun> {
        let mut columns = whole.columns().to_vec();
        let unexpected = || Error::internal(format!("{} yields other columns than it was planned with", self.file));
        let events = if self.carries {
            let rows = columns.pop().ok_or_else(unexpected)?;
            Some(rows.as_any().downcast_ref::<UInt32Array>().ok_or_else(unexpected)?.clone())
        } else {
            None
        };
        if columns.len() != self.output_schema.fields().len() {
            return Err(unexpected());
        }
        for (column, field) in columns.iter_mut().zip(self.output_schema.fields()) {
            // The names and nullability inside of lists and structs may differ from what was planned.
            if column.data_type() != field.data_type() {
                *column =
                    arrow::compute::cast(column, field.data_type()).map_err(|error| unexpected().with_source(error))?;
            }
        }
        Ok(TableRun { columns, events, _held: None })
    }
}

/// A physical plan; each execution takes a copy of it without state.
pub(super) struct Planned(Arc<dyn ExecutionPlan>);

/// Why a run failed.
pub(super) enum RunFault {
    /// Some events make the SQL fail, or all together do.
    Events(Failure),
    /// Anything else: the batch cannot be done.
    Stop(Error),
}

/// A failure of the SQL over some events.
pub(super) struct Failure {
    /// In a few words.
    pub(super) words: String,
    /// What it looks like.
    pub(super) cause: Cause,
}

/// What a failure looks like. What it is shows where some events pass and others fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A value that an expression does not take.
    Data,
    /// Not enough memory, even with more of it.
    Memory,
    /// DataFusion calls it a bug, which it also does for some values (a time that nanoseconds cannot hold).
    Internal,
}

fn failure(error: &DataFusionError) -> RunFault {
    let cause = match error.find_root() {
        DataFusionError::ArrowError(_, _) | DataFusionError::Execution(_) => Cause::Data,
        DataFusionError::ResourcesExhausted(_) => Cause::Memory,
        _ => Cause::Internal,
    };
    let words = match (cause, error) {
        // A call says what it would have made.
        (Cause::Memory, DataFusionError::Context(words, _)) => words.clone(),
        (Cause::Memory, _) => "it needs more memory than a batch may take".to_owned(),
        (Cause::Data | Cause::Internal, _) => root_words(error),
    };
    RunFault::Events(Failure { words, cause })
}

impl From<Error> for RunFault {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}
