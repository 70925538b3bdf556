//! Loading 100,000 rows into a Delta fact table that already holds 2 million: keys recent, and keys all over the table.

#![expect(clippy::expect_used, reason = "a benchmark may stop where it stands")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use millstream::batch::{Counts, DataFile, Entry, Marks, Ranges};
use millstream::load::{DeltaWarehouse, LoadBounds, Place, Warehouse};
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
        let rows = orders(&ids, self.entries);
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).expect("a writer");
        writer.write(&rows).expect("written");
        writer.close().expect("closed");
        let path = format!("staged/fact_orders/{}.parquet", self.entries);
        let file = DataFile { path: path.clone(), rows: rows.num_rows() as u64, bytes: bytes.len() as u64 };
        self.store.put(&path, bytes.into()).await.expect("staged");
        Arc::new(Entry {
            format: 1,
            number: self.entries,
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

    /// How long a load takes.
    async fn load(&self, entry: Arc<Entry>) -> Duration {
        let start = SystemClock.now_micros();
        self.warehouse.load(&[entry]).await.expect("loaded");
        Duration::from_micros((SystemClock.now_micros() - start).unsigned_abs())
    }
}

/// A name, and the order id of each row of a batch.
type Case = (&'static str, fn(i32) -> i32);

fn loads(criterion: &mut Criterion) {
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

criterion_group!(benches, loads);
criterion_main!(benches);
