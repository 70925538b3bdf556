//! The soak: random splits and merges, faults, throttling, short-lived iterators and killed workers, all at once and
//! under load; at its end the audit is clean and the star schema is the oracle's.
//!
//! What the producers were told is no oracle, for an unanswered put may have been taken: the stream itself is read for it.
//! Seconds long, or with MILLSTREAM_LONG=1 ten minutes and three workers. MILLSTREAM_SEED gives it the seed that a
//! failing run has printed: the same orders, splits, faults and ends of workers, as far as their order is the same.

use std::ops::Range;
use std::time::{Duration, Instant};

use ferrokinesis::store::StoreOptions;
use millstream::generate::{Mess, MockRecord, OrderGenerator, OrderSettings};
use millstream::runtime::{Clock, Context, SystemClock};
use millstream::source::{Producer, PutItem, PutReport};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::command::{Millstream, PipelineCopy, Running};
use crate::kinesis::{InProcess, Plan, Proxy, Stream, settings};
use crate::oracle::Oracle;

const STREAM: &str = "incoming-food-order-data";
/// Requests of a hundred that meet a fault.
const FAULTS: u32 = 8;

/// How long, and how much at once.
struct Extent {
    lasts: Duration,
    workers: usize,
    /// From one split or merge to the next, ms.
    reshards: Range<u64>,
    /// From one end of a worker to the next, ms.
    ends: Range<u64>,
}

impl Extent {
    fn wanted() -> Self {
        if std::env::var("MILLSTREAM_LONG").is_ok_and(|long| long == "1") {
            return Self { lasts: Duration::from_secs(600), workers: 3, reshards: 800..3_000, ends: 4_000..20_000 };
        }
        Self { lasts: Duration::from_secs(20), workers: 1, reshards: 300..1_500, ends: 3_000..6_000 }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MILLSTREAM_SEED={seed}");
    seed
}

async fn pause(random: &mut ChaCha8Rng, millis: &Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(millis.clone()))).await;
}

/// Puts orders until it is told to stop: one by one, now and then many at once on one shard, or packed into aggregates.
async fn produce(port: u16, (seed, aggregated): (u64, bool), stop: CancellationToken) -> PutReport {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let producer = Producer::new(settings(port, STREAM), Context::system());
    let orders = OrderSettings {
        seed,
        records: None,
        customers: (1..=200).collect(),
        restaurants: (1..=50).collect(),
        riders: (1..=30).collect(),
        start_at: SystemClock.now_micros(),
        mess: Mess::default(),
    };
    let mut orders = OrderGenerator::new(orders).expect("ids to draw from");
    let mut sum = PutReport::default();
    while !stop.is_cancelled() {
        let is_hot = !aggregated && random.random_ratio(1, 40);
        let count = if is_hot { 1_200 } else { random.random_range(1..40) };
        let hot_key = is_hot.then(|| random.random::<u128>().to_string());
        let item = |MockRecord { partition_key, payload }| PutItem {
            explicit_hash_key: hot_key.clone(),
            ..PutItem::new(partition_key, payload)
        };
        let items: Vec<PutItem> = orders.by_ref().take(count).map(item).collect();
        let put = if aggregated { producer.put_aggregated(items).await } else { producer.put(items).await };
        let put = put.expect("put in spite of it all");
        sum.records += put.records;
        sum.kinesis_records += put.kinesis_records;
        sum.refused += put.refused;
        sum.maybe_doubled += put.maybe_doubled;
        pause(&mut random, &(20..200)).await;
    }
    sum
}

/// Splits and merges until it is told to stop: two shards at least, eight at most. How often of each.
async fn reshard(port: u16, (seed, pauses): (u64, Range<u64>), stop: CancellationToken) -> (u32, u32) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let stream = Stream::open(port, STREAM);
    let (mut splits, mut merges) = (0, 0);
    while !stop.is_cancelled() {
        pause(&mut random, &pauses).await;
        let open = stream.open_shards().await;
        if open.len() <= 2 || (open.len() < 8 && random.random()) {
            let shard = &open[random.random_range(0..open.len())];
            // One of so few hash keys that it cannot be split stays as it is.
            if shard.hashes.last - shard.hashes.first > 1 {
                stream.split(shard, random.random_range(shard.hashes.first + 1..=shard.hashes.last)).await;
                splits += 1;
            }
        } else {
            let lower = random.random_range(0..open.len() - 1);
            stream.merge(&open[lower], &open[lower + 1]).await;
            merges += 1;
        }
    }
    (splits, merges)
}

/// Keeps so many workers at work, and ends one of them again and again: by Ctrl-C or by `kill -9`. How often of each.
async fn work(millstream: &Millstream, seed: u64, extent: &Extent) -> (u32, u32) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let until = Instant::now() + extent.lasts;
    let start = || millstream.start("run", &[]);
    let mut workers: Vec<Running> = (0..extent.workers).map(|_| start()).collect();
    let (mut stops, mut kills) = (0, 0);
    while Instant::now() < until {
        pause(&mut random, &extent.ends).await;
        let mut worker = workers.swap_remove(random.random_range(0..workers.len()));
        if worker.has_ended() {
            panic!("a worker ended by itself: {}", worker.wait().stderr);
        }
        if (stops + kills) % 2 == 0 {
            worker.kill();
            kills += 1;
        } else {
            block_in_place(|| ends_well(worker));
            stops += 1;
        }
        workers.push(start());
    }
    block_in_place(|| workers.into_iter().for_each(ends_well));
    (stops, kills)
}

fn ends_well(worker: Running) {
    let said = worker.interrupt();
    // None: it has just been started, and does not listen to Ctrl-C yet.
    assert!(matches!(said.code, Some(0) | None), "{said:?}");
}

fn pipeline() -> PipelineCopy {
    PipelineCopy::new()
        .replace("pipeline.toml", "max_rows = 200_000", "max_rows = 500")
        .replace("pipeline.toml", "max_age = \"2s\"", "max_age = \"200ms\"")
        .replace("pipeline.toml", "freshness = \"10s\"", "freshness = \"1s\"")
}

/// What is left is read, and everything is as the stream says that it must be; gives the oracle.
fn is_whole(millstream: &Millstream, port: u16) -> Oracle {
    millstream.json("run", &["--once"]);
    let audit = millstream.json("audit", &[]);
    assert_eq!((&audit["clean"], &audit["waiting"]), (&json!(true), &json!(0)), "{audit}");
    let oracle = Oracle::of_stream(port, STREAM);
    oracle.compare(&millstream.data.path().join("lake/warehouse"));
    let status = millstream.json("status", &[]);
    assert_eq!(status["records"], oracle.records(), "each record is journaled once: {status}");
    let rejects = millstream.json("rejects", &[]);
    let rejected = rejects["rejects"].as_array().into_iter().flatten().filter_map(|reason| reason["events"].as_u64());
    assert_eq!(rejected.sum::<u64>(), oracle.rejected(), "{rejects}");
    oracle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_and_faults_and_splits_and_kills_each_record_of_the_stream_counts_once() {
    let (seed, extent) = (seed(), Extent::wanted());
    let options = StoreOptions { enforce_limits: true, iterator_ttl_seconds: 2, ..StoreOptions::default() };
    let server = InProcess::start(options).await;
    let proxy = Proxy::before(server.port, Plan::seeded(seed, FAULTS)).await;
    Stream::make(server.port, STREAM, 3).await;
    let (millstream, _pipeline) = Millstream::on_server(pipeline(), proxy.port);
    let stop = CancellationToken::new();
    let producing =
        [(2 * seed, false), (2 * seed + 1, true)].map(|orders| tokio::spawn(produce(proxy.port, orders, stop.clone())));
    let resharding = tokio::spawn(reshard(server.port, (seed, extent.reshards.clone()), stop.clone()));
    let (stops, kills) = work(&millstream, seed, &extent).await;
    stop.cancel();
    let (splits, merges) = resharding.await.expect("splits and merges");
    let [plain, packed] = producing;
    let (plain, packed) = (plain.await.expect("puts"), packed.await.expect("puts"));

    let oracle = block_in_place(|| is_whole(&millstream, server.port));
    let (counts, (aggregates, strays)) = (proxy.counts(), oracle.aggregates());
    println!(
        "{splits} splits, {merges} merges; {stops} stops, {kills} kills; {} records, {aggregates} aggregates, \
              {strays} strays; {plain:?}; {packed:?}; {counts:?}",
        oracle.records()
    );
    assert!(oracle.records() >= plain.records + packed.records, "the stream holds all that it took");
    assert!(splits >= 4 && merges >= 1 && kills >= 1 && stops >= 1, "too little happened");
    assert!(aggregates > 20 && plain.refused > 0, "neither packed nor throttled");
    assert!(counts.faults.len() >= 9, "{counts:?}");
}
