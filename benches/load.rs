//! Loading 100,000 rows into a Delta fact table that already holds 2 million: keys recent, and keys all over the table.
//! And 1 million staged rows into PostgreSQL, beside the same rows through `INSERT … VALUES` of 1,000 rows each: this one
//! runs each way once (it takes a while) and needs a PostgreSQL on this machine: `cargo bench --bench load -- postgres`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    unreachable_pub,
    reason = "a benchmark may stop where it stands, tells its figures, and includes a server of the tests"
)]

#[path = "../tests/stand_ins/postgres/mod.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use millstream::batch::{Counts, DataFile, Entry, Marks, Ranges};
use millstream::config::{Login, PostgresSettings, ServerSettings, Tls};
use millstream::load::{DeltaWarehouse, LoadBounds, Place, PostgresWarehouse, SqlPlace, UpsertWarehouse, Warehouse};
use millstream::runtime::{Clock, Context, SystemClock};
use millstream::schema::{History, TableKind, TableLayout, TableSpec};
use millstream::store::Store;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

const HELD: i32 = 2_000_000;
const BATCH: i32 = 100_000;

fn spec() -> TableSpec {
    let ids = ["order_id", "customer_id", "restaurant_id", "rider_id", "delivery_minutes"];
    let money = ["order_value", "delivery_fee", "tip_amount", "total_amount"];
    let mut fields: Vec<Field> =
        ids.iter().map(|name| Field::new(*name, DataType::Int32, *name != "order_id")).collect();
    fields.extend(money.iter().map(|name| Field::new(*name, DataType::Decimal128(10, 2), true)));
    fields.push(Field::new("order_date", instant(), true));
    fields.push(Field::new("order_status", DataType::Utf8, true));
    TableSpec {
        name: "fact_orders".to_owned(),
        kind: TableKind::Fact,
        key: vec!["order_id".to_owned()],
        history: History::Overwrite,
        references: vec![],
        columns: Arc::new(Schema::new(fields)),
        one_to_one: true,
        max_bytes: BTreeMap::new(),
        layout: TableLayout::default(),
    }
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Orders of these ids, as the entry of this number brings them.
fn orders(ids: &[i32], entry: u64) -> RecordBatch {
    let mixed = |id: i32, salt: u32, below: u32| ((id as u32 ^ salt).wrapping_mul(2_654_435_761) >> 8) % below;
    let integers = |salt: u32, below: u32| -> ArrayRef {
        Arc::new(ids.iter().map(|&id| Some(mixed(id, salt, below) as i32)).collect::<Int32Array>())
    };
    let money = |salt: u32| -> ArrayRef {
        let values = ids.iter().map(|&id| Some(i128::from(mixed(id, salt, 9_000)))).collect::<Decimal128Array>();
        Arc::new(values.with_precision_and_scale(10, 2).expect("fits"))
    };
    let arrived = |id: i32| (entry * 1_000_000_000_000) as i64 + i64::from(id) * 1_000;
    let instants = |offset: i64| -> ArrayRef {
        let values = ids.iter().map(|&id| Some(arrived(id) - offset)).collect::<TimestampMicrosecondArray>();
        Arc::new(values.with_timezone("UTC"))
    };
    let statuses = ["Placed", "Preparing", "On the way", "Delivered", "Cancelled"];
    let status = ids.iter().map(|&id| Some(statuses[mixed(id, entry as u32, 5) as usize])).collect::<StringArray>();
    let position = |id: i32| format!("05649{entry:020}{id:031}.0000000000.000000");
    let positions = ids.iter().map(|&id| Some(position(id))).collect::<StringArray>();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(ids.to_vec()))];
    columns.extend([integers(1, 20_000), integers(2, 500), integers(3, 2_000), integers(4, 90)]);
    columns.extend([money(5), money(6), money(7), money(8), instants(3_000_000), Arc::new(status)]);
    columns.extend([instants(0), Arc::new(positions)]);
    let versions = [Field::new("_arrived_at", instant(), false), Field::new("_position", DataType::Utf8, false)];
    let fields = spec().columns.fields().iter().map(|field| field.as_ref().clone()).chain(versions).collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

struct Bench {
    warehouse: DeltaWarehouse,
    store: Store,
    entries: u64,
    _folder: TempDir,
}

impl Bench {
    /// A table that holds [`HELD`] orders.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::local(&folder.path().join("lake")).expect("a store");
        let place = Place {
            folder: folder.path().join("warehouse").into(),
            store: store.clone(),
            pipeline: "bench".to_owned(),
        };
        let bounds = LoadBounds { memory_bytes: 128 << 20, partitions: 2 };
        let warehouse = DeltaWarehouse::new(place, &[spec()], Context::system(), bounds).expect("a warehouse");
        warehouse.prepare().await.expect("prepared");
        let mut bench = Self { warehouse, store, entries: 0, _folder: folder };
        for start in (0..HELD).step_by(BATCH as usize) {
            let entry = bench.stage((start..start + BATCH).collect()).await;
            bench.load(entry).await;
        }
        bench
    }

    async fn stage(&mut self, ids: Vec<i32>) -> Arc<Entry> {
        self.entries += 1;
        stage(&self.store, self.entries, &orders(&ids, self.entries)).await
    }

    /// How long a load takes.
    async fn load(&self, entry: Arc<Entry>) -> Duration {
        timed(async { self.warehouse.load(&[entry]).await.expect("loaded") }).await
    }
}

/// How long something takes.
async fn timed<T>(work: impl Future<Output = T>) -> Duration {
    let start = SystemClock.now_micros();
    work.await;
    Duration::from_micros((SystemClock.now_micros() - start).unsigned_abs())
}

/// Stages rows as the one file of an entry.
async fn stage(store: &Store, number: u64, rows: &RecordBatch) -> Arc<Entry> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).expect("a writer");
    writer.write(rows).expect("written");
    writer.close().expect("closed");
    let path = format!("staged/fact_orders/{number}.parquet");
    let file = DataFile::of(path.clone(), rows.num_rows() as u64, &bytes);
    store.put(&path, bytes.into()).await.expect("staged");
    Arc::new(Entry {
        format: 1,
        number,
        previous: None,
        pipeline: "bench".to_owned(),
        writer: "w".to_owned(),
        attempt: "a".to_owned(),
        written_at: 0,
        opening: None,
        ranges: Ranges::default(),
        marks: Marks::default(),
        tables: BTreeMap::from([("fact_orders".to_owned(), vec![file])]),
        quarantine: vec![],
        counts: Counts::default(),
        dimension_files: BTreeMap::new(),
    })
}

/// A name, and the order id of each row of a batch.
type Case = (&'static str, fn(i32) -> i32);

/// Whether one of these is to be measured, by the arguments.
fn is_asked_for(names: &[&str]) -> bool {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_asked_for = |filter: &String| names.iter().any(|name| name.contains(filter.as_str()));
    filters.is_empty() || filters.iter().any(is_asked_for)
}

fn loads(criterion: &mut Criterion) {
    // What they start with takes a while.
    if !is_asked_for(&["load_100k_into_2m/recent_keys", "load_100k_into_2m/spread_keys"]) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut bench = runtime.block_on(Bench::new());
    let mut group = criterion.benchmark_group("load_100k_into_2m");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(BATCH as u64));
    let cases: [Case; 2] =
        [("recent_keys", |row| HELD - BATCH * 4 / 5 + row), ("spread_keys", |row| row * (HELD / BATCH))];
    for (name, id) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let entry = runtime.block_on(bench.stage((0..BATCH).map(id).collect()));
                        runtime.block_on(bench.load(entry))
                    })
                    .sum()
            });
        });
    }
    group.finish();
}

/// Rows that go into PostgreSQL, and the files that they are staged in.
const ROWS: i32 = 1_000_000;
const FILES: i32 = 12;

/// Rows of an `INSERT`.
const VALUES: usize = 1_000;

/// 1 million rows into PostgreSQL, by a load and by statements of values.
fn into_postgres(_: &mut Criterion) {
    let name = "load_1m_into_postgres";
    let only_looked_at = std::env::args().any(|argument| argument == "--list" || argument == "--test");
    if only_looked_at || !is_asked_for(&[name]) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (load, insert) = runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::local(folder.path()).expect("a store");
        let file = |number: i32| (ROWS * number / FILES..ROWS * (number + 1) / FILES).collect::<Vec<i32>>();
        let files: Vec<RecordBatch> = (0..FILES).map(|number| orders(&file(number), number as u64 + 1)).collect();
        let mut entries = Vec::new();
        for (rows, number) in files.iter().zip(1..) {
            entries.push(stage(&store, number, rows).await);
        }
        (by_load(&store, &entries).await, by_values(&store, &files).await)
    });
    println!("{name}: {ROWS} rows of {FILES} files in {:.1} s", load.as_secs_f64());
    println!("{name}: INSERT of {VALUES} rows each in {:.1} s", insert.as_secs_f64());
    println!("{name}: {:.1} times as fast", insert.as_secs_f64() / load.as_secs_f64());
}

fn orders_in(database: &str, store: &Store) -> UpsertWarehouse {
    let login = Login::Environment { user: postgres::USER.to_owned(), variable: "MILLSTREAM_NO_PASSWORD".to_owned() };
    let port = postgres::postgres().port;
    let server = ServerSettings { host: "127.0.0.1".to_owned(), port, login, tls: Tls::Off };
    let settings = PostgresSettings { server, database: database.to_owned(), schema: None };
    let place = SqlPlace { store: store.clone(), pipeline: "bench".to_owned() };
    PostgresWarehouse::new(&settings, None, place, (&[spec()], Context::system())).expect("a warehouse")
}

async fn by_load(store: &Store, entries: &[Arc<Entry>]) -> Duration {
    let warehouse = orders_in(&postgres::database(), store);
    warehouse.prepare().await.expect("prepared");
    let taken = timed(async { warehouse.load(entries).await.expect("loaded") }).await;
    assert_eq!(warehouse.ledger().await.expect("a ledger").loaded_through, FILES as u64);
    taken
}

/// The same rows into the same table, all in one transaction.
async fn by_values(store: &Store, files: &[RecordBatch]) -> Duration {
    let database = postgres::database();
    orders_in(&database, store).prepare().await.expect("prepared");
    let config = format!("host=127.0.0.1 port={} user={} dbname={database}", postgres::postgres().port, postgres::USER);
    let config: tokio_postgres::Config = config.parse().expect("a configuration");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("connected");
    let inserting = async {
        client.batch_execute("BEGIN").await.expect("begun");
        for rows in files {
            for start in (0..rows.num_rows()).step_by(VALUES) {
                let statement = insert(&rows.slice(start, VALUES.min(rows.num_rows() - start)));
                client.batch_execute(&statement).await.expect("inserted");
            }
        }
        client.batch_execute("COMMIT").await.expect("committed");
        drop(client);
    };
    timed(async { futures::join!(inserting, connection).1.expect("the connection") }).await
}

fn insert(rows: &RecordBatch) -> String {
    let options = FormatOptions::default();
    let columns = rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("a format"));
    let columns: Vec<ArrayFormatter<'_>> = columns.collect();
    let mut sql = "INSERT INTO bench.fact_orders VALUES ".to_owned();
    for row in 0..rows.num_rows() {
        let values: Vec<String> = columns.iter().map(|column| format!("'{}'", column.value(row))).collect();
        let comma = if row == 0 { "" } else { ", " };
        write!(sql, "{comma}({})", values.join(", ")).expect("a text");
    }
    sql
}

criterion_group!(benches, loads, into_postgres);
criterion_main!(benches);
