//! Engines that run beside a test: on a clock that is faster than the machine's, started, stopped and killed.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::task::JoinSet;

use super::odd_source::OddSource;
use super::*;
use crate::runtime::{Random, SystemClock};
use crate::source::Shard;

/// 2026-01-15 12:00:00 UTC, in µs.
const NOON: i64 = 1_768_478_400_000_000;

/// Seconds of the tests in one of the machine.
const SPEED: u32 = 20;

/// The same where workers watch each other: a machine that is busy must not look as if one of them had died.
const SPEED_OF_SHARING: u32 = 5;

/// The machine's clock, faster, and it can be set forward.
pub(super) struct FastClock {
    begun: i64,
    speed: u32,
    ahead: AtomicI64,
}

impl FastClock {
    fn new(speed: u32) -> Arc<Self> {
        Arc::new(Self { begun: SystemClock.now_micros(), speed, ahead: AtomicI64::new(NOON) })
    }

    pub(super) fn advance(&self, duration: Duration) {
        let micros = i64::try_from(duration.as_micros()).expect("not that long");
        self.ahead.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for FastClock {
    fn now_micros(&self) -> i64 {
        let since = SystemClock.now_micros() - self.begun;
        since * i64::from(self.speed) + self.ahead.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> futures::future::BoxFuture<'static, ()> {
        SystemClock.sleep(duration / self.speed)
    }
}

/// A bench on a fast clock, its stream in pages of 15 records.
pub(super) fn fast(shards: usize) -> (Bench, Arc<FastClock>) {
    at_speed(SPEED, shards)
}

/// The same for several workers.
pub(super) fn shared(shards: usize) -> Bench {
    at_speed(SPEED_OF_SHARING, shards).0
}

fn at_speed(speed: u32, shards: usize) -> (Bench, Arc<FastClock>) {
    let clock = FastClock::new(speed);
    let source = MemorySource::new("orders", shards).with_page_size(15).with_clock(clock.clone());
    let context = Context { clock: clock.clone(), random: Random::seeded(7) };
    let mut bench = Bench { source, context, ..Bench::new() };
    bench.pipeline.batch.max_age = Duration::from_millis(200);
    (bench, clock)
}

impl Bench {
    /// Order `id` of a customer, to the shard that takes the customer's orders.
    pub(super) fn order(&self, id: i64) {
        let customer = format!("customer-{}", id % 17);
        self.source.put(&customer, payload(id), self.context.clock.now_micros()).expect("an open shard");
    }

    pub(super) fn orders(&self, ids: std::ops::Range<i64>) {
        ids.for_each(|id| self.order(id));
    }

    /// A job that reads what is odd about the stream too.
    pub(super) async fn odd_job(&self) -> (Job, Arc<MemoryWarehouse>, OddSource) {
        let (job, warehouse) = self.job().await;
        let odd = OddSource::new(&self.source, self.context.clone());
        (Job { connect: odd.connect(), ..job }, warehouse, odd)
    }

    /// The stream's shards are read in the order of their descent: nothing of a child before its parents' ends.
    pub(super) async fn descent_is_kept(&self) {
        let (entries, shards) = (self.entries().await, self.source.shards().await.expect("shards"));
        let ended =
            |shard: &ShardId| entries.iter().find(|entry| entry.marks.ended.contains(shard)).map(|entry| entry.number);
        let begun = |shard: &Shard| {
            let touches =
                |entry: &&Arc<Entry>| entry.ranges.get(&shard.id).is_some() || entry.marks.ended.contains(&shard.id);
            entries.iter().find(touches).map(|entry| entry.number)
        };
        for shard in &shards {
            assert!(!shard.closed || ended(&shard.id).is_some(), "{} is read to its end", shard.id);
            for parent in shard.parents.iter().filter(|parent| shards.iter().any(|shard| shard.id == **parent)) {
                let (begun, ended) = (begun(shard), ended(parent));
                assert!(begun.is_none() || ended < begun, "{}: {ended:?}, then {}: {begun:?}", parent, shard.id);
            }
        }
    }

    /// Everything put so far is journaled and loaded once, each shard after its parents.
    pub(super) async fn is_whole_and_in_order(&self, last: i64, warehouse: &MemoryWarehouse) {
        self.descent_is_kept().await;
        self.is_whole(last, warehouse).await;
    }
}

/// An engine that runs beside the test.
pub(super) struct Worker {
    pub(super) controls: Controls,
    running: JoinSet<Result<()>>,
}

impl Worker {
    pub(super) fn start(job: &Job) -> Self {
        let controls = Controls::default();
        let mut running = JoinSet::new();
        running.spawn(run(job.clone(), controls.clone()));
        Self { controls, running }
    }

    /// Lets it come to its end.
    pub(super) async fn ended(mut self) -> Result<()> {
        let joined = tokio::time::timeout(PATIENCE, self.running.join_next()).await.expect("it ends");
        joined.expect("one task").expect("no panic")
    }

    pub(super) async fn drain(self) -> Result<()> {
        self.controls.drain.cancel();
        self.ended().await
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.controls.stop.cancel();
        self.ended().await
    }

    /// It says no more, and its heartbeat stays.
    pub(super) async fn kill(mut self) {
        self.running.shutdown().await;
    }

    pub(super) fn read(&self) -> u64 {
        self.controls.progress.totals().read
    }

    pub(super) fn shards(&self) -> Vec<ShardId> {
        self.controls.progress.totals().shards.into_keys().collect()
    }
}

/// A drained run, within the tests' patience.
pub(super) async fn drained(job: &Job) -> Result<()> {
    Worker::start(job).drain().await
}
