//! A table of a warehouse that has an engine of its own, as a relation.
//!
//! Owns the scan: which columns are asked for, and that they come as the relation's schema says. Filters are not handed
//! on, so a scan asks for all rows: a question about few of many is better asked in the warehouse itself. It knows no
//! warehouse: whoever opens the session gives a [`TableReader`].

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult, project_schema};
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::error::Result;

/// A read that has begun.
pub type Rows = BoxStream<'static, Result<RecordBatch>>;

/// What reads a warehouse's tables.
#[async_trait]
pub trait TableReader: Send + Sync {
    /// The rows of a table, with these columns of it in this order (at least one), at most `limit`. Types may differ
    /// from the table's where a cast brings them back: nested values come as JSON text.
    ///
    /// # Errors
    /// The warehouse's.
    async fn rows(&self, table: &str, columns: &[&str], limit: Option<u64>) -> Result<Rows>;
}

/// A table of a warehouse.
pub(super) struct RemoteTable(Arc<Source>);

struct Source {
    reader: Arc<dyn TableReader>,
    table: String,
    schema: SchemaRef,
}

impl RemoteTable {
    /// The table of this name, which has these columns; nested ones are shown as JSON text. Any of them may be null:
    /// a column that the pipeline got later is, in older rows.
    pub(super) fn new(reader: Arc<dyn TableReader>, table: &str, columns: &Schema) -> Self {
        let fields = columns.fields().iter().map(|field| match field.data_type().is_nested() {
            true => Field::new(field.name(), DataType::Utf8, true),
            false => field.as_ref().clone().with_nullable(true),
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self(Arc::new(Source { reader, table: table.to_owned(), schema }))
    }
}

impl fmt::Debug for RemoteTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RemoteTable({})", self.0.table)
    }
}

#[async_trait]
impl TableProvider for RemoteTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.0.schema, projection)?;
        let scan = Scan { source: Arc::clone(&self.0), schema: Arc::clone(&schema), limit };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, [], false, limit)?))
    }
}

/// One read of a table.
struct Scan {
    source: Arc<Source>,
    /// The columns that are wanted; a count wants none.
    schema: SchemaRef,
    limit: Option<usize>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Scan({})", self.source.table)
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (source, schema, limit) = (Arc::clone(&self.source), Arc::clone(&self.schema), self.limit);
        let begun = async move {
            let mut columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            // No SQL asks for rows without columns.
            columns.extend(columns.is_empty().then(|| source.schema.field(0).name().as_str()));
            let limit = limit.map(|limit| limit as u64);
            let rows = source.reader.rows(&source.table, &columns, limit).await.map_err(external)?;
            Ok::<_, DataFusionError>(
                rows.map(move |batch| conform(&batch.map_err(external)?, &schema).map_err(DataFusionError::from)),
            )
        };
        let stream = futures::stream::once(begun).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

fn external(error: crate::error::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The rows as the schema types them; without columns their number alone.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = schema.fields().iter().enumerate().map(|(index, field)| match rows.column(index) {
        column if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        column => cast_with_options(column, field.data_type(), &options),
    });
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_, _>>()?, &count)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{Int64Array, StringArray};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::error::{Error, ErrorKind};

    /// A table of two columns and three rows, which remembers what it was asked.
    #[derive(Default)]
    struct Remembering {
        asked: Mutex<Vec<(Vec<String>, Option<u64>)>>,
        fails: bool,
    }

    #[async_trait]
    impl TableReader for Remembering {
        async fn rows(&self, _table: &str, columns: &[&str], limit: Option<u64>) -> Result<Rows> {
            let asked = (columns.iter().map(|name| (*name).to_owned()).collect(), limit);
            self.asked.lock().expect("no panic").push(asked);
            if self.fails {
                return Err(Error::transient("the warehouse is away"));
            }
            // As a text protocol may give it: the number wider, the list as JSON.
            let columns = columns.iter().map(|name| match *name {
                "id" => ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
                name => (name, Arc::new(StringArray::from(vec!["[1]", "[]", "[2,3]"])) as _),
            });
            let batch = RecordBatch::try_from_iter(columns).expect("a batch");
            Ok(futures::stream::iter([Ok(batch)]).boxed())
        }
    }

    async fn ask(reader: &Arc<Remembering>, sql: &str) -> Result<Vec<RecordBatch>> {
        let items = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let columns = Schema::new(vec![Field::new("id", DataType::Int32, false), Field::new("tags", items, true)]);
        let context = SessionContext::new();
        let table = RemoteTable::new(Arc::clone(reader) as _, "t", &columns);
        context.register_table("t", Arc::new(table)).expect("registered");
        let frame = context.sql(sql).await.expect("planned");
        let names = super::super::names::Names::default();
        frame.collect().await.map_err(|error| super::super::failure::running(&error, &names))
    }

    #[tokio::test]
    async fn only_the_columns_and_rows_that_are_wanted_are_asked_for() {
        let reader = Arc::new(Remembering::default());
        let rows = ask(&reader, "select id from t limit 2").await.expect("rows");
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
        assert_eq!(rows[0].schema().field(0).data_type(), &DataType::Int32);
        ask(&reader, "select tags from t where id > 1").await.expect("rows");
        let count = ask(&reader, "select count(*) from t").await.expect("a count");
        assert_eq!(
            arrow::util::pretty::pretty_format_batches(&count).expect("text").to_string().matches('3').count(),
            1
        );
        let asked = reader.asked.lock().expect("no panic");
        assert_eq!(asked[0], (vec!["id".to_owned()], Some(2)));
        assert_eq!(asked[1], (vec!["id".to_owned(), "tags".to_owned()], None));
        assert_eq!(asked[2], (vec!["id".to_owned()], None));
    }

    #[test]
    fn a_column_that_came_later_is_null_in_older_rows() {
        let columns = Schema::new(vec![Field::new("id", DataType::Int64, false)]);
        let table = RemoteTable::new(Arc::new(Remembering::default()), "t", &columns);
        assert!(table.schema().field(0).is_nullable());
    }

    #[tokio::test]
    async fn the_warehouses_failure_keeps_its_kind() {
        let reader = Arc::new(Remembering { fails: true, ..Remembering::default() });
        let error = ask(&reader, "select id from t").await.expect_err("away");
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("the warehouse is away"), "{error}");
    }
}
