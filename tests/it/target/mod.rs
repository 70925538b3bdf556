//! A pipeline on a target that is reached as AWS is: its stream behind an endpoint, its store a bucket, its credentials
//! from the environment. Everything goes through the binary, and is judged by readers that are not ours.
//!
//! The stream is hosted by another process, whose server is ferrokinesis, the buckets are on the two servers of
//! `stand_ins`: no claim about AWS itself follows.

mod fan_out;
mod positions;
mod refusals;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Millstream, PipelineCopy, Running, until};
use crate::oracle::Oracle;
use crate::python::python;
use crate::stand_ins::{Server, s3_servers};

pub(crate) const STREAM: &str = "incoming-food-order-data";
const SECRET: &str = "a-secret-that-nobody-may-see";

/// A stream hosted by a process of its own.
pub(crate) struct Hosted {
    pub(crate) port: u16,
    _running: Running,
    _millstream: Millstream,
}

impl Hosted {
    pub(crate) fn start(pipeline: &PipelineCopy) -> Self {
        let millstream = Millstream::over(pipeline.pipeline.clone());
        let (running, port) = millstream.host_stream();
        Self { port, _running: running, _millstream: millstream }
    }
}

/// `[target.stage]`: a stream, and a store with what else belongs to it.
fn with_stage(pipeline: PipelineCopy, stream_port: u16, store: &str) -> PipelineCopy {
    let stage = format!(
        "[target.stage]\nregion = \"us-east-1\"\nstream_endpoint = \"http://127.0.0.1:{stream_port}\"\n{store}\n\
         warehouse = {{ kind = \"delta\" }}\n\n[target.local]"
    );
    pipeline.replace("pipeline.toml", "[target.local]", &stage)
}

/// A bucket on one of the servers, and the lines of a target's store in it.
pub(crate) struct Bucket {
    pub(crate) server: &'static Server,
    pub(crate) name: String,
}

impl Bucket {
    pub(crate) fn new(server: &'static Server) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("orders-lake-{}", MADE.fetch_add(1, Ordering::SeqCst));
        python("s3_make_bucket", &[&server.port.to_string(), &name]);
        Self { server, name }
    }

    pub(crate) fn store(&self) -> String {
        let Self { server, name } = self;
        let endpoint = format!("http://127.0.0.1:{}", server.port);
        format!("store = \"s3://{name}/lake/food\"\nstore_endpoint = \"{endpoint}\"\npath_style = true")
    }

    /// The number of objects that boto3 finds in it.
    fn objects(&self) -> usize {
        let found = python("s3_look", &[&self.server.port.to_string(), &self.name]);
        assert_eq!(found["uploads"], Value::Array(Vec::new()), "no upload is left unfinished");
        found["objects"].as_object().expect("objects").len()
    }

    /// The warehouse's tables, downloaded by boto3.
    pub(crate) fn warehouse(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().to_str().expect("UTF-8");
        python("s3_download", &[&self.server.port.to_string(), &self.name, "lake/food/warehouse", to]);
        folder
    }
}

/// The commands on a pipeline's target `stage`, with credentials in the environment and no other place to find any.
pub(crate) fn on_stage(pipeline: &PipelineCopy) -> Millstream {
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let home = millstream.data.path().to_str().expect("UTF-8").to_owned();
    let environment = vec![
        ("HOME", home),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIDSTAGE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ];
    Millstream { target: Some("stage"), environment, ..millstream }
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Records in the journal; none where there is no place yet.
fn journaled(millstream: &Millstream) -> u64 {
    let said = millstream.say("status", &["--json"]);
    serde_json::from_str::<Value>(&said.stdout).map_or(0, |status| number(&status["records"]))
}

/// Waits until `run` has journaled so many records; it must be at work until then.
fn until_journaled(millstream: &Millstream, running: &mut Running, records: u64) -> u64 {
    until("the records' commit", || {
        assert!(!running.has_ended(), "run ended by itself");
        Some(journaled(millstream)).filter(|journaled| *journaled >= records)
    })
}

/// A run killed twice while records come, then one to the end; the stream as the oracle sees it.
fn killed_and_finished(millstream: &Millstream, port: u16) -> Oracle {
    let generating = millstream.start("generate", &["--rate", "300"]);
    let mut before = 0;
    for _ in 0..2 {
        let mut running = millstream.start("run", &[]);
        before = until_journaled(millstream, &mut running, before + 100);
        running.kill();
    }
    let said = generating.interrupt();
    assert_eq!(said.code, Some(0), "{said:?}");
    let left = journaled(millstream);
    let summary = millstream.json("run", &["--once"]);
    let oracle = Oracle::of_stream(port, STREAM);
    assert_eq!(number(&summary["records"]) + left, oracle.records(), "each record is read once: {summary}");
    assert!(left < oracle.records(), "the kills left nothing undone");
    oracle
}

/// Each of the commands that look, on what the runs have left.
fn every_command_agrees(millstream: &Millstream, oracle: &Oracle) {
    let audit = millstream.json("audit", &[]);
    assert_eq!((&audit["clean"], &audit["waiting"]), (&Value::Bool(true), &Value::from(0)), "{audit}");
    let status = millstream.json("status", &[]);
    assert_eq!((number(&status["records"]), &status["entries"]), (oracle.records(), &status["loaded_through"]));
    let rejects = millstream.json("rejects", &[]);
    let rejected: u64 = rejects["rejects"].as_array().expect("rows").iter().map(|row| number(&row["events"])).sum();
    assert_eq!(rejected, oracle.rejected(), "{rejects}");
    let loaded = millstream.query("select count(*) as orders from fact_orders");
    let staged = millstream.query("select count(distinct order_id) as orders from staged.fact_orders");
    assert!(number(&loaded[0]["orders"]) > 0 && loaded == staged, "{loaded:?} {staged:?}");
    assert!(millstream.ok("dims", &[]).contains("no dimension file has changed"));
    assert!(millstream.ok("ddl", &[]).contains("CREATE TABLE fact_orders"));
    assert!(millstream.ok("check", &[]).contains("no fault found"));
}

fn the_whole_way(server: &'static Server) {
    let pipeline = PipelineCopy::new().replace("pipeline.toml", "max_age = \"2s\"", "max_age = \"100ms\"").replace(
        "pipeline.toml",
        "freshness = \"10s\"",
        "freshness = \"200ms\"",
    );
    let (hosted, bucket) = (Hosted::start(&pipeline), Bucket::new(server));
    let pipeline = with_stage(pipeline, hosted.port, &bucket.store());
    let millstream = on_stage(&pipeline);
    assert!(millstream.ok("check", &[]).contains("no fault found"));
    assert_eq!(bucket.objects(), 0, "check writes nothing");

    let oracle = killed_and_finished(&millstream, hosted.port);
    every_command_agrees(&millstream, &oracle);
    oracle.compare(bucket.warehouse().path());
    let left = fs::read_dir(millstream.data.path()).expect("the folder").count();
    assert_eq!(left, 0, "nothing of it is on this machine");
}

#[test]
fn a_target_with_its_store_on_ministack_is_right_through_kills() {
    the_whole_way(s3_servers()[0]);
}

#[test]
fn a_target_with_its_store_on_moto_is_right_through_kills() {
    the_whole_way(s3_servers()[1]);
}

#[test]
fn a_folder_as_the_store_needs_no_credentials_to_be_looked_at() {
    let pipeline = PipelineCopy::new();
    let hosted = Hosted::start(&pipeline);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("lake");
    let pipeline = with_stage(pipeline, hosted.port, &format!("store = \"file://{}\"", store.display()));
    let mut millstream = on_stage(&pipeline);
    for (command, code) in [("check", Some(0)), ("status", Some(2)), ("audit", Some(2))] {
        let said = millstream.say(command, &[]);
        assert_eq!(said.code, code, "{command}: {said:?}");
        assert!(!store.exists(), "{command} has made the folder");
    }
    millstream.json("generate", &["--records", "300", "--rate", "0"]);
    millstream.json("run", &["--once"]);
    millstream.environment.retain(|(name, _)| !name.starts_with("AWS_") || name.ends_with("DISABLED"));
    assert_eq!(millstream.json("audit", &[])["clean"], true);
    assert_eq!(number(&millstream.query("select count(*) as rows from dim_restaurants")[0]["rows"]), 50);
    Oracle::of_stream(hosted.port, STREAM).compare(&store.join("warehouse"));
}
