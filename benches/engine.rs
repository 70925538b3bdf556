//! The whole engine on the food-delivery pipeline, from payloads in a stream to journaled Parquet and a loaded star
//! schema: the stream, the object store and the warehouse are in memory, so that what is measured is ours.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream::clean::Cleaner;
use millstream::config;
use millstream::decode::Decoder;
use millstream::engine::{self, Connect, Controls, Job};
use millstream::generate::{Mess, OrderGenerator, OrderSettings};
use millstream::load::MemoryWarehouse;
use millstream::runtime::Context;
use millstream::source::{MemorySource, Source};
use millstream::sql::SessionSettings;
use millstream::stage::Stager;
use millstream::store::Store;

const RECORDS: u64 = 100_000;
const SHARDS: usize = 4;

/// 2026-03-01T12:00:00Z in µs.
const NOON: i64 = 1_772_366_400_000_000;

fn payloads() -> Vec<(String, Vec<u8>)> {
    let settings = OrderSettings {
        seed: 1,
        records: Some(RECORDS),
        customers: (1..=200).collect(),
        restaurants: (1..=50).collect(),
        riders: (1..=30).collect(),
        start_at: NOON,
        mess: Mess::default(),
    };
    let orders = OrderGenerator::new(settings).expect("ids to draw from");
    orders.map(|record| (record.partition_key, record.payload)).collect()
}

fn filled(payloads: &[(String, Vec<u8>)]) -> MemorySource {
    let source = MemorySource::new("orders", SHARDS);
    for (key, payload) in payloads {
        source.put(key, payload.clone(), NOON).expect("the shards are open");
    }
    source
}

async fn job(source: MemorySource) -> Job {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/food_delivery");
    let pipeline = config::read(&folder).pipeline.expect("the pipeline is sound");
    let settings = SessionSettings { memory_bytes: 256 << 20, partitions: 1 };
    let cleaner = Cleaner::plan(&pipeline, settings).await.expect("it plans");
    let (store, context) = (Store::memory("lake").expect("a store"), Context::system());
    let warehouse = MemoryWarehouse::new(store.clone(), cleaner.specs(), &pipeline.name, context.clone());
    let connect: Connect = Arc::new(move || {
        let source: Arc<dyn Source> = Arc::new(source.clone());
        Box::pin(async move { Ok(source) })
    });
    Job {
        decoder: Arc::new(Decoder::new(&pipeline.fields)),
        pipeline: Arc::new(pipeline),
        connect,
        cleaner: Arc::new(cleaner),
        stager: Arc::new(Stager::new(store.clone(), context.clone())),
        store,
        warehouse: Arc::new(warehouse.expect("a warehouse")),
        context,
    }
}

async fn drain(job: Job) -> u64 {
    let controls = Controls::default();
    controls.drain.cancel();
    engine::run(job, controls.clone()).await.expect("it runs");
    let records = controls.progress.totals().counts.records;
    assert_eq!(records, RECORDS);
    records
}

fn engine(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let payloads = payloads();
    let bytes = payloads.iter().map(|(_, payload)| payload.len() as u64).sum();
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(10);
    for (unit, throughput) in [("records", Throughput::Elements(RECORDS)), ("bytes", Throughput::Bytes(bytes))] {
        group.throughput(throughput);
        group.bench_function(format!("food_delivery, {unit}"), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || filled(&payloads),
                |source| async { black_box(drain(job(source).await).await) },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
