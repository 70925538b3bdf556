//! Several workers on one stream, as processes: one is killed, one frozen and woken, one added, while records arrive;
//! nothing is lost and nothing comes twice.
//!
//! Whose a shard is, is worked out here a second time, from the words of the agreement and not from its code. With
//! `MILLSTREAM_LONG=1` the same happens again and again, to workers and in an order drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::command::{Millstream, PipelineCopy, Running, Said, until, until_asking_every};
use crate::kill::{json_files, seed};
use crate::oracle::Oracle;

const STREAM: &str = "incoming-food-order-data";
const SHARDS: usize = 16;
/// How long the shards of one that dies or freezes may stand still.
const HAND_OVER: Duration = Duration::from_secs(15);
/// How soon a worker goes on that was killed and started again: before anyone could take it for dead by its silence.
const RESTART: Duration = Duration::from_secs(5);
/// Rounds in the long mode, of one [`Event`] of each kind.
const LONG_ROUNDS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Kill,
    Freeze,
    Add,
}

/// A heartbeat, as it lies in the store.
struct Heartbeat {
    worker: String,
    pid: u32,
    /// The shards read.
    shards: BTreeSet<String>,
}

fn heartbeat(path: PathBuf) -> Option<Heartbeat> {
    // A worker that leaves takes it away under our eyes.
    let json: Value = serde_json::from_slice(&fs::read(path).ok()?).expect("a heartbeat is written whole");
    let reports = json["shards"].as_array().expect("shards");
    let shard = |report: &Value| report["shard"].as_str().expect("a name").to_owned();
    Some(Heartbeat {
        worker: json["worker"].as_str().expect("an id").to_owned(),
        pid: u32::try_from(json["host"]["pid"].as_u64().expect("a process")).expect("a process"),
        shards: reports.iter().map(shard).collect(),
    })
}

/// The worker of the greatest score: the first 8 bytes of SHA-256(worker, 0, name), big-endian.
fn owner<'a>(workers: impl Iterator<Item = &'a Heartbeat>, name: &str) -> &'a Heartbeat {
    let score =
        |worker: &str| -> [u8; 8] { Sha256::digest(format!("{worker}\0{name}"))[..8].try_into().expect("8 bytes") };
    workers.max_by_key(|heartbeat| score(&heartbeat.worker)).expect("a worker")
}

/// The workers of one stream: `run` processes over one data folder.
struct Fleet<'a> {
    millstream: &'a Millstream,
    running: Vec<Running>,
    /// Those that were frozen and woken, and so must have been fenced.
    woken: BTreeSet<u32>,
}

impl<'a> Fleet<'a> {
    /// So many workers, started at once.
    fn start(millstream: &'a Millstream, workers: usize) -> Self {
        let running = (0..workers).map(|_| millstream.start("run", &[])).collect();
        Self { millstream, running, woken: BTreeSet::new() }
    }

    fn pids(&self) -> BTreeSet<u32> {
        self.running.iter().map(Running::pid).collect()
    }

    fn heartbeats(&self, of: &BTreeSet<u32>) -> Vec<Heartbeat> {
        let folder = fs::read_dir(self.millstream.data.path().join("lake/workers")).into_iter().flatten().flatten();
        let files = folder.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
        files.filter_map(heartbeat).filter(|heartbeat| of.contains(&heartbeat.pid)).collect()
    }

    /// Waits until each of these processes says that it reads just the shards that go to it, if they are all that live.
    fn until_shared_among(&mut self, pids: &BTreeSet<u32>) -> Duration {
        let begun = Instant::now();
        until("each shard being read by the one it goes to", || {
            assert!(!self.running.iter_mut().any(Running::has_ended), "a worker ended by itself");
            let heartbeats = self.heartbeats(pids);
            let mut due: BTreeMap<u32, BTreeSet<String>> = pids.iter().map(|pid| (*pid, BTreeSet::new())).collect();
            if heartbeats.len() < pids.len() {
                return None;
            }
            for number in 0..SHARDS {
                let shard = format!("shardId-{number:012}");
                due.get_mut(&owner(heartbeats.iter(), &shard).pid).expect("known").insert(shard);
            }
            heartbeats.iter().all(|heartbeat| heartbeat.shards == due[&heartbeat.pid]).then_some(())
        });
        begun.elapsed()
    }

    fn until_shared(&mut self) -> Duration {
        self.until_shared_among(&self.pids())
    }

    /// The process that loads.
    fn loader(&self) -> u32 {
        owner(self.heartbeats(&self.pids()).iter(), "loading").pid
    }

    /// The process that reads the most shards.
    fn busiest(&self) -> u32 {
        let heartbeats = self.heartbeats(&self.pids());
        heartbeats.iter().max_by_key(|heartbeat| heartbeat.shards.len()).expect("a worker").pid
    }

    /// The loads are told by what they change.
    fn loads(&self) -> usize {
        json_files(&self.millstream.data.path().join("warehouse/fact_orders/_delta_log"))
    }

    fn place(&self, pid: u32) -> usize {
        self.running.iter().position(|running| running.pid() == pid).expect("it runs")
    }

    /// The shards that a process says it reads.
    fn shards_of(&self, pid: u32) -> BTreeSet<String> {
        self.heartbeats(&BTreeSet::from([pid])).into_iter().flat_map(|heartbeat| heartbeat.shards).collect()
    }

    /// Waits until the others, now that one is silent, have committed what arrived in its shards since, and say that
    /// they read them.
    fn until_taken_over(&mut self, lost: &BTreeSet<String>, others: &BTreeSet<u32>, what: &str) {
        let (begun, before) = (Instant::now(), self.entries());
        until_asking_every(Duration::from_millis(200), "the others committing a silent worker's shards", || {
            let new: BTreeSet<String> = (before + 1..=self.entries()).flat_map(|number| self.ranges(number)).collect();
            lost.is_subset(&new).then_some(())
        });
        let (handed_over, _) = (begun.elapsed(), self.until_shared_among(others));
        let (shards, told) = (lost.len(), begun.elapsed());
        println!(
            "{shards} shards of a worker that {what}: committed by the others after {handed_over:.1?}, in their \
             heartbeats after {told:.1?}"
        );
        assert!(handed_over <= HAND_OVER, "{handed_over:?}");
    }

    fn entries(&self) -> usize {
        json_files(&self.millstream.data.path().join("lake/journal"))
    }

    /// The shards that a journal entry moves on; none where it is not there.
    fn ranges(&self, number: usize) -> Vec<String> {
        let path = self.millstream.data.path().join(format!("lake/journal/{number:020}.json"));
        let entry: Value = serde_json::from_slice(&fs::read(path).expect("an entry")).expect("JSON");
        entry["ranges"].as_object().into_iter().flat_map(|ranges| ranges.keys().cloned()).collect()
    }

    fn kill(&mut self, pid: u32) {
        let (lost, loaded) = (self.shards_of(pid), self.loader() == pid);
        let mut killed = self.running.remove(self.place(pid));
        killed.kill();
        self.woken.remove(&pid);
        self.until_taken_over(&lost, &self.pids(), if loaded { "loaded and was killed" } else { "was killed" });
        let loads = self.loads();
        until("a load by another worker", || (self.loads() > loads).then_some(()));
    }

    /// Freezes a worker until the others have taken over and gone on with its shards, and wakes it again.
    fn freeze(&mut self, pid: u32) {
        let (lost, place) = (self.shards_of(pid), self.place(pid));
        self.running[place].signal("STOP");
        self.until_taken_over(&lost, &(&self.pids() - &BTreeSet::from([pid])), "was frozen");
        self.running[place].signal("CONT");
        if !lost.is_empty() {
            self.woken.insert(pid);
        }
        println!("a woken worker has its share again after {:.1?}", self.until_shared());
    }

    fn add(&mut self) {
        self.running.push(self.millstream.start("run", &[]));
        println!("a new worker has its share after {:.1?}", self.until_shared());
    }

    /// Ctrl-C to all at once; each must end well.
    fn end(self) {
        for running in &self.running {
            running.signal("INT");
        }
        for running in self.running {
            let pid = running.pid();
            let said = running.wait();
            assert_eq!(said.code, Some(0), "{}", said.stderr);
            assert!(!said.stderr.contains("ERROR") && !said.stderr.contains("panicked"), "{}", said.stderr);
            let was_woken = self.woken.contains(&pid);
            for words in ["no heartbeat of ours for so long", "another worker moved on"] {
                assert!(!was_woken || said.stderr.contains(words), "it was frozen, but not {words:?}: {}", said.stderr);
            }
        }
    }
}

/// The pipeline over many shards, in small batches and loads.
fn of_many_shards() -> PipelineCopy {
    PipelineCopy::new()
        .replace("pipeline.toml", "shards = 4 ", "shards = 16")
        .replace("pipeline.toml", "max_age = \"2s\"", "max_age = \"500ms\"")
        .replace("pipeline.toml", "freshness = \"10s\"", "freshness = \"1s\"")
}

/// What the workers have left, finished by one last run, is the oracle's star schema, and each record is there once.
fn is_whole(millstream: &Millstream, port: u16) {
    millstream.json("run", &["--once"]);
    let audit = millstream.json("audit", &[]);
    assert_eq!((&audit["clean"], &audit["waiting"]), (&Value::Bool(true), &Value::from(0)), "{audit}");
    let oracle = Oracle::of_stream(port, STREAM);
    oracle.compare(&millstream.data.path().join("warehouse"));
    let status = millstream.json("status", &[]);
    println!("{} records in {} entries, {} loads", status["records"], status["entries"], status["loads"]);
    assert_eq!(status["records"], oracle.records(), "each record is journaled once");
    assert_eq!(status["quarantined"], oracle.rejected(), "each reject is kept once");
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(SHARDS), "{status}");
}

#[test]
fn workers_that_die_freeze_wake_and_join_lose_nothing_and_do_nothing_twice() {
    let pipeline = of_many_shards();
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let (_host, port) = millstream.host_stream();
    let generating = millstream.start("generate", &["--rate", "500"]);
    let mut fleet = Fleet::start(&millstream, 3);
    println!("shared among three after {:.1?}", fleet.until_shared());

    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let is_long = std::env::var("MILLSTREAM_LONG").is_ok_and(|long| long == "1");
    for _ in 0..if is_long { LONG_ROUNDS } else { 1 } {
        let mut events = [Event::Kill, Event::Freeze, Event::Add];
        let any: Vec<u32> = fleet.pids().into_iter().collect();
        let (mut victim, mut sleeper) = (fleet.loader(), None);
        if is_long {
            events.shuffle(&mut random);
            victim = *any.choose(&mut random).expect("a worker");
            sleeper =
                any.iter().filter(|pid| **pid != victim).copied().collect::<Vec<_>>().choose(&mut random).copied();
            println!("{events:?}");
        }
        for event in events {
            match event {
                Event::Kill => fleet.kill(victim),
                Event::Freeze => fleet.freeze(sleeper.unwrap_or_else(|| fleet.busiest())),
                Event::Add => fleet.add(),
            }
        }
    }

    let said: Said = generating.interrupt();
    assert_eq!(said.code, Some(0), "{said:?}");
    fleet.end();
    is_whole(&millstream, port);
}

#[test]
fn a_worker_that_is_killed_and_started_again_goes_on_at_once() {
    let pipeline = of_many_shards();
    let millstream = Millstream::over(pipeline.pipeline.clone());
    let (_host, port) = millstream.host_stream();
    let entries = || json_files(&millstream.data.path().join("lake/journal"));
    let put = |seed: &str| millstream.json("generate", &["--records", "400", "--rate", "0", "--seed", seed]);
    put("1");
    let mut fleet = Fleet::start(&millstream, 1);
    fleet.until_shared();
    let mut killed = fleet.running.remove(0);
    killed.kill();
    let left = fleet.heartbeats(&BTreeSet::from([killed.pid()]));
    assert_eq!(
        left.iter().map(|heartbeat| heartbeat.shards.len()).sum::<usize>(),
        SHARDS,
        "it left its heartbeat behind"
    );

    put("2");
    let (before, begun) = (entries(), Instant::now());
    fleet.running.push(millstream.start("run", &[]));
    until_asking_every(Duration::from_millis(10), "an entry", || (entries() > before).then_some(()));
    let went_on = begun.elapsed();
    println!("a worker that was killed and started again commits after {went_on:.1?}");
    assert!(went_on <= RESTART, "{went_on:?}");
    fleet.until_shared();
    fleet.end();
    is_whole(&millstream, port);
}
