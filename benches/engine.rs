//! The whole engine, from payloads in a stream to journaled Parquet and a loaded warehouse, over in-memory seams: the
//! stream, the object store and the warehouse are in memory, so that what is measured is ours.

fn main() {}
