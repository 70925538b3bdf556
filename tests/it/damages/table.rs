//! What is expected of each damage to each kind of file, and the document that says so.

use std::fmt::Write;

use self::Damage::{Addition, Deletion, Flip, Swap, Truncation};
use self::Expect::{Either, Found, Harmless, Told};

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    Flip,
    Truncation,
    Deletion,
    Swap,
    Addition,
}

pub(super) const DAMAGES: [Damage; 5] = [Flip, Truncation, Deletion, Swap, Addition];

impl Damage {
    /// How many cases a cell has: flips hit many places.
    pub(super) fn cases(self) -> usize {
        if self == Flip { 4 } else { 2 }
    }
}

/// What must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expect {
    /// This command ends with code 1 or 2 and names the file.
    Found(&'static str),
    /// As found, and the rows are those of a healthy folder all the same.
    Told(&'static str, &'static str),
    /// No command finds it, and the rows are those of a healthy folder.
    Harmless(&'static str),
    /// Found or harmless, by what is hit.
    Either(&'static str),
}

/// What `query` makes of it, before any other command is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// It ends with code 1 or 2, and names the file.
    Refused,
    /// It gives the rows of a healthy folder.
    Right,
    /// The one or the other, by what is hit.
    Either,
}

/// A kind of file.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Whether a path, from the data folder, is one.
    pub(super) holds: fn(&str) -> bool,
    /// In the order of [`DAMAGES`].
    pub(super) cells: [Expect; 5],
    /// In the same order.
    pub(super) asks: [Ask; 5],
    pub(super) needs_many_entries: bool,
}

impl Kind {
    pub(super) fn expect(&self, damage: Damage) -> Expect {
        self.cells[damage as usize]
    }

    pub(super) fn ask(&self, damage: Damage) -> Ask {
        self.asks[damage as usize]
    }
}

const FOUND: Expect = Found("audit");
const ORPHAN: Expect = Harmless("no entry names it: nothing reads it, and audit counts it as an orphan");
const UNCOMMITTED: Expect = Harmless("no commit names it: nothing reads it, and the next tidying takes it away");
const SHORTCUT: &str = "it is left aside with a warning, and the log is folded without it";
const ALIVE: Expect =
    Harmless("which records are true is never decided by heartbeats; one that does not change is dead");

const FILES: [Ask; 5] = [Ask::Refused, Ask::Refused, Ask::Refused, Ask::Refused, Ask::Right];

pub(super) const KINDS: [Kind; 12] = [
    Kind {
        name: "journal entry",
        holds: |path| path.starts_with("lake/journal/") && !path.contains("snapshots"),
        cells: [FOUND; 5],
        asks: [Ask::Refused; 5],
        needs_many_entries: false,
    },
    Kind {
        name: "snapshot of the journal",
        holds: |path| path.starts_with("lake/journal/snapshots/"),
        cells: [
            Told("audit", SHORTCUT),
            Told("audit", SHORTCUT),
            Harmless("a shortcut for a start: the one before it, or the whole log, takes its place"),
            Told("audit", SHORTCUT),
            Told("audit", SHORTCUT),
        ],
        asks: [Ask::Right; 5],
        needs_many_entries: true,
    },
    Kind {
        name: "staged file",
        holds: |path| path.starts_with("lake/staged/"),
        cells: [FOUND, FOUND, FOUND, FOUND, ORPHAN],
        asks: FILES,
        needs_many_entries: false,
    },
    Kind {
        name: "quarantine file",
        holds: |path| path.starts_with("lake/quarantine/"),
        cells: [FOUND, FOUND, FOUND, FOUND, ORPHAN],
        asks: FILES,
        needs_many_entries: false,
    },
    Kind {
        name: "Delta data file",
        holds: |path| is_delta(path) && !path.contains("/_"),
        cells: [FOUND, FOUND, FOUND, FOUND, UNCOMMITTED],
        asks: FILES,
        needs_many_entries: false,
    },
    Kind {
        name: "Delta log",
        holds: |path| is_delta(path) && path.contains("/_delta_log/") && !path.contains("/_ledger/"),
        cells: [
            FOUND,
            FOUND,
            FOUND,
            FOUND,
            Harmless("the last commit once more adds the files that are there: another writer's commit"),
        ],
        asks: FILES,
        needs_many_entries: false,
    },
    Kind {
        name: "ledger, data file",
        holds: |path| is_delta(path) && path.contains("/_ledger/") && !path.contains("/_delta_log/"),
        cells: [FOUND, FOUND, FOUND, FOUND, UNCOMMITTED],
        asks: FILES,
        needs_many_entries: false,
    },
    Kind {
        name: "ledger, log",
        holds: |path| is_delta(path) && path.contains("/_ledger/_delta_log/"),
        cells: [
            Either("found where anything reads it; the last commit's times and statistics are read by nobody"),
            Either("found, but for a last commit cut behind its last action"),
            Either("found; where the last commit alone is gone, the last load is done again and changes nothing"),
            FOUND,
            Either("the last commit once more says what the ledger says already"),
        ],
        asks: [Ask::Either, Ask::Either, Ask::Either, Ask::Refused, Ask::Either],
        needs_many_entries: false,
    },
    Kind {
        name: "local stream: records.log",
        holds: |path| path == "kinesis/records.log",
        cells: [Found("run"), Found("run"), Found("run"), Found("run"), Harmless("nothing reads it")],
        asks: [Ask::Right; 5],
        needs_many_entries: false,
    },
    Kind {
        name: "local stream: streams.json",
        holds: |path| path == "kinesis/streams.json",
        cells: [Found("run"), Found("run"), Found("run"), Found("run"), Harmless("nothing reads it")],
        asks: [Ask::Right; 5],
        needs_many_entries: false,
    },
    Kind {
        name: "owner (pipeline.json)",
        holds: |path| path == "pipeline.json",
        cells: [
            Either(
                "a bit that no longer fits the pipeline is refused with the difference: of this the folder is named, not the file",
            ),
            FOUND,
            Either(
                "refused as a folder without data: the sentence names the folder, and not that this file alone is gone",
            ),
            FOUND,
            Harmless("nothing reads it"),
        ],
        asks: [Ask::Either, Ask::Refused, Ask::Refused, Ask::Refused, Ask::Right],
        needs_many_entries: false,
    },
    Kind {
        name: "heartbeat",
        holds: |path| path.starts_with("lake/workers/"),
        cells: [ALIVE; 5],
        asks: [Ask::Right; 5],
        needs_many_entries: false,
    },
];

/// Entries that are taken from the journal's end after they were loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    name: &'static str,
    pub(super) entries: usize,
    pub(super) are_replaced: bool,
}

pub(super) const LOSSES: [Loss; 3] = [
    Loss { name: "the newest entry deleted", entries: 1, are_replaced: false },
    Loss { name: "the newest three entries deleted", entries: 3, are_replaced: false },
    Loss { name: "the newest entry deleted, and others written in its place", entries: 1, are_replaced: true },
];

/// The commands that look whether ledger and journal belong together.
pub(super) const LOOKS: [&[&str]; 5] = [&["check"], &["status"], &["audit"], &["run", "--once"], &["dims"]];

fn is_delta(path: &str) -> bool {
    path.starts_with("warehouse/")
}

/// The table as a person reads it.
pub(super) fn document() -> String {
    let cases: usize = DAMAGES.map(Damage::cases).iter().sum::<usize>() * KINDS.len();
    let mut text = format!(
        "# Altered and lost files\n\n\
         What comes of it when a file that a pipeline keeps is altered or lost behind Millstream's back. The test\n\
         `damages::whatever_is_altered_or_lost_is_found_or_harmless` does each of these damages to a copy of a healthy\n\
         data folder, as often as the number says ({cases} cases in all), reads every row of every relation with `query`\n\
         (the second table), and asks `audit`, then `run --once`, then reads the tables once more.\n\n\
         - **found**: the command ends with exit code 1 or 2 and a sentence that names the file (of a broken chain the\n  \
           next file; of a Delta log the table).\n\
         - **told**: found, and the rows are those of a healthy folder all the same.\n\
         - **harmless**: no command finds it, and the rows are those of a healthy folder.\n\n\
         A `query` before any of these commands:\n\n\
         - **refused**: it ends with exit code 1 or 2 and one sentence that names the file, as above, and what to do.\n\
         - **right**: it gives the rows of a healthy folder. (What the relation `ledger` holds is not compared: its last row\n  \
           may be missing after a kill, too.)\n\n\
         This file is written by the test (`MILLSTREAM_GOLDEN=write cargo test --test it damages`), which fails where it\n\
         is stale.\n\n\
         | file | bit flip | truncation | deletion | swap of two | addition |\n|---|---|---|---|---|---|\n"
    );
    let mut notes: Vec<&str> = Vec::new();
    for kind in &KINDS {
        write!(text, "| {} |", kind.name).expect("a text");
        for damage in DAMAGES {
            let (words, note) = match kind.expect(damage) {
                Found(by) => (format!("found by `{by}`"), None),
                Told(by, note) => (format!("told by `{by}`"), Some(note)),
                Harmless(note) => ("harmless".to_owned(), Some(note)),
                Either(note) => ("found or harmless".to_owned(), Some(note)),
            };
            write!(text, " {} × {words}", damage.cases()).expect("a text");
            if let Some(note) = note {
                let number = notes.iter().position(|known| *known == note).unwrap_or(notes.len());
                if number == notes.len() {
                    notes.push(note);
                }
                write!(text, " ({})", number + 1).expect("a text");
            }
            text.push_str(" |");
        }
        text.push('\n');
    }
    text.push_str(
        "\n| `query` | bit flip | truncation | deletion | swap of two | addition |\n|---|---|---|---|---|---|\n",
    );
    for kind in &KINDS {
        let words = DAMAGES.map(|damage| match kind.ask(damage) {
            Ask::Refused => "refused",
            Ask::Right => "right",
            Ask::Either => "refused or right",
        });
        writeln!(text, "| {} | {} |", kind.name, words.join(" | ")).expect("a text");
    }
    text.push('\n');
    for (number, note) in notes.iter().enumerate() {
        writeln!(text, "{}. {note}", number + 1).expect("a text");
    }
    text.push_str(
        "\n## Entries that were loaded, and are lost\n\n\
         Where the newest entries of the journal are gone, what is left is a sound journal of an earlier time, and their\n\
         numbers would be given once more. The warehouse's ledger knows which entry of which attempt it has loaded last, so\n\
         each command of this table says so and ends with exit code 1, and nothing is committed or loaded until the entries\n\
         are restored (`damages::every_command_tells_that_loaded_entries_are_lost`; for a database\n\
         `warehouses::strangers::every_command_tells_that_the_newest_entry_was_lost_after_it_was_loaded`). `query` and\n\
         `rejects` say it where the warehouse is of Delta tables. On PostgreSQL and Redshift they do not ask the database for\n\
         its ledger, so that they answer while it is away: they give what the journal still holds, and do not say that\n\
         entries are lost. An entry that was not loaded yet leaves no trace elsewhere: its records are read again.\n\n|",
    );
    for look in LOOKS {
        write!(text, " | `{}`", look.join(" ")).expect("a text");
    }
    text.push_str(" |\n|---|---|---|---|---|---|\n");
    for loss in LOSSES {
        writeln!(text, "| {} |{}", loss.name, " found |".repeat(LOOKS.len())).expect("a text");
    }
    text
}
