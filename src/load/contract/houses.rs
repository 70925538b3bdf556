//! The warehouses under test, each behind the same few calls, and the lake that they load from.
//!
//! Owns how each is made and read back; it checks nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, default_logstore};
use futures::TryStreamExt;
use tempfile::TempDir;

use super::super::*;
use super::{BOUNDS, Rows, batch, parquet_bytes, specs};
use crate::aws::AwsChain;
use crate::batch::{DataFile, Entry};
use crate::config::{Login, PostgresSettings, RedshiftAccess, RedshiftSettings, ServerSettings, Tls};
use crate::runtime::Context;
use crate::schema::TableSpec;
use crate::stand_ins::postgres::{USER, database, postgres};
use crate::stand_ins::redshift::{Isolation, Options, Redshift};
use crate::store::{Folder, Store};

/// The object store with staged files, and the journal's entries over them.
pub(super) struct Lake {
    pub(super) store: Store,
    pub(super) entries: Vec<Arc<Entry>>,
}

impl Lake {
    pub(super) fn new() -> Self {
        let objects = Store::memory(BUCKET).expect("a store").objects();
        Self { store: Store::bucket_of(objects, BUCKET).expect("a bucket"), entries: Vec::new() }
    }

    pub(super) async fn stage(&mut self, tables: &[Rows<'_>]) {
        let batches: Vec<_> = tables.iter().map(batch).collect();
        self.stage_batches(&batches).await;
    }

    pub(super) async fn stage_batches(&mut self, batches: &[(&str, RecordBatch)]) {
        let number = self.entries.len() as u64 + 1;
        let mut files: BTreeMap<String, Vec<DataFile>> = BTreeMap::new();
        for (index, (table, rows)) in batches.iter().enumerate() {
            let bytes = parquet_bytes(rows);
            let path = format!("staged/{table}/{number}-{index}.parquet");
            let file = DataFile::of(path.clone(), rows.num_rows() as u64, &bytes);
            let etag = self.store.put(&path, bytes.into()).await.expect("staged");
            files.entry((*table).to_owned()).or_default().push(DataFile { etag, ..file });
        }
        let entry = format!(
            r#"{{"format": 1, "number": {number}, "pipeline": "p", "writer": "w", "attempt": "a", "written_at": 0}}"#
        );
        let entry: Entry = serde_json::from_str(&entry).expect("an entry");
        self.entries.push(Arc::new(Entry { tables: files, ..entry }));
    }

    /// The entry of this number, changed.
    pub(super) fn altered(&self, number: usize, alter: impl FnOnce(&mut Entry)) -> Vec<Arc<Entry>> {
        let mut entry = (*self.entries[number - 1]).clone();
        alter(&mut entry);
        vec![Arc::new(entry)]
    }
}

/// A warehouse under test.
pub(super) enum House {
    Memory(MemoryWarehouse),
    Delta(Box<DeltaWarehouse>, Home),
    Sql(Box<UpsertWarehouse>, Database),
}

/// A schema of its own in a database.
pub(super) struct Database {
    pub(super) engine: Engine,
    pub(super) schema: String,
    pub(super) specs: Vec<TableSpec>,
}

/// What a contract in SQL is kept on.
pub(super) enum Engine {
    Postgres,
    /// The stand-in, which sees the lake's bucket.
    Redshift(Box<Redshift>),
}

/// The bucket of every lake.
pub(super) const BUCKET: &str = "lake";

impl Engine {
    pub(super) fn all(lake: &Lake) -> [Self; 3] {
        let redshift = |isolation| {
            let buckets = HashMap::from([(BUCKET.to_owned(), lake.store.objects())]);
            Self::Redshift(Box::new(Redshift::start(Options { isolation, buckets, ..Options::default() })))
        };
        [Self::Postgres, redshift(Isolation::Serializable), redshift(Isolation::Snapshot)]
    }

    pub(super) fn server(&self) -> ServerSettings {
        let port = match self {
            Self::Postgres => postgres().port,
            Self::Redshift(server) => server.port,
        };
        let login = Login::Environment { user: USER.to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
        ServerSettings { host: "127.0.0.1".to_owned(), port, login, tls: Tls::Off }
    }
}

impl Database {
    pub(super) fn all(lake: &Lake, specs: &[TableSpec]) -> Vec<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let schema = || format!("house_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let engines = Engine::all(lake).into_iter();
        engines.map(|engine| Self { engine, schema: schema(), specs: specs.to_vec() }).collect()
    }

    pub(super) fn warehouse(&self, lake: &Lake) -> UpsertWarehouse {
        static POSTGRES: OnceLock<String> = OnceLock::new();
        static REDSHIFT: OnceLock<String> = OnceLock::new();
        let place = SqlPlace { store: lake.store.clone(), pipeline: "p".to_owned() };
        let (server, schema) = (self.engine.server(), Some(self.schema.clone()));
        let tables = (&self.specs[..], Context::system());
        let warehouse = match &self.engine {
            Engine::Postgres => {
                let database = POSTGRES.get_or_init(database).clone();
                PostgresWarehouse::new(&PostgresSettings { server, database, schema }, None, place, tables)
            }
            Engine::Redshift(stand_in) => {
                let settings = RedshiftSettings {
                    access: RedshiftAccess::Wire(server),
                    database: REDSHIFT.get_or_init(|| stand_in.database()).clone(),
                    schema,
                    iam_role: "default".to_owned(),
                    fixed_length_decimals: false,
                    endpoint: None,
                };
                let chain = AwsChain::fixed("us-east-1", "AKIDFIXED", "secret");
                RedshiftWarehouse::new(&settings, chain, place, tables)
            }
        };
        warehouse.expect("a warehouse")
    }

    pub(super) fn columns(&self, table: &str) -> SchemaRef {
        let shapes = shape::shapes(&self.specs).expect("shapes");
        Arc::clone(&shapes.iter().find(|shape| shape.name == table).expect("a table").table)
    }
}

/// All rows of a table that the warehouse answers with, in its columns' types.
async fn read_back(warehouse: &UpsertWarehouse, table: &str, schema: SchemaRef) -> RecordBatch {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let answer = warehouse.rows(table, &names, None).await.expect("an answer");
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await.expect("rows");
    let rows = concat_batches(&answer.schema, &batches).expect("one schema");
    let columns = schema.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| match field.data_type() {
        DataType::List(_) | DataType::Struct(_) => from_json(field, column),
        wanted => arrow::compute::cast(column, wanted).expect("its type"),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("a batch")
}

/// Texts of JSON as nested values.
fn from_json(field: &Field, texts: &ArrayRef) -> ArrayRef {
    let texts = texts.as_string::<i32>().iter();
    let lines: String = texts.map(|text| format!("{{\"v\":{}}}\n", text.unwrap_or("null"))).collect();
    let schema = Arc::new(Schema::new(vec![Field::new("v", field.data_type().clone(), true)]));
    let reader = arrow::json::ReaderBuilder::new(schema).build(lines.as_bytes()).expect("a reader");
    let batches = reader.collect::<Result<Vec<_>, _>>().expect("JSON");
    match batches.as_slice() {
        [] => arrow::array::new_empty_array(field.data_type()),
        [batch] => Arc::clone(batch.column(0)),
        _ => panic!("more rows than a test has"),
    }
}

/// The folder of a Delta warehouse.
pub(super) struct Home {
    pub(super) folder: Folder,
    _kept: Option<TempDir>,
}

impl Home {
    /// On the disk, and in an object store.
    pub(super) fn both() -> [Self; 2] {
        let kept = tempfile::tempdir().expect("a folder");
        let store = Store::memory("warehouse-store").expect("a store");
        [Self { folder: kept.path().join("warehouse").into(), _kept: Some(kept) }, Self::over(store)]
    }

    pub(super) fn over(store: Store) -> Self {
        Self { folder: Folder::Store(store, "warehouse".to_owned()), _kept: None }
    }

    pub(super) fn warehouse(&self, lake: &Lake, specs: &[TableSpec]) -> DeltaWarehouse {
        self.warehouse_at(lake, specs, Context::system())
    }

    pub(super) fn warehouse_at(&self, lake: &Lake, specs: &[TableSpec], context: Context) -> DeltaWarehouse {
        let place = Place { folder: self.folder.clone(), store: lake.store.clone(), pipeline: "p".to_owned() };
        DeltaWarehouse::new(place, specs, context, BOUNDS).expect("a warehouse")
    }

    pub(super) async fn table(&self, name: &str) -> DeltaTable {
        let log = match self.folder.join(name) {
            Folder::Local(path) => {
                let url = url::Url::from_directory_path(path).expect("a folder");
                let table = deltalake::DeltaTableBuilder::from_url(url).and_then(deltalake::DeltaTableBuilder::build);
                table.expect("a table").log_store()
            }
            Folder::Store(store, path) => {
                let url = store.url_of(&path).expect("an address");
                default_logstore(store.objects_in(&path), store.root(), &url, &StorageConfig::default())
            }
        };
        let mut table = DeltaTable::new(log);
        table.load().await.expect("loaded");
        table
    }

    /// All files of a table's folder.
    pub(super) async fn files(&self, table: &str) -> Vec<String> {
        let objects = self.table(table).await.log_store().object_store(None);
        objects.list(None).map_ok(|file| file.location.to_string()).try_collect().await.expect("a listing")
    }

    pub(super) async fn rows(&self, table: &str) -> RecordBatch {
        let table = self.table(table).await;
        let schema = table.snapshot().expect("loaded").snapshot().arrow_schema();
        let mut batches = Vec::new();
        for path in data_files(&table) {
            let found = table.log_store().object_store(None).get_opts(&path, Default::default()).await.expect("a file");
            for batch in staged::parquet(found.bytes().await.expect("bytes"), &schema).expect("parquet") {
                batches.push(shape::conform(&batch, &schema).expect("the table's columns"));
            }
        }
        concat_batches(&schema, &batches).expect("one schema")
    }
}

pub(super) fn data_files(table: &DeltaTable) -> Vec<deltalake::Path> {
    let state = table.snapshot().expect("loaded");
    state.log_data().iter().map(|view| view.object_store_path()).collect()
}

impl House {
    /// All of them, rows in memory first.
    pub(super) async fn all(lake: &Lake) -> Vec<Self> {
        Self::of(lake, &specs()).await
    }

    pub(super) async fn of(lake: &Lake, specs: &[TableSpec]) -> Vec<Self> {
        let memory = MemoryWarehouse::new(lake.store.clone(), specs, "p", Context::system()).expect("a warehouse");
        let deltas = Home::both().map(|home| Self::Delta(Box::new(home.warehouse(lake, specs)), home));
        let databases = Database::all(lake, specs);
        let databases = databases.into_iter().map(|place| Self::Sql(Box::new(place.warehouse(lake)), place));
        let houses: Vec<Self> = [Self::Memory(memory)].into_iter().chain(deltas).chain(databases).collect();
        for house in &houses {
            house.get().prepare().await.expect("prepared");
        }
        houses
    }

    pub(super) fn get(&self) -> &dyn Warehouse {
        match self {
            Self::Memory(warehouse) => warehouse,
            Self::Delta(warehouse, _) => warehouse.as_ref(),
            Self::Sql(warehouse, _) => warehouse.as_ref(),
        }
    }

    /// Another loader of the same tables; none where they live in the loader.
    pub(super) fn twin(&self, lake: &Lake) -> Option<Box<dyn Warehouse>> {
        match self {
            Self::Memory(_) => None,
            Self::Delta(_, home) => Some(Box::new(home.warehouse(lake, &specs()))),
            Self::Sql(_, place) => Some(Box::new(place.warehouse(lake))),
        }
    }

    /// Whether a load goes in as a whole, and not table by table.
    pub(super) fn is_atomic(&self) -> bool {
        matches!(self, Self::Sql(..))
    }

    pub(super) async fn load(&self, entries: &[Arc<Entry>]) -> Result<crate::batch::Receipt> {
        self.get().load(entries).await
    }

    pub(super) async fn batch(&self, table: &str) -> RecordBatch {
        match self {
            Self::Memory(warehouse) => warehouse.rows(table).expect("a table"),
            Self::Delta(_, home) => home.rows(table).await,
            Self::Sql(warehouse, place) => read_back(warehouse, table, place.columns(table)).await,
        }
    }

    /// A table's rows as texts, in order: the values of these columns with `|` between.
    pub(super) async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String> {
        let batch = self.batch(table).await;
        let value = |column: &str, row: usize| {
            let column = batch.column_by_name(column).unwrap_or_else(|| panic!("{table} has no {column}"));
            array_value_to_string(column, row).expect("a text").replace(":00Z", "")
        };
        let row = |row: usize| columns.iter().map(|column| value(column, row)).collect::<Vec<_>>().join("|");
        let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
        rows.sort();
        rows
    }

    /// Everything in every table.
    pub(super) async fn everything(&self) -> Vec<Vec<String>> {
        let mut tables = Vec::new();
        for spec in specs() {
            let schema = self.batch(&spec.name).await.schema();
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            tables.push(self.rows(&spec.name, &columns).await);
        }
        tables
    }
}

/// The Delta warehouses, each with its home.
pub(super) async fn deltas(lake: &Lake) -> Vec<House> {
    House::all(lake).await.into_iter().filter(|house| matches!(house, House::Delta(..))).collect()
}

/// Those whose tables outlive their loader.
pub(super) async fn shared(lake: &Lake) -> Vec<House> {
    House::all(lake).await.into_iter().filter(|house| !matches!(house, House::Memory(_))).collect()
}
