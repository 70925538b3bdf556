//! The relation that a table's SQL reads, and the session that plans it once and is fed batch by batch.
//!
//! Owns the hidden column that numbers the input's rows, by which a refused row finds its event, and the swap of
//! batches: a plan holds no rows, it takes them from the context it is executed in, so that one plan may run for
//! several batches at a time.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result as PlanResult, exec_datafusion_err};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use futures::TryStreamExt;

use crate::batch::slice_bytes;
use crate::error::{Error, Result};
use crate::runtime::caught_in;
use crate::schema::VERSION_COLUMNS;
use crate::sql::{SessionSettings, session};

/// The input row's number in its batch, from 0: hidden behind the relation's last column.
pub(super) const ROW_COLUMN: &str = "_row";

/// Rows that are fed to the plan at a time: few enough to stay in a core's cache.
const FEED_ROWS: usize = 8192;

/// What they take in memory, about: what expressions make of them meanwhile is some times as much.
const FEED_BYTES: usize = 1 << 20;

/// The fewest rows of which operators make a batch where there are so many.
const LEAST_ROWS: usize = 1 << 10;

/// What an array takes beside its values.
const ARRAY: usize = 512;

/// The rows of one execution, and how many of them are fed at a time.
struct Feed {
    rows: RecordBatch,
    at_a_time: usize,
}

impl Feed {
    fn of(rows: RecordBatch) -> Self {
        let of_all: usize = rows.columns().iter().map(slice_bytes).sum();
        let of_one = of_all / rows.num_rows().max(1);
        Self { rows, at_a_time: (FEED_BYTES / of_one.max(1)).clamp(1, FEED_ROWS) }
    }
}

/// The relation of a plan; empty itself.
#[derive(Debug)]
struct Relation(SchemaRef);

impl PartitionStream for Relation {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.0);
        let Some(feed) = context.session_config().get_extension::<Feed>() else {
            let error = exec_datafusion_err!("the relation is executed without rows");
            return Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Err(error)])));
        };
        let (rows, at_a_time) = (feed.rows.num_rows(), feed.at_a_time);
        let slices = (0..rows).step_by(at_a_time);
        let slices = slices.map(move |start| Ok(feed.rows.slice(start, at_a_time.min(rows - start))));
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(slices)))
    }
}

/// A table provider of this schema, for planning.
pub(super) fn provider(schema: &SchemaRef) -> PlanResult<Arc<dyn TableProvider>> {
    let relation = Arc::new(Relation(Arc::clone(schema)));
    Ok(Arc::new(StreamingTable::try_new(Arc::clone(schema), vec![relation])?))
}

/// The session of a cleaner: its SQL knows no table but the one relation, its errors know their places.
pub(super) fn state(settings: SessionSettings) -> Result<SessionState> {
    let mut state = session(settings)?.state();
    let options = state.config_mut().options_mut();
    options.sql_parser.collect_spans = true;
    // Rows keep the order of their events, so that the same batch makes the same files.
    options.optimizer.enable_round_robin_repartition = false;
    // Such filters would stay in a plan that is executed again.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // Where a subquery unnests structs, it carries the version columns down twice, and no plan comes of it.
    options.optimizer.enable_leaf_expression_pushdown = false;
    Ok(state)
}

/// What an execution may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory {
    /// A share of what all executions of the session hold together, their outputs too.
    Shared,
    /// A pool of its own, some times larger: for a file, which cannot be taken in parts.
    OwnLarger,
}

/// How many times larger.
const LARGER: usize = 8;

/// What a plan yields, and the memory that it takes of its pool until it is dropped.
pub(super) struct Output {
    batches: Vec<RecordBatch>,
    held: MemoryReservation,
}

impl Output {
    /// All its rows together; beside them, what they take.
    ///
    /// # Errors
    /// ResourcesExhausted where there is no room to join them, a column after the other.
    pub(super) fn whole(self, schema: &SchemaRef) -> PlanResult<(RecordBatch, MemoryReservation)> {
        let Self { mut batches, held } = self;
        if batches.len() == 1
            && let Some(only) = batches.pop()
        {
            return Ok((only, held));
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let parts = |column: usize| batches.iter().map(|batch| Arc::clone(batch.column(column))).collect::<Vec<_>>();
        let mut columns: Vec<Vec<ArrayRef>> = (0..schema.fields().len()).map(parts).collect();
        drop(batches);
        let mut joined = Vec::with_capacity(columns.len());
        for (parts, field) in columns.iter_mut().zip(schema.fields()) {
            let parts = std::mem::take(parts);
            let bytes = parts.iter().map(slice_bytes).sum();
            held.try_grow(bytes)?;
            joined.push(match parts.is_empty() {
                true => new_empty_array(field.data_type()),
                false => concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?,
            });
            drop(parts);
            held.shrink(bytes);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok((RecordBatch::try_new_with_options(Arc::clone(schema), joined, &options)?, held))
    }
}

/// Executes a plan over these rows; its partitions' output in their order.
///
/// # Errors
/// ResourcesExhausted where the output does not fit into the memory; what the plan fails with; External where it
/// panics.
pub(super) async fn execute(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    memory: Memory,
    rows: RecordBatch,
) -> PlanResult<Output> {
    let output = caught_in(executed(plan, state, memory, rows)).await;
    output.unwrap_or_else(|words| Err(DataFusionError::External(format!("it panicked: {words}").into())))
}

async fn executed(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    memory: Memory,
    rows: RecordBatch,
) -> PlanResult<Output> {
    let runtime = match memory {
        Memory::Shared => Arc::clone(state.runtime_env()),
        Memory::OwnLarger => Arc::new(larger(state.runtime_env())),
    };
    let reservation = MemoryConsumer::new("cleaned rows").register(&runtime.memory_pool);
    let feed = Feed::of(rows);
    // Operators that join batches, or cut them, make none of many more rows either. Nor of one: a list of a million items
    // would become a million batches.
    let batch_size = feed.at_a_time.max(LEAST_ROWS);
    let config = state.config().clone().with_batch_size(batch_size).with_extension(Arc::new(feed));
    let context = TaskContext::default().with_session_config(config).with_runtime(runtime);
    let mut batches = Vec::new();
    for mut stream in execute_stream_partitioned(plan, Arc::new(context))? {
        while let Some(batch) = stream.try_next().await? {
            let bytes: usize = batch.columns().iter().map(|column| slice_bytes(column) + ARRAY).sum();
            reservation.try_grow(bytes)?;
            batches.push(batch);
        }
    }
    Ok(Output { batches, held: reservation })
}

fn larger(runtime: &RuntimeEnv) -> RuntimeEnv {
    let memory_pool: Arc<dyn MemoryPool> = match runtime.memory_pool.memory_limit() {
        MemoryLimit::Finite(bytes) => Arc::new(FairSpillPool::new(bytes.saturating_mul(LARGER))),
        MemoryLimit::Infinite | MemoryLimit::Unknown => Arc::clone(&runtime.memory_pool),
    };
    RuntimeEnv { memory_pool, ..runtime.clone() }
}

/// A relation's schema with the hidden column.
pub(super) fn numbered_schema(schema: &Schema) -> SchemaRef {
    let hidden = Arc::new(Field::new(ROW_COLUMN, DataType::UInt32, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([hidden]).collect::<Vec<_>>()))
}

/// The events with their numbers in the hidden column.
///
/// # Errors
/// Internal where they are not of the relation's schema.
pub(super) fn numbered(schema: &SchemaRef, events: &RecordBatch) -> Result<RecordBatch> {
    let rows = u32::try_from(events.num_rows()).map_err(|_| Error::internal("a batch of over 4 billion events"))?;
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows));
    let columns = events.columns().iter().cloned().chain([numbers]).collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| Error::internal("the events are not of the declared schema").with_source(error))
}

/// The version columns as every cleaned table carries them.
pub(super) fn version_fields() -> [Field; 2] {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let [arrived_at, position] = VERSION_COLUMNS;
    [Field::new(arrived_at, instant, false), Field::new(position, DataType::Utf8, false)]
}
