//! Aggregated records: many user records in one Kinesis record, as the Kinesis producer library packs them.
//!
//! Owns the format, both ways; pure, no IO. It does not decide which parts of an aggregate belong to a shard (the
//! reader's) nor where an aggregate is put (the producer's). The contract: what `Aggregator` packs, `take_apart` gives
//! back, part by part in the order added; and `take_apart` panics on no bytes and copies no payload.
//!
//! ```text
//! F3 89 9A C2 | AggregatedRecord (protobuf) | MD5 of the protobuf bytes
//! ```
//!
//! Source of the format: aggregation-format.md of awslabs/amazon-kinesis-producer.

mod format;
mod hash_key;
mod pack;
mod take_apart;

#[cfg(test)]
mod tests;

pub use pack::{Aggregate, Aggregator};

pub(in crate::source) use hash_key::hash_key;
pub use take_apart::{Part, Parts, Taken, take_apart};
