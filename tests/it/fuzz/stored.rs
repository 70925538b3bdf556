//! What lies in the object store, altered: the journal's objects and staged files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use millstream::batch::{Counts, Opening, Position, Range, Ranges, ShardId, Staged, StartAt, StreamIdentity};
use millstream::clean::Cleaner;
use millstream::config;
use millstream::decode::Decoder;
use millstream::engine::{self, Connect, Controls, Job};
use millstream::generate::{Mess, OrderGenerator, OrderSettings};
use millstream::journal::{self, Journal, Replay, State};
use millstream::load::{MemoryWarehouse, Warehouse};
use millstream::runtime::Context;
use millstream::source::{MemorySource, Source};
use millstream::sql::SessionSettings;
use millstream::stage::{Stager, count_rows};
use millstream::store::Store;
use tokio::runtime::Runtime;

use super::engine::Target;

const PIPELINE: &str = "food_delivery";

/// An object of the store as one input: its path, a line feed, its bytes.
async fn objects(store: &Store, folder: &str) -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    for object in store.list(folder, None).await.expect("listed") {
        let bytes = store.get(&object.path).await.expect("read").expect("there");
        found.insert(object.path, bytes);
    }
    found
}

fn seeds(objects: &BTreeMap<String, Bytes>) -> Vec<Vec<u8>> {
    objects.iter().map(|(path, bytes)| [path.as_bytes(), b"\n", bytes].concat()).collect()
}

/// The object that an input alters, and its new bytes; none where the input names no object, or leaves it as it was.
fn altered<'a, 'b>(objects: &'a BTreeMap<String, Bytes>, input: &'b [u8]) -> Option<(&'a str, &'a Bytes, &'b [u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let (path, original) = objects.get_key_value(std::str::from_utf8(&input[..end]).ok()?)?;
    let bytes = &input[end + 1..];
    (bytes != original.as_ref()).then_some((path.as_str(), original, bytes))
}

/// A journal of an opening and 104 batches, so that there is a snapshot.
async fn written(store: &Store) {
    let mut journal = Journal::open(store.clone(), Context::system(), PIPELINE).await.expect("opened");
    let stream = StreamIdentity { arn: "arn:aws:kinesis:us-east-1:000000000000:stream/orders".into(), created_at: 1 };
    let opening = Opening { stream, start: StartAt::TrimHorizon, opened_at: None, shards: None };
    journal.open_chain(opening).await.expect("a chain");
    let at = |number: u64| Position::new(number.into(), 0);
    for number in 0..104 {
        let mut ranges = Ranges::new();
        let after = (number > 0).then(|| at(number * 10));
        ranges
            .extend(&ShardId::new("shardId-000000000000"), Range::new(after, at(number * 10 + 10)))
            .expect("in order");
        let undecodable = BTreeMap::from([("not_json".to_owned(), 0)]);
        let counts = Counts { records: 10, events: 10, passed: 10, undecodable, ..Counts::default() };
        journal.commit(&Staged { ranges, counts, ..Staged::default() }).await.expect("committed");
    }
}

/// The log folded from its first entry, as an audit does: a start reads nothing before the newest snapshot.
async fn replayed(store: &Store) -> millstream::error::Result<State> {
    let mut replay = Replay::new(store).await?;
    while !replay.next(1_000).await?.is_empty() {}
    Ok(replay.state().clone())
}

#[test]
fn a_journal_that_was_altered_is_refused_or_says_the_same() {
    let runtime = Runtime::new().expect("threads");
    let store = Store::memory("lake").expect("a store");
    let (state, objects) = runtime.block_on(async {
        written(&store).await;
        (journal::fold(&store, PIPELINE).await.expect("sound"), objects(&store, "journal").await)
    });
    assert!(objects.keys().any(|path| path.contains("snapshots")), "{:?}", objects.keys());
    let words = [
        "\"format\":2",
        "\"format\":1",
        "\"records\":",
        "null",
        "0",
        "9",
        "{}",
        "[]",
        "\"",
        ",",
        "\"passed\":",
        "\"through\":",
        "\"after\":",
    ];
    Target { name: "journal", seeds: seeds(&objects), dictionary: &words, longest: 1 << 16 }.run(|input| {
        let Some((path, original, bytes)) = altered(&objects, input) else { return Ok(()) };
        runtime.block_on(async {
            store.put(path, Bytes::copy_from_slice(bytes)).await.expect("put");
            let folded = [journal::fold(&store, PIPELINE).await, replayed(&store).await];
            store.put(path, original.clone()).await.expect("put");
            match folded.into_iter().flatten().any(|found| found != state) {
                true => Err(format!("altered, {path} folds silently as something else")),
                false => Ok(()),
            }
        })
    });
}

/// A run over a stream in memory: staged files, quarantine and a journal in memory too.
async fn staged(store: &Store, pipeline: &config::Pipeline, cleaner: &Arc<Cleaner>) {
    let settings = OrderSettings {
        seed: 1,
        records: Some(60),
        customers: (1..=20).collect(),
        restaurants: (1..=5).collect(),
        riders: (1..=3).collect(),
        start_at: 1_772_366_400_000_000,
        mess: Mess::default(),
    };
    let source = MemorySource::new("orders", 1);
    for record in OrderGenerator::new(settings).expect("ids") {
        source.put(&record.partition_key, record.payload, 1_772_366_400_000_000).expect("put");
    }
    let context = Context::system();
    let connect: Connect = Arc::new(move || {
        let source: Arc<dyn Source> = Arc::new(source.clone());
        Box::pin(async move { Ok(source) })
    });
    let warehouse =
        MemoryWarehouse::new(store.clone(), cleaner.specs(), &pipeline.name, context.clone()).expect("a warehouse");
    let job = Job {
        decoder: Arc::new(Decoder::new(&pipeline.fields)),
        pipeline: Arc::new(pipeline.clone()),
        connect,
        cleaner: Arc::clone(cleaner),
        stager: Arc::new(Stager::new(store.clone(), context.clone())),
        store: store.clone(),
        warehouse: Arc::new(warehouse),
        context,
    };
    let controls = Controls::default();
    controls.drain.cancel();
    engine::run(job, controls).await.expect("it runs");
}

/// All rows of the warehouse's tables as text, in order.
async fn loaded(store: &Store, cleaner: &Cleaner) -> Result<Vec<String>, String> {
    let entries = journal::entries(store, 0, usize::MAX).await.map_err(|error| error.to_string())?;
    let warehouse =
        MemoryWarehouse::new(store.clone(), cleaner.specs(), PIPELINE, Context::system()).expect("a warehouse");
    warehouse.load(&entries).await.map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for table in cleaner.specs() {
        let batch: RecordBatch = warehouse.rows(&table.name).expect("a table");
        let text = pretty_format_batches(&[batch]).expect("text").to_string();
        rows.extend(text.lines().map(str::to_owned));
    }
    rows.sort();
    Ok(rows)
}

#[test]
fn staged_files_that_were_altered_are_refused_and_their_footers_break_nothing() {
    let runtime = Runtime::new().expect("threads");
    let store = Store::memory("lake").expect("a store");
    let mut pipeline =
        config::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/food_delivery")).pipeline.expect("sound");
    // One table and few rows: an execution is a whole load.
    pipeline.tables.retain(|table| table.name == "fact_orders");
    pipeline.tables[0].references.clear();
    let (cleaner, objects, rows) = runtime.block_on(async {
        let settings = SessionSettings { memory_bytes: 256 << 20, partitions: 1 };
        let cleaner = Arc::new(Cleaner::plan(&pipeline, settings).await.expect("it plans"));
        staged(&store, &pipeline, &cleaner).await;
        let rows = loaded(&store, &cleaner).await.expect("loaded");
        (cleaner, objects(&store, "staged").await, rows)
    });
    assert!(!objects.is_empty() && rows.len() > 20, "{objects:?}");
    Target { name: "parquet", seeds: seeds(&objects), dictionary: &["PAR1", "\u{15}", "\0\0\0\0"], longest: 1 << 18 }
        .run(|input| {
            let Some((path, original, bytes)) = altered(&objects, input) else { return Ok(()) };
            runtime.block_on(async {
                store.put(path, Bytes::copy_from_slice(bytes)).await.expect("put");
                let counted = count_rows(&store, path).await.map_err(|error| format!("the footer: {error}"));
                let again = loaded(&store, &cleaner).await;
                store.put(path, original.clone()).await.expect("put");
                counted?;
                match again {
                    Ok(again) if again != rows => Err(format!("altered, {path} is loaded silently as something else")),
                    _ => Ok(()),
                }
            })
        });
}
