//! A heartbeat: what a worker says of itself and of the shards that it reads, as a JSON object.
//!
//! Owns the format `workers/<id>.json` and its number. A later version may add fields under the same number, since
//! unknown ones are passed over; what an older version would misunderstand gets a new number, and the older version
//! then takes the writer for a stranger: alive, of unknown shards.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::batch::{Position, ShardId};
use crate::error::{Error, Result};

/// The number of the format written here.
pub(super) const FORMAT: u32 = 1;

/// The folder of the heartbeats in the store.
pub(super) const FOLDER: &str = "workers";

/// A worker's id, random for each start of the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// A worker of this id.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of this worker's heartbeat.
    pub(super) fn path(&self) -> String {
        format!("{FOLDER}/{}.json", self.0)
    }

    /// The worker whose heartbeat has this path; none where it is no heartbeat's.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let id = path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
        (!id.is_empty() && !id.contains('/')).then(|| Self::new(id))
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One worker's heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The format's number.
    pub format: u32,
    /// Whose it is.
    pub worker: WorkerId,
    /// Rises with each heartbeat of the worker.
    pub beat: u64,
    /// ms since 1970 UTC, by the worker's clock.
    pub written_at: i64,
    /// When the worker started, ms since 1970 UTC, by its clock.
    pub started_at: i64,
    /// Where it runs.
    pub host: Host,
    /// Whether it would load where loading falls to it; a version that does not say so does.
    #[serde(default = "yes")]
    pub loads: bool,
    /// Since when its loading has failed, and why; none where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading_stopped: Option<LoadingStopped>,
    /// The shards that it reads.
    pub shards: Vec<ShardReport>,
}

fn yes() -> bool {
    true
}

/// Loading does not go on by itself; it is tried again at intervals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadingStopped {
    /// The first failure, ms since 1970 UTC, by the worker's clock.
    pub since: i64,
    /// The last failure.
    pub reason: String,
}

/// Where a worker runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The machine's name.
    pub name: String,
    /// The id of the machine's boot, where the system tells it.
    pub boot: Option<String>,
    /// The process.
    pub pid: u32,
}

/// What a worker says of a shard that it reads, for `status` and for the hand-over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// How far it is committed.
    pub position: Option<Position>,
    /// How far the reading is behind the newest record.
    pub behind_ms: Option<u64>,
    /// Records read per second.
    pub records_per_second: f64,
    /// When the oldest unread record expires.
    pub expires_in_ms: Option<u64>,
    /// When the shard was last read, ms since 1970 UTC, by the worker's clock.
    pub read_at: i64,
}

/// Why an object is not taken for a heartbeat.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is no heartbeat: {0}")]
    Torn(#[from] serde_json::Error),
    #[error("its format is {0}, this version reads {FORMAT}")]
    Format(u32),
    #[error("it says that it is of worker {0}")]
    Other(WorkerId),
}

impl Heartbeat {
    /// The object's bytes. A rate that is no number is written as 0: JSON has no word for it.
    pub(super) fn to_json(&self) -> Result<Bytes> {
        let mut written = self.clone();
        for report in written.shards.iter_mut().filter(|report| !report.records_per_second.is_finite()) {
            report.records_per_second = 0.0;
        }
        let json = serde_json::to_vec(&written);
        json.map(Bytes::from).map_err(|error| Error::internal("cannot write a heartbeat as JSON").with_source(error))
    }

    /// The heartbeat in these bytes, which lie under this worker's name.
    pub(super) fn from_json(bytes: &[u8], worker: &WorkerId) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Numbered {
            format: u32,
        }
        let Numbered { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        let heartbeat: Self = serde_json::from_slice(bytes)?;
        if heartbeat.worker != *worker {
            return Err(Unreadable::Other(heartbeat.worker));
        }
        Ok(heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SequenceNumber;
    use proptest::option;
    use proptest::prelude::*;

    const JSON: &str = concat!(
        r#"{"format":1,"worker":"w1","beat":7,"written_at":1700000002000,"started_at":1700000000000,"#,
        r#""host":{"name":"ingest-1","boot":"b7","pid":42},"loads":true,"shards":["#,
        r#"{"shard":"shardId-000000000000","position":{"sequence":"495903382714902566","subsequence":3},"#,
        r#""behind_ms":250,"records_per_second":1500.5,"expires_in_ms":86400000,"read_at":1700000001900},"#,
        r#"{"shard":"shardId-000000000001","position":null,"#,
        r#""behind_ms":null,"records_per_second":0.0,"expires_in_ms":null,"read_at":1700000001000}]}"#,
    );

    fn heartbeat() -> Heartbeat {
        let position = Position::new(SequenceNumber::parse("495903382714902566").expect("digits"), 3);
        let read = ShardReport {
            shard: ShardId::new("shardId-000000000000"),
            position: Some(position),
            behind_ms: Some(250),
            records_per_second: 1500.5,
            expires_in_ms: Some(86_400_000),
            read_at: 1_700_000_001_900,
        };
        let unread = ShardReport {
            shard: ShardId::new("shardId-000000000001"),
            position: None,
            behind_ms: None,
            records_per_second: 0.0,
            expires_in_ms: None,
            read_at: 1_700_000_001_000,
        };
        Heartbeat {
            format: FORMAT,
            worker: WorkerId::new("w1"),
            beat: 7,
            written_at: 1_700_000_002_000,
            started_at: 1_700_000_000_000,
            host: Host { name: "ingest-1".into(), boot: Some("b7".into()), pid: 42 },
            loads: true,
            loading_stopped: None,
            shards: vec![read, unread],
        }
    }

    #[test]
    fn a_heartbeat_has_these_bytes_and_is_read_from_them() {
        assert_eq!(heartbeat().to_json().expect("json"), JSON);
        assert_eq!(Heartbeat::from_json(JSON.as_bytes(), &WorkerId::new("w1")).expect("reads"), heartbeat());
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let later = JSON.replace(r#""beat":7,"#, r#""beat":7,"mood":"good","#);
        assert_eq!(Heartbeat::from_json(later.as_bytes(), &WorkerId::new("w1")).expect("reads"), heartbeat());
    }

    #[test]
    fn a_version_that_does_not_speak_of_loading_loads() {
        let earlier = JSON.replace(r#""loads":true,"#, "");
        assert_eq!(Heartbeat::from_json(earlier.as_bytes(), &WorkerId::new("w1")).expect("reads"), heartbeat());
        let other = JSON.replace(r#""loads":true,"#, r#""loads":false,"#);
        assert!(!Heartbeat::from_json(other.as_bytes(), &WorkerId::new("w1")).expect("reads").loads);
    }

    #[test]
    fn a_worker_whose_loading_has_stopped_says_since_when_and_why() {
        let stopped = LoadingStopped { since: 1_700_000_000_500, reason: "no right to write".into() };
        let heartbeat = Heartbeat { loading_stopped: Some(stopped), ..heartbeat() };
        let expected = JSON.replace(
            r#""shards":["#,
            r#""loading_stopped":{"since":1700000000500,"reason":"no right to write"},"shards":["#,
        );
        assert_eq!(heartbeat.to_json().expect("json"), expected);
        assert_eq!(Heartbeat::from_json(expected.as_bytes(), &WorkerId::new("w1")).expect("reads"), heartbeat);
    }

    #[test]
    fn what_is_no_heartbeat_of_the_worker_is_refused_with_the_reason() {
        let cases = [
            (JSON[..100].to_owned(), "it is no heartbeat: "),
            (String::new(), "it is no heartbeat: "),
            (JSON.replace(r#""pid":42"#, r#""pid":-1"#), "it is no heartbeat: "),
            (r#"{"format":2,"who":"w1"}"#.to_owned(), "its format is 2, this version reads 1"),
            (JSON.replace(r#""worker":"w1""#, r#""worker":"w2""#), "it says that it is of worker w2"),
        ];
        for (json, expected) in cases {
            let refused = Heartbeat::from_json(json.as_bytes(), &WorkerId::new("w1")).expect_err(&json);
            assert!(refused.to_string().starts_with(expected), "{json}: {refused}");
        }
    }

    #[test]
    fn a_rate_that_is_no_number_leaves_the_heartbeat_readable() {
        for rate in [f64::NAN, f64::INFINITY] {
            let mut odd = heartbeat();
            odd.shards[0].records_per_second = rate;
            let read = Heartbeat::from_json(&odd.to_json().expect("json"), &odd.worker).expect("reads");
            assert_eq!(read.shards[0].records_per_second, 0.0);
        }
    }

    #[test]
    fn a_path_names_its_worker_and_others_name_none() {
        let worker = WorkerId::new("5f0c");
        assert_eq!(worker.path(), "workers/5f0c.json");
        assert_eq!(WorkerId::of_path(&worker.path()), Some(worker));
        for path in ["workers/.json", "workers/a/b.json", "workers/a.txt", "workersa.json", "journal/a.json"] {
            assert_eq!(WorkerId::of_path(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            numbers in (any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>(), any::<bool>()),
            texts in (".{0,12}", option::of(".{0,12}"), ".{1,12}", "[0-9]{1,128}"),
            stopped in option::of((any::<i64>(), ".{0,12}")),
            report in (option::of(any::<u64>()), any::<u32>(), option::of(any::<u64>()), any::<i64>(), any::<u64>()),
        ) {
            let (beat, written_at, started_at, pid, loads) = numbers;
            let (name, boot, shard, sequence) = texts;
            let (behind_ms, rate, expires_in_ms, read_at, subsequence) = report;
            let position = Position::new(SequenceNumber::parse(&sequence).expect("digits"), subsequence);
            // Eighths are exact in binary.
            let records_per_second = f64::from(rate) / 8.0;
            let shard = ShardId::new(shard);
            let position = Some(position);
            let report = ShardReport { shard, position, behind_ms, records_per_second, expires_in_ms, read_at };
            let host = Host { name, boot, pid };
            let worker = WorkerId::new("w");
            let loading_stopped = stopped.map(|(since, reason)| LoadingStopped { since, reason });
            let written =
                Heartbeat { beat, written_at, started_at, host, loads, loading_stopped, shards: vec![report], worker, format: FORMAT };
            let read = Heartbeat::from_json(&written.to_json().expect("json"), &written.worker).expect("reads");
            prop_assert_eq!(read, written);
        }
    }
}
