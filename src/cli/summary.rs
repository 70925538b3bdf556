//! What a run did, in the words of a person or the keys of a machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::output::{counted, millis, thousands};
use crate::engine::{Latency, Progress};

/// The figures of a run. Its JSON keys are a promise to scripts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Records read and committed.
    pub(super) records: u64,
    /// Events found in them.
    pub(super) events: u64,
    /// Events in quarantine, by reason.
    pub(super) quarantined: BTreeMap<String, u64>,
    /// Rows staged, by table.
    pub(super) staged: BTreeMap<String, u64>,
    /// Rows loaded, by table.
    pub(super) loaded: BTreeMap<String, u64>,
    /// From the start of the run to its end.
    pub(super) seconds: f64,
    /// From a record's arrival in the stream to its journal entry.
    pub(super) stage_latency_ms: Percentiles,
    /// From a record's arrival in the stream to its load.
    pub(super) load_latency_ms: Percentiles,
    /// Where all of it is: the data folder, or the store's address.
    pub(super) data: String,
    /// Data files staged.
    pub(super) files: u64,
    /// Loads made.
    pub(super) loads: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: u64,
    pub(super) p99: u64,
}

impl From<Latency> for Percentiles {
    fn from(latency: Latency) -> Self {
        Self { p50: latency.p50, p99: latency.p99 }
    }
}

impl Summary {
    pub(super) fn new(progress: &Progress, seconds: f64, data: String) -> Self {
        let totals = progress.totals();
        let counts = totals.counts;
        let quarantined = counts.refused_by_reason();
        Self {
            records: counts.records,
            events: counts.events,
            quarantined,
            staged: counts.tables.into_iter().map(|(table, rows)| (table, rows.staged)).collect(),
            loaded: totals.loaded,
            seconds: (seconds * 1e3).round() / 1e3,
            stage_latency_ms: progress.stage_latency().into(),
            load_latency_ms: progress.load_latency().into(),
            data,
            files: totals.files,
            loads: totals.loads,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quarantined: u64 = self.quarantined.values().sum();
        let rate = if self.seconds > 0.0 { (self.records as f64 / self.seconds) as u64 } else { 0 };
        let (records, rate) = (thousands(self.records), thousands(rate));
        writeln!(formatter, "read         {records} records in {:.1} s, {rate} records/s", self.seconds)?;
        let (events, passed) = (thousands(self.events), thousands(self.events.saturating_sub(quarantined)));
        writeln!(formatter, "decoded      {events} events, {passed} of them good")?;
        writeln!(formatter, "quarantined  {}{}", thousands(quarantined), listed(&self.quarantined))?;
        let staged = thousands(self.staged.values().sum());
        let files = counted(self.files, "file", "files");
        writeln!(formatter, "staged       {staged} rows in {files}{}", listed(&self.staged))?;
        let loaded = thousands(self.loaded.values().sum());
        let loads = counted(self.loads, "load", "loads");
        write!(formatter, "loaded       {loaded} rows in {loads}{}", listed(&self.loaded))?;
        if self.records == 0 {
            return Ok(());
        }
        let (stage, load) = (self.stage_latency_ms, self.load_latency_ms);
        let (p50, p99) = (millis(stage.p50), millis(stage.p99));
        write!(formatter, "\nfrom arrival to staged: half within {p50}, 99 of 100 within {p99}")?;
        if self.loads == 0 {
            return Ok(());
        }
        let (p50, p99) = (millis(load.p50), millis(load.p99));
        write!(formatter, "\nfrom arrival to loaded: half within {p50}, 99 of 100 within {p99}")
    }
}

/// `: a 1,200, b 3`, the largest first; nothing for none.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    sorted.sort_by(|left, right| right.1.cmp(left.1).then_with(|| left.0.cmp(right.0)));
    let words: Vec<String> = sorted.into_iter().map(|(name, count)| format!("{name} {}", thousands(*count))).collect();
    if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            records: 2_000,
            events: 2_000,
            quarantined: BTreeMap::from([("not_json".into(), 12), ("status_known".into(), 30)]),
            staged: BTreeMap::from([("fact_orders".into(), 1_900)]),
            loaded: BTreeMap::from([("fact_orders".into(), 1_900)]),
            seconds: 4.0,
            stage_latency_ms: Percentiles { p50: 300, p99: 1_250 },
            load_latency_ms: Percentiles { p50: 2_000, p99: 3_000 },
            data: "data".into(),
            files: 3,
            loads: 1,
        }
    }

    #[test]
    fn a_person_reads_where_every_record_went() {
        let expected = "\
read         2,000 records in 4.0 s, 500 records/s
decoded      2,000 events, 1,958 of them good
quarantined  42: status_known 30, not_json 12
staged       1,900 rows in 3 files: fact_orders 1,900
loaded       1,900 rows in 1 load: fact_orders 1,900
from arrival to staged: half within 300 ms, 99 of 100 within 1.2 s
from arrival to loaded: half within 2.0 s, 99 of 100 within 3.0 s";
        assert_eq!(summary().to_string(), expected);
    }

    #[test]
    fn a_run_without_records_has_no_latency_to_tell() {
        let text = Summary { records: 0, ..summary() }.to_string();
        assert!(text.ends_with("fact_orders 1,900") && !text.contains("arrival"), "{text}");
    }

    #[test]
    fn a_run_without_loads_has_no_latency_of_them_to_tell() {
        let text = Summary { loads: 0, ..summary() }.to_string();
        assert!(text.contains("from arrival to staged") && !text.contains("from arrival to loaded"), "{text}");
    }

    #[test]
    fn a_machine_finds_the_promised_keys() {
        let json = serde_json::to_value(summary()).expect("json");
        assert_eq!(json["quarantined"]["not_json"], 12);
        assert_eq!(json["staged"]["fact_orders"], 1_900);
        assert_eq!(json["stage_latency_ms"], serde_json::json!({ "p50": 300, "p99": 1_250 }));
        for key in ["records", "events", "loaded", "seconds", "load_latency_ms", "data"] {
            assert!(!json[key].is_null(), "{key}");
        }
    }
}
