//! The deep audit over Delta tables, PostgreSQL and Redshift's stand-in: clean after loads of every kind, and whatever
//! somebody else does to a table is found with its key and column.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{
    BooleanArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema, SchemaRef, TimeUnit};
use deltalake::DeltaTableBuilder;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::aws::AwsChain;
use crate::batch::Receipt;
use crate::config::{Login, PostgresSettings, RedshiftAccess, RedshiftSettings, ServerSettings, Tls};
use crate::error::ErrorKind;
use crate::load::{
    Answer, DeltaWarehouse, Held, Ledger, LoadBounds, Place, PostgresWarehouse, RedshiftWarehouse, SqlPlace,
};
use crate::query::{Holdings, Query};
use crate::runtime::{Clock, Context, SystemClock};
use crate::schema::samples::table as spec;
use crate::schema::{History, Reference, TableKind};
use crate::sql::SpillFolder;
use crate::stand_ins::postgres::{USER, database, postgres};
use crate::stand_ins::redshift::{Options, Redshift};
use crate::store::Folder;

const SETTINGS: QuerySettings = QuerySettings { memory_bytes: 64 << 20, partitions: 1 };

fn specs() -> Vec<TableSpec> {
    let reference =
        |column: &str, dimension: &str| Reference { column: column.to_owned(), dimension: dimension.to_owned() };
    let tags = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let weights = DataType::List(Arc::new(Field::new("item", DataType::Float64, true)));
    let place = DataType::Struct(vec![Field::new("lat", DataType::Float32, true)].into());
    let orders = [
        ("order_id", DataType::Int32),
        ("customer", DataType::Utf8),
        ("rider_id", DataType::Int32),
        ("value", DataType::Decimal128(10, 2)),
        ("rate", DataType::Float64),
        ("tags", tags),
        ("weights", weights),
        ("place", place),
        ("status", DataType::Utf8),
    ];
    let customers = [("customer", DataType::Utf8), ("name", DataType::Utf8), ("city", DataType::Utf8)];
    vec![
        TableSpec {
            references: vec![reference("customer", "dim_customers"), reference("rider_id", "dim_riders")],
            ..spec("fact_orders", TableKind::Fact, &orders)
        },
        TableSpec { key: vec![], ..spec("fact_clicks", TableKind::Fact, &[("page", DataType::Utf8)]) },
        TableSpec { history: History::Keep, ..spec("dim_customers", TableKind::Dimension, &customers) },
        spec("dim_riders", TableKind::Dimension, &[("rider_id", DataType::Int64), ("rating", DataType::Float64)]),
    ]
}

/// Staged rows: the declared columns, and for each row the second at which it arrived.
type Staged<'a> = (&'a str, Vec<ArrayRef>, &'a [i64]);

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<StringArray>())
}

/// (order, customer, rider, status, arrived)
fn orders<'a>(rows: &[(i32, Option<&str>, Option<i32>, &str)], arrived: &'a [i64]) -> Staged<'a> {
    let values = rows.iter().zip(arrived).map(|(row, at)| Some(i128::from(row.0) * 100 + i128::from(*at)));
    let values = values.collect::<Decimal128Array>().with_precision_and_scale(10, 2).expect("decimals");
    let rates = rows.iter().map(|row| [Some(0.1), None, Some(f64::NAN), Some(-0.0)][row.0 as usize % 4]);
    let tags = rows.iter().map(|row| (row.0 != 2).then(|| vec![Some(row.0), None, Some(row.0 * 2)]));
    let odd = [f64::NAN, -0.0, f64::NEG_INFINITY, 0.1];
    let weights = rows.iter().map(|row| Some(vec![Some(odd[row.0 as usize % 4]), None, Some(-0.0)]));
    let lat: ArrayRef =
        Arc::new(rows.iter().map(|row| Some(odd[(row.0 as usize + 1) % 4] as f32)).collect::<Float32Array>());
    let place = StructArray::from(vec![(Arc::new(Field::new("lat", DataType::Float32, true)), lat)]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int32Array>()),
        texts(&rows.iter().map(|row| row.1).collect::<Vec<_>>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
        Arc::new(values),
        Arc::new(rates.collect::<Float64Array>()),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(tags)),
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(weights)),
        Arc::new(place),
        texts(&rows.iter().map(|row| Some(row.3)).collect::<Vec<_>>()),
    ];
    ("fact_orders", columns, arrived)
}

fn clicks<'a>(pages: &[&str], arrived: &'a [i64]) -> Staged<'a> {
    ("fact_clicks", vec![texts(&pages.iter().map(|page| Some(*page)).collect::<Vec<_>>())], arrived)
}

/// (customer, name, city)
fn customers<'a>(rows: &[(&str, &str, Option<&str>)], arrived: &'a [i64]) -> Staged<'a> {
    let columns = vec![
        texts(&rows.iter().map(|row| Some(row.0)).collect::<Vec<_>>()),
        texts(&rows.iter().map(|row| Some(row.1)).collect::<Vec<_>>()),
        texts(&rows.iter().map(|row| row.2).collect::<Vec<_>>()),
    ];
    ("dim_customers", columns, arrived)
}

fn riders<'a>(rows: &[(i64, f64)], arrived: &'a [i64]) -> Staged<'a> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Float64Array>()),
    ];
    ("dim_riders", columns, arrived)
}

fn staged_schema(columns: &SchemaRef) -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let versions = [Field::new("_arrived_at", instant, false), Field::new("_position", DataType::Utf8, false)];
    Arc::new(Schema::new(columns.fields().iter().map(|f| f.as_ref().clone()).chain(versions).collect::<Vec<_>>()))
}

/// The object store, and the journal's entries over it.
struct Lake {
    store: Store,
    entries: Vec<Arc<Entry>>,
}

impl Lake {
    fn new() -> Self {
        let objects = Store::memory("lake").expect("a store").objects();
        Self { store: Store::bucket_of(objects, "lake").expect("a bucket"), entries: Vec::new() }
    }

    async fn stage(&mut self, tables: Vec<Staged<'_>>) {
        let number = self.entries.len() as u64 + 1;
        let mut files = serde_json::Map::new();
        for (table, mut columns, arrived) in tables {
            let mut known = specs().into_iter().chain(odd_specs());
            let schema = known.find(|spec| spec.name == table).expect("a spec").columns;
            let instants = arrived.iter().map(|second| second * 1_000_000).collect::<Vec<_>>();
            columns.push(Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC")));
            let positions = (0..arrived.len()).map(|row| Some(format!("{:09}-{row}", arrived[row])));
            columns.push(Arc::new(positions.collect::<StringArray>()));
            let rows = RecordBatch::try_new(staged_schema(&schema), columns).expect("a batch");
            let mut bytes = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).expect("a writer");
            writer.write(&rows).expect("written");
            writer.close().expect("closed");
            let path = format!("staged/{table}/{number}.parquet");
            files.insert(table.to_owned(), json!([{ "path": path, "rows": rows.num_rows(), "bytes": bytes.len() }]));
            self.store.put(&path, bytes.into()).await.expect("staged");
        }
        let entry = json!({ "format": 1, "number": number, "pipeline": "p", "writer": "w", "attempt": "a",
            "written_at": 0, "tables": files });
        self.entries.push(Arc::new(serde_json::from_value(entry).expect("an entry")));
    }

    /// Orders in several states, clicks, a history with late rows, members that only facts know.
    async fn usual() -> Self {
        let mut lake = Self::new();
        lake.stage(vec![
            orders(&[(1, Some("ada"), Some(5), "Placed"), (2, Some("zoe"), None, "Placed")], &[10, 11]),
            clicks(&["a", "a", "a"], &[10, 10, 12]),
            customers(&[("ada", "Ada", Some("Rome")), ("bob", "Bob", None), ("cy", "Cy", None)], &[600, 600, 600]),
            riders(&[(5, 1.5), (6, 2.5)], &[600, 600]),
        ])
        .await;
        lake.stage(vec![
            orders(&[(1, Some("ada"), Some(9), "Delivered"), (3, None, Some(6), "Placed")], &[20, 21]),
            customers(&[("ada", "Ada", Some("Oslo")), ("bob", "Bob", None)], &[1200, 1200]),
        ])
        .await;
        // Late rows: of an order, and of a customer between two versions; a customer as it was.
        lake.stage(vec![
            orders(&[(1, Some("ada"), Some(5), "Preparing"), (4, Some("bob"), Some(5), "Placed")], &[15, 30]),
            clicks(&["b"], &[31]),
            customers(
                &[("ada", "Ada", Some("Bonn")), ("bob", "Bob", None), ("cy", "Cy", Some("Bern"))],
                &[900, 1800, 1800],
            ),
        ])
        .await;
        // A member that facts knew first, and one whose rows leave open when its versions hold.
        lake.stage(vec![
            customers(
                &[("zoe", "Zoe", Some("Linz")), ("cy", "Cy", None), ("bob", "Bob", Some("Genf"))],
                &[1900, 1900, 700],
            ),
            riders(&[(5, 3.5)], &[700]),
        ])
        .await;
        lake
    }
}

/// A warehouse that somebody else can get at.
enum House {
    Delta(Box<DeltaWarehouse>, TempDir),
    Sql(Box<crate::load::UpsertWarehouse>, String, Option<Box<Redshift>>),
}

/// What somebody else does to a table.
enum Meddling {
    /// Changes columns of the rows that a condition chooses.
    Update(&'static str, &'static str, &'static [(&'static str, &'static str)]),
    Delete(&'static str, &'static str),
    /// Puts a row in: a copy of the chosen one with another value of a column.
    Insert(&'static str, &'static str, (&'static str, &'static str)),
}

impl House {
    async fn all(lake: &Lake) -> Vec<Self> {
        let kept = tempfile::tempdir().expect("a folder");
        let bounds = LoadBounds { memory_bytes: 64 << 20, partitions: 1 };
        let place = Place { folder: kept.path().join("w").into(), store: lake.store.clone(), pipeline: "p".to_owned() };
        let delta = DeltaWarehouse::new(place, &specs(), Context::system(), bounds).expect("a warehouse");
        let place = || SqlPlace { store: lake.store.clone(), pipeline: "p".to_owned() };
        let server = |port| {
            let login =
                Login::Environment { user: USER.to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
            ServerSettings { host: "127.0.0.1".to_owned(), port, login, tls: Tls::Off }
        };
        let (specs, schema) = (specs(), Some("house".to_owned()));
        let name = database();
        let settings =
            PostgresSettings { server: server(postgres().port), database: name.clone(), schema: schema.clone() };
        let tables = || (&specs[..], Context::system());
        let sql = PostgresWarehouse::new(&settings, None, place(), tables()).expect("a warehouse");
        let buckets = HashMap::from([("lake".to_owned(), lake.store.objects())]);
        let stand_in = Box::new(Redshift::start(Options { buckets, ..Options::default() }));
        let behind = stand_in.database();
        let settings = RedshiftSettings {
            access: RedshiftAccess::Wire(server(stand_in.port)),
            database: behind.clone(),
            schema,
            iam_role: "default".to_owned(),
            fixed_length_decimals: false,
            endpoint: None,
        };
        let chain = AwsChain::fixed("us-east-1", "AKIDFIXED", "secret");
        let redshift = RedshiftWarehouse::new(&settings, chain, place(), tables()).expect("a warehouse");
        let houses = vec![
            Self::Delta(Box::new(delta), kept),
            Self::Sql(Box::new(sql), name, None),
            Self::Sql(Box::new(redshift), behind, Some(stand_in)),
        ];
        for house in &houses {
            house.warehouse().prepare().await.expect("prepared");
        }
        houses
    }

    fn warehouse(&self) -> &dyn Warehouse {
        match self {
            Self::Delta(warehouse, _) => warehouse.as_ref(),
            Self::Sql(warehouse, ..) => warehouse.as_ref(),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Delta(..) => "delta",
            Self::Sql(_, _, None) => "postgres",
            Self::Sql(..) => "redshift",
        }
    }

    async fn audit(&self, lake: &Lake) -> Deep {
        let folder = match self {
            Self::Delta(_, kept) => Folder::from(kept.path().join("w")),
            Self::Sql(..) => Folder::from(std::env::temp_dir()),
        };
        let (sql, loaded) = match self {
            Self::Delta(..) => (None, Loaded::Delta(&folder)),
            Self::Sql(warehouse, ..) => (Some(warehouse.as_ref() as &dyn SqlWarehouse), Loaded::Nothing),
        };
        let specs = specs();
        let deep = DeepAudit {
            store: &lake.store,
            warehouse: self.warehouse(),
            sql,
            loaded,
            specs: &specs,
            settings: SETTINGS,
            spill: &Spill::NOWHERE,
        };
        deep.run(&lake.entries).await.expect("compared")
    }

    async fn meddle(&self, meddling: &Meddling) {
        match self {
            Self::Delta(_, kept) => meddle_with_delta(kept, meddling).await,
            Self::Sql(_, name, _) => {
                let sql = match meddling {
                    Meddling::Update(table, condition, sets) => {
                        let sets = sets.iter().map(|(column, value)| format!("{column} = {value}")).collect::<Vec<_>>();
                        format!("UPDATE house.{table} SET {} WHERE {condition}", sets.join(", "))
                    }
                    Meddling::Delete(table, condition) => format!("DELETE FROM house.{table} WHERE {condition}"),
                    Meddling::Insert(table, condition, (column, value)) => format!(
                        "CREATE TEMP TABLE more AS SELECT * FROM house.{table} WHERE {condition};
                         UPDATE more SET {column} = {value}; INSERT INTO house.{table} SELECT * FROM more; DROP TABLE more"
                    ),
                };
                let address = format!("host=127.0.0.1 port={} user={USER} dbname={name}", postgres().port);
                let (client, connection) =
                    tokio_postgres::connect(&address, tokio_postgres::NoTls).await.expect("connected");
                let statement = client.batch_execute(&sql);
                let done = futures::future::select(Box::pin(connection), Box::pin(statement)).await;
                let futures::future::Either::Right((done, _)) = done else { panic!("the connection ended") };
                done.expect(&sql);
            }
        }
    }
}

async fn meddle_with_delta(kept: &TempDir, meddling: &Meddling) {
    let (Meddling::Update(table, ..) | Meddling::Delete(table, ..) | Meddling::Insert(table, ..)) = meddling;
    let url = url::Url::from_directory_path(kept.path().join("w").join(table)).expect("a folder");
    let mut delta = DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build).expect("a table");
    delta.load().await.expect("loaded");
    match meddling {
        Meddling::Update(_, condition, sets) => {
            let update = delta.update().with_predicate(*condition);
            let update = sets.iter().fold(update, |update, (column, value)| update.with_update(*column, *value));
            update.await.expect("updated");
        }
        Meddling::Delete(_, condition) => drop(delta.delete().with_predicate(*condition).await.expect("deleted")),
        Meddling::Insert(table, condition, (column, value)) => {
            let (store, folder) = (Store::memory("none").expect("a store"), Folder::from(kept.path().join("w")));
            let specs = specs();
            let holdings = Holdings {
                store: &store,
                warehouse: Loaded::Delta(&folder),
                specs: &specs,
                entries: &[],
                verify: false,
            };
            let query = Query::open(holdings, SETTINGS).await.expect("a session");
            let chosen = format!("select * from {table} where {condition}");
            let rows = query.run(&chosen).await.expect("planned").collect().await.expect("rows");
            let (at, field) =
                rows[0].schema().column_with_name(column).map(|(at, field)| (at, field.clone())).expect("a column");
            let text: ArrayRef = Arc::new(StringArray::from(vec![value.trim_matches('\'')]));
            let mut columns = rows[0].columns().to_vec();
            columns[at] = arrow::compute::cast(&text, field.data_type()).expect("a value");
            let row = RecordBatch::try_new(rows[0].schema(), columns).expect("a row");
            delta.write([row]).await.expect("written");
        }
    }
}

#[tokio::test]
async fn what_was_loaded_is_what_was_staged_however_it_was_cut() {
    let lake = Lake::usual().await;
    for cuts in [vec![4], vec![1, 2, 3, 4]] {
        for house in House::all(&lake).await {
            assert_eq!(house.audit(&lake).await, Deep::default(), "nothing is loaded into {}", house.name());
            let mut from = 0;
            for cut in &cuts {
                house.warehouse().load(&lake.entries[from..*cut]).await.expect("loaded");
                from = *cut;
                let deep = house.audit(&lake).await;
                assert_eq!(deep.findings, [], "{} through {cut} of {cuts:?}", house.name());
            }
            let deep = house.audit(&lake).await;
            // 4 orders, 4 clicks, 3 riders with the inferred one; of the customers 3, 1 or 2 (a late Bob), 3 and 1 versions.
            assert!(deep.rows > 4 + 4 + 3 + 3 + 1 + 3, "{}: {deep:?}", house.name());
            assert_eq!(deep.open, 1, "of Bob only the form is known");
        }
    }
}

#[tokio::test]
async fn whatever_somebody_else_does_is_found_with_its_key_and_column() {
    use Meddling::{Delete, Insert, Update};
    let lake = Lake::usual().await;
    let meddlings = [
        (
            Update("fact_orders", "order_id = 1", &[("status", "'Lost'")]),
            "fact_orders, order_id 1: status is \"Lost\" and should be \"Delivered\"",
        ),
        (
            Update("fact_orders", "order_id = 2", &[("value", "2.12")]),
            "fact_orders, order_id 2: value is 2.12 and should be 2.11",
        ),
        (
            Update("fact_orders", "order_id = 3", &[("rate", "null")]),
            "fact_orders, order_id 3: rate is null and should be ",
        ),
        (Delete("fact_orders", "order_id = 4"), "fact_orders, order_id 4: is missing"),
        (
            Insert("fact_orders", "order_id = 2", ("order_id", "77")),
            "fact_orders, order_id 77: is there, and no staged row puts it there",
        ),
        (Update("fact_clicks", "page = 'b'", &[("page", "'c'")]), "page is \"c\" and should be \"b\""),
        (Insert("fact_clicks", "page = 'c'", ("page", "'d'")), "is there once more than the staged rows put it there"),
        (
            Update("dim_customers", "customer = 'cy' and name = 'Cy' and valid_to is null", &[("city", "'Basel'")]),
            "dim_customers, customer \"cy\", valid_from 1970-01-01T00:31:40Z: city is \"Basel\" and should be null",
        ),
        (
            Update(
                "dim_customers",
                "customer = 'ada' and city = 'Rome'",
                &[("valid_to", "valid_to + interval '1 day'")],
            ),
            "dim_customers, customer \"ada\", valid_from 1900-01-01T00:00:00Z: valid_to is 1970-01-02T00:15:00Z and should be 1970-01-01T00:15:00Z",
        ),
        (
            Update("dim_customers", "customer = 'zoe'", &[("surrogate_key", "surrogate_key + 1")]),
            "dim_customers, customer \"zoe\", valid_from 1900-01-01T00:00:00Z: surrogate_key is ",
        ),
        (
            Update("dim_customers", "customer = 'bob' and valid_to is null", &[("is_current", "false")]),
            "is_current is false and should be true",
        ),
        (
            Delete("dim_customers", "customer = 'ada' and city = 'Bonn'"),
            "dim_customers, customer \"ada\", valid_from 1970-01-01T00:15:00Z: is missing",
        ),
        (
            Update("dim_riders", "rider_id in (5, 6)", &[("rating", "case when rider_id = 5 then 2.5 else 3.5 end")]),
            "dim_riders, rider_id 6: rating is 3.5 and should be 2.5",
        ),
        (
            Update("dim_riders", "rider_id = 9", &[("is_inferred", "false")]),
            "dim_riders, rider_id 9: is_inferred is false and should be true",
        ),
    ];
    for house in House::all(&lake).await {
        house.warehouse().load(&lake.entries).await.expect("loaded");
        let mut known = 0;
        for (meddling, sentence) in &meddlings {
            house.meddle(meddling).await;
            let findings = house.audit(&lake).await.findings;
            assert!(findings.iter().all(|finding| finding.identity == "contents"), "{findings:?}");
            let told: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
            assert!(told.iter().any(|message| message.contains(sentence)), "{}: {sentence}\n{told:#?}", house.name());
            assert!(told.len() > known, "{}: {sentence} is one more:\n{told:#?}", house.name());
            known = told.len();
        }
    }
}

/// A database of one table, made of numbers: as many rows as one likes, in no order.
struct Numbers {
    rows: i64,
    /// The row that is not as it was staged.
    altered: Option<i64>,
    /// How often it is still loaded into while it is read.
    loads: AtomicU64,
    /// Whether its rows were read to their end.
    drained: Arc<AtomicBool>,
}

fn numbers() -> TableSpec {
    spec("numbers", TableKind::Fact, &[("id", DataType::Int64), ("text", DataType::Utf8)])
}

const AT_ONCE: i64 = 8_192;

impl Numbers {
    fn of(rows: i64) -> Self {
        Self { rows, altered: None, loads: AtomicU64::new(0), drained: Arc::default() }
    }

    /// The rows of these places, a batch: a step that shares no divisor with their number meets each once.
    fn batch(&self, from: i64, step: i64) -> RecordBatch {
        let ids: Vec<i64> = (from..self.rows.min(from + AT_ONCE)).map(|place| place * step % self.rows).collect();
        let text = |id: &i64| match self.altered == Some(*id) {
            true => "another".to_owned(),
            false => format!("the text of the row {id}, which is as long as texts are"),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(StringArray::from_iter_values(ids.iter().map(text))),
            Arc::new(TimestampMicrosecondArray::from(ids.clone()).with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("{id:020}")))),
        ];
        RecordBatch::try_new(staged_schema(&numbers().columns), columns).expect("a batch")
    }

    async fn staged(&self) -> (Store, Vec<Arc<Entry>>) {
        let store = Store::memory("lake").expect("a store");
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, staged_schema(&numbers().columns), None).expect("a writer");
        let as_staged = Self { altered: None, ..Self::of(self.rows) };
        for from in (0..self.rows).step_by(AT_ONCE as usize) {
            writer.write(&as_staged.batch(from, 7)).expect("written");
        }
        writer.close().expect("closed");
        let file = json!([{ "path": "staged/numbers/1.parquet", "rows": self.rows, "bytes": bytes.len() }]);
        store.put("staged/numbers/1.parquet", bytes.into()).await.expect("staged");
        let entry = json!({ "format": 1, "number": 1, "pipeline": "p", "writer": "w", "attempt": "a", "written_at": 0,
            "tables": { "numbers": file } });
        (store, vec![Arc::new(serde_json::from_value(entry).expect("an entry"))])
    }

    async fn audit(self: &Arc<Self>, memory_bytes: usize, spill: &Spill) -> Result<Deep> {
        self.compared(&self.staged().await, memory_bytes, spill).await
    }

    async fn compared(
        self: &Arc<Self>,
        (store, entries): &(Store, Vec<Arc<Entry>>),
        memory_bytes: usize,
        spill: &Spill,
    ) -> Result<Deep> {
        let settings = QuerySettings { memory_bytes, partitions: 1 };
        let (warehouse, specs) = (&**self, [numbers()]);
        let deep = DeepAudit {
            store,
            warehouse,
            sql: Some(warehouse),
            loaded: Loaded::Nothing,
            specs: &specs,
            settings,
            spill,
        };
        deep.run(entries).await
    }
}

#[async_trait]
impl Warehouse for Numbers {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn ledger(&self) -> Result<Ledger> {
        let left = self.loads.load(Ordering::SeqCst);
        self.loads.store(left.saturating_sub(1), Ordering::SeqCst);
        Ok(Ledger { loaded_through: 1 + left, ..Ledger::default() })
    }

    async fn receipts(&self, _limit: usize) -> Result<Vec<Receipt>> {
        Ok(Vec::new())
    }

    async fn load(&self, _entries: &[Arc<Entry>]) -> Result<Receipt> {
        Err(Error::internal("nothing is loaded here"))
    }
}

#[async_trait]
impl SqlWarehouse for Numbers {
    async fn cancel(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn query(&self, sql: &str) -> Result<Answer> {
        Err(Error::internal(sql.to_owned()))
    }

    async fn rows(&self, _table: &str, _columns: &[&str], _limit: Option<u64>) -> Result<Answer> {
        let numbers = Self { altered: self.altered, ..Self::of(self.rows) };
        let drained = Arc::clone(&self.drained);
        let from = (0..self.rows).step_by(AT_ONCE as usize);
        let rows = stream::iter(from.map(move |from| Ok(numbers.batch(from, 11))));
        let end = stream::once(async move { drained.store(true, Ordering::SeqCst) }).filter_map(async |()| None);
        let batches = rows.chain(end).boxed();
        Ok(Answer { schema: staged_schema(&super::tests::numbers().columns), batches })
    }

    async fn held(&self, _table: &str) -> Result<Held> {
        Err(Error::internal("nothing is counted here"))
    }

    fn pads_texts(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_table_larger_than_the_memory_is_compared_within_it() {
    // 300,000 rows of some 130 bytes are 40 MB on each side; each sort has 24 MB.
    let numbers = Arc::new(Numbers { altered: Some(123_456), ..Numbers::of(300_000) });
    let error = numbers.audit(24 << 20, &Spill::NOWHERE).await.expect_err("it spills nowhere else than it is told");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let place = tempfile::tempdir().expect("a folder");
    let spill = |bytes| Spill { folder: Some(SpillFolder::new(place.path()).expect("a folder")), bytes };
    let error = numbers.audit(24 << 20, &spill(1 << 20)).await.expect_err("nor more than it may");
    assert!(error.to_string().contains("spills more to disk than it may"), "{error}");
    let deep = numbers.audit(24 << 20, &spill(1 << 30)).await.expect("compared");
    assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 0, "what was spilled is gone");
    assert_eq!(deep.rows, 300_000);
    let told: Vec<&str> = deep.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "numbers, id 123456: text is \"another\" and should be \"the text of the row 123456, which is as long as texts are\""
        ]
    );
}

#[tokio::test]
async fn a_load_that_goes_on_meanwhile_is_no_finding() {
    let numbers = |loads| Arc::new(Numbers { loads: AtomicU64::new(loads), ..Numbers::of(100) });
    let deep = numbers(3).audit(32 << 20, &Spill::NOWHERE).await.expect("the loads end");
    assert_eq!((deep.rows, deep.findings), (100, vec![]));
    let error = numbers(1_000).audit(32 << 20, &Spill::NOWHERE).await.expect_err("they never end");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("the table numbers was loaded into each of the 5 times"), "{error}");
}

#[tokio::test]
async fn all_rows_that_differ_are_counted_and_the_first_are_named() {
    let lake = Lake::usual().await;
    let house = House::all(&lake).await.swap_remove(1);
    house.warehouse().load(&lake.entries).await.expect("loaded");
    let sql = "true; INSERT INTO house.dim_riders SELECT surrogate_key + n, n + 100, 1, false, _arrived_at, _position
               FROM house.dim_riders, generate_series(1, 12) AS n WHERE rider_id = 6";
    house.meddle(&Meddling::Update("dim_riders", sql, &[("rating", "rating")])).await;
    let told: Vec<String> = house.audit(&lake).await.findings.into_iter().map(|finding| finding.message).collect();
    assert_eq!(told.len(), 11, "{told:#?}");
    assert_eq!(told[10], "dim_riders: 12 rows differ in all; the first 10 are named above");
}

#[tokio::test]
async fn no_read_of_the_warehouse_stands_open_while_the_staged_rows_are_sorted() {
    let numbers = Arc::new(Numbers::of(5 * AT_ONCE));
    let staged = numbers.staged().await;
    staged.0.delete("staged/numbers/1.parquet").await.expect("deleted");
    // The staged side fails as soon as it is read.
    numbers.compared(&staged, 64 << 20, &Spill::NOWHERE).await.expect_err("a file is gone");
    assert!(numbers.drained.load(Ordering::SeqCst), "the warehouse's rows were read to their end before");
}

/// Tables of which a database tells less than was staged.
fn odd_specs() -> [TableSpec; 2] {
    let places = [("place", DataType::Utf8), ("name", DataType::Utf8), ("height", DataType::Float32)];
    let page = [("page", DataType::Utf8)];
    [
        spec("dim_places", TableKind::Dimension, &places),
        TableSpec { key: vec![], ..spec("fact_pages", TableKind::Fact, &page) },
    ]
}

/// A database that holds these rows, and tells less of them than Delta tables do.
struct Told {
    rows: RecordBatch,
    pads_texts: bool,
    real_digits: Option<usize>,
}

#[async_trait]
impl Warehouse for Told {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn ledger(&self) -> Result<Ledger> {
        Ok(Ledger { loaded_through: 2, ..Ledger::default() })
    }

    async fn receipts(&self, _limit: usize) -> Result<Vec<Receipt>> {
        Ok(Vec::new())
    }

    async fn load(&self, _entries: &[Arc<Entry>]) -> Result<Receipt> {
        Err(Error::internal("nothing is loaded here"))
    }
}

#[async_trait]
impl SqlWarehouse for Told {
    async fn cancel(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn query(&self, sql: &str) -> Result<Answer> {
        Err(Error::internal(sql.to_owned()))
    }

    async fn rows(&self, _table: &str, _columns: &[&str], _limit: Option<u64>) -> Result<Answer> {
        let batches = stream::iter([Ok(self.rows.clone())]).boxed();
        Ok(Answer { schema: self.rows.schema(), batches })
    }

    async fn held(&self, _table: &str) -> Result<Held> {
        Err(Error::internal("nothing is counted here"))
    }

    fn pads_texts(&self) -> bool {
        self.pads_texts
    }

    fn real_digits(&self) -> Option<usize> {
        self.real_digits
    }
}

impl Told {
    async fn audit(&self, lake: &Lake, spec: TableSpec) -> Vec<String> {
        let specs = [spec];
        let deep = DeepAudit {
            store: &lake.store,
            warehouse: self,
            sql: Some(self),
            loaded: Loaded::Nothing,
            specs: &specs,
            settings: SETTINGS,
            spill: &Spill::NOWHERE,
        };
        let findings = deep.run(&lake.entries).await.expect("compared").findings;
        findings.into_iter().map(|finding| finding.message).collect()
    }
}

fn instants(seconds: &[i64]) -> ArrayRef {
    let micros: Vec<i64> = seconds.iter().map(|second| second * 1_000_000).collect();
    Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
}

/// (place, name, height)
fn places<'a>(rows: &[(&str, &str, f32)], arrived: &'a [i64]) -> Staged<'a> {
    let columns: Vec<ArrayRef> = vec![
        texts(&rows.iter().map(|row| Some(row.0)).collect::<Vec<_>>()),
        texts(&rows.iter().map(|row| Some(row.1)).collect::<Vec<_>>()),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Float32Array>()),
    ];
    ("dim_places", columns, arrived)
}

/// The table of places with one row, whose surrogate key is that of `keyed`.
fn one_place((place, name, height): (&str, &str, f32), keyed: &str) -> RecordBatch {
    let key = crate::load::surrogates("dim_places", &[texts(&[Some(keyed)])], &[crate::query::BEGINNING]);
    RecordBatch::try_from_iter([
        ("surrogate_key", Arc::new(key.expect("a key")) as ArrayRef),
        ("place", texts(&[Some(place)])),
        ("name", texts(&[Some(name)])),
        ("height", Arc::new(Float32Array::from(vec![height]))),
        ("is_inferred", Arc::new(BooleanArray::from(vec![false]))),
        ("_arrived_at", instants(&[20])),
        ("_position", texts(&[Some("000000020-0")])),
    ])
    .expect("a row")
}

#[tokio::test]
async fn keys_that_differ_in_trailing_blanks_are_one_to_a_database_that_pads_texts() {
    let mut lake = Lake::new();
    lake.stage(vec![places(&[("Ulm", "old", 1.0)], &[10])]).await;
    lake.stage(vec![places(&[("Ulm ", "new", 1.0)], &[20])]).await;
    let audit = async |place: &str, name: &str, keyed: &str| {
        let told = Told { rows: one_place((place, name, 1.0), keyed), pads_texts: true, real_digits: None };
        told.audit(&lake, odd_specs()[0].clone()).await
    };
    // As a load leaves it: the key that came first stays, and its surrogate key; the values are the newest.
    assert_eq!(audit("Ulm", "new", "Ulm").await, Vec::<String>::new());
    assert_eq!(audit("Ulm ", "new", "Ulm ").await, Vec::<String>::new(), "the second entry was loaded first");
    assert!(audit("Ulm", "old", "Ulm").await[0].contains("name is \"old\" and should be \"new\""));
    assert!(audit("Ulm", "new ", "Ulm").await[0].contains("name is \"new \""), "of other columns each blank counts");
    assert!(audit("Ulm", "new", "Bonn").await[0].contains("surrogate_key is"));
}

#[tokio::test]
async fn a_real_of_which_a_database_writes_eight_digits_is_no_finding() {
    let (staged, told) = (1_023.000_06_f32, 1_023.000_1_f32);
    assert!(staged != told && format!("{staged:.7e}") == format!("{told:.7e}"), "{staged:.7e} {told:.7e}");
    let mut lake = Lake::new();
    lake.stage(vec![places(&[("Ulm", "a", 1.0)], &[10])]).await;
    lake.stage(vec![places(&[("Ulm", "a", staged)], &[20])]).await;
    let audit = async |height: f32, real_digits| {
        let told = Told { rows: one_place(("Ulm", "a", height), "Ulm"), pads_texts: false, real_digits };
        told.audit(&lake, odd_specs()[0].clone()).await
    };
    assert_eq!(audit(told, Some(8)).await, Vec::<String>::new());
    assert!(audit(told, None).await[0].contains("height is"));
    assert!(audit(1_023.001, Some(8)).await[0].contains("height is"));
}

/// How long it takes, in µs, to find one altered row of so many that came at once and have no key.
async fn time_of_pairing(rows: usize) -> i64 {
    let pages = |altered: usize| -> Vec<String> {
        (0..rows).map(|row| if row == altered { "altered".to_owned() } else { format!("page {row}") }).collect()
    };
    let held = |pages: &[String]| {
        let pages: Vec<Option<&str>> = pages.iter().rev().map(|page| Some(page.as_str())).collect();
        let columns = [texts(&pages), instants(&vec![0; rows]), texts(&vec![Some("0"); rows])];
        RecordBatch::try_from_iter(["page", "_arrived_at", "_position"].into_iter().zip(columns)).expect("rows")
    };
    let staged = held(&pages(rows));
    let mut lake = Lake::new();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, staged.schema(), None).expect("a writer");
    writer.write(&staged).expect("written");
    writer.close().expect("closed");
    for number in 1..=2 {
        let file = json!([{ "path": "staged/fact_pages/1.parquet", "rows": rows, "bytes": bytes.len() }]);
        let tables = if number == 1 { json!({ "fact_pages": file }) } else { json!({}) };
        let entry = json!({ "format": 1, "number": number, "pipeline": "p", "writer": "w", "attempt": "a",
            "written_at": 0, "tables": tables });
        lake.entries.push(Arc::new(serde_json::from_value(entry).expect("an entry")));
    }
    lake.store.put("staged/fact_pages/1.parquet", bytes.into()).await.expect("staged");
    let told = Told { rows: held(&pages(777)), pads_texts: false, real_digits: None };
    let began = SystemClock.now_micros();
    let findings = told.audit(&lake, odd_specs()[1].clone()).await;
    let took = SystemClock.now_micros() - began;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains("page is \"altered\" and should be \"page 777\""), "{findings:?}");
    took
}

/// Of eight times the rows: eight times the time, and sixty-four times if each row were looked for among all others. The
/// shortest of some times counts, for a busy machine adds to each.
#[tokio::test]
async fn many_rows_without_a_key_that_came_at_once_are_paired_in_time() {
    const ROWS: usize = 7_500;
    let (mut few, mut many) = (i64::MAX, i64::MAX);
    for _ in 0..3 {
        few = few.min(time_of_pairing(ROWS).await);
    }
    for _ in 0..3 {
        many = many.min(time_of_pairing(8 * ROWS).await);
        if many < 24 * few {
            return;
        }
    }
    panic!("{ROWS} rows take {few} µs, and eight times as many {many} µs");
}

/// The data files of a Delta table, wherever it is.
async fn data_files(folder: &Folder) -> Vec<String> {
    let names: Vec<String> = match folder {
        Folder::Local(path) => {
            let entries = std::fs::read_dir(path).expect("a folder");
            entries.map(|entry| entry.expect("a file").path().display().to_string()).collect()
        }
        Folder::Store(store, path) => {
            store.list(path, None).await.expect("listed").into_iter().map(|object| object.path).collect()
        }
    };
    names.into_iter().filter(|name| name.ends_with(".parquet") && !name.contains("_delta_log")).collect()
}

/// Flips a bit of a file of the table.
async fn flip(folder: &Folder, path: &str, at: usize) {
    let flipped = |mut bytes: Vec<u8>| {
        let at = at % bytes.len();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    match folder {
        Folder::Local(_) => std::fs::write(path, flipped(std::fs::read(path).expect("a file"))).expect("written"),
        Folder::Store(store, _) => {
            let bytes = store.get(path).await.expect("read").expect("there");
            store.put(path, flipped(bytes.to_vec()).into()).await.expect("put");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_gives_no_row_of_a_delta_file_that_was_altered() {
    let lake = Lake::usual().await;
    let kept = tempfile::Builder::new().prefix("a warehouse ").tempdir().expect("a folder");
    for folder in [Folder::from(kept.path()), Folder::Store(lake.store.clone(), "warehouse".to_owned())] {
        let bounds = LoadBounds { memory_bytes: 64 << 20, partitions: 1 };
        let place = Place { folder: folder.clone(), store: lake.store.clone(), pipeline: "p".to_owned() };
        let warehouse = DeltaWarehouse::new(place, &specs(), Context::system(), bounds).expect("a warehouse");
        warehouse.prepare().await.expect("prepared");
        warehouse.load(&lake.entries).await.expect("loaded");
        let (specs, store) = (specs(), &lake.store);
        for spec in &specs {
            let table = folder.join(&spec.name);
            let ask = async || {
                let holdings =
                    Holdings { store, warehouse: Loaded::Delta(&folder), specs: &specs, entries: &[], verify: true };
                let query = Query::open(holdings, SETTINGS).await?;
                query.run(&format!("select * from {}", spec.name)).await?.collect().await
            };
            let files = data_files(&table).await;
            assert!(!files.is_empty(), "{table}");
            for (path, at) in files.iter().flat_map(|path| [4, 99, 701, 3_571].map(|at| (path, at))) {
                flip(&table, path, at).await;
                let error = ask().await.expect_err("altered");
                let (told, name) = (error.to_string(), path.rsplit('/').next().expect("a name"));
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{told}");
                assert!(told.starts_with(&format!("the file {}/{name} was altered", spec.name)), "{told}");
                flip(&table, path, at).await;
            }
            assert!(!ask().await.expect("as it was").is_empty(), "{table}");
        }
    }
}
