//! The metrics: everything the engine knows of its progress at one moment, as a page in the OpenMetrics text format,
//! which Prometheus reads.
//!
//! Counters count since the start of the process. A shard's sequence number is no metric: as a label it would make a new
//! time series at every scrape, as a number it would not fit into a float. What of the position can be drawn and alerted
//! on is told instead (records read, when the last of them arrived, how far it is behind); `status` tells the position.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::families::{Families, Words};
use crate::engine::{Latency, Progress, ShardProgress, Totals};
use crate::error::{Error, Result};

/// Leads every metric's name.
const PREFIX: &str = "millstream";

/// What a scrape tells.
#[derive(Debug)]
pub(super) struct Snapshot {
    totals: Totals,
    staged: Latency,
    loaded: Latency,
    /// µs since 1970 UTC.
    now: i64,
}

impl Snapshot {
    /// The progress at `now`, µs since 1970 UTC.
    pub(super) fn of(progress: &Progress, now: i64) -> Self {
        let (staged, loaded) = (progress.stage_latency(), progress.load_latency());
        Self { totals: progress.totals(), staged, loaded, now }
    }

    /// The page.
    ///
    /// # Errors
    /// Internal where the library refuses to write it.
    pub(super) fn into_text(self) -> Result<String> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        let written = text::encode(&mut page, &registry);
        written.map_err(|error| Error::internal("the metrics cannot be written").with_source(error))?;
        Ok(page)
    }

    fn shards(&self, page: &mut Families<'_>) -> fmt::Result {
        let shards = &self.totals.shards;
        page.gauge(&Words::of("shards", "Shards that this worker reads."), Some(shards.len() as f64))?;
        let workers = Words::of("workers", "Workers of the stream that live, as this one sees it.");
        page.gauge(&workers, Some(self.totals.workers as f64))?;
        let read = Words::of("shard_records_read", "Records read, committed or not.");
        page.counters(&read, "shard", shards.iter().map(|(shard, known)| (shard.as_str(), known.records)))?;
        let rate = Words::of("shard_records_per_second", "Records read per second, over about the last 10 s.");
        page.gauges(&rate, "shard", self.each_shard(|known| Some(known.records_per_second(self.now))))?;
        let behind = "How far the last answer was behind the shard's newest record.";
        page.gauges(&Words::seconds("shard_behind", behind), "shard", self.each_shard(behind_seconds))?;
        let expires = "Until the oldest unread record is past the stream's retention; none where nothing is unread.";
        let expires = Words::seconds("shard_expires_in", expires);
        page.gauges(&expires, "shard", self.each_shard(|known| self.expires_in_seconds(known)))?;
        let newest = Words::seconds("shard_newest_read_timestamp", "When the last record that was read arrived.");
        page.gauges(&newest, "shard", self.each_shard(|known| known.newest_read.map(|millis| millis as f64 / 1e3)))?;
        let answered = "When the shard last gave an answer; what is told of a shard is as old as that.";
        let answered = Words::seconds("shard_answered_timestamp", answered);
        page.gauges(&answered, "shard", self.each_shard(answered_at_seconds))?;
        let reconnects = "Times reconnected since it last made progress; more than one, and it stalls.";
        let reconnects = Words::of("shard_reconnects", reconnects);
        page.gauges(&reconnects, "shard", self.each_shard(|known| Some(f64::from(known.reconnects))))
    }

    fn worst(&self, page: &mut Families<'_>) -> fmt::Result {
        let known = || self.totals.shards.values();
        let behind = known().filter_map(behind_seconds).reduce(f64::max);
        page.gauge(&Words::seconds("worst_behind", "The most that any shard is behind."), behind)?;
        let expires = known().filter_map(|known| self.expires_in_seconds(known)).reduce(f64::min);
        let soonest = "Until the first unread record of any shard is past retention; none where nothing is unread.";
        page.gauge(&Words::seconds("soonest_expiry", soonest), expires)?;
        let retention = self.totals.retention.map(|retention| retention.as_secs_f64());
        page.gauge(&Words::seconds("stream_retention", "How long the stream keeps a record."), retention)
    }

    fn records(&self, page: &mut Families<'_>) -> fmt::Result {
        let (totals, counts) = (&self.totals, &self.totals.counts);
        page.counter(&Words::of("records_read", "Records read, committed or not."), totals.read)?;
        page.counter(&Words::of("records_committed", "Records whose journal entry is committed."), counts.records)?;
        page.counter(&Words::of("events", "Events found in committed records."), counts.events)?;
        page.counter(&Words::of("events_passed", "Events that passed all checks."), counts.passed)?;
        let refused = Words::of("events_quarantined", "Events refused by decode or by a check.");
        page.counters(&refused, "reason", borrowed(&counts.refused_by_reason()))?;
        page.counter(&Words::of("losses", "Gaps in the stream that reading went on behind."), totals.losses)
    }

    fn entries(&self, page: &mut Families<'_>) -> fmt::Result {
        let totals = &self.totals;
        let staged = totals.counts.tables.iter().map(|(table, rows)| (table.as_str(), rows.staged));
        page.counters(&Words::of("rows_staged", "Rows in committed data files."), "table", staged)?;
        page.counters(&Words::of("rows_loaded", "Rows copied to the warehouse."), "table", borrowed(&totals.loaded))?;
        page.counter(&Words::of("files_staged", "Data files committed."), totals.files)?;
        page.counter(&Words::of("entries_committed", "Journal entries committed."), totals.entries)?;
        page.counter(&Words::of("loads", "Loads made."), totals.loads)?;
        let stopped = "Since when loading has failed without going on by itself; none where it goes on.";
        let since = totals.loading_stopped.as_ref().map(|stopped| stopped.since as f64 / 1e3);
        page.gauge(&Words::seconds("loading_stopped_timestamp", stopped), since)?;
        let committed = (totals.entries > 0).then_some(totals.committed as f64);
        page.gauge(&Words::of("committed_through", "The newest journal entry of this worker."), committed)?;
        let loaded = (totals.loads > 0).then_some(totals.loaded_through as f64);
        page.gauge(&Words::of("loaded_through", "The newest journal entry that this worker has loaded."), loaded)
    }

    fn calls(&self, page: &mut Families<'_>) -> fmt::Result {
        let calls = &self.totals.calls;
        let made = "Calls to the stream since it was last connected to.";
        page.counter(&Words::of("stream_calls", made), calls.calls)?;
        let outcomes = [
            ("throttled", calls.throttled),
            ("failed", calls.failed),
            ("expired_iterator", calls.expired_iterators),
            ("expired_credentials", calls.expired_credentials),
        ];
        let unsuccessful = Words::of("stream_calls_unsuccessful", "Calls to the stream that were made again, by why.");
        page.counters(&unsuccessful, "outcome", outcomes)?;
        let granted = Words::of("stream_subscriptions", "Fan-out subscriptions granted, renewals included.");
        page.counter(&granted, calls.subscriptions)?;
        let broken = Words::of("stream_subscriptions_broken", "Fan-out subscriptions refused, reset or silent.");
        page.counter(&broken, calls.broken_subscriptions)?;
        let fallbacks = "Times that a shard was polled for a while because subscribing failed.";
        page.counter(&Words::of("stream_fallbacks", fallbacks), calls.fallbacks)
    }

    fn latencies(&self, page: &mut Families<'_>) -> fmt::Result {
        let staged = "From a record's arrival in the stream to its journal entry, since the start.";
        page.gauges(&Words::seconds("arrival_to_staged", staged), "quantile", quantiles(self.staged))?;
        let loaded = "From a record's arrival in the stream to its load, since the start.";
        page.gauges(&Words::seconds("arrival_to_loaded", loaded), "quantile", quantiles(self.loaded))
    }

    fn each_shard(&self, value: impl Fn(&ShardProgress) -> Option<f64>) -> impl Iterator<Item = (&str, f64)> {
        self.totals.shards.iter().filter_map(move |(shard, known)| Some((shard.as_str(), value(known)?)))
    }

    fn expires_in_seconds(&self, known: &ShardProgress) -> Option<f64> {
        known.expires_in(self.totals.retention?, self.now).map(|left| left.as_secs_f64())
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Families::new(encoder);
        self.worst(&mut page)?;
        self.shards(&mut page)?;
        self.records(&mut page)?;
        self.entries(&mut page)?;
        self.latencies(&mut page)?;
        self.calls(&mut page)
    }
}

fn behind_seconds(known: &ShardProgress) -> Option<f64> {
    known.behind.map(|behind| behind.as_secs_f64())
}

/// None before the first answer.
fn answered_at_seconds(known: &ShardProgress) -> Option<f64> {
    (known.read_at > 0).then_some(known.read_at as f64 / 1e6)
}

/// None where nothing was measured yet.
fn quantiles(latency: Latency) -> impl Iterator<Item = (&'static str, f64)> {
    let measured = (latency != Latency::default()).then_some([("0.5", latency.p50), ("0.99", latency.p99)]);
    measured.into_iter().flatten().map(|(quantile, millis)| (quantile, millis as f64 / 1e3))
}

fn borrowed(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    counts.iter().map(|(of, count)| (of.as_str(), *count))
}

#[cfg(test)]
mod tests {
    use crate::batch::Counts;
    use std::time::Duration;

    use super::*;
    use crate::batch::{ShardId, TableCounts};
    use crate::source::CallCounts;
    use crate::workers::LoadingStopped;

    /// In s since 1970 UTC.
    const NOW: i64 = 1_800_000_000;

    fn shard(behind_ms: Option<u64>, arrived_ago: Option<i64>, records: u64) -> ShardProgress {
        let mut known = ShardProgress::default();
        known.behind = behind_ms.map(Duration::from_millis);
        known.newest_read = arrived_ago.map(|seconds| (NOW - seconds) * 1_000);
        (known.records, known.read_at) = (records, (NOW - 1) * 1_000_000);
        known
    }

    fn page(totals: Totals) -> String {
        let (staged, loaded) = (Latency { p50: 250, p99: 1_500 }, Latency::default());
        Snapshot { totals, staged, loaded, now: NOW * 1_000_000 }.into_text().expect("a page")
    }

    fn lines<'p>(page: &'p str, metric: &str) -> Vec<&'p str> {
        let named = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{']));
        page.lines().filter(named).collect()
    }

    #[test]
    fn each_shard_tells_how_it_stands_and_the_worst_leads() {
        let mut unanswered = ShardProgress::default();
        unanswered.reconnects = 3;
        let shards = [
            ("s-0", shard(Some(90_500), Some(80_000), 12)),
            ("s-1", shard(Some(0), Some(5), 7)),
            ("s-2", shard(None, Some(86_000), 1)),
            ("s-3", unanswered),
        ];
        let shards = shards.into_iter().map(|(name, known)| (ShardId::new(name), known)).collect();
        let retention = Some(Duration::from_secs(86_400));
        let page = page(Totals { shards, retention, ..Totals::default() });
        let cases: [(&str, &[&str]); 10] = [
            ("worst_behind_seconds", &["worst_behind_seconds 90.5"]),
            ("soonest_expiry_seconds", &["soonest_expiry_seconds 400.0"]),
            ("stream_retention_seconds", &["stream_retention_seconds 86400.0"]),
            ("shards", &["shards 4.0"]),
            (
                "shard_records_read_total",
                &[
                    "shard_records_read_total{shard=\"s-0\"} 12",
                    "shard_records_read_total{shard=\"s-1\"} 7",
                    "shard_records_read_total{shard=\"s-2\"} 1",
                    "shard_records_read_total{shard=\"s-3\"} 0",
                ],
            ),
            (
                "shard_behind_seconds",
                &["shard_behind_seconds{shard=\"s-0\"} 90.5", "shard_behind_seconds{shard=\"s-1\"} 0.0"],
            ),
            (
                "shard_expires_in_seconds",
                &["shard_expires_in_seconds{shard=\"s-0\"} 6400.0", "shard_expires_in_seconds{shard=\"s-2\"} 400.0"],
            ),
            (
                "shard_newest_read_timestamp_seconds",
                &[
                    "shard_newest_read_timestamp_seconds{shard=\"s-0\"} 1799920000.0",
                    "shard_newest_read_timestamp_seconds{shard=\"s-1\"} 1799999995.0",
                    "shard_newest_read_timestamp_seconds{shard=\"s-2\"} 1799914000.0",
                ],
            ),
            (
                "shard_answered_timestamp_seconds",
                &[
                    "shard_answered_timestamp_seconds{shard=\"s-0\"} 1799999999.0",
                    "shard_answered_timestamp_seconds{shard=\"s-1\"} 1799999999.0",
                    "shard_answered_timestamp_seconds{shard=\"s-2\"} 1799999999.0",
                ],
            ),
            (
                "shard_reconnects",
                &[
                    "shard_reconnects{shard=\"s-0\"} 0.0",
                    "shard_reconnects{shard=\"s-1\"} 0.0",
                    "shard_reconnects{shard=\"s-2\"} 0.0",
                    "shard_reconnects{shard=\"s-3\"} 3.0",
                ],
            ),
        ];
        for (metric, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|line| format!("millstream_{line}")).collect();
            assert_eq!(lines(&page, &format!("millstream_{metric}")), expected, "{metric} in {page}");
        }
    }

    #[test]
    fn where_nothing_is_known_families_are_described_and_have_no_sample() {
        let page = page(Totals::default());
        for metric in ["worst_behind_seconds", "soonest_expiry_seconds", "shard_behind_seconds", "loaded_through"] {
            let described = format!("# TYPE millstream_{metric} gauge");
            assert!(page.contains(&described), "{described:?} is not in {page}");
            assert_eq!(lines(&page, &format!("millstream_{metric}")), Vec::<&str>::new());
        }
        assert!(page.ends_with("\n# EOF\n"), "{page}");
    }

    #[test]
    fn without_a_retention_nothing_expires() {
        let shards = BTreeMap::from([(ShardId::new("s"), shard(Some(1_000), Some(90), 1))]);
        let page = page(Totals { shards, ..Totals::default() });
        assert_eq!(lines(&page, "millstream_shard_behind_seconds").len(), 1);
        assert_eq!(lines(&page, "millstream_shard_expires_in_seconds"), Vec::<&str>::new());
    }

    fn busy() -> Totals {
        let rows = |staged| TableCounts { filtered: None, superseded: 0, refused: 0, staged };
        let counts = Counts {
            records: 9,
            events: 10,
            undecodable: BTreeMap::from([("not_json".into(), 1), ("type".into(), 2)]),
            failed_checks: BTreeMap::from([("type".into(), 3)]),
            passed: 4,
            tables: BTreeMap::from([("fact".into(), rows(4))]),
            ..Counts::default()
        };
        let calls = CallCounts {
            calls: 20,
            throttled: 1,
            failed: 2,
            expired_iterators: 3,
            expired_credentials: 4,
            subscriptions: 5,
            broken_subscriptions: 6,
            fallbacks: 7,
        };
        let loaded = BTreeMap::from([("fact".into(), 3)]);
        let (entries, committed, loads, loaded_through) = (6, 11, 2, 10);
        let (files, read, losses) = (8, 12, 1);
        Totals {
            counts,
            files,
            entries,
            committed,
            loads,
            loaded_through,
            loading_stopped: Some(LoadingStopped { since: NOW * 1_000 - 500, reason: "a right is missing".into() }),
            loaded,
            read,
            losses,
            calls,
            workers: 3,
            ..Totals::default()
        }
    }

    #[test]
    fn everything_that_was_done_is_counted_once() {
        let page = page(busy());
        let expected = [
            "workers 3.0",
            "records_read_total 12",
            "records_committed_total 9",
            "events_total 10",
            "events_passed_total 4",
            "events_quarantined_total{reason=\"not_json\"} 1",
            "events_quarantined_total{reason=\"type\"} 5",
            "losses_total 1",
            "rows_staged_total{table=\"fact\"} 4",
            "rows_loaded_total{table=\"fact\"} 3",
            "files_staged_total 8",
            "entries_committed_total 6",
            "loads_total 2",
            "loading_stopped_timestamp_seconds 1799999999.5",
            "committed_through 11.0",
            "loaded_through 10.0",
            "arrival_to_staged_seconds{quantile=\"0.5\"} 0.25",
            "arrival_to_staged_seconds{quantile=\"0.99\"} 1.5",
            "stream_calls_total 20",
            "stream_calls_unsuccessful_total{outcome=\"throttled\"} 1",
            "stream_calls_unsuccessful_total{outcome=\"failed\"} 2",
            "stream_calls_unsuccessful_total{outcome=\"expired_iterator\"} 3",
            "stream_calls_unsuccessful_total{outcome=\"expired_credentials\"} 4",
            "stream_subscriptions_total 5",
            "stream_subscriptions_broken_total 6",
            "stream_fallbacks_total 7",
        ];
        let about_shards = |line: &&str| line.starts_with('#') || line.starts_with("millstream_shards ");
        let told: Vec<&str> = page.lines().filter(|line| !about_shards(line)).collect();
        assert_eq!(told, expected.map(|line| format!("millstream_{line}")), "{page}");
    }

    #[test]
    fn a_label_that_would_end_its_line_is_escaped() {
        let undecodable = BTreeMap::from([("a\"b\\c\nd".into(), 1)]);
        let counts = Counts { undecodable, ..Counts::default() };
        let page = page(Totals { counts, ..Totals::default() });
        let quarantined = lines(&page, "millstream_events_quarantined_total");
        assert_eq!(quarantined, [r#"millstream_events_quarantined_total{reason="a\"b\\c\nd"} 1"#]);
    }
}
