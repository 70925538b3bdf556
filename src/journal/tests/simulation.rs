//! Several writers, random faults, one log: a seeded simulation with an auditor.
//!
//! Everything random comes from the seed: the batches, the faults, which writer runs next, who is killed when. The
//! auditor reads the log without the journal's own fold.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use serde_json::Value;

use super::faults::{Faulty, Rates};
use super::*;
use crate::error::{ErrorKind, Result};

const WRITERS: u64 = 4;
const STEPS: usize = 45;
const SHARDS: usize = 3;
const SEEDS: std::ops::Range<u64> = 0..24;
const RATES: Rates = Rates { put: 0.12, read: 0.05, outage: 0.004, pause: 0.4 };

/// What a writer was told of a batch in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    Fenced,
    /// The store never answered, or the writer was killed.
    Nothing,
}

type Ends = BTreeMap<String, Told>;

/// One process after another under one name: when one is killed, the next opens the journal again.
struct Writer {
    name: u64,
    faulty: Faulty,
    random: Random,
    batches: u64,
    ends: Ends,
}

impl Writer {
    fn below(&self, limit: usize) -> usize {
        let drawn = self.random.fraction() * f64::from(u32::try_from(limit).expect("small"));
        // A fraction of a small number: the cut is the wanted draw.
        drawn as usize
    }

    async fn run(mut self) -> Ends {
        let mut journal = self.start().await;
        for _ in 0..STEPS {
            let created_at = journal.state().opening.as_ref().map(|opening| opening.stream.created_at);
            let step = match created_at {
                None => self.open_chain(&mut journal, 1).await,
                Some(created_at) if self.below(60) == 0 => self.open_chain(&mut journal, created_at + 1).await,
                Some(_) => self.commit(&mut journal).await,
            };
            if step.is_none() {
                journal = self.start().await;
            }
        }
        self.ends
    }

    async fn start(&self) -> Journal {
        loop {
            let context = Context { random: Random::seeded(self.seed()), ..context(0) };
            match Journal::open(self.faulty.store(), context, PIPELINE).await {
                Ok(journal) => return journal,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{error}"),
            }
        }
    }

    fn seed(&self) -> u64 {
        // The first 16 digits of an id are as good a seed as any.
        let id = self.random.id().replace('-', "");
        u64::from_str_radix(&id[..16], 16).expect("hexadecimal")
    }

    /// None where the writer was killed.
    async fn open_chain(&self, journal: &mut Journal, created_at: i64) -> Option<()> {
        match self.killed_at_times(journal.open_chain(opening(created_at))).await? {
            Ok(_) => {}
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Transient | ErrorKind::Fenced), "{error}"),
        }
        Some(())
    }

    /// None where the writer was killed.
    async fn commit(&mut self, journal: &mut Journal) -> Option<()> {
        let (id, staged) = self.batch(journal.state());
        self.ends.insert(id.clone(), Told::Nothing);
        for _ in 0..3 {
            let told = match self.killed_at_times(journal.commit(&staged)).await? {
                Ok(entry) => {
                    assert_eq!(entry.tables, staged.tables, "the entry that is answered is the batch's own");
                    Told::Committed
                }
                Err(error) if error.kind() == ErrorKind::Fenced => Told::Fenced,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
                    Told::Nothing
                }
            };
            self.ends.insert(id.clone(), told);
            if told != Told::Nothing || self.below(3) == 0 {
                break;
            }
            if self.below(2) == 0 {
                self.fold_what_is_there(journal).await;
            }
        }
        Some(())
    }

    /// A commit that follows must see what was folded without it.
    async fn fold_what_is_there(&self, journal: &mut Journal) {
        if let Err(error) = journal.catch_up().await {
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        }
    }

    /// Positions that follow what this writer knows, in some of the shards, or a dimension file.
    fn batch(&mut self, state: &State) -> (String, Staged) {
        self.batches += 1;
        let chain = state.opening.as_ref().expect("open").stream.created_at;
        let id = format!("w{}-{}-chain{chain}", self.name, self.batches);
        if self.below(6) == 0 {
            return (id.clone(), replacing(state, &id));
        }
        let first = self.below(SHARDS);
        let mut of = Vec::new();
        for number in first..=first + self.below(2) {
            let number = number % SHARDS;
            let after = state.positions.get(&shard(number)).map_or(0, |position| sequence(position.sequence.as_str()));
            of.push((number, after, after + 1 + self.below(5) as u64));
        }
        (id.clone(), batch(&id, &of))
    }

    /// The future's outcome, or none where it was dropped after some polls.
    async fn killed_at_times<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut polls = if self.below(8) == 0 { self.below(20) } else { usize::MAX };
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|task| {
            if polls == 0 {
                return Poll::Ready(None);
            }
            polls -= 1;
            future.as_mut().poll(task).map(Some)
        })
        .await
    }
}

fn sequence(digits: &str) -> u64 {
    digits.parse().expect("small")
}

/// Runs the writers, one poll at a time in a random order, and lets every late put land.
fn simulate(seed: u64) -> (Faulty, Ends) {
    let faulty = Faulty::new(seed, RATES);
    let random = Random::seeded(seed ^ 0x5eed);
    let mut running: Vec<Pin<Box<dyn Future<Output = Ends>>>> = Vec::new();
    for name in 0..WRITERS {
        let random = Random::seeded(seed.wrapping_mul(1000) + name);
        let (batches, ends) = (0, Ends::new());
        running.push(Box::pin(Writer { name, faulty: faulty.clone(), random, batches, ends }.run()));
    }
    let mut task = TaskContext::from_waker(Waker::noop());
    let mut ends = Ends::new();
    while !running.is_empty() {
        let next = (random.fraction() * running.len() as f64) as usize;
        if let Poll::Ready(ended) = running[next].as_mut().poll(&mut task) {
            ends.extend(ended);
            drop(running.swap_remove(next));
        }
    }
    futures::executor::block_on(faulty.land());
    (faulty, ends)
}

/// The log's bytes in order, without the journal's own reader.
fn bytes_of(faulty: &Faulty) -> Vec<Vec<u8>> {
    let store = faulty.untroubled();
    futures::executor::block_on(async {
        let mut log = Vec::new();
        while let Some(bytes) = store.get(&entry_path(log.len() as u64 + 1)).await.expect("read") {
            log.push(bytes.to_vec());
        }
        let listed = store.list("journal", None).await.expect("lists");
        let entries = listed.iter().filter(|object| !object.path.contains("snapshots")).count();
        assert_eq!(entries, log.len(), "no number is left out");
        log
    })
}

/// Checks the log against what the writers were told; returns how many were told what.
fn audit(log: &[Vec<u8>], ends: &Ends) -> [usize; 3] {
    let mut chain = None;
    let mut covered = BTreeMap::<String, u64>::new();
    let mut seen = BTreeSet::new();
    for (place, bytes) in log.iter().enumerate() {
        let entry: Value = serde_json::from_slice(bytes).expect("JSON");
        assert_eq!(entry["number"], place + 1);
        if let Some(created_at) = entry["opening"]["stream"]["created_at"].as_i64() {
            assert_ne!(chain.replace(created_at), Some(created_at), "a chain is opened once");
            covered.clear();
        }
        let ids: Vec<String> = files(&entry).map(|path| id(&path)).collect();
        for (shard, range) in entry["ranges"].as_object().expect("an object") {
            let text = |bound: &str| range[bound]["sequence"].as_str().map(sequence);
            let (after, through) = (text("after").unwrap_or(0), text("through").expect("always"));
            assert_eq!(covered.insert(shard.clone(), through).unwrap_or(0), after, "each position once: {entry}");
            assert!(through > after);
            let suffix = format!("-chain{}", chain.expect("opened before"));
            assert!(ids.iter().all(|id| id.ends_with(&suffix)), "a batch stands in its own chain: {entry}");
        }
        for id in ids {
            assert!(seen.insert(id.clone()), "{id} stands in the log twice");
        }
    }
    let mut told = [0; 3];
    for (id, end) in ends {
        match end {
            Told::Committed => assert!(seen.contains(id), "{id} was told to be committed and is not"),
            Told::Fenced => assert!(!seen.contains(id), "{id} was told to be fenced and is committed"),
            Told::Nothing => {}
        }
        told[*end as usize] += 1;
    }
    assert!(seen.iter().all(|id| ends.contains_key(id)));
    told
}

fn files(entry: &Value) -> impl Iterator<Item = String> {
    let tables = entry["tables"].as_object().expect("an object").values();
    let files = tables.flat_map(|files| files.as_array().expect("an array"));
    files.map(|file| file["path"].as_str().expect("text").to_owned())
}

#[test]
fn whatever_goes_wrong_the_log_is_right() {
    let mut told = [0; 3];
    let mut entries = 0;
    for seed in SEEDS {
        println!("seed {seed}");
        let (faulty, ends) = simulate(seed);
        let log = bytes_of(&faulty);
        for (sum, count) in told.iter_mut().zip(audit(&log, &ends)) {
            *sum += count;
        }
        entries += log.len();
        let store = faulty.untroubled();
        let all = |snapshots: bool| -> Result<State> {
            futures::executor::block_on(async {
                if !snapshots {
                    for object in store.list("journal/snapshots", None).await? {
                        store.delete(&object.path).await?;
                    }
                }
                fold(&store, PIPELINE).await
            })
        };
        let shortcut = all(true).expect("folds");
        assert_eq!(shortcut, all(false).expect("folds"));
        assert_eq!(shortcut.through, log.len() as u64);
    }
    println!("{entries} entries; committed, fenced, nothing: {told:?}");
    assert!(told.iter().all(|count| *count > 50), "the simulation reaches every end: {told:?}");
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let (first, second, other) = (simulate(7), simulate(7), simulate(8));
    assert_eq!(first.1, second.1);
    assert_eq!(bytes_of(&first.0), bytes_of(&second.0));
    assert_ne!(bytes_of(&first.0), bytes_of(&other.0));
}
