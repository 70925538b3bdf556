//! `status`: where the stream, the journal and the warehouse stand.

use std::path::Path;
use std::process::ExitCode;

use futures::future::try_join_all;
use serde::Serialize;

use super::arguments::Common;
use super::output::{self, bytes, millis, thousands};
use super::reach::Reach;
use super::site::Site;
use crate::batch::StartAt;
use crate::error::{Error, Result};
use crate::journal::{self, State};
use crate::load::{Ledger, Warehouse};
use crate::source::{KinesisSource, Shard, Source, StreamAdmin};

/// Where a shard stands.
#[derive(Debug, Serialize)]
struct ShardStatus {
    shard: String,
    closed: bool,
    /// The last committed position; none where nothing was read yet.
    position: Option<String>,
    /// How long the oldest unread record has waited; 0 where nothing is unread.
    behind_ms: Option<u64>,
    /// Until the oldest unread record is past the stream's retention; none where nothing is unread.
    expires_in_ms: Option<u64>,
}

/// Shows it.
pub(super) async fn status(common: &Common, folder: &Path) -> Result<ExitCode> {
    let site = Site::existing(common, folder).await?;
    let state = journal::fold(&site.store, &site.plan.pipeline.name).await?;
    let ledger = site.warehouse.ledger().await?;
    let stream = Reach::open(common, &site.plan, &site.context).await?;
    let shards = shards(&site, &stream, &state).await;
    let closed = stream.close().await;
    let shards = shards.and_then(|shards| closed.map(|()| shards))?;
    let oldest_waiting = oldest_waiting(&site, &ledger).await?;
    if common.json {
        output::json(&json(&site, &state, &ledger, &shards))?;
    } else {
        print(&state, &ledger, &shards, oldest_waiting)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn shards(site: &Site, stream: &Reach, state: &State) -> Result<Vec<ShardStatus>> {
    let settings = stream.settings().await?;
    let retention = StreamAdmin::new(settings.clone(), site.context.clone()).retention().await?;
    let source = KinesisSource::new(settings, site.context.clone());
    let now = site.context.clock.now_millis();
    let looks = source.shards().await?.into_iter().map(|shard| {
        let source = &source;
        async move {
            let position = state.positions.get(&shard.id).cloned();
            let oldest = look(source, &shard, state, now).await?;
            let expires = oldest.unread_since.map(|arrived| arrived + retention.as_millis() as i64 - now);
            Ok::<_, Error>(ShardStatus {
                shard: shard.id.to_string(),
                closed: shard.closed,
                position: position.map(|position| position.to_string()),
                behind_ms: oldest.behind_ms,
                expires_in_ms: expires.map(|millis| u64::try_from(millis).unwrap_or(0)),
            })
        }
    });
    try_join_all(looks).await
}

struct Look {
    behind_ms: Option<u64>,
    /// When the oldest unread record arrived, ms since 1970 UTC.
    unread_since: Option<i64>,
}

/// Reads one page where a run would go on, and forgets it.
async fn look(source: &KinesisSource, shard: &Shard, state: &State, now: i64) -> Result<Look> {
    let start = match (state.positions.get(&shard.id), &state.opening) {
        (Some(position), _) => StartAt::After(position.clone()),
        (None, Some(opening)) => opening.start.clone(),
        (None, None) => StartAt::TrimHorizon,
    };
    let page = source.open(shard, start).await?.next().await?;
    let unread_since = page.records.first().map(|record| record.arrived_at.div_euclid(1000));
    let behind_ms = match unread_since {
        Some(arrived) => Some(u64::try_from(now - arrived).unwrap_or(0)),
        None => page.behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
    };
    Ok(Look { behind_ms, unread_since })
}

async fn oldest_waiting(site: &Site, ledger: &Ledger) -> Result<Option<u64>> {
    let next = journal::entries(&site.store, ledger.loaded_through, 1).await?;
    let now = site.context.clock.now_millis();
    Ok(next.first().map(|entry| u64::try_from(now - entry.written_at).unwrap_or(0)))
}

fn json(site: &Site, state: &State, ledger: &Ledger, shards: &[ShardStatus]) -> serde_json::Value {
    let tables: serde_json::Map<_, _> = state
        .tables
        .iter()
        .map(|(name, totals)| {
            let totals = serde_json::json!({ "files": totals.files, "rows": totals.rows, "bytes": totals.bytes });
            (name.clone(), totals)
        })
        .collect();
    serde_json::json!({
        "pipeline": site.plan.pipeline.name,
        "stream": state.opening.as_ref().map(|opening| &opening.stream),
        "shards": shards,
        "entries": state.through,
        "records": state.counts.records,
        "quarantined": state.quarantine.rows,
        "staged": tables,
        "loads": ledger.loads,
        "loaded_through": ledger.loaded_through,
        "last_load": ledger.last,
    })
}

fn print(state: &State, ledger: &Ledger, shards: &[ShardStatus], oldest_waiting: Option<u64>) -> Result<()> {
    match &state.opening {
        Some(opening) => output::line(format_args!("stream   {}", opening.stream.arn))?,
        None => output::line("stream   nothing has been read yet")?,
    }
    for shard in shards {
        let position = shard.position.as_deref().unwrap_or("its beginning");
        let lag = match shard.behind_ms {
            Some(0) if shard.expires_in_ms.is_none() => "nothing unread".to_owned(),
            Some(behind) => format!("{} behind", millis(behind)),
            None => "lag unknown".to_owned(),
        };
        let expires = shard
            .expires_in_ms
            .map_or(String::new(), |left| format!(", the oldest unread expires in {}", millis(left)));
        let closed = if shard.closed { " (closed)" } else { "" };
        output::line(format_args!("  {}{closed} at {position}: {lag}{expires}", shard.shard))?;
    }
    let (records, rejected) = (thousands(state.counts.records), thousands(state.quarantine.rows));
    output::line(format_args!(
        "journal  {} entries, {records} records, {rejected} in quarantine",
        thousands(state.through)
    ))?;
    for (table, totals) in &state.tables {
        let (rows, files, size) = (thousands(totals.rows), thousands(totals.files), bytes(totals.bytes));
        output::line(format_args!("  {table}: {rows} rows in {files} files, {size}"))?;
    }
    let waiting = state.through.saturating_sub(ledger.loaded_through);
    let waits = match oldest_waiting {
        Some(age) if waiting > 0 => format!("{} entries wait, the oldest for {}", thousands(waiting), millis(age)),
        _ => "everything staged is loaded".to_owned(),
    };
    output::line(format_args!(
        "loads    {} loads through entry {}; {waits}",
        thousands(ledger.loads),
        ledger.loaded_through
    ))
}
