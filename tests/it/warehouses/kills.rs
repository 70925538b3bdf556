//! `kill -9` at each step of a load, whatever the database was told by then: what the next loads make of it is what Delta
//! tables hold.

use super::tap::{Hold, Tap};
use super::*;
use crate::command::until_asking_every;
use std::time::Duration;

/// Kills in all: at each of the first messages of a load, told to the server or not.
const KILLS: usize = 24;

/// Kills the loads of a target one step later each time.
fn killed_at_each_step(tap: &Tap, millstream: &Millstream) {
    let (mut held, mut loaded) = (Vec::new(), 0);
    for kill in 0..KILLS {
        tap.hold(Hold { at: kill + 1, forwards: kill % 2 == 1 });
        let mut running = millstream.start("run", &["--once"]);
        let kind = until_asking_every(Duration::from_millis(2), "the step of the kill", || {
            tap.held().or_else(|| running.has_ended().then_some('-'))
        });
        held.push(kind);
        running.kill();
        tap.open();
        let status = millstream.json("status", &[]);
        let through = number(&status["loaded_through"]);
        assert!(through >= loaded, "{status}");
        loaded = through;
    }
    assert!(held.iter().all(|kind| *kind != '-'), "a kill came after the end: {held:?}");
    println!("killed at {held:?}; loaded through {loaded}");
}

fn is_whole_after_kills(server: Option<&Redshift>, bucket: &Bucket, hosted: &Hosted) {
    let mut database = match server {
        Some(server) => Database::redshift("killed", server),
        None => Database::postgres("killed"),
    };
    let tap = Tap::before(database.port);
    database.port = tap.port;
    // Small batches and an entry a load: there must be work for the last kill too.
    let small =
        || pipeline(hosted.port, bucket, &[&database]).replace("pipeline.toml", "max_rows = 500", "max_rows = 60");
    let one_by_one = small().replace("pipeline.toml", "max_entries = 1000", "max_entries = 1");
    let all_at_once = small();
    let delta = on(&all_at_once, "delta");
    delta.json("generate", &["--records", "3000", "--rate", "0"]);
    load(&delta);
    let killed = on(&one_by_one, "killed");
    killed.ok("check", &["--apply"]);
    killed_at_each_step(&tap, &killed);
    load(&on(&all_at_once, "killed"));
    let rows = is_the_same(bucket, &database);
    assert!(TABLES.iter().all(|table| number(&rows[table]) > 0), "{rows}");
}

#[test]
fn loads_into_postgres_killed_at_each_step_leave_what_delta_holds() {
    let source = PipelineCopy::new();
    let (hosted, bucket) = (Hosted::start(&source), Bucket::new(s3_servers()[0]));
    is_whole_after_kills(None, &bucket, &hosted);
}

#[test]
fn loads_into_redshift_killed_at_each_step_leave_what_delta_holds() {
    let source = PipelineCopy::new();
    let (hosted, bucket) = (Hosted::start(&source), Bucket::new(s3_servers()[0]));
    let server = redshift(&bucket, Isolation::Snapshot);
    is_whole_after_kills(Some(&server), &bucket, &hosted);
    parse_redshift(&server.statements());
}
