//! Where each shard stands: by the word of the worker that reads it, else by a look at the stream.
//!
//! Owns the gathering. A living worker's heartbeat is not older than a few seconds, and costs the stream nothing; a
//! shard that nobody reads is asked for one page, where a run would go on, which is then forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::batch::{ShardId, StartAt};
use crate::error::Result;
use crate::journal::State;
use crate::runtime::Clock;
use crate::source::{KinesisSource, Known, Shard, ShardPlan, Source, plan};
use crate::store::Store;
use crate::workers::{BEAT_EVERY, DEAD_AFTER, Heartbeat, ShardReport, heartbeats};

/// Shards looked at side by side.
const LOOKS: usize = 16;

/// Where a shard stands. Its JSON keys are a promise to scripts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ShardStatus {
    pub(super) shard: String,
    /// It takes no more records.
    pub(super) closed: bool,
    /// It is read to its end.
    pub(super) ended: bool,
    /// The last committed position; none where nothing was read yet.
    pub(super) position: Option<String>,
    /// How far the position is behind the shard's newest record; 0 where nothing is unread, none where it is not known.
    pub(super) behind_ms: Option<u64>,
    /// Until the oldest unread record is past the stream's retention; none where nothing is unread.
    pub(super) expires_in_ms: Option<u64>,
    /// Of the worker that reads it, over the last seconds.
    pub(super) records_per_second: Option<f64>,
    /// The worker that reads it; none where nobody does.
    pub(super) worker: Option<String>,
    /// The shards that are to be read to their end before it.
    pub(super) waits_for: Vec<String>,
}

/// What is worst over all shards; none where nothing is unread, or nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Worst {
    /// The farthest that a shard is behind.
    pub(super) behind_ms: Option<u64>,
    /// The soonest that one is past retention.
    pub(super) expires_in_ms: Option<u64>,
    /// The shard of that one, else the one farthest behind.
    pub(super) shard: Option<String>,
}

/// Every shard of the stream, in its order.
///
/// # Errors
/// The stream's.
pub(super) async fn shards(
    source: &KinesisSource,
    state: &State,
    heartbeats: &[Heartbeat],
    now: i64,
) -> Result<Vec<ShardStatus>> {
    let listed = source.shards().await?;
    let retention = source.describe().await?.retention;
    let (opening, positions, ended) = (state.opening.as_ref(), &state.positions, &state.marks.ended);
    let plan = plan(&listed, &Known { opening, positions, ended });
    let told = told(heartbeats);
    let looks = listed.into_iter().map(|shard| {
        let (plan, told) = (&plan, &told);
        async move {
            let report = told.get(&shard.id).copied();
            let standing = match start(&shard, plan) {
                Some(start) if report.is_none() => look(source, &shard, start, (retention, now)).await?,
                _ => Standing::of(report.map(|(_, report)| report)),
            };
            Ok(ShardStatus {
                closed: shard.closed,
                ended: state.marks.ended.contains(&shard.id),
                position: state.positions.get(&shard.id).map(ToString::to_string),
                behind_ms: standing.behind_ms,
                expires_in_ms: standing.expires_in_ms,
                records_per_second: report.map(|(_, report)| report.records_per_second),
                worker: report.map(|(worker, _)| worker.to_owned()),
                waits_for: plan.waiting.get(&shard.id).into_iter().flatten().map(ToString::to_string).collect(),
                shard: shard.id.to_string(),
            })
        }
    });
    stream::iter(looks).buffered(LOOKS).try_collect().await
}

/// The heartbeats of the workers that live. One that is old by this machine's clock may be of a machine whose clock is
/// behind: whether it beats is then seen by a second look.
///
/// # Errors
/// The store's.
pub(super) async fn living(store: &Store, clock: &dyn Clock) -> Result<Vec<Heartbeat>> {
    let first = heartbeats(store).await?;
    let patience = i64::try_from(DEAD_AFTER.as_millis()).unwrap_or(i64::MAX);
    let oldest = clock.now_millis().saturating_sub(patience);
    if first.iter().all(|heartbeat| heartbeat.written_at >= oldest) {
        return Ok(first);
    }
    clock.sleep(BEAT_EVERY + BEAT_EVERY / 2).await;
    let beats = |heartbeat: &Heartbeat| {
        let before = first.iter().find(|before| before.worker == heartbeat.worker);
        heartbeat.written_at >= oldest || before.is_none_or(|before| before.beat != heartbeat.beat)
    };
    let mut second = heartbeats(store).await?;
    second.retain(beats);
    Ok(second)
}

/// The reports of these workers, by shard.
fn told(heartbeats: &[Heartbeat]) -> BTreeMap<&ShardId, (&str, &ShardReport)> {
    let reports = heartbeats.iter().flat_map(|beat| beat.shards.iter().map(|report| (beat.worker.as_str(), report)));
    reports.map(|(worker, report)| (&report.shard, (worker, report))).collect()
}

/// Where a run would go on; none where it would not read the shard now.
fn start(shard: &Shard, plan: &ShardPlan) -> Option<StartAt> {
    plan.ready.iter().find(|(ready, _)| ready.id == shard.id).map(|(_, start)| start.clone())
}

#[derive(Default)]
struct Standing {
    behind_ms: Option<u64>,
    expires_in_ms: Option<u64>,
}

impl Standing {
    fn of(report: Option<&ShardReport>) -> Self {
        let told = |report: &ShardReport| Self { behind_ms: report.behind_ms, expires_in_ms: report.expires_in_ms };
        report.map_or_else(Self::default, told)
    }
}

async fn look(
    source: &KinesisSource,
    shard: &Shard,
    start: StartAt,
    (retention, now): (Option<Duration>, i64),
) -> Result<Standing> {
    let page = source.open(shard, start).await?.next().await?;
    let unread_since = page.records.first().map(|record| record.arrived_at.div_euclid(1000));
    // What the page holds is unread too.
    let held = page.records.last().map(|last| last.arrived_at.div_euclid(1000)).zip(unread_since);
    let held = held.map_or(0, |(last, first)| u64::try_from(last - first).unwrap_or(0));
    let millis = |behind: Duration| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
    let behind_ms = page.behind.map(|behind| millis(behind).saturating_add(held));
    let kept = retention.map(|retention| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let expires = unread_since.zip(kept).map(|(arrived, kept)| arrived.saturating_add(kept).saturating_sub(now));
    Ok(Standing { behind_ms, expires_in_ms: expires.map(|millis| u64::try_from(millis).unwrap_or(0)) })
}

impl Worst {
    /// The worst of these.
    pub(super) fn of(shards: &[ShardStatus]) -> Self {
        let soonest =
            shards.iter().filter(|shard| shard.expires_in_ms.is_some()).min_by_key(|shard| shard.expires_in_ms);
        let longest = shards.iter().filter(|shard| shard.behind_ms > Some(0)).max_by_key(|shard| shard.behind_ms);
        Self {
            behind_ms: longest.and_then(|shard| shard.behind_ms),
            expires_in_ms: soonest.and_then(|shard| shard.expires_in_ms),
            shard: soonest.or(longest).map(|shard| shard.shard.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(name: &str, behind_ms: Option<u64>, expires_in_ms: Option<u64>) -> ShardStatus {
        ShardStatus {
            shard: name.to_owned(),
            closed: false,
            ended: false,
            position: None,
            behind_ms,
            expires_in_ms,
            records_per_second: None,
            worker: None,
            waits_for: Vec::new(),
        }
    }

    #[test]
    fn the_worst_shard_is_the_one_that_expires_soonest() {
        let shards = [shard("a", Some(9_000), Some(70)), shard("b", Some(8_000), Some(30)), shard("c", Some(0), None)];
        let worst = Worst { behind_ms: Some(9_000), expires_in_ms: Some(30), shard: Some("b".into()) };
        assert_eq!(Worst::of(&shards), worst);
        assert_eq!(Worst::of(&shards[2..]), Worst::default(), "nothing is unread");
        let unknown = Worst { behind_ms: Some(5), expires_in_ms: None, shard: Some("d".into()) };
        assert_eq!(Worst::of(&[shard("d", Some(5), None)]), unknown);
    }

    fn heartbeat(worker: &str, beat: u64, written_at: i64) -> Heartbeat {
        let report = ShardReport {
            shard: ShardId::new("s"),
            position: None,
            behind_ms: Some(3),
            records_per_second: 1.0,
            expires_in_ms: None,
            read_at: 0,
        };
        let text = serde_json::json!({
            "format": 1, "worker": worker, "beat": beat, "written_at": written_at, "started_at": 0,
            "host": { "name": "h", "boot": null, "pid": 1 }, "shards": [report],
        });
        serde_json::from_value(text).expect("a heartbeat")
    }

    async fn write(store: &Store, heartbeat: &Heartbeat) {
        let bytes = serde_json::to_vec(heartbeat).expect("JSON");
        store.put(&format!("workers/{}.json", heartbeat.worker), bytes.into()).await.expect("put");
    }

    /// A clock on which a worker whose own clock is an hour behind beats while one waits.
    struct Beating(Store);

    impl Clock for Beating {
        fn now_micros(&self) -> i64 {
            7_200_000_000
        }

        fn sleep(&self, _: Duration) -> futures::future::BoxFuture<'static, ()> {
            let store = self.0.clone();
            Box::pin(async move { write(&store, &heartbeat("behind", 2, 3_602_000)).await })
        }
    }

    #[tokio::test]
    async fn only_the_living_are_believed_whatever_their_clocks_say() {
        let store = Store::memory("status").expect("a store");
        for beat in
            [heartbeat("fresh", 1, 7_199_000), heartbeat("dead", 1, 3_600_000), heartbeat("behind", 1, 3_600_000)]
        {
            write(&store, &beat).await;
        }
        let living = living(&store, &Beating(store.clone())).await.expect("reads");
        let mut names: Vec<&str> = living.iter().map(|beat| beat.worker.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["behind", "fresh"]);
        assert_eq!(told(&living).get(&ShardId::new("s")).map(|(_, report)| report.behind_ms), Some(Some(3)));
    }
}
