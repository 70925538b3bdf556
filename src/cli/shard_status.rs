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
use crate::source::{KinesisSource, Known, Shard, ShardPlan, Source, plan};
use crate::workers::{DEAD_AFTER, Heartbeat, ShardReport};

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
    /// How long the oldest unread record has waited; 0 where nothing is unread, none where it is not known.
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
    /// The longest that an unread record has waited.
    pub(super) behind_ms: Option<u64>,
    /// The soonest that one is past retention.
    pub(super) expires_in_ms: Option<u64>,
    /// The shard of that one, else of the longest wait.
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
    let told = told(heartbeats, now);
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

/// The reports of the workers that live, by shard.
fn told(heartbeats: &[Heartbeat], now: i64) -> BTreeMap<&ShardId, (&str, &ShardReport)> {
    let oldest = now.saturating_sub(i64::try_from(DEAD_AFTER.as_millis()).unwrap_or(i64::MAX));
    let living = heartbeats.iter().filter(|heartbeat| heartbeat.written_at >= oldest);
    let reports = living.flat_map(|beat| beat.shards.iter().map(|report| (beat.worker.as_str(), report)));
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
    let behind_ms = match unread_since {
        Some(arrived) => Some(u64::try_from(now - arrived).unwrap_or(0)),
        None => page.behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
    };
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
    use crate::workers::{Host, WorkerId};

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

    #[test]
    fn only_the_living_are_believed() {
        let report = |behind| ShardReport {
            shard: ShardId::new("s"),
            position: None,
            behind_ms: Some(behind),
            records_per_second: 1.0,
            expires_in_ms: None,
            read_at: 0,
        };
        let heartbeat = |worker: &str, written_at, behind| Heartbeat {
            format: 1,
            worker: WorkerId::new(worker),
            beat: 1,
            written_at,
            started_at: 0,
            host: Host { name: "h".into(), boot: None, pid: 1 },
            loads: true,
            shards: vec![report(behind)],
        };
        let beats = [heartbeat("dead", 1_000, 7), heartbeat("living", 19_000, 3)];
        let shard = ShardId::new("s");
        let told = told(&beats, 20_000);
        assert_eq!(told.get(&shard).map(|(worker, report)| (*worker, report.behind_ms)), Some(("living", Some(3))));
        assert!(super::told(&beats, 60_000).is_empty());
    }
}
