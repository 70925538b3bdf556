//! The integration tests, in one binary: each further binary would link half a gigabyte again.
#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "these tests are other programs: they wait and poll in real time")
)]

// The suite of `src/source/contract.rs`, which is included, names it so.
#[cfg(test)]
use millstream::batch;

// The attribute tells clippy what cargo knows: all of this is test code.
#[cfg(test)]
mod aggregates;
#[cfg(test)]
mod aws;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod command;
#[cfg(test)]
mod damages;
#[cfg(test)]
#[path = "../stand_ins/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "the library's unit tests include these servers as well")]
mod databases;
#[cfg(test)]
mod decoding;
#[cfg(test)]
mod food_producer;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod kinesis;
#[cfg(test)]
mod main_job;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod node;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod overflow;
#[cfg(test)]
mod private;
#[cfg(test)]
mod python;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod redshift_stand_in;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod slow_clients;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod sqlfluff;
#[cfg(test)]
mod stand_ins;
#[cfg(test)]
mod stream_states;
#[cfg(test)]
mod target;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod warehouses;
#[cfg(test)]
mod workers;
#[cfg(test)]
mod wrappers;
#[cfg(test)]
mod wrong_input;
