//! The table of damages: every kind of file that a pipeline keeps, altered or lost in every way, is found or is harmless.
//!
//! A healthy data folder is made once, with all there is: loaded entries, a quarantine, Delta tables, and orders that are
//! still in the stream. For each case it is copied, one file of a kind is damaged, and `audit --deep` is asked; where it
//! finds nothing, a run must either refuse or come to the very rows that a healthy folder comes to.
//! `docs/damages.md` is written from what this file expects: `MILLSTREAM_GOLDEN=write` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::command::{Millstream, copy};

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Flip,
    Truncation,
    Deletion,
    Swap,
    Addition,
}

/// What must come of it.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// Found in every case, the sentence naming the file, its table or its number.
    Found,
    /// Never found, and the rows are those of a healthy folder.
    Harmless(&'static str),
    /// One or the other, by what is hit.
    Either(&'static str),
}

/// A kind of file: its name, where its files lie below the data folder, and what comes of each damage.
struct Kind {
    name: &'static str,
    holds: fn(&str) -> bool,
    cells: &'static [(Damage, Expect)],
}

use Damage::{Addition, Deletion, Flip, Swap, Truncation};
use Expect::{Either, Found, Harmless};

const ORPHAN: Expect = Harmless("no entry names it: counted as an orphan, and read by nothing");

const KINDS: [Kind; 8] = [
    Kind {
        name: "journal entry",
        holds: |path| path.starts_with("lake/journal/") && !path.contains("snapshots"),
        cells: &[(Flip, Found), (Truncation, Found), (Deletion, Found), (Swap, Found), (Addition, Found)],
    },
    Kind {
        name: "staged file",
        holds: |path| path.starts_with("lake/staged/"),
        cells: &[(Flip, Found), (Truncation, Found), (Deletion, Found), (Swap, Found), (Addition, ORPHAN)],
    },
    Kind {
        name: "quarantine file",
        holds: |path| path.starts_with("lake/quarantine/"),
        cells: &[(Flip, Found), (Truncation, Found), (Deletion, Found), (Addition, ORPHAN)],
    },
    Kind {
        name: "Delta data file",
        holds: |path| is_delta(path) && !path.contains("/_"),
        cells: &[
            (Flip, Found),
            (Truncation, Found),
            (Deletion, Found),
            (Swap, Found),
            (Addition, Harmless("no commit names it: the next tidying takes it away")),
        ],
    },
    Kind {
        name: "Delta log",
        holds: |path| is_delta(path) && path.contains("/_delta_log/") && !path.contains("/_ledger/"),
        cells: &[
            (Flip, Found),
            (Truncation, Found),
            (Deletion, Found),
            (Swap, Found),
            (Addition, Harmless("the last commit once more adds the files that are there: another writer's commit")),
        ],
    },
    Kind {
        name: "ledger, data file",
        holds: |path| is_delta(path) && path.contains("/_ledger/") && !path.contains("/_delta_log/"),
        cells: &[
            (Flip, Found),
            (Truncation, Found),
            (Deletion, Found),
            (Swap, Found),
            (Addition, Harmless("no commit names it: the next tidying takes it away")),
        ],
    },
    Kind {
        name: "ledger, log",
        holds: |path| is_delta(path) && path.contains("/_ledger/_delta_log/"),
        cells: &[
            (Flip, Either("found where anything reads it; the last commit's times and statistics are read by nobody")),
            (Truncation, Either("found, but for a last commit cut behind its last action")),
            (Deletion, Either("found; without the last commit alone the last load is done again and changes nothing")),
            (Swap, Found),
            (Addition, Either("the last commit once more says what the ledger says already")),
        ],
    },
    Kind {
        name: "owner file",
        holds: |path| path == "pipeline.json",
        cells: &[
            (Flip, Either("found where it is no JSON any more or names another table; it guards names, not rows")),
            (Truncation, Found),
            (Deletion, Either("the folder is taken for one of an earlier release, or refused")),
            (Addition, Harmless("nothing reads it")),
        ],
    },
];

fn is_delta(path: &str) -> bool {
    path.starts_with("warehouse/")
}

/// How many cases a cell has: flips hit many places.
fn cases(damage: Damage) -> usize {
    if damage == Flip { 4 } else { 2 }
}

/// All files below a folder, from there, in order.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Damages one file of a kind; the seed says which, and where. Gives the file's path.
fn damage(data: &Path, kind: &Kind, damage: Damage, seed: usize) -> String {
    let of_kind: Vec<String> = files(data).into_iter().filter(|path| (kind.holds)(path)).collect();
    let of_kind: Vec<String> = match kind.name.ends_with("data file") {
        true => of_kind.into_iter().filter(|path| is_active(data, path)).collect(),
        false => of_kind,
    };
    assert!(!of_kind.is_empty(), "there is no {}", kind.name);
    // The first seed takes the newest file.
    let chosen = (of_kind.len() - 1 + seed * 5) % of_kind.len();
    let (name, path) = (&of_kind[chosen], data.join(&of_kind[chosen]));
    let bytes = fs::read(&path).expect("a file");
    match damage {
        Flip => {
            let mut altered = bytes;
            let at = altered.len() * (2 * seed + 1) / 9;
            altered[at] ^= 1 << (seed % 7);
            fs::write(&path, altered).expect("written");
        }
        Truncation => fs::write(&path, &bytes[..bytes.len() * (seed + 1) / 3]).expect("written"),
        Deletion => fs::remove_file(&path).expect("removed"),
        Swap => {
            let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            let other = of_kind.iter().filter(|other| *other != name);
            let near = other.clone().find(|other| folder(other) == folder(name)).or_else(|| other.clone().next());
            // One of its kind has no other: the bytes of some other file take its place.
            let other = near.cloned().unwrap_or_else(|| "pipeline.json".to_owned());
            let theirs = fs::read(data.join(&other)).expect("a file");
            fs::write(data.join(&other), &bytes).expect("written");
            fs::write(&path, theirs).expect("written");
        }
        Addition => fs::write(path.with_file_name(next_name(&path, &of_kind)), bytes).expect("written"),
    }
    name.clone()
}

/// Whether a Delta data file is part of its table: one that was replaced stays for a while.
fn is_active(data: &Path, path: &str) -> bool {
    let (table, name) = path.rsplit_once('/').expect("a folder");
    let log = data.join(table).join("_delta_log");
    let commits = files(&log).into_iter().filter(|file| file.ends_with(".json"));
    let text: String = commits.map(|file| fs::read_to_string(log.join(file)).expect("a commit") + "\n").collect();
    let named = |action: &str| text.lines().filter(|line| line.starts_with(action) && line.contains(name)).count();
    named("{\"add\"") > named("{\"remove\"")
}

/// A name that none of them has: for numbered files the next number.
fn next_name(path: &Path, of_kind: &[String]) -> PathBuf {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let ending = path.extension().and_then(|ending| ending.to_str()).expect("an ending");
    let folder = path.parent().expect("a folder");
    match stem.parse::<u64>() {
        Ok(_) => {
            let in_folder =
                of_kind.iter().filter(|other| folder.ends_with(Path::new(other).parent().expect("a folder")));
            let number =
                in_folder.filter_map(|other| Path::new(other).file_stem()?.to_str()?.parse::<u64>().ok()).max();
            format!("{:020}.{ending}", number.expect("a number") + 1).into()
        }
        Err(_) => format!("added-{stem}.{ending}").into(),
    }
}

/// A copy of a healthy folder.
fn of(healthy: &Millstream) -> Millstream {
    let copied = Millstream::over(healthy.pipeline.clone());
    copy(healthy.data.path(), copied.data.path());
    copied
}

const TABLES: [&str; 5] = ["fact_orders", "dim_customers", "dim_restaurants", "dim_delivery_riders", "dim_date"];

/// Everything in the warehouse after a run, and the rejects.
fn rows(millstream: &Millstream) -> BTreeMap<&'static str, Vec<String>> {
    let of = |table: &'static str| {
        let mut rows: Vec<String> =
            millstream.query(&format!("select * from {table}")).iter().map(Value::to_string).collect();
        rows.sort();
        (table, rows)
    };
    TABLES.into_iter().chain(["rejects"]).map(of).collect()
}

/// Whether words of the sentence lead to the file: its name, its table, or its number.
fn names(said: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let number = name.split('.').next().and_then(|stem| stem.parse::<u64>().ok());
    let table = path.split('/').nth(1).filter(|_| is_delta(path));
    said.contains(name)
        || path == "pipeline.json"
        || table.is_some_and(|table| said.contains(table) || (table == "_ledger" && said.contains("ledger")))
        || number.is_some_and(|number| said.contains(&number.to_string()))
        // Of a chain the next one tells.
        || number.is_some_and(|number| said.contains(&(number + 1).to_string()))
}

/// What came of a case: the command that found it, or none where it was harmless.
fn outcome(
    healthy: &Millstream,
    expected: &BTreeMap<&str, Vec<String>>,
    case: &Case,
) -> Result<Option<&'static str>, String> {
    let millstream = of(healthy);
    let path = damage(millstream.data.path(), case.kind, case.damage, case.seed);
    for (command, arguments) in [("audit", "--deep"), ("run", "--once")] {
        let said = millstream.say(command, &[arguments]);
        let words = format!("{}{}", said.stdout, said.stderr);
        match said.code {
            Some(0) => {}
            Some(1 | 2) if names(&words, &path) => return Ok(Some(command)),
            code => return Err(format!("{path}: {command} ended with {code:?} and did not name it: {words}")),
        }
    }
    match rows(&millstream) == *expected {
        true => Ok(None),
        false => Err(format!("{path}: nobody found it, and the rows are others")),
    }
}

struct Case {
    kind: &'static Kind,
    damage: Damage,
    expect: Expect,
    seed: usize,
}

#[test]
fn whatever_is_altered_or_lost_is_found_or_harmless() {
    let healthy = Millstream::new();
    healthy.json("generate", &["--records", "120", "--rate", "0"]);
    healthy.json("run", &["--once"]);
    healthy.json("generate", &["--records", "60", "--rate", "0", "--seed", "2"]);
    healthy.json("run", &["--once"]);
    healthy.json("generate", &["--records", "40", "--rate", "0", "--seed", "3"]);
    let reference = of(&healthy);
    let audit = reference.json("audit", &["--deep"]);
    assert_eq!(audit["clean"], true, "{audit}");
    reference.json("run", &["--once"]);
    let expected = rows(&reference);
    assert!(expected["fact_orders"].len() > 100 && !expected["rejects"].is_empty());
    let kinds: &'static [Kind; 8] = &KINDS;
    let cases: Vec<Case> = kinds
        .iter()
        .flat_map(|kind| kind.cells.iter().map(move |(damage, expect)| (kind, *damage, *expect)))
        .flat_map(|(kind, damage, expect)| (0..cases(damage)).map(move |seed| Case { kind, damage, expect, seed }))
        .collect();
    let next = AtomicUsize::new(0);
    let faults: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut faults = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let fits = match (outcome(&healthy, &expected, case), case.expect) {
                    (Ok(Some(_)), Found | Either(_)) | (Ok(None), Harmless(_) | Either(_)) => Ok(()),
                    (Ok(found), _) => Err(format!("found by {found:?}")),
                    (Err(fault), _) => Err(fault),
                };
                let Case { kind, damage, seed, .. } = case;
                faults.extend(fits.err().map(|fault| format!("{}, {damage:?} {seed}: {fault}", kind.name)));
            }
            faults
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n\n"));
}

/// The table as a person reads it.
fn document() -> String {
    let mut text = String::from(
        "# Altered and lost files\n\n\
         What comes of it when a file that a pipeline keeps is altered or lost behind Millstream's back. The test \
         `damages::whatever_is_altered_or_lost_is_found_or_harmless`\nmakes each of these damages to a copy of a healthy data \
         folder, so many times as the number says, and asks `audit --deep` and then `run`. *Found*: one of them ends with\nexit \
         code 1 or 2 and a sentence that names the file, its table or its number. *Harmless*: neither does, and after the run \
         every row of every table is that of a\nhealthy folder. This file is written by that test \
         (`MILLSTREAM_GOLDEN=write cargo test --test it damages`).\n\n\
         | file | bit flip | truncation | deletion | swap of two | addition |\n|---|---|---|---|---|---|\n",
    );
    let mut notes = Vec::new();
    for kind in &KINDS {
        text.push_str(&format!("| {} |", kind.name));
        for damage in [Flip, Truncation, Deletion, Swap, Addition] {
            let cell = kind.cells.iter().find(|cell| cell.0 == damage);
            let mut noted = |word: &str, note: &'static str| {
                let number = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
                    notes.push(note);
                    notes.len() - 1
                });
                format!("{word} ({})", number + 1)
            };
            let words = match cell.map(|cell| cell.1) {
                Some(Found) => "found".to_owned(),
                Some(Harmless(note)) => noted("harmless", note),
                Some(Either(note)) => noted("found or harmless", note),
                None => "– |".to_owned(),
            };
            match cell {
                Some(_) => text.push_str(&format!(" {} × {words} |", cases(damage))),
                None => text.push_str(&format!(" {words}")),
            }
        }
        text.push('\n');
    }
    text.push('\n');
    for (number, note) in notes.iter().enumerate() {
        text.push_str(&format!("{}. {note}\n", number + 1));
    }
    text
}

#[test]
fn the_document_says_what_the_test_expects() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/damages.md");
    if std::env::var("MILLSTREAM_GOLDEN").is_ok_and(|golden| golden == "write") {
        fs::write(&path, document()).expect("written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, document(), "docs/damages.md is stale: MILLSTREAM_GOLDEN=write cargo test --test it damages");
}
