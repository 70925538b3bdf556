//! Millstream: one binary from Kinesis records to a star schema.
//!
//! # The way of the data
//!
//! ```text
//! Kinesis shards
//!   │ source    RawBatch    payload bytes + positions, the range per shard
//!   ▼
//! decode        Decoded     one RecordBatch of events + rejects                  pure
//!   ▼
//! clean         Cleaned     a RecordBatch per table + rejects                    DataFusion SQL from queries/
//!   ▼
//! stage         Staged      Parquet objects + their rows and bytes
//!   ▼
//! journal       Entry       ONE conditional put makes ranges + files + counts true together   ← the commit
//!   ┆                       (from here on a second, independent loop)
//!   ▼
//! load          Receipt     copy + upsert + ledger, for one or many entries
//! ```
//!
//! # The floors
//!
//! A module imports only floors below its own; siblings never import each other. `tests/it/tidy.rs` checks it, and the
//! doors through which outside crates come in.
//!
//! ```text
//! floor 6  cli                                                               the person's face; the composition root
//! floor 5  serve                                                             the machines' face: metrics over HTTP
//! floor 4  engine                                                            the loops, supervision, audit
//! floor 3  source host generate  decode clean stage journal load query       crafts; siblings are strangers
//!          workers
//! floor 2  store sql http                                                    object store; DataFusion session; HTTP servers
//! floor 1  config runtime telemetry aws                                      settings; clock, dice, tasks, panics, the process's
//!                                                                            own files; logs; AWS chain
//! floor 0  error batch schema terminal                                       plain types, pure functions
//! ```
//!
//! # What never happens
//!
//! 1. Nothing is true before its journal entry exists; nothing in an entry is false after.
//! 2. Only `engine` knows the order of the steps.
//! 3. `decode` and `clean` do no IO; `batch` and `schema` know no async.
//! 4. Only `source` speaks to Kinesis, only `host` to the local stream's server, only `load` writes a warehouse.
//! 5. Nothing but `runtime` reads the clock, rolls the dice or starts a task; no task is forgotten.
//! 6. Bad data is never an error and never dropped: it is a `batch::Reject` on its way to quarantine.
//! 7. Reading never waits for loading; the two share the journal and nothing else.
//! 8. Sequence numbers are never compared as strings, decimals never pass through a float.
//! 9. No channel is unbounded; no blocking call runs on an async thread.
//! 10. A repeated put, load or run changes nothing: each effect can be checked before it is done again.
//! 11. Nobody but `aws` looks for credentials; nothing that is secret stands in an error, a log line or a Debug.
//! 12. No character of data steers a terminal: what is written for a person passes through `terminal` at the last moment.

pub mod aws;
pub mod batch;
pub mod clean;
pub mod cli;
pub mod config;
pub mod decode;
pub mod engine;
pub mod error;
pub mod generate;
pub mod host;
pub mod http;
pub mod journal;
pub mod load;
pub mod query;
pub mod runtime;
pub mod schema;
pub mod serve;
pub mod source;
pub mod sql;
pub mod stage;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod workers;

#[cfg(test)]
#[path = "../tests/stand_ins/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "the integration tests include these servers as well")]
mod stand_ins;
