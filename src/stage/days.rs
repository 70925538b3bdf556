//! Splitting rows by the UTC day they arrived on.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, NaiveDate};

use crate::error::{Error, Result};
use crate::schema::VERSION_COLUMNS;

/// What the quarantine calls the arrival.
pub(super) const ARRIVED_AT: &str = "arrived_at";

const MICROS_A_DAY: i64 = 86_400_000_000;

/// The rows of each day, days in order, rows in the order they had.
///
/// # Errors
/// Internal where there is no column of arrivals.
pub(super) fn split(rows: RecordBatch) -> Result<Vec<(NaiveDate, RecordBatch)>> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let column = rows.column_by_name(VERSION_COLUMNS[0]).or_else(|| rows.column_by_name(ARRIVED_AT));
    let arrived_at = column
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .filter(|arrived_at| arrived_at.null_count() == 0)
        .ok_or_else(|| Error::internal("rows to be staged do not say when they arrived"))?;
    let days = || arrived_at.values().iter().map(|micros| micros.div_euclid(MICROS_A_DAY));
    let first = days().next().unwrap_or_default();
    if days().all(|day| day == first) {
        return Ok(vec![(date(first)?, rows)]);
    }
    let mut places: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (day, place) in days().zip(0u32..) {
        places.entry(day).or_default().push(place);
    }
    let taken = places.into_iter().map(|(day, places)| {
        let part = take_record_batch(&rows, &UInt32Array::from(places));
        Ok((date(day)?, part.map_err(|error| Error::internal("rows cannot be split by day").with_source(error))?))
    });
    taken.collect()
}

fn date(day: i64) -> Result<NaiveDate> {
    let instant = day.checked_mul(MICROS_A_DAY).and_then(DateTime::from_timestamp_micros);
    let instant = instant.ok_or_else(|| Error::internal(format!("day {day} since 1970 is beyond every calendar")))?;
    Ok(instant.date_naive())
}
