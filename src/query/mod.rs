//! Ad hoc SQL over everything that a pipeline keeps: staged files, warehouse, rejects and the journal itself.
//!
//! Owns the read-only session with its tables, the refusal of statements that would change something, the sentences
//! for a wrong name, and the three output formats. It writes nothing, plans no pipeline SQL (`clean` does) and reads
//! no journal: whoever opens it hands the entries over. Contract: a staged file or a file of rejects is read because
//! an entry names it, never because it lies on the store; every table exists from the start, with its columns,
//! however empty. What the warehouse holds is what it held when the session was opened. A staged file, a file of rejects
//! or a data file of a Delta table is checked before the first row of it is used (`checked` says which, `store` how).
//!
//! | relation         | what it is                                                                     |
//! |------------------|--------------------------------------------------------------------------------|
//! | `staged.<table>` | the rows of the table's staged files: its columns, `_arrived_at`, `_position`  |
//! | `<table>`        | the warehouse's table                                                          |
//! | `ledger`         | the warehouse's record of its loads                                            |
//! | `rejects`        | the rows of the quarantine files                                               |
//! | `journal`        | one row an entry                                                               |
//!
//! For an audit there are also [`sides`]: a table's staged and loaded rows in the order of its key.

mod checked;
mod failure;
mod files;
mod journal;
mod names;
mod output;
mod remote;
mod sides;
mod statement;
mod warehouse;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SQLOptions, SessionContext};
use futures::TryStreamExt;

pub use output::{Format, write};
pub use remote::{Rows, TableReader};
pub use sides::{BEGINNING, Compared, Sides, sides};
pub use warehouse::LEDGER;

use self::checked::CheckedStores;
use self::files::Files;
use self::names::Names;
use crate::batch::{DataFile, Entry};
use crate::error::{Error, Result};
use crate::schema::{TableSpec, VERSION_COLUMNS, reject_schema};
use crate::sql::{SessionSettings, Spill, session, spilling_session};
use crate::store::{FailedRead, Folder, Store};

/// The bounds of a query.
#[derive(Debug, Clone, Copy)]
pub struct QuerySettings {
    /// What its operators may hold together, in bytes; sorts, joins and groups spill to disk beyond it.
    pub memory_bytes: usize,
    /// How many partitions a plan runs at once, at least 1.
    pub partitions: usize,
}

/// What a pipeline keeps, for a query to read.
#[derive(Clone, Copy)]
pub struct Holdings<'a> {
    /// The object store with the staged files and the quarantine.
    pub store: &'a Store,
    /// The warehouse's tables.
    pub warehouse: Loaded<'a>,
    /// The pipeline's tables.
    pub specs: &'a [TableSpec],
    /// The journal's entries, in their order.
    pub entries: &'a [Arc<Entry>],
    /// Whether each file is held against its checksum; not where somebody has done so a moment ago.
    pub verify: bool,
}

/// Where the warehouse's tables are.
#[derive(Clone, Copy)]
pub enum Loaded<'a> {
    /// Nothing is loaded yet: each table is there and empty.
    Nothing,
    /// Delta tables in this folder; it need not exist yet.
    Delta(&'a Folder),
    /// A warehouse with an engine of its own.
    Remote(&'a Arc<dyn TableReader>),
}

/// A read-only session over a pipeline's tables.
pub struct Query {
    context: SessionContext,
    names: Names,
    /// How many files of a table carry no checksum, by the table's name here.
    unchecked: BTreeMap<String, usize>,
    failed: Arc<FailedRead>,
    /// Its folder is gone when this is.
    _spill: Option<Spill>,
}

/// An answer: its columns, and its rows as they come.
pub struct QueryResult {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    notes: Vec<String>,
    failed: Arc<FailedRead>,
}

/// The relations that stand beside the pipeline's own in the default schema.
const OWN_TABLES: [&str; 3] = ["journal", "ledger", "rejects"];

/// The schema that holds the staged tables.
const STAGED: &str = "staged";

impl QuerySettings {
    fn session(self) -> SessionSettings {
        SessionSettings { memory_bytes: self.memory_bytes, partitions: self.partitions.max(1) }
    }
}

impl Query {
    /// A session over the files that the entries name, the warehouse's tables and the entries themselves.
    ///
    /// # Errors
    /// Invalid where a table bears the name of a relation that is always there, Transient or Corrupt where a Delta
    /// table cannot be opened.
    pub async fn open(holdings: Holdings<'_>, settings: QuerySettings) -> Result<Self> {
        Self::over(holdings, session(settings.session())?, None).await
    }

    /// As [`Query::open`]; what does not fit the memory is spilled here.
    ///
    /// # Errors
    /// As [`Query::open`].
    pub async fn open_spilling(holdings: Holdings<'_>, settings: QuerySettings, spill: Spill) -> Result<Self> {
        Self::over(holdings, spilling_session(settings.session(), &spill)?, Some(spill)).await
    }

    async fn over(holdings: Holdings<'_>, context: SessionContext, spill: Option<Spill>) -> Result<Self> {
        let Holdings { store, warehouse, specs, entries, verify } = holdings;
        context.register_object_store(store.url(), store.root());
        let mut stores = CheckedStores::of(store, if verify { entries } else { &[] });
        let mut tables = Tables::new(&context)?;
        let mut unchecked = BTreeMap::new();
        let mut loaded = vec![("ledger", warehouse::LEDGER, warehouse::ledger_columns())];
        for spec in specs {
            if OWN_TABLES.contains(&spec.name.as_str()) {
                return Err(own_name(&spec.name));
            }
            let staged = entries.iter().filter_map(|entry| entry.tables.get(&spec.name)).flatten();
            tables.add(Some(STAGED), &spec.name, provider(store, staged_schema(spec), staged)?)?;
            loaded.push((&spec.name, &spec.name, warehouse::columns(spec)));
        }
        for (name, in_warehouse, columns) in loaded {
            let table = warehouse::table(warehouse, in_warehouse, columns, &context).await?;
            tables.add(None, name, table.provider)?;
            if let Some(files) = table.files.filter(|_| verify) {
                unchecked.insert(name.to_owned(), files.unchecked);
                stores.add(files);
            }
        }
        let rejects = entries.iter().flat_map(|entry| &entry.quarantine);
        tables.add(None, "rejects", provider(store, reject_schema(), rejects)?)?;
        tables.add(None, "journal", journal::table(entries)?)?;
        let failed = stores.register(&context);
        Ok(Self { names: tables.names, context, unchecked, failed, _spill: spill })
    }

    /// Starts one statement that only reads: SELECT, WITH, VALUES, SHOW, DESCRIBE or EXPLAIN.
    ///
    /// # Errors
    /// Invalid where the statement would change something, does not parse, or names what is not there.
    pub async fn run(&self, sql: &str) -> Result<QueryResult> {
        let state = self.context.state();
        let statement = statement::parse(&state, sql)?;
        let references =
            state.resolve_table_references(&statement).map_err(|error| failure::planning(&error, &self.names))?;
        for reference in &references {
            self.names.check(reference, |name| state.table_functions().contains_key(name))?;
        }
        let notes = references.iter().filter_map(|reference| self.note(reference)).collect();
        // What failed of another statement's reads is no cause here.
        self.failed.take();
        let planning = |error| failure::planning(&error, &self.names);
        let plan = crate::sql::planned(&state, statement).await.map_err(planning)?;
        // The statement's first words already say that it reads; this finds what hides further inside.
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(|_| statement::refusal("a part of this statement"))?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(planning)?;
        let stream = frame.execute_stream().await.map_err(|error| failure::reading(&error, &self.failed))?;
        Ok(QueryResult { notes, failed: Arc::clone(&self.failed), ..QueryResult::of(stream) })
    }

    /// What a person should know of a relation that is asked.
    fn note(&self, reference: &TableReference) -> Option<String> {
        let (table, staged) = (reference.table(), reference.schema() == Some(STAGED));
        let unchecked = self.unchecked.get(table).filter(|files| **files > 0 && !staged)?;
        Some(format!(
            "files of the table {table} that carry no checksum: {unchecked}; another program wrote them, or an older \
             Millstream; they are read as they are"
        ))
    }

    /// The relations as SQL names them, sorted: `fact_orders`, `journal`, `staged.fact_orders`.
    pub fn tables(&self) -> Vec<String> {
        self.names.tables()
    }

    /// The columns of all relations, sorted, each name once.
    pub fn columns(&self) -> Vec<String> {
        self.names.columns()
    }
}

impl QueryResult {
    /// An answer that something else than a session gives.
    pub fn new(schema: SchemaRef, rows: Rows) -> Self {
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)));
        Self::of(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn of(stream: SendableRecordBatchStream) -> Self {
        Self { schema: stream.schema(), stream, notes: Vec::new(), failed: Arc::default() }
    }

    /// What a person should know of what was asked.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// All rows at once: for answers that are known to be small.
    ///
    /// # Errors
    /// As [`QueryResult::next`].
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        let Self { stream, failed, .. } = self;
        stream.try_collect().await.map_err(|error| failure::reading(&error, &failed))
    }

    /// The next rows, at least one; none at the end.
    ///
    /// # Errors
    /// Invalid where the query itself fails (a division by zero, too little memory), Corrupt where a file that should
    /// be there is missing or broken, Transient where one cannot be read just now.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let next = self.stream.try_next().await;
            match next.map_err(|error| failure::reading(&error, &self.failed))? {
                Some(batch) if batch.num_rows() == 0 => {}
                next => return Ok(next),
            }
        }
    }
}

/// Registers tables and remembers their names.
struct Tables {
    context: SessionContext,
    names: Names,
}

impl Tables {
    fn new(context: &SessionContext) -> Result<Self> {
        let catalog = context.catalog("datafusion").ok_or_else(|| Error::internal("the session has no catalog"))?;
        let staged: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
        catalog.register_schema(STAGED, staged).map_err(refused)?;
        Ok(Self { context: context.clone(), names: Names::default() })
    }

    fn add(&mut self, schema: Option<&str>, table: &str, provider: Arc<dyn TableProvider>) -> Result<()> {
        self.names.add(schema, table, &provider.schema());
        // Names are taken as they are: never parsed, never folded.
        let reference = TableReference::partial(schema.unwrap_or("public"), table);
        self.context.register_table(reference, provider).map_err(refused)?;
        Ok(())
    }
}

fn refused(error: datafusion::error::DataFusionError) -> Error {
    Error::internal("DataFusion refuses a table").with_source(error)
}

fn own_name(table: &str) -> Error {
    Error::invalid(format!(
        "a table of the pipeline cannot be named {table:?}: queries keep this name for a relation of their own; \
         rename the [[table]] and its SQL file"
    ))
}

fn provider<'a>(
    store: &Store,
    schema: SchemaRef,
    files: impl Iterator<Item = &'a DataFile>,
) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(Files::new(store, schema, files.cloned())?))
}

/// The table's columns, then the version columns.
fn staged_schema(spec: &TableSpec) -> SchemaRef {
    // A file that was staged before the pipeline had a column lacks it.
    let columns = spec.columns.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(columns.chain(version_fields()).collect::<Vec<_>>()))
}

fn version_fields() -> [Field; 2] {
    let [arrived_at, position] = VERSION_COLUMNS;
    [Field::new(arrived_at, instant(), false), Field::new(position, DataType::Utf8, false)]
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests;
