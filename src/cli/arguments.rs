//! What can be typed: the commands and their options, as data.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::parse_bytes;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    args_override_self = true,
    version,
    about = "One binary from Kinesis records to a star schema: decode, clean with SQL, stage as Parquet, load exactly once.",
    after_help = "Exit codes: 0 good, 1 the work failed or an audit is broken, 2 bad arguments or pipeline, 130 a query was\n\
                  stopped by Ctrl-C.\n\
                  Logs go to stderr; MILLSTREAM_LOG=debug shows more (the syntax of RUST_LOG)."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    /// The pipeline's target to run on
    #[arg(long, global = true, default_value = "local", value_name = "NAME")]
    pub(super) target: String,
    /// The local target's folder: stream, object store and warehouse
    #[arg(long, global = true, default_value = "./data", value_name = "DIR")]
    pub(super) data: PathBuf,
    /// The local stream's port on 127.0.0.1, where this command is the first to host it; 0 takes any free one
    #[arg(long, global = true, default_value_t = 4567)]
    pub(super) port: u16,
    /// Load into this PostgreSQL instead of the target's warehouse: postgres://user@host:port/database (the password
    /// from PGPASSWORD; ?schema=NAME, where it is not the pipeline's name, ?tls=verify|off, ?authorities=FILE)
    #[arg(long, global = true, value_name = "URL")]
    pub(super) warehouse: Option<String>,
    /// Answer with one JSON object (logs too are JSON)
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the whole thing on this machine with generated orders, and show what came of it
    Demo(Demo),
    /// The stream job: read, clean, stage and load until stopped (Ctrl-C drains, a second one ends at once)
    Run(Run),
    /// Only host the local target's stream, so that other commands and AWS clients can come and go
    Stream(Folder),
    /// Put mock orders into the stream
    #[command(after_help = super::orders::mess_help())]
    Generate(Generate),
    /// Ask SQL of staged.<table>, <table> (the warehouse), rejects, journal and ledger
    Query(Query),
    /// Find everything that can be wrong before a run, at once
    Check(Check),
    /// Stage and load the dimension files that have changed
    Dims(Dims),
    /// Show shards, positions, lag, entries and loads
    Status(Folder),
    /// Check that every record is accounted for, from the journal to the warehouse; exit code 1 where one is not
    Audit(Audit),
    /// Show what is in quarantine, by reason
    Rejects(Folder),
    /// Print the star schema's CREATE statements
    Ddl(Ddl),
}

/// A pipeline's folder.
#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The pipeline's folder, with pipeline.toml and its SQL files
    #[arg(value_name = "PIPELINE")]
    pub(super) pipeline: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = super::orders::mess_help())]
pub(super) struct Demo {
    /// The pipeline's folder
    #[arg(value_name = "PIPELINE", default_value = "queries/food_delivery")]
    pub(super) pipeline: PathBuf,
    /// How many records to put; the demo ends when all of them are loaded
    #[arg(long, default_value_t = 50_000)]
    pub(super) records: u64,
    /// Records per second; 0 as fast as it goes
    #[arg(long, default_value_t = 0)]
    pub(super) rate: u64,
    /// The same seed makes the same orders
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Read what is in the stream now, load it, and end
    #[arg(long)]
    pub(super) once: bool,
    /// At the end, deregister the fan-out consumer that [source] fan_out names: one that stays costs money
    #[arg(long)]
    pub(super) deregister: bool,
    /// Serve metrics for Prometheus at http://ADDR/metrics: PORT (on 127.0.0.1) or HOST:PORT; 0 takes any free port
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Generate {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// How many records to put; without it, until stopped
    #[arg(long)]
    pub(super) records: Option<u64>,
    /// Records per second; 0 as fast as it goes
    #[arg(long, default_value_t = 100)]
    pub(super) rate: u64,
    /// The same seed makes the same orders
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Pack orders as the Kinesis producer library does: many in one Kinesis record
    #[arg(long)]
    pub(super) aggregate: bool,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Make what the warehouse lacks (schema, tables, columns), as a run would at its start
    #[arg(long)]
    pub(super) apply: bool,
}

#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Compare every row and column of the warehouse with what the staged files say should stand there
    #[arg(long)]
    pub(super) deep: bool,
    /// Leave out what takes reading every staged file: its checksum
    #[arg(long, conflicts_with = "deep")]
    pub(super) fast: bool,
}

#[derive(Debug, Args)]
pub(super) struct Ddl {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// In the words of this warehouse; without it, of the target's
    #[arg(long = "for", value_enum, value_name = "KIND")]
    pub(super) kind: Option<Kind>,
}

/// The kinds of warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Delta,
    Postgres,
    Redshift,
}

#[derive(Debug, Args)]
pub(super) struct Query {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// One statement; without it, a prompt
    #[arg(conflicts_with = "report")]
    pub(super) sql: Option<String>,
    /// Ask the pipeline's report/NAME.sql
    #[arg(long, value_name = "NAME")]
    pub(super) report: Option<String>,
    /// Where the statement is answered: here, over everything that the pipeline keeps, or in the warehouse, in its own
    /// SQL and over its own tables
    #[arg(long = "in", value_enum, default_value = "here", value_name = "PLACE")]
    pub(super) place: Place,
    /// How rows are written (json: one object a line)
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
    #[command(flatten)]
    pub(super) limits: Limits,
}

/// What a question that is answered here may take of this machine.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Limits {
    /// What it may hold in memory before it spills to disk (64MiB, 4GiB); without it, a quarter of the machine's or the
    /// container's
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) memory: Option<u64>,
    /// What it may spill to disk, 0 for nothing; without it, half of what is free
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) spill: Option<u64>,
}

impl Limits {
    /// Nothing is said of them.
    pub(super) const DEFAULT: Self = Self { memory: None, spill: None };
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().or_else(|| parse_bytes(text));
    bytes.ok_or_else(|| "write 64KiB, 32MiB, 1GiB or a number of bytes".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    Here,
    Warehouse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Csv,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Dims {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// From when the files' rows hold (RFC 3339, such as 2026-01-31T00:00:00Z); without it, from now
    #[arg(long, value_name = "TIME")]
    pub(super) as_of: Option<String>,
}
