//! Decode alone, one thread: food-delivery orders as the generator writes them, a record each, and as lines.
//!
//! `cargo bench --bench decode`; criterion reports rows and bytes per second.

#![expect(clippy::expect_used, reason = "a bench stops where its own data is wrong")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream::batch::{Position, RawBatch, RawRecord, SequenceNumber, ShardId};
use millstream::decode::Decoder;
use millstream::schema::Field;

const EVENTS: usize = 20_000;

const FIELDS: [(&str, &str, &str); 10] = [
    ("order_id", "OrderID", "bigint"),
    ("customer_id", "CustomerID", "integer"),
    ("restaurant_id", "RestaurantID", "integer"),
    ("rider_id", "RiderID", "integer"),
    ("order_date", "OrderDate", "timestamp"),
    ("delivery_minutes", "DeliveryTime", "integer"),
    ("order_value", "OrderValue", "decimal(10,2)"),
    ("delivery_fee", "DeliveryFee", "decimal(10,2)"),
    ("tip_amount", "TipAmount", "decimal(10,2)"),
    ("order_status", "OrderStatus", "string(32)"),
];

fn fields() -> Vec<Field> {
    let field = |(name, path, field_type): &(&str, &str, &str)| Field {
        name: (*name).to_owned(),
        path: vec![(*path).to_owned()],
        field_type: field_type.parse().expect("a type"),
        required: *name == "order_id",
    };
    FIELDS.iter().map(field).collect()
}

fn order(number: usize) -> String {
    let status = ["Placed", "Preparing", "On the way", "Delivered", "Cancelled"][number % 5];
    format!(
        "{{\"OrderID\":{},\"CustomerID\":{},\"RestaurantID\":{},\"RiderID\":{},\"OrderDate\":\"2024-05-{:02}T{:02}:{:02}:56.789Z\",\
         \"DeliveryTime\":{},\"OrderValue\":{}.{:02},\"DeliveryFee\":{}.5,\"TipAmount\":{}.25,\"OrderStatus\":\"{status}\"}}",
        1_000_000 + number,
        number % 200 + 1,
        number % 50 + 1,
        number % 30 + 1,
        number % 28 + 1,
        number % 24,
        number % 60,
        number % 90,
        number % 120,
        number % 100,
        number % 9,
        number % 20,
    )
}

fn batch(payloads: impl Iterator<Item = String>) -> Arc<RawBatch> {
    let shard = ShardId::new("shardId-000000000000");
    let first = "4959033827149025660855969253836157109592157598913658";
    let record = |(number, payload): (usize, String)| RawRecord {
        shard: shard.clone(),
        position: Position::new(SequenceNumber::parse(&format!("{first}{number:08}")).expect("digits"), 0),
        arrived_at: 1_714_567_890_000_000,
        payload: Bytes::from(payload),
        damage: None,
    };
    Arc::new(RawBatch { records: payloads.enumerate().map(record).collect(), ..RawBatch::default() })
}

fn decode(criterion: &mut Criterion) {
    let decoder = Decoder::new(&fields());
    let hundred = |chunk: usize| (chunk * 100..chunk * 100 + 100).map(order).collect::<Vec<_>>().join("\n");
    let shapes = [
        ("an order a record", batch((0..EVENTS).map(order))),
        ("100 orders a record, as lines", batch((0..EVENTS / 100).map(hundred))),
    ];
    let mut group = criterion.benchmark_group("decode");
    for (name, raw) in shapes {
        let (decoded, rest) = decoder.decode(RawBatch::clone(&raw));
        assert_eq!((decoded.events.num_rows(), rest.is_none()), (EVENTS, true));
        let (elements, bytes) = (EVENTS as u64, raw.bytes() as u64);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.bench_function(name, |bencher| {
            let copy = || RawBatch::clone(&raw);
            bencher.iter_batched(copy, |raw| black_box(decoder.decode(raw)), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
