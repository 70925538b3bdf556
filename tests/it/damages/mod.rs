//! The table of damages: every kind of file that a pipeline keeps, altered or lost in every way, is found or is harmless.
//!
//! Healthy data folders are made once, with all there is and with records that still wait in the stream. For each case
//! one is copied, one file is damaged, and `query` is asked for all rows: it gives those of the healthy folder, or none and
//! the file's name. Then `audit` is asked, then `run`; where neither finds anything, the rows of every table must be those
//! that an undamaged copy comes to. What is expected stands in `table`; `docs/damages.md` is written from it
//! (`MILLSTREAM_GOLDEN=write`). The newest entries of the journal, lost after they were loaded, are a table of their own:
//! there every command that looks must say so.

mod harm;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use self::harm::{damage, files};
use self::table::{Ask, DAMAGES, Damage, Expect, KINDS, Kind, LOOKS, LOSSES, Loss, document};
use crate::command::{Millstream, PipelineCopy, Said, copy, said_to_its_end, until};

/// A data folder whose copies are damaged, and what comes of an undamaged copy.
struct Healthy {
    millstream: Millstream,
    /// What all relations hold.
    now: Rows,
    /// What the tables hold after a run.
    expected: Rows,
    _pipeline: Option<PipelineCopy>,
}

/// Rows by relation, sorted.
type Rows = BTreeMap<String, Vec<String>>;

const TABLES: [&str; 6] =
    ["fact_orders", "dim_customers", "dim_restaurants", "dim_delivery_riders", "dim_date", "rejects"];

/// What a query reads beside them.
const OTHERS: [&str; 6] = [
    "staged.fact_orders",
    "staged.dim_customers",
    "staged.dim_restaurants",
    "staged.dim_delivery_riders",
    "staged.dim_date",
    "journal",
];

impl Healthy {
    /// Loaded twice, with two files of rejects, two workers that were killed, and records that wait.
    fn small() -> Self {
        let millstream = Millstream::new();
        for (records, seed) in [("120", "1"), ("40", "3")] {
            millstream.json("generate", &["--records", records, "--rate", "0", "--seed", seed]);
            millstream.json("run", &["--once"]);
        }
        let mut workers: Vec<_> = (1..=2)
            .map(|number| {
                let worker = millstream.start("run", &[]);
                let workers = millstream.data.path().join("lake/workers");
                until("a heartbeat", || Some(workers.is_dir() && files(&workers).len() == number).filter(|is| *is));
                worker
            })
            .collect();
        workers.iter_mut().for_each(|worker| worker.kill());
        millstream.json("generate", &["--records", "60", "--rate", "0", "--seed", "2"]);
        Self::of(millstream, None)
    }

    /// Of more than two hundred entries, so that there are snapshots.
    fn long() -> Self {
        let pipeline = PipelineCopy::new().replace("pipeline.toml", "max_rows = 200_000", "max_rows = 1").replace(
            "pipeline.toml",
            "shards = 4",
            "shards = 1",
        );
        let millstream = Millstream::over(pipeline.pipeline.clone());
        millstream.json("generate", &["--records", "200", "--rate", "0"]);
        millstream.json("run", &["--once"]);
        millstream.json("generate", &["--records", "5", "--rate", "0", "--seed", "2"]);
        Self::of(millstream, Some(pipeline))
    }

    fn of(millstream: Millstream, pipeline: Option<PipelineCopy>) -> Self {
        let reference = copy_of(&millstream);
        let audit = reference.json("audit", &["--deep"]);
        assert_eq!((&audit["clean"], &audit["orphans"]), (&Value::Bool(true), &Value::from(0)), "{audit}");
        let now = rows(&reference, &[&TABLES[..], &OTHERS].concat()).expect("nothing is damaged");
        assert!(now.values().all(|rows| !rows.is_empty()), "{now:?}");
        reference.json("run", &["--once"]);
        let expected = rows(&reference, &TABLES).expect("nothing is damaged");
        assert!(expected["fact_orders"].len() > 100 && !expected["rejects"].is_empty());
        Self { millstream, now, expected, _pipeline: pipeline }
    }
}

fn copy_of(healthy: &Millstream) -> Millstream {
    let copied = Millstream::over(healthy.pipeline.clone());
    copy(healthy.data.path(), copied.data.path());
    copied
}

/// Every row of these relations, each with its relation's name; or what the query says that can't read one.
fn rows(millstream: &Millstream, relations: &[&str]) -> Result<Rows, Said> {
    // One statement each: for a statement, all that is journaled and loaded is opened and checked anew.
    let asked: String = relations.iter().map(|name| format!("select '{name}' as of, * from {name};\n")).collect();
    let mut command = millstream.command("query", &["--format", "json"]);
    let said = said_to_its_end(command.stdin(Stdio::piped()), &asked);
    if said.code != Some(0) {
        return Err(said);
    }
    let mut found: Rows = relations.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
    for line in said.stdout.lines() {
        let of = line.split('"').nth(3).unwrap_or_default();
        found.get_mut(of).unwrap_or_else(|| panic!("a row of no relation: {line}")).push(line.to_owned());
    }
    found.values_mut().for_each(|rows| rows.sort());
    Ok(found)
}

/// Whether what is said leads a person to the file: by its name, by its neighbour's where a chain is broken, or, of the
/// files of a table's log, by the table, and of the owner's file by the folder.
fn leads_to(said: &Said, path: &str) -> bool {
    let is_told = |line: &&str| !line.contains(" INFO ") && !line.contains("\"INFO\"");
    let told: String = said.stdout.lines().chain(said.stderr.lines()).filter(is_told).collect::<Vec<_>>().join("\n");
    let name = path.rsplit('/').next().unwrap_or(path);
    let number = name.split('.').next().and_then(|stem| stem.parse::<u64>().ok());
    let neighbour = || number.is_some_and(|number| told.contains(&format!("{:020}.json", number + 1)));
    let entry = || number.is_some_and(|number| told.contains(&format!("entry {number}")));
    match path.split('/').collect::<Vec<_>>()[..] {
        ["lake", "journal", _] => told.contains(name) || neighbour() || entry(),
        ["warehouse", "_ledger", ..] => told.contains(name) || told.contains("ledger"),
        ["warehouse", table, "_delta_log", _] => told.contains(name) || told.contains(table),
        ["pipeline.json"] => told.contains(name) || told.contains("the data folder") || told.contains("no data in"),
        _ => told.contains(name),
    }
}

/// Whether what is said are sentences of ours, not the layers of libraries.
fn is_plain(said: &Said) -> bool {
    let layers = ["Parquet error", "External", "Generic", "Object Store", "backtrace", "FileMeta", "ERROR"];
    said.stderr.lines().all(|line| line.len() <= 700 && !layers.iter().any(|layer| line.contains(layer)))
}

struct Case {
    kind: &'static Kind,
    damage: Damage,
    seed: usize,
}

impl Case {
    fn expect(&self) -> Expect {
        self.kind.expect(self.damage)
    }

    /// What `query` makes of it.
    fn asked(&self, healthy: &Healthy, millstream: &Millstream, paths: &[String]) -> Result<Ask, String> {
        let path = &paths[0];
        match rows(millstream, &[&TABLES[..], &OTHERS].concat()) {
            Ok(found) if found == healthy.now => Ok(Ask::Right),
            Ok(_) => Err(format!("{path}: query gives other rows and says nothing")),
            Err(said) if !paths.iter().any(|path| leads_to(&said, path)) => {
                Err(format!("{path}: query does not lead to it: {said:?}"))
            }
            Err(said) if !is_plain(&said) => Err(format!("{path}: no words for a person: {}", said.stderr)),
            Err(said) => match said.code {
                Some(1 | 2) => Ok(Ask::Refused),
                code => Err(format!("{path}: query ends with {code:?}")),
            },
        }
    }

    /// Damages a copy and asks; gives the command that found it, or none where it was harmless.
    fn outcome(&self, healthy: &Healthy) -> Result<Option<&'static str>, String> {
        let millstream = copy_of(&healthy.millstream);
        let paths = damage(millstream.data.path(), self.kind, self.damage, self.seed);
        let path = &paths[0];
        let asked = self.asked(healthy, &millstream, &paths)?;
        let expected = self.kind.ask(self.damage);
        if expected != Ask::Either && expected != asked {
            return Err(format!("{path}: query: {asked:?}, and should be {expected:?}"));
        }
        let mut finder = None;
        for command in [&["audit"][..], &["run", "--once"]] {
            let said = millstream.say(command[0], &command[1..]);
            match said.code {
                Some(0) => {}
                Some(1 | 2) if leads_to(&said, path) && finder.is_none() => finder = Some(command[0]),
                code => {
                    return Err(format!("{path}: {command:?} ended with {code:?} and does not lead to it: {said:?}"));
                }
            }
            if finder.is_some() && !matches!(self.expect(), Expect::Told(..)) {
                return Ok(finder);
            }
        }
        match rows(&millstream, &TABLES) {
            Ok(found) if found == healthy.expected => Ok(finder),
            Ok(_) => {
                let said = millstream.say("audit", &["--deep"]);
                Err(format!("{path}: the rows are others, and neither audit nor run has said so; --deep: {said:?}"))
            }
            Err(said) if leads_to(&said, path) => Ok(Some("query")),
            Err(said) => Err(format!("{path}: a query fails: {said:?}")),
        }
    }

    /// What is wrong with what came of it; none where it is as the table has it.
    fn fault(&self, healthy: &Healthy) -> Option<String> {
        let fault = match (self.outcome(healthy), self.expect()) {
            (Ok(Some(by)), Expect::Found(expected) | Expect::Told(expected, _)) if by == expected => return None,
            (Ok(Some(_)), Expect::Either(_)) | (Ok(None), Expect::Harmless(_) | Expect::Either(_)) => return None,
            (Ok(by), expected) => format!("found by {by:?}, expected {expected:?}"),
            (Err(fault), _) => fault,
        };
        Some(format!("{}, {:?} {}: {fault}", self.kind.name, self.damage, self.seed))
    }
}

fn all_cases() -> Vec<Case> {
    let kinds = KINDS.iter().flat_map(|kind| DAMAGES.map(|damage| (kind, damage)));
    kinds.flat_map(|(kind, damage)| (0..damage.cases()).map(move |seed| Case { kind, damage, seed })).collect()
}

#[test]
fn whatever_is_altered_or_lost_is_found_or_harmless() {
    let (small, long) = thread::scope(|scope| {
        let long = scope.spawn(Healthy::long);
        (Healthy::small(), long.join().expect("made"))
    });
    let (cases, next) = (all_cases(), AtomicUsize::new(0));
    let work = || {
        let mut faults = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            faults.extend(case.fault(if case.kind.needs_many_entries { &long } else { &small }));
        }
        faults
    };
    let faults: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n\n"));
}

/// Takes entries that were loaded from the end of the journal.
fn lose(millstream: &Millstream, loss: Loss) {
    let data = millstream.data.path();
    let journal = data.join("lake/journal");
    let entries = files(&journal).into_iter().filter(|name| !name.contains("snapshots"));
    let lost: Vec<String> = entries.collect::<Vec<_>>().into_iter().rev().take(loss.entries).collect();
    lost.iter().for_each(|name| fs::remove_file(journal.join(name)).expect("removed"));
    if loss.are_replaced {
        // By a run that knows nothing of the warehouse.
        let (warehouse, aside) = (data.join("warehouse"), data.join("aside"));
        fs::rename(&warehouse, &aside).expect("moved");
        millstream.json("run", &["--once"]);
        fs::remove_dir_all(&warehouse).expect("removed");
        fs::rename(&aside, &warehouse).expect("moved back");
        millstream.json("generate", &["--records", "5", "--rate", "0", "--seed", "4"]);
    }
}

#[test]
fn every_command_tells_that_loaded_entries_are_lost() {
    let healthy = Healthy::small();
    for loss in LOSSES {
        let millstream = copy_of(&healthy.millstream);
        lose(&millstream, loss);
        let before = files(&millstream.data.path().join("lake/journal"));
        for look in LOOKS {
            let said = millstream.say(look[0], &look[1..]);
            let told = [&said.stdout[..], &said.stderr].concat();
            assert_eq!(said.code, Some(1), "{loss:?}, {look:?}: {said:?}");
            assert!(told.contains("the last entries of the journal were deleted"), "{loss:?}, {look:?}: {said:?}");
            assert!(!told.contains("loaded later"), "{loss:?}, {look:?}: {said:?}");
        }
        assert_eq!(files(&millstream.data.path().join("lake/journal")), before, "{loss:?}: nothing was committed");
    }
}

#[test]
fn status_tells_a_damaged_journal_and_shows_the_rest() {
    let millstream = Millstream::new();
    for seed in ["1", "2"] {
        millstream.json("generate", &["--records", "60", "--rate", "0", "--seed", seed]);
        millstream.json("run", &["--once"]);
    }
    let sound = millstream.json("status", &[]);
    let entries = sound["entries"].as_u64().expect("a number");
    let damaged = millstream.data.path().join(format!("lake/journal/{entries:020}.json"));
    let mut bytes = fs::read(&damaged).expect("an entry");
    bytes[40] ^= 1;
    fs::write(&damaged, bytes).expect("written");
    let said = millstream.say("status", &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let through = format!("BROKEN: it is damaged behind entry {}", entries - 1);
    for words in [&through[..], "stream   arn:", "workers  none is running", "loads    ", "fact_orders: "] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    for words in [&format!("{entries:020}.json"), "bring it back from a backup", "nothing is read or loaded"] {
        assert!(said.stderr.contains(words), "{words}: {said:?}");
    }
    assert_eq!(said.stderr.matches("error: ").count(), 1, "it is told once: {said:?}");
    let said = millstream.say("status", &["--json"]);
    let status: Value = serde_json::from_str(&said.stdout).expect("an object");
    assert_eq!((said.code, status["entries"].as_u64()), (Some(1), Some(entries - 1)), "{status}");
    assert_eq!((&status["findings"][0]["about"], &status["waiting"]), (&Value::from("journal"), &Value::Null));
    assert_eq!(status["loaded_through"], sound["loaded_through"], "{status}");
    assert_eq!(status["shards"].as_array().map(Vec::len), sound["shards"].as_array().map(Vec::len), "{status}");
}

#[test]
fn a_damaged_owner_says_how_it_is_made_anew() {
    let millstream = Millstream::new();
    millstream.json("generate", &["--records", "60", "--rate", "0"]);
    millstream.json("run", &["--once"]);
    let owner = millstream.data.path().join("pipeline.json");
    let kept = fs::read(&owner).expect("the owner");
    fs::write(&owner, "{").expect("written");
    for command in [&["status"][..], &["check"], &["run", "--once"], &["audit"]] {
        let said = millstream.say(command[0], &command[1..]);
        assert_eq!(said.code, Some(2), "{said:?}");
        for words in ["pipeline.json", "bring the file back from a backup", "move it away", "it is made anew"] {
            assert!(said.stderr.contains(words), "{words}: {said:?}");
        }
    }
    fs::remove_file(&owner).expect("moved away");
    millstream.json("run", &["--once"]);
    assert_eq!(fs::read(&owner).expect("made anew"), kept);
    assert_eq!(millstream.json("audit", &["--deep"])["clean"], Value::Bool(true));
}

#[test]
fn the_document_says_what_the_test_expects() {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/damages.md");
    if std::env::var("MILLSTREAM_GOLDEN").is_ok_and(|golden| golden == "write") {
        fs::write(&path, document()).expect("written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, document(), "docs/damages.md is stale: MILLSTREAM_GOLDEN=write cargo test --test it damages");
}

#[test]
fn an_audit_in_haste_says_what_it_did_not_read() {
    let millstream = Millstream::new();
    millstream.json("generate", &["--records", "60", "--rate", "0"]);
    millstream.json("run", &["--once"]);
    let said = millstream.ok("audit", &[]);
    assert!(said.contains("clean: every record is accounted for"), "{said}");
    let staged = files(millstream.data.path()).into_iter().find(|path| path.starts_with("lake/staged/fact_orders/"));
    let path = millstream.data.path().join(staged.expect("a file"));
    let flip = |at: usize| {
        let mut bytes = fs::read(&path).expect("a file");
        bytes[at] ^= 1;
        fs::write(&path, &bytes).expect("written");
        bytes
    };
    // The keys are counted, and the first of them can no longer be read.
    flip(10);
    let said = millstream.say("audit", &["--fast"]);
    assert!(said.code == Some(1) && said.stdout.contains("BROKEN warehouse: fact_orders: a Parquet file"), "{said:?}");
    flip(10);
    let bytes = fs::read(&path).expect("a file");
    let bytes = flip(bytes.len() / 2);
    let said = millstream.ok("audit", &["--fast"]);
    assert!(said.contains("no file was read for its checksum") && !said.contains("accounted for"), "{said}");
    assert_eq!(millstream.json("audit", &["--fast"])["checksums"], false);
    let said = millstream.say("audit", &[]);
    assert!(said.code == Some(1) && said.stdout.contains("SHA-256"), "{said:?}");
    fs::write(&path, &bytes[1..]).expect("written");
    let said = millstream.say("audit", &["--fast"]);
    assert!(said.code == Some(1) && said.stdout.contains("BROKEN files"), "{said:?}");
}
