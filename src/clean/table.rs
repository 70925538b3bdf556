//! One planned table, run over the events of each batch.
//!
//! Owns the run that turns a plan's output into the table's rows, and the line between a fault of the events and one
//! of the machine. It refuses no row: `values` does, and `offenders` finds whose fault a failing run is.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use super::faults::root_words;
use super::relation::execute;
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
}

/// The rows of one run.
pub(super) struct TableRun {
    /// The table's columns, then the version columns; nulls may stand where none are allowed.
    pub(super) columns: Vec<ArrayRef>,
    /// For each row its event's number; none where rows of several events became one.
    pub(super) events: Option<UInt32Array>,
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
    /// [`RunFault::Data`] where the events make the SQL fail.
    pub(super) async fn run(&self, events: &RecordBatch) -> Result<TableRun, RunFault> {
        if events.num_rows() == 0 {
            // An aggregate without GROUP BY makes a row even out of none.
            let columns = RecordBatch::new_empty(Arc::clone(&self.output_schema)).columns().to_vec();
            return Ok(TableRun { columns, events: self.carries.then(|| UInt32Array::from_iter_values([])) });
        }
        let plan = self.physical().await?;
        let batches =
            execute(Arc::clone(&plan), &self.state, events.clone()).await.map_err(|error| self.fault(error))?;
        let schema = plan.schema();
        let whole = concat_batches(&schema, &batches).map_err(|error| self.fault(error.into()))?;
        Ok(self.shape(whole)?)
    }

    /// A plan of this table's own, to be executed once.
    pub(super) async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>, RunFault> {
        let plan = self.state.query_planner().create_physical_plan(&self.plan, self.state.as_ref()).await;
        plan.map_err(|error| self.fault(error))
    }

    /// Whether a fresh or reset plan fails over these events, and with which words.
    ///
    /// # Errors
    /// [`RunFault::Stop`] where it fails for another reason than the events.
    pub(super) async fn fails(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        events: RecordBatch,
    ) -> Result<Option<String>, RunFault> {
        match execute(plan, &self.state, events).await.map_err(|error| self.fault(error)) {
            Ok(_) => Ok(None),
            Err(RunFault::Data(words)) => Ok(Some(words)),
            Err(stop) => Err(stop),
        }
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
        Ok(TableRun { columns, events })
    }

    fn fault(&self, error: DataFusionError) -> RunFault {
        let words = root_words(&error);
        match error.find_root() {
            DataFusionError::ArrowError(_, _) | DataFusionError::Execution(_) => RunFault::Data(words),
            DataFusionError::ResourcesExhausted(_) => RunFault::Stop(
                Error::invalid(format!(
                    "{} needs more memory than a batch may take; make batches smaller ([batch] max_rows, max_bytes) or \
                     the SQL lighter",
                    self.file
                ))
                .with_source(error),
            ),
            _ => RunFault::Stop(Error::internal(format!("{} cannot be run", self.file)).with_source(error)),
        }
    }
}

/// Why a run failed.
pub(super) enum RunFault {
    /// Some events make the SQL fail: its words.
    Data(String),
    /// Anything else: the batch cannot be done.
    Stop(Error),
}

impl From<Error> for RunFault {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}
