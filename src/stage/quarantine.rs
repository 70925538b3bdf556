//! Rejects as rows: `reason`, `message`, `shard`, `sequence` (all Utf8), `subsequence` Int64, `event_index` Int32,
//! `arrived_at` Timestamp(µs, UTC), `payload` Binary. None is ever null.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::days::ARRIVED_AT;
use crate::batch::Reject;
use crate::error::{Error, Result};

/// The rejects in their order.
///
/// # Errors
/// Internal where a batch holds more bytes of them than Arrow numbers.
pub(super) fn rows(rejects: &[Reject]) -> Result<RecordBatch> {
    let refused = |error| Error::internal("the rejects make no batch").with_source(error);
    let text =
        |of: fn(&Reject) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rejects.iter().map(of))) };
    let subsequences = rejects.iter().map(|reject| i64::try_from(reject.position.subsequence).unwrap_or(i64::MAX));
    let indexes = rejects.iter().map(|reject| i32::try_from(reject.index).unwrap_or(i32::MAX));
    let arrivals = TimestampMicrosecondArray::from_iter_values(rejects.iter().map(|reject| reject.arrived_at));
    let columns: Vec<ArrayRef> = vec![
        text(|reject| &reject.reason),
        text(|reject| &reject.message),
        text(|reject| reject.shard.as_str()),
        text(|reject| reject.position.sequence.as_str()),
        Arc::new(Int64Array::from_iter_values(subsequences)),
        Arc::new(Int32Array::from_iter_values(indexes)),
        Arc::new(arrivals.with_timezone("UTC")),
        Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|reject| &reject.payload))),
    ];
    RecordBatch::try_new(schema(), columns).map_err(refused)
}

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        field("reason", DataType::Utf8),
        field("message", DataType::Utf8),
        field("shard", DataType::Utf8),
        field("sequence", DataType::Utf8),
        field("subsequence", DataType::Int64),
        field("event_index", DataType::Int32),
        field(ARRIVED_AT, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("payload", DataType::Binary),
    ]))
}
