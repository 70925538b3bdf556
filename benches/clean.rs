//! Cleaning a batch of food orders: five checks and one fact table, in rows and bytes of payload per second.

#![expect(clippy::expect_used, reason = "a benchmark shows what it measures and stops where its set-up fails")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::batch::{Decoded, Origin, Position, RawBatch, RawRecord, SequenceNumber, ShardId};
use millstream::clean::Cleaner;
use millstream::config::{BatchSettings, Check, Input, LoadSettings, Pipeline, SourceSettings, Table};
use millstream::schema::{Field, FieldType, History, TableKind, TableLayout, input_schema};
use millstream::sql::SessionSettings;

const CHECKS: [(&str, &str); 5] = [
    ("order_known", "order_id > 0"),
    ("customer_known", "customer_id IS NOT NULL"),
    ("order_value_not_negative", "order_value >= 0"),
    ("delivery_fee_not_negative", "delivery_fee >= 0"),
    ("delivery_time_possible", "delivery_minutes BETWEEN 0 AND 600"),
];

const FACT_ORDERS: &str = "
SELECT order_id, customer_id, restaurant_id, rider_id, order_date, delivery_minutes, order_value, delivery_fee,
       tip_amount, order_value + delivery_fee + coalesce(tip_amount, 0) AS total_amount,
       CASE lower(trim(order_status))
            WHEN 'placed' THEN 'placed'
            WHEN 'preparing' THEN 'preparing'
            WHEN 'on the way' THEN 'on_the_way'
            WHEN 'delivered' THEN 'delivered'
            WHEN 'cancelled' THEN 'cancelled'
            ELSE 'unknown' END AS order_status
FROM events";

const STATUSES: [&str; 5] = ["Placed", "Preparing", " on the way", "DELIVERED ", "Cancelled"];

fn fields() -> Vec<Field> {
    let money = FieldType::Decimal { precision: 10, scale: 2 };
    let declared = [
        ("order_id", FieldType::Integer),
        ("customer_id", FieldType::Integer),
        ("restaurant_id", FieldType::Integer),
        ("rider_id", FieldType::Integer),
        ("order_date", FieldType::Timestamp),
        ("delivery_minutes", FieldType::Integer),
        ("order_value", money.clone()),
        ("delivery_fee", money.clone()),
        ("tip_amount", money),
        ("order_status", FieldType::String { max_bytes: 32 }),
    ];
    let field = |(name, field_type): (&str, FieldType)| Field {
        name: name.to_owned(),
        path: vec![name.to_owned()],
        field_type,
        required: name == "order_id",
    };
    declared.into_iter().map(field).collect()
}

fn pipeline() -> Pipeline {
    let check = |(name, expr): (&str, &str)| Check { name: name.to_owned(), expr: expr.to_owned(), line: 1 };
    Pipeline {
        folder: PathBuf::from("food_delivery"),
        name: "food_delivery".to_owned(),
        source: SourceSettings { stream: "orders".to_owned(), ..SourceSettings::default() },
        batch: BatchSettings { max_rows: 200_000, max_bytes: 32 << 20, max_age: Duration::from_secs(2) },
        load: LoadSettings { freshness: Duration::from_secs(10), max_entries: 1000, ..LoadSettings::default() },
        fields: fields(),
        checks: CHECKS.into_iter().map(check).collect(),
        tables: vec![Table {
            name: "fact_orders".to_owned(),
            kind: TableKind::Fact,
            key: vec!["order_id".to_owned()],
            history: History::Overwrite,
            references: BTreeMap::new(),
            widths: BTreeMap::new(),
            layout: TableLayout::default(),
            input: Input::Events,
            sql_path: PathBuf::from("fact_orders.sql"),
            sql: FACT_ORDERS.to_owned(),
            line: 1,
        }],
        reports: Vec::new(),
        targets: BTreeMap::new(),
    }
}

/// Orders of which every fourth event is a newer status of an earlier one, and one in `refuse` has a negative value.
fn orders(rows: i32, refuse: Option<i32>) -> Decoded {
    let payload = Bytes::from_static(
        br#"{"OrderID":123456,"CustomerID":4711,"RestaurantID":12,"RiderID":99,"OrderDate":"2026-11-20T12:34:56","DeliveryTime":35,"OrderValue":48.90,"DeliveryFee":2.99,"TipAmount":5.00,"OrderStatus":"Placed"}"#,
    );
    let shard = ShardId::new("shardId-000000000000");
    let arrived_at = |row: i32| 1_790_000_000_000_000 + i64::from(row) * 500;
    let sequence = |row: i32| format!("495903382714902566085596925383615710959215759{row:011}");
    let position = |row: i32| Position::new(SequenceNumber::parse(&sequence(row)).expect("digits"), 0);
    let sortable = |row: i32| {
        let mut text = String::new();
        position(row).write_sortable(0, &mut text);
        text
    };
    let integers = |of: &dyn Fn(i32) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values((0..rows).map(of))) };
    let money = |of: &dyn Fn(i32) -> i128| -> ArrayRef {
        let values = Decimal128Array::from_iter_values((0..rows).map(of));
        Arc::new(values.with_precision_and_scale(10, 2).expect("fits"))
    };
    let value = |row: i32| if refuse.is_some_and(|each| row % each == 0) { -100 } else { 100 + i128::from(row % 9000) };
    let columns: Vec<ArrayRef> = vec![
        integers(&|row| 1 + if row % 4 == 3 { row - 3 } else { row }),
        integers(&|row| row % 500),
        integers(&|row| row % 100),
        integers(&|row| row % 200),
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(arrived_at))),
        integers(&|row| row % 90),
        money(&value),
        money(&|row| i128::from(row % 500)),
        money(&|row| i128::from(row % 1000)),
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| STATUSES[row as usize % 5]))),
        Arc::new(StringArray::from_iter_values((0..rows).map(|_| shard.as_str()))),
        Arc::new(StringArray::from_iter_values((0..rows).map(sequence))),
        Arc::new(Int64Array::from(vec![0; rows as usize])),
        integers(&|_| 0),
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(arrived_at)).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values((0..rows).map(sortable))),
    ];
    let events = RecordBatch::try_new(input_schema(&fields()), columns).expect("the declared schema");
    let end = u32::try_from(payload.len()).expect("short");
    let record = |row| RawRecord {
        shard: shard.clone(),
        position: position(row),
        arrived_at: arrived_at(row),
        payload: payload.clone(),
        damage: None,
    };
    let raw = RawBatch { records: (0..rows).map(record).collect(), ..RawBatch::default() };
    let origins = (0..rows as u32).map(|record| Origin { record, index: 0, start: 0, end }).collect();
    Decoded { events, origins, rejects: Vec::new(), raw: Arc::new(raw) }
}

fn copy(decoded: &Decoded) -> Decoded {
    Decoded {
        events: decoded.events.clone(),
        origins: decoded.origins.clone(),
        rejects: decoded.rejects.clone(),
        raw: Arc::clone(&decoded.raw),
    }
}

fn clean(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let settings = SessionSettings { memory_bytes: 256 << 20, partitions: 2 };
    let cleaner = runtime.block_on(Cleaner::plan(&pipeline(), settings)).expect("no fault");
    let cases = [("all_pass", 1_000, None), ("all_pass", 200_000, None), ("1_in_50_refused", 200_000, Some(50))];
    for unit in ["rows", "bytes"] {
        let mut group = criterion.benchmark_group(format!("clean_{unit}"));
        for (name, rows, refuse) in cases {
            let decoded = orders(rows, refuse);
            let bytes = u64::try_from(decoded.raw.bytes()).expect("few");
            let rows = u64::try_from(rows).expect("positive");
            group.throughput(if unit == "rows" { Throughput::Elements(rows) } else { Throughput::Bytes(bytes) });
            group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                bencher
                    .to_async(&runtime)
                    .iter(|| async { black_box(cleaner.clean(copy(&decoded)).await.expect("cleaned")) });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, clean);
criterion_main!(benches);
