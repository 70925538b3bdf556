//! Catching up on a backlog: the polling reader beside a bare GetRecords loop of the same SDK, on the same server in the
//! same process. The last line is the ratio of the two.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "the ratio is what it is for")]

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_kinesis::{Client, Config};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use ferrokinesis::store::StoreOptions;
use millstream::batch::StartAt;
use millstream::runtime::{Clock, Context, SystemClock, Tasks};
use millstream::source::{KinesisSettings, KinesisSource, Producer, PutItem, Source, StreamAdmin};
use tokio::net::TcpListener;

const BACKLOG: u64 = 300_000;
const SHARDS: u32 = 4;

/// `cargo test --benches` looks only whether it runs.
fn backlog() -> u64 {
    if std::env::args().any(|argument| argument == "--test") { BACKLOG / 100 } else { BACKLOG }
}

/// Starts the server, which lives as long as the tasks, and fills its stream.
async fn filled(tasks: &mut Tasks) -> KinesisSettings {
    let (app, _store) = ferrokinesis::create_app(StoreOptions { create_stream_ms: 0, ..StoreOptions::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    tasks.spawn("server", async move {
        axum::serve(listener, app).await.expect("it serves");
        Ok(())
    });
    let settings = KinesisSettings::local(endpoint, "orders");
    StreamAdmin::new(settings.clone(), Context::system()).ensure_stream(SHARDS).await.expect("a stream");
    let item = |number: u64| {
        let payload = format!(r#"{{"OrderID":{number},"CustomerID":17,"OrderValue":42.50,"OrderStatus":"delivered"}}"#);
        PutItem::new((number % 1_000).to_string(), payload)
    };
    let producer = Producer::new(settings.clone(), Context::system());
    for from in (0..backlog()).step_by(10_000) {
        producer.put((from..(from + 10_000).min(backlog())).map(item).collect()).await.expect("put");
    }
    settings
}

async fn bare_loop(settings: &KinesisSettings) -> u64 {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .endpoint_url(settings.endpoint.clone().expect("local"))
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let client = Client::from_conf(config.build());
    let listed = client.list_shards().stream_name(&settings.stream).send().await.expect("shards");
    let mut count = 0;
    for shard in listed.shards() {
        let request = client.get_shard_iterator().stream_name(&settings.stream).shard_id(shard.shard_id());
        let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("an iterator");
        let mut iterator = answer.shard_iterator;
        loop {
            let request = client.get_records().set_shard_iterator(iterator).limit(10_000);
            let answer = request.send().await.expect("records");
            count += black_box(answer.records()).len() as u64;
            if answer.records().len() < 10_000 {
                break;
            }
            iterator = answer.next_shard_iterator;
        }
    }
    count
}

async fn reader(settings: &KinesisSettings) -> u64 {
    let source = KinesisSource::new(settings.clone(), Context::system());
    let mut count = 0;
    for shard in source.shards().await.expect("shards") {
        let mut reader = source.open(&shard, StartAt::TrimHorizon).await.expect("open");
        loop {
            let page = reader.next().await.expect("a page");
            count += black_box(&page.records).len() as u64;
            if page.behind == Some(Duration::ZERO) {
                break;
            }
        }
    }
    count
}

/// Time taken and rounds made.
type Spent = Cell<(Duration, u32)>;

async fn timed(rounds: u64, spent: &Spent, read: impl AsyncRead) -> Duration {
    let started_at = SystemClock.now_micros();
    for _ in 0..rounds {
        assert_eq!(read.all().await, backlog());
    }
    let micros = u64::try_from(SystemClock.now_micros() - started_at).expect("time goes on");
    let (before, rounds_before) = spent.get();
    spent.set((before + Duration::from_micros(micros), rounds_before + rounds as u32));
    Duration::from_micros(micros)
}

/// One way to read the backlog.
trait AsyncRead {
    fn all(&self) -> impl Future<Output = u64>;
}

impl<F: Future<Output = u64>, M: Fn() -> F> AsyncRead for M {
    fn all(&self) -> impl Future<Output = u64> {
        self()
    }
}

fn source(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let mut tasks = Tasks::new();
    let settings = runtime.block_on(filled(&mut tasks));
    let (bare, ours) = (Spent::default(), Spent::default());
    let mut group = criterion.benchmark_group("source");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(backlog()));
    group.bench_function("bare GetRecords loop", |bencher| {
        bencher.to_async(&runtime).iter_custom(|rounds| timed(rounds, &bare, || bare_loop(&settings)));
    });
    group.bench_function("polling reader", |bencher| {
        bencher.to_async(&runtime).iter_custom(|rounds| timed(rounds, &ours, || reader(&settings)));
    });
    group.finish();
    let speed = |spent: &Spent| {
        let (time, rounds) = spent.get();
        backlog() as f64 * f64::from(rounds) / time.as_secs_f64()
    };
    let (bare, ours) = (speed(&bare), speed(&ours));
    println!("bare loop {bare:.0} records/s, reader {ours:.0} records/s: {:.0} %", ours / bare * 100.0);
}

criterion_group!(benches, source);
criterion_main!(benches);
