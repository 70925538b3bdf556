//! Staging a batch of food orders into a store in memory, in rows and in bytes of Arrow per second; the size of the
//! files per row is printed first.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark shows what it measures and stops where its set-up fails"
)]

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::batch::{Cleaned, Position, SequenceNumber, TableRows};
use millstream::runtime::Context;
use millstream::stage::Stager;
use millstream::store::Store;

/// Values as random as those of life: a linear congruence of the row.
fn drawn(row: i32, below: i32) -> i32 {
    let drawn = (i64::from(row) * 6_364_136_223 + 1_442_695_040) >> 7;
    i32::try_from(drawn.rem_euclid(i64::from(below))).expect("small")
}

fn orders(rows: i32) -> RecordBatch {
    let arrived_at = |row: i32| 1_790_000_000_000_000 + i64::from(row) * 500 + i64::from(drawn(row, 400));
    let position = |row: i32| {
        // Four shards, whose records lie in the batch one shard after the other.
        let number = i64::from(row) * 37 + i64::from(drawn(row, 30));
        let sequence = format!("4959033827149025660855969253836157109592{:01}{number:015}", row * 4 / rows);
        let mut text = String::new();
        let sequence = SequenceNumber::parse(&sequence).expect("digits");
        Position::new(sequence, 0).write_sortable(0, &mut text);
        text
    };
    let statuses = ["placed", "preparing", "on_the_way", "delivered", "cancelled"];
    let integers =
        |below: i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values((0..rows).map(|row| drawn(row, below)))) };
    let money = |below: i32| -> ArrayRef {
        let values = Decimal128Array::from_iter_values((0..rows).map(|row| i128::from(drawn(row, below))));
        Arc::new(values.with_precision_and_scale(10, 2).expect("fits"))
    };
    let status = |row| statuses[usize::try_from(drawn(row, 5)).expect("positive")];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("order_id", Arc::new(Int32Array::from_iter_values(0..rows))),
        ("customer_id", integers(500)),
        ("restaurant_id", integers(100)),
        ("rider_id", integers(200)),
        ("order_date", Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(arrived_at)))),
        ("delivery_minutes", integers(90)),
        ("order_value", money(10_000)),
        ("delivery_fee", money(700)),
        ("tip_amount", money(1_500)),
        ("total_amount", money(12_000)),
        ("order_status", Arc::new(StringArray::from_iter_values((0..rows).map(status)))),
        (
            "_arrived_at",
            Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(arrived_at)).with_timezone("UTC")),
        ),
        ("_position", Arc::new(StringArray::from_iter_values((0..rows).map(position)))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns")
}

fn stage(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let staged = async |rows: &RecordBatch| {
        let stager = Stager::new(Store::memory("lake").expect("a store"), Context::system());
        let tables = vec![TableRows { table: "fact_orders".to_owned(), rows: rows.clone() }];
        stager.stage(Cleaned { tables, ..Cleaned::default() }).await.expect("staged")
    };
    for unit in ["rows", "bytes"] {
        let mut group = criterion.benchmark_group(format!("stage_{unit}"));
        for count in [1_000, 200_000] {
            let rows = orders(count);
            let files = &runtime.block_on(staged(&rows)).tables["fact_orders"];
            let size: u64 = files.iter().map(|file| file.bytes).sum();
            let (arrow, count) = (rows.get_array_memory_size() as u64, u64::try_from(count).expect("positive"));
            eprintln!("{count} rows: {} bytes of Parquet a row, {} of Arrow", size / count, arrow / count);
            group.throughput(if unit == "rows" { Throughput::Elements(count) } else { Throughput::Bytes(arrow) });
            group.bench_function(BenchmarkId::new("fact_orders", count), |bencher| {
                bencher.to_async(&runtime).iter(|| async { black_box(staged(&rows).await) });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, stage);
criterion_main!(benches);
