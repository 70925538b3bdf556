//! The metrics of a run, scraped over HTTP while it runs and read by Prometheus' own Python client, must be what the
//! other commands and the summary tell.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;

use crate::command::{Millstream, end_of, until};
use crate::python::python;

/// A run that serves metrics on a free port.
pub(crate) struct Served {
    child: Child,
    /// `127.0.0.1:PORT`.
    address: String,
}

impl Served {
    pub(crate) fn start(millstream: &Millstream) -> Self {
        let mut command = millstream.command("run", &["--metrics", "127.0.0.1:0", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, told) = mpsc::channel();
        // Reads on after the line that is waited for: a full pipe would hold up the run.
        thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let address = until("serving metrics", || {
            let line: Value = serde_json::from_str(&told.try_recv().ok()?).ok()?;
            let url = line["fields"]["metrics"].as_str()?.to_owned();
            Some(url.strip_prefix("http://")?.strip_suffix("/metrics")?.to_owned())
        });
        thread::spawn(move || told.into_iter().for_each(drop));
        Self { child, address }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn scrape(&self) -> Value {
        python("scrape", &[&format!("http://{}/metrics", self.address)])
    }

    /// SIGTERM; how it ended, and its summary.
    fn interrupt(mut self) -> (ExitStatus, Value) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        // A summary fits into the pipe.
        let status = end_of(&mut self.child);
        let mut summary = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut summary).expect("a summary");
        (status, serde_json::from_str(&summary).unwrap_or_else(|error| panic!("{error} in {summary:?}")))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// A family's samples by the value of their one label.
fn by_label(page: &Value, metric: &str) -> BTreeMap<String, f64> {
    let samples = page["samples"].as_object().expect("samples").iter();
    let label = |name: &str| {
        let labels = name.strip_prefix(metric)?.strip_prefix('{')?.strip_suffix('}')?;
        serde_json::from_str(labels.split_once('=')?.1).ok()
    };
    samples.filter_map(|(name, value)| Some((label(name)?, number(value)))).collect()
}

fn counts(object: &Value) -> BTreeMap<String, f64> {
    object.as_object().expect("an object").iter().map(|(name, count)| (name.clone(), number(count))).collect()
}

/// Without what is zero: a table to which nothing came has no sample in some of them.
fn non_zero(counts: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    counts.into_iter().filter(|(_, count)| *count > 0.0).collect()
}

fn sample(page: &Value, name: &str) -> f64 {
    number(&page["samples"][format!("millstream_{name}")])
}

/// Until all records are read, committed and loaded, as the metrics say.
fn all_loaded(served: &Served, records: f64) -> Value {
    until("loading all records", || {
        let page = served.scrape();
        let samples = &page["samples"];
        let is_loaded = samples["millstream_committed_through"] == samples["millstream_loaded_through"];
        (sample(&page, "records_committed_total") == records && is_loaded).then_some(page)
    })
}

#[test]
fn metrics_tell_what_status_and_summary_tell_and_end_with_the_run() {
    let millstream = Millstream::new();
    let (_host, _port) = millstream.host_stream();
    millstream.json("generate", &["--records", "800", "--rate", "0"]);
    let served = Served::start(&millstream);
    let page = all_loaded(&served, 800.0);
    assert_eq!(page["content_type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let behind = &page["families"]["millstream_shard_behind_seconds"];
    assert_eq!((&behind["type"], &behind["unit"]), (&"gauge".into(), &"seconds".into()), "{page:#}");

    let status = millstream.json("status", &[]);
    let shards = status["shards"].as_array().expect("shards");
    let read = by_label(&page, "millstream_shard_records_read_total");
    let named: Vec<&str> = shards.iter().map(|shard| shard["shard"].as_str().expect("a name")).collect();
    assert_eq!(read.keys().map(String::as_str).collect::<Vec<_>>(), named, "the shards are the same");
    assert_eq!((read.values().sum::<f64>(), sample(&page, "shards")), (800.0, named.len() as f64));
    assert!(by_label(&page, "millstream_shard_records_per_second").values().sum::<f64>() > 0.0, "{page:#}");
    assert_eq!(by_label(&page, "millstream_shard_behind_seconds").len(), named.len());
    for (metric, key) in [
        ("records_read_total", "records"),
        ("records_committed_total", "records"),
        ("committed_through", "entries"),
        ("loaded_through", "loaded_through"),
        ("loads_total", "loads"),
    ] {
        assert_eq!(sample(&page, metric), number(&status[key]), "{metric} in {page:#} and {status:#}");
    }
    assert!(sample(&page, "stream_calls_total") > 0.0, "{page:#}");
    assert_eq!(sample(&page, "stream_retention_seconds"), 86_400.0, "a day, as Kinesis has it where nothing is set");

    let caught_up = until("nothing unread", || {
        let page = served.scrape();
        (page["samples"]["millstream_worst_behind_seconds"] == 0.0).then_some(page)
    });
    assert!(caught_up["samples"]["millstream_soonest_expiry_seconds"].is_null(), "{caught_up:#}");

    let address = served.address.clone();
    let (ended, summary) = served.interrupt();
    assert!(ended.success(), "{ended}");
    assert!(TcpStream::connect(&address).is_err(), "nobody listens any more");
    for (metric, key) in
        [("rows_staged_total", "staged"), ("rows_loaded_total", "loaded"), ("events_quarantined_total", "quarantined")]
    {
        let told = non_zero(by_label(&caught_up, &format!("millstream_{metric}")));
        assert_eq!(told, non_zero(counts(&summary[key])), "{metric} in {caught_up:#} and {summary:#}");
        assert!(!told.is_empty(), "{metric}");
    }
    for (metric, key) in [("events_total", "events"), ("files_staged_total", "files")] {
        assert_eq!(sample(&caught_up, metric), number(&summary[key]), "{metric}");
    }
    for (metric, key) in [("arrival_to_staged", "stage_latency_ms"), ("arrival_to_loaded", "load_latency_ms")] {
        let told = by_label(&caught_up, &format!("millstream_{metric}_seconds"));
        let millis = |quantile: &str| (told[quantile] * 1e3).round();
        assert_eq!((millis("0.5"), millis("0.99")), (number(&summary[key]["p50"]), number(&summary[key]["p99"])));
    }
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_written() {
    let millstream = Millstream::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("its address").to_string();
    for (given, words) in [(address.as_str(), "choose another"), ("somewhere", "give PORT")] {
        let said = millstream.say("run", &["--once", "--metrics", given]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
    assert_eq!(std::fs::read_dir(millstream.data.path()).expect("the folder").count(), 0, "nothing was written");
}
