//! The hand-over types: one named type per step, each owning its data and carrying its position ranges.
//!
//! Owns the words that every floor speaks: positions and ranges, raw records, decoded events, cleaned rows, staged
//! files, journal entries, receipts. It does no IO and knows no step; the steps know it.

mod arrivals;
mod checksum;
mod entry;
mod handover;
mod marks;
mod position;
mod ranges;
mod size;

pub use arrivals::Arrivals;
pub use checksum::{Checksum, Checksummer, InvalidChecksum};
pub use entry::{Counts, DataFile, DimensionFile, Entry, Opening, Receipt, StartAt, StreamIdentity, TableCounts};
pub use handover::{Cleaned, Damage, Decoded, Origin, RawBatch, RawRecord, Reject, Staged, TableRows};
pub use marks::{Loss, Marks};
pub use position::{InvalidSequence, Position, SequenceNumber, ShardId};
pub use ranges::{Range, RangeError, Ranges};
pub use size::slice_bytes;
