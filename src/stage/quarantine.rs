//! Rejects as rows, as `schema::reject_schema` says.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;

use crate::batch::Reject;
use crate::error::{Error, Result};
use crate::schema::reject_schema;

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
    RecordBatch::try_new(reject_schema(), columns).map_err(refused)
}
