//! Enhanced fan-out from end to end: its consumer is registered once, stays, and goes only on order.

use std::path::Path;

use serde_json::Value;

use super::{Bucket, Hosted, STREAM, on_stage, until_journaled, with_stage};
use crate::command::{Millstream, PipelineCopy, until};
use crate::oracle::Oracle;
use crate::python::python;
use crate::stand_ins::s3_servers;

fn with_fan_out() -> PipelineCopy {
    PipelineCopy::new().replace("pipeline.toml", "shards = 4 ", "fan_out = \"millstream\"\nshards = 4 ").replace(
        "pipeline.toml",
        "max_age = \"2s\"",
        "max_age = \"100ms\"",
    )
}

/// The consumers as boto3 finds them.
fn consumers(port: u16) -> Value {
    python("list_consumers", &[&port.to_string(), STREAM])
}

/// Runs while records come, and to the end; compares what `warehouse` gives with the oracle's.
fn reads_through_its_consumer<W: AsRef<Path>>(millstream: &Millstream, port: u16, warehouse: impl Fn() -> W) {
    assert_eq!(consumers(port), serde_json::json!({}), "nobody has asked for one yet");
    let generating = millstream.start("generate", &["--rate", "300"]);
    let mut running = millstream.start("run", &[]);
    until_journaled(millstream, &mut running, 200);
    let registered = consumers(port);
    assert_eq!(registered["millstream"]["status"], "ACTIVE", "{registered}");
    let said = generating.interrupt();
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = running.interrupt();
    assert_eq!(said.code, Some(0), "{said:?}");

    millstream.json("run", &["--once"]);
    assert_eq!(consumers(port), registered, "the same one, and no other");
    let oracle = Oracle::of_stream(port, STREAM);
    oracle.compare(warehouse().as_ref());
    assert_eq!(millstream.json("status", &[])["records"], oracle.records());
    assert_eq!(millstream.json("audit", &[])["clean"], true);

    millstream.json("run", &["--once", "--deregister"]);
    until("the end of the consumer", || (consumers(port) == serde_json::json!({})).then_some(()));
}

#[test]
fn the_local_stream_is_read_by_a_consumer_that_stays_until_it_is_deregistered() {
    let pipeline = with_fan_out();
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let (_host, port) = millstream.host_stream();
    reads_through_its_consumer(&millstream, port, || millstream.data.path().join("warehouse"));
}

#[test]
fn a_stream_elsewhere_is_read_by_a_consumer_that_stays_until_it_is_deregistered() {
    let pipeline = with_fan_out();
    let (hosted, bucket) = (Hosted::start(&pipeline), Bucket::new(s3_servers()[0]));
    let pipeline = with_stage(pipeline, hosted.port, &bucket.store());
    reads_through_its_consumer(&on_stage(&pipeline), hosted.port, || bucket.warehouse());
}

#[test]
fn deregistering_is_refused_where_no_consumer_is_named() {
    let said = Millstream::new().say("run", &["--once", "--deregister"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("fan_out"), "{}", said.stderr);
}
