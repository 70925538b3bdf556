//! `status`: where the stream, the journal and the warehouse stand, and who works on them.
//!
//! Where one of them gives no answer, or is damaged, that is told as a finding and as the command's error, and is no reason
//! to keep back what the others say. Of a damaged journal the entries before the damage count.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::arguments::Common;
use super::output::{self, bytes, counted, millis, thousands};
use super::reach::Reach;
use super::shard_status::{ShardStatus, Worst, living, shards};
use super::site::Site;
use crate::engine;
use crate::error::{Error, Result};
use crate::journal::{self, State};
use crate::load::Ledger;
use crate::source::KinesisSource;
use crate::workers::{Heartbeat, LoadingStopped};

/// Shards that are told one by one; of more, those that are worst.
const TOLD: usize = 40;

/// Entries that are read at a time.
const ENTRIES: usize = 1_000;

/// How long a warehouse may take to answer: one whose ledger somebody holds locked would answer never.
const PATIENCE: Duration = Duration::from_secs(20);

/// What there is to tell.
struct Status {
    state: State,
    /// Where the warehouse is, where it is a database.
    warehouse: Option<String>,
    /// None where the warehouse does not tell.
    loads: Option<Loads>,
    findings: Findings,
    /// Of the workers that live.
    workers: Vec<Heartbeat>,
    shards: Vec<ShardStatus>,
    /// When the maintenance window that is open ends, ms since 1970 UTC.
    paused_until: Option<i64>,
}

/// What is loaded, and what is not.
struct Loads {
    ledger: Ledger,
    /// None where that cannot be told of this journal and this ledger together.
    waiting: Option<Waiting>,
}

/// What could not be told, and why.
#[derive(Default)]
struct Findings {
    stream: Option<Error>,
    warehouse: Option<Error>,
    journal: Option<Error>,
}

/// What is staged and not loaded.
#[derive(Debug, Default, Serialize)]
struct Waiting {
    entries: u64,
    files: u64,
    rows: u64,
    bytes: u64,
    /// How long the oldest entry has waited, in ms.
    oldest_ms: Option<u64>,
}

/// Shows it.
pub(super) async fn status(common: &Common, folder: &Path) -> Result<ExitCode> {
    let site = Site::existing(common, folder).await?;
    let (state, damage) = journal::fold_sound(&site.store, &site.plan.pipeline.name).await?;
    let workers = living(&site.store, site.context.clock.as_ref()).await?;
    let (shards, no_stream) = parted(ask(common, &site, (&state, &workers)).await);
    let patient = site.context.clock.sleep(PATIENCE);
    let (loads, no_warehouse) = parted(tokio::select! {
        told = loads(&site) => told,
        () = patient => Err(no_answer()),
    });
    let (mut loads, mismatch) = loads.unzip();
    if let (Some(loads), Some(_)) = (&mut loads, &damage) {
        // The journal is counted as far as it is sound, and the ledger may be ahead of that.
        loads.waiting = None;
    }
    // A damaged journal is told once, and not again because what waits in it cannot be counted.
    let mismatch = mismatch.flatten().filter(|_| damage.is_none());
    let findings = Findings { stream: no_stream, warehouse: no_warehouse.or(mismatch), journal: damage };
    let paused_until = site.plan.pipeline.load.paused_until(site.context.clock.now_millis());
    let (shards, warehouse) = (shards.unwrap_or_default(), site.warehouse.address().map(str::to_owned));
    let status = Status { state, warehouse, loads, findings, workers, shards, paused_until };
    if common.json {
        output::json(&status.json(&site.plan.pipeline.name))?;
    } else {
        status.print()?;
    }
    let Findings { stream, warehouse, journal } = status.findings;
    let mut found: Vec<Error> = [stream, warehouse, journal].into_iter().flatten().collect();
    let last = found.pop();
    found.iter().for_each(output::error);
    last.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn no_answer() -> Error {
    let seconds = PATIENCE.as_secs();
    Error::transient(format!(
        "the warehouse gave no answer for {seconds} s: look whether somebody holds the ledger locked there, and whether \
         the way to it is open"
    ))
}

fn parted<T>(outcome: Result<T>) -> (Option<T>, Option<Error>) {
    match outcome {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    }
}

/// Where each shard stands.
async fn ask(common: &Common, site: &Site, (state, workers): (&State, &[Heartbeat])) -> Result<Vec<ShardStatus>> {
    let stream = Reach::open(common, &site.plan, &site.context).await?;
    let asked = async {
        let source = KinesisSource::new(stream.settings().await?, site.context.clone());
        shards(&source, state, workers, site.context.clock.now_millis()).await
    };
    let asked = asked.await;
    let closed = stream.close().await;
    asked.and_then(|shards| closed.map(|()| shards))
}

/// What is loaded and what waits; or why that cannot be told, where ledger and journal do not belong together.
async fn loads(site: &Site) -> Result<(Loads, Option<Error>)> {
    let ledger = site.warehouse.get().ledger().await?;
    let counted = async {
        engine::verify_ledger(&site.store, ledger.last.as_ref()).await?;
        waiting(site, &ledger).await
    };
    let (waiting, mismatch) = parted(counted.await);
    Ok((Loads { ledger, waiting }, mismatch))
}

async fn waiting(site: &Site, ledger: &Ledger) -> Result<Waiting> {
    let now = site.context.clock.now_millis();
    let mut waiting = Waiting::default();
    loop {
        let entries = journal::entries(&site.store, ledger.loaded_through + waiting.entries, ENTRIES).await?;
        if entries.is_empty() {
            return Ok(waiting);
        }
        let oldest = entries.first().map(|entry| u64::try_from(now - entry.written_at).unwrap_or(0));
        waiting.oldest_ms = waiting.oldest_ms.or(oldest);
        waiting.entries += entries.len() as u64;
        for file in entries.iter().flat_map(|entry| entry.tables.values()).flatten() {
            waiting.files += 1;
            waiting.rows += file.rows;
            waiting.bytes += file.bytes;
        }
    }
}

impl Status {
    fn json(&self, pipeline: &str) -> serde_json::Value {
        let state = &self.state;
        let (ledger, waiting) = self.loads.as_ref().map(|loads| (&loads.ledger, loads.waiting.as_ref())).unzip();
        let waiting = waiting.flatten();
        let tables: serde_json::Map<_, _> = state
            .tables
            .iter()
            .map(|(name, totals)| {
                let totals = serde_json::json!({ "files": totals.files, "rows": totals.rows, "bytes": totals.bytes });
                (name.clone(), totals)
            })
            .collect();
        let workers: Vec<_> = self.workers.iter().map(told).collect();
        serde_json::json!({
            "pipeline": pipeline,
            "stream": state.opening.as_ref().map(|opening| &opening.stream),
            "workers": workers,
            "shards": self.shards,
            "worst": Worst::of(&self.shards),
            "losses": state.marks.losses,
            "entries": state.through,
            "records": state.counts.records,
            "quarantined": state.quarantine.rows,
            "staged": tables,
            "warehouse": self.warehouse,
            "loads": ledger.map(|ledger| ledger.loads),
            "loaded_through": ledger.map(|ledger| ledger.loaded_through),
            "last_load": ledger.and_then(|ledger| ledger.last.as_ref()),
            "oldest_waiting_ms": waiting.and_then(|waiting| waiting.oldest_ms),
            "waiting": waiting,
            "loading_paused_until": self.paused_until,
            "findings": self.findings.json(),
        })
    }

    fn print(&self) -> Result<()> {
        match &self.state.opening {
            Some(opening) => output::line(format_args!("stream   {}", opening.stream.arn))?,
            None => output::line("stream   nothing has been read yet")?,
        }
        self.print_shards()?;
        for loss in &self.state.marks.losses {
            output::line(format_args!("  LOST   {loss}"))?;
        }
        self.print_workers()?;
        self.print_journal()?;
        self.print_loads()?;
        if let Some(address) = &self.warehouse {
            output::line(format_args!("  into {address}"))?;
        }
        match self.paused_until.and_then(DateTime::from_timestamp_millis) {
            Some(until) => output::line(format_args!("  maintenance: no load starts before {until}")),
            None => Ok(()),
        }
    }

    fn print_loads(&self) -> Result<()> {
        let Some(Loads { ledger, waiting }) = &self.loads else {
            return output::line("loads    the warehouse does not tell (see the error): how much waits is not known");
        };
        let waits = match waiting.as_ref().map(|waiting| (waiting, waiting.oldest_ms)) {
            None => "BROKEN: how much waits cannot be told (see the error)".to_owned(),
            Some((waiting, Some(age))) => {
                let (entries, rows) = (counted(waiting.entries, "entry", "entries"), thousands(waiting.rows));
                let (files, size) = (counted(waiting.files, "file", "files"), bytes(waiting.bytes));
                format!("{entries} with {rows} rows in {files} ({size}) wait, the oldest for {}", millis(age))
            }
            Some((_, None)) => "everything staged is loaded".to_owned(),
        };
        let loads = counted(ledger.loads, "load", "loads");
        output::line(format_args!("loads    {loads} through entry {}; {waits}", ledger.loaded_through))
    }

    fn print_shards(&self) -> Result<()> {
        let mut told: Vec<&ShardStatus> = self.shards.iter().filter(|shard| !shard.ended).collect();
        let ended = self.shards.len() - told.len();
        if told.len() > TOLD {
            told.sort_by_key(|shard| {
                (shard.expires_in_ms.unwrap_or(u64::MAX), u64::MAX - shard.behind_ms.unwrap_or(0))
            });
        }
        for shard in told.iter().take(TOLD) {
            output::line(format_args!("  {}", line(shard)))?;
        }
        if told.len() > TOLD {
            let more = counted((told.len() - TOLD) as u64, "shard stands", "shards stand");
            output::line(format_args!("  and {more} better (--json tells all)"))?;
        }
        if ended > 0 {
            let ended = counted(ended as u64, "closed shard is", "closed shards are");
            output::line(format_args!("  {ended} read to the end"))?;
        }
        let worst = Worst::of(&self.shards);
        if let (Some(shard), Some(behind)) = (&worst.shard, worst.behind_ms) {
            let expires = worst.expires_in_ms.map_or(String::new(), |left| {
                format!("; the oldest unread record expires in {} ({shard})", millis(left))
            });
            output::line(format_args!("  worst: {} behind{expires}", millis(behind)))?;
        }
        Ok(())
    }

    fn print_workers(&self) -> Result<()> {
        if self.workers.is_empty() {
            return output::line("workers  none is running");
        }
        for worker in &self.workers {
            let rate: f64 = worker.shards.iter().map(|report| report.records_per_second).sum();
            let shards = counted(worker.shards.len() as u64, "shard", "shards");
            output::line(format_args!(
                "worker   {} on {} (process {}): {shards}, {rate:.0} records/s{}",
                worker.worker,
                worker.host.name,
                worker.host.pid,
                if worker.loads || worker.loading_stopped.is_some() { "" } else { "; it loads no more" }
            ))?;
            if let Some(LoadingStopped { since, reason }) = &worker.loading_stopped {
                let since = DateTime::from_timestamp_millis(*since).unwrap_or_default();
                let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
                output::line(format_args!("  LOADING HAS STOPPED there since {since}, and is tried again: {reason}"))?;
            }
        }
        Ok(())
    }

    fn print_journal(&self) -> Result<()> {
        let state = &self.state;
        let (records, rejected) = (thousands(state.counts.records), thousands(state.quarantine.rows));
        let entries = counted(state.through, "entry", "entries");
        output::line(format_args!("journal  {entries}, {records} records, {rejected} in quarantine"))?;
        if self.findings.journal.is_some() {
            let through = state.through;
            output::line(format_args!(
                "  BROKEN: it is damaged behind entry {through} (see the error); what is shown is as of that entry"
            ))?;
        }
        for (table, totals) in &state.tables {
            let (rows, files) = (thousands(totals.rows), counted(totals.files, "file", "files"));
            output::line(format_args!("  {table}: {rows} rows in {files}, {}", bytes(totals.bytes)))?;
        }
        Ok(())
    }
}

impl Findings {
    fn json(&self) -> Vec<serde_json::Value> {
        let found = [("stream", &self.stream), ("warehouse", &self.warehouse), ("journal", &self.journal)];
        let found = found.into_iter().filter_map(|(about, error)| Some((about, error.as_ref()?)));
        found.map(|(about, error)| serde_json::json!({ "about": about, "message": error.to_string() })).collect()
    }
}

fn line(shard: &ShardStatus) -> String {
    let position = shard.position.as_deref().unwrap_or("its beginning");
    let closed = if shard.closed { " (closed)" } else { "" };
    let place = format!("{}{closed} at {position}", shard.shard);
    if !shard.waits_for.is_empty() {
        return format!("{place}: waits until {} is read to the end", shard.waits_for.join(" and "));
    }
    let lag = match shard.behind_ms {
        Some(0) if shard.expires_in_ms.is_none() => "nothing unread".to_owned(),
        Some(behind) => format!("{} behind", millis(behind)),
        None => "lag unknown".to_owned(),
    };
    let rate = shard.records_per_second.map_or(String::new(), |rate| format!(", {rate:.0} records/s"));
    let expires =
        shard.expires_in_ms.map_or(String::new(), |left| format!(", the oldest unread expires in {}", millis(left)));
    format!("{place}: {lag}{rate}{expires}")
}

fn told(worker: &Heartbeat) -> serde_json::Value {
    let shards: Vec<&str> = worker.shards.iter().map(|report| report.shard.as_str()).collect();
    serde_json::json!({
        "worker": worker.worker.as_str(), "host": worker.host.name, "pid": worker.host.pid,
        "started_at": worker.started_at, "written_at": worker.written_at, "loads": worker.loads,
        "loading_stopped": worker.loading_stopped,
        "shards": shards,
    })
}
