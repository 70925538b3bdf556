//! Fuzz targets on stable Rust: whatever comes through a door of Millstream's, changed blindly for seconds in CI and for
//! ten minutes each in the long mode (`MILLSTREAM_LONG=1`).
//!
//! | target                     | what comes in                                          | what must hold                                  |
//! |----------------------------|--------------------------------------------------------|-------------------------------------------------|
//! | `json`                     | payloads                                               | what serde_json accepts, with the same values   |
//! | `csv`                      | dimension files                                        | what the csv crate reads, cell by cell          |
//! | `aggregates`               | aggregates of the producer library                     | parts within the payload, or a reason           |
//! | `envelopes`                | gzip, zstd, CloudWatch Logs                            | no panic, bounded, every record accounted for   |
//! | `journal`                  | entries and snapshots                                  | refused, or the very same state                 |
//! | `parquet`                  | staged files                                           | no panic; the rows counted, or none             |
//! | `pipeline`                 | pipeline.toml                                          | a pipeline or faults with places                |
//! | `sql`                      | the SQL of tables and checks                           | a plan or a fault, in time                      |
//! | `postgres`                 | a PostgreSQL server's answers                          | an answer or an error, in time                  |
//! | `stream`, `metrics`        | HTTP requests                                          | the server goes on for others                   |
//!
//! They stand in this binary because a further one would link half a gigabyte again. What was found and mended stays in
//! `corpus/TARGET`, and is executed first.

mod decode;
mod engine;
mod network;
mod pipelines;
mod stored;
