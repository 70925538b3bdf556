//! `kill -9` of `run` at random moments: nothing is lost, nothing comes twice.
//!
//! The pipeline's batches and loads are made so small that a life does many of each, and most lives are ended not by
//! the clock but by what they have just done. So the kills hit running work on a slow machine as on a fast one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::command::{Millstream, PipelineCopy, Running, until_asking_every};
use crate::oracle::Oracle;

const STREAM: &str = "incoming-food-order-data";
/// Records of a batch.
const BATCH: usize = 40;
/// Records put at a time, so that before each kill half of them at least are still to be read: 200 batches.
const SUPPLY: usize = 16_000;
/// Rounds of kills: one of each [`Moment`].
const ROUNDS: u32 = 6;

/// Where in its life a `run` is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Anywhere from its start on: opening the stream, the journal, the dimensions.
    Starting,
    /// While it reads, stages and commits.
    Committing,
    /// While it loads, table after table.
    Loading,
}

/// The moments are drawn from a seed that a failing run names, and that can be given back.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MILLSTREAM_TEST_SEED={seed}");
    seed
}

/// The pipeline in small batches and small loads.
fn in_small_pieces() -> PipelineCopy {
    PipelineCopy::new()
        .replace("pipeline.toml", "max_rows = 200_000", "max_rows = 40")
        .replace("pipeline.toml", "max_age = \"2s\"", "max_age = \"100ms\"")
        .replace("pipeline.toml", "freshness = \"10s\"", "freshness = \"100ms\"")
}

/// The JSON files in a folder: none where it is not there yet.
pub(crate) fn json_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count()
}

fn commits(data: &Path) -> usize {
    json_files(&data.join("lake/journal"))
}

/// The changes of all tables of the warehouse, a load making several.
fn table_changes(data: &Path) -> usize {
    let tables = fs::read_dir(data.join("warehouse")).into_iter().flatten().flatten();
    tables.map(|table| json_files(&table.path().join("_delta_log"))).sum()
}

/// Starts `run` and kills it at work.
fn run_and_kill(millstream: &Millstream, moment: Moment, random: &mut ChaCha8Rng) {
    let data = millstream.data.path();
    let done = |count: fn(&Path) -> usize, more: usize| {
        let enough = count(data) + more;
        move || (count(data) >= enough).then_some(())
    };
    let soon = Duration::from_millis(2);
    let (few, several, pause) = (random.random_range(1..20), random.random_range(2..9), random.random_range(0..60));
    let committed = done(commits, few);
    let loaded = done(table_changes, several);
    let mut running = millstream.start("run", &[]);
    match moment {
        Moment::Starting => lives_for(&mut running, random.random_range(20..400)),
        Moment::Committing => until_asking_every(soon, "a commit", committed),
        Moment::Loading => until_asking_every(soon, "a change of a table", loaded),
    }
    lives_for(&mut running, pause);
    running.kill();
}

/// Lets a random moment come, in ms: the run is another process, with the real clock. It must be at work until then.
fn lives_for(running: &mut Running, millis: u64) {
    let moment = Instant::now() + Duration::from_millis(millis);
    until_asking_every(Duration::from_millis(2), "the moment of the kill", || {
        assert!(!running.has_ended(), "run ended by itself");
        (Instant::now() >= moment).then_some(())
    });
}

/// `supply` sees to it, before each kill and after the last, that there is work left.
fn run_and_kill_again_and_again(millstream: &Millstream, mut supply: impl FnMut()) {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    for _ in 0..ROUNDS {
        for moment in [Moment::Starting, Moment::Committing, Moment::Loading] {
            supply();
            run_and_kill(millstream, moment, &mut random);
        }
    }
    supply();
}

/// What the kills have left behind, finished by one last run, is the oracle's star schema; gives the stream's records.
fn is_whole(millstream: &Millstream) -> u64 {
    let left = millstream.json("status", &[]);
    println!("left by the kills: {} records in {} entries, {} loads", left["records"], left["entries"], left["loads"]);
    let number = |key: &str| left[key].as_u64().unwrap_or_else(|| panic!("no {key} in {left}"));
    // Each kill at a load waits for two changes of tables at least; making the tables is a change of each of the six.
    // How many loads came to their end is chance.
    let changes = table_changes(millstream.data.path());
    assert!(number("entries") >= 20 && changes >= 12, "the kills hit too little: {changes} changes, {left}");

    millstream.json("run", &["--once"]);
    let audit = millstream.json("audit", &[]);
    assert_eq!(audit["clean"], true, "{audit}");
    assert_eq!(audit["waiting"], 0, "{audit}");
    let (_host, port) = millstream.host_stream();
    let oracle = Oracle::of_stream(port, STREAM);
    assert!(number("records") < oracle.records(), "the kills left nothing undone: {left}");
    oracle.compare(&millstream.data.path().join("warehouse"));
    let status = millstream.json("status", &[]);
    assert_eq!(status["records"], oracle.records(), "each record is journaled once");
    oracle.records()
}

#[test]
fn a_run_killed_again_and_again_over_one_stream_leaves_the_oracles_star_schema() {
    let pipeline = in_small_pieces();
    let millstream = Millstream::over(pipeline.pipeline.clone());
    {
        let (_host, _port) = millstream.host_stream();
        // Arriving while the kills happen, and still after the last of them.
        let generating = millstream.start("generate", &["--rate", "600"]);
        run_and_kill_again_and_again(&millstream, || ());
        let said = generating.interrupt();
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    is_whole(&millstream);
}

#[test]
fn a_run_that_hosts_the_stream_itself_loses_nothing_either() {
    let pipeline = in_small_pieces();
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let (mut put, mut seed) = (0, 0);
    run_and_kill_again_and_again(&millstream, || {
        if put < commits(millstream.data.path()) * BATCH + SUPPLY / 2 {
            seed += 1;
            let (records, seed) = (SUPPLY.to_string(), seed.to_string());
            millstream.json("generate", &["--records", &records, "--rate", "0", "--seed", &seed]);
            put += SUPPLY;
        }
    });
    assert_eq!(is_whole(&millstream), put as u64);
}
