//! The relation `dates`: a row for each day from the first through the last, as if each were a row of a file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::{Datelike, NaiveDate};

use super::relation::version_fields;
use crate::batch::{Decoded, DimensionFile, Origin, Position, RawBatch, RawRecord, SequenceNumber, ShardId};
use crate::error::{Error, Result};

/// `date` Date32, then the version columns.
pub(super) fn schema() -> SchemaRef {
    let date = Field::new("date", DataType::Date32, false);
    Arc::new(Schema::new([date].into_iter().chain(version_fields()).collect::<Vec<_>>()))
}

/// The days as events: each arrived when the file takes effect, at the position of when it is staged (µs since 1970
/// UTC) and the day's number since 0001-01-01.
///
/// # Errors
/// Internal where the days are more than a batch can number.
pub(super) fn days(from: NaiveDate, through: NaiveDate, file: &DimensionFile, staged_at: i64) -> Result<Decoded> {
    let shard = ShardId::new(file.path.as_str());
    let staged_at = SequenceNumber::from(u64::try_from(staged_at).unwrap_or(0));
    let (mut raw, mut origins, mut dates, mut positions) = (RawBatch::default(), Vec::new(), Vec::new(), Vec::new());
    for (day, record) in from.iter_days().take_while(|day| *day <= through).zip(0u32..) {
        let number = u64::try_from(day.num_days_from_ce()).unwrap_or(0);
        let position = Position::new(staged_at.clone(), number);
        let mut text = String::new();
        position.write_sortable(0, &mut text);
        positions.push(text);
        dates.push(day.num_days_from_ce() - EPOCH_DAY);
        let payload = Bytes::from(day.to_string());
        let end = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        origins.push(Origin { record, index: 0, start: 0, end });
        raw.records.push(RawRecord {
            shard: shard.clone(),
            position,
            arrived_at: file.effective_at,
            payload,
            damage: None,
        });
    }
    let arrived_at = vec![file.effective_at; dates.len()];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from(dates)),
        Arc::new(TimestampMicrosecondArray::from(arrived_at).with_timezone("UTC")),
        Arc::new(StringArray::from(positions)),
    ];
    let events = RecordBatch::try_new(schema(), columns)
        .map_err(|error| Error::internal("the days make no batch").with_source(error))?;
    Ok(Decoded { events, origins, rejects: Vec::new(), raw: Arc::new(raw) })
}

/// 1970-01-01, counted as chrono counts days.
const EPOCH_DAY: i32 = 719_163;

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Date32Type;

    use super::*;

    #[test]
    fn both_ends_are_in_and_positions_rise() {
        let file =
            DimensionFile { path: "dates".to_owned(), fingerprint: String::new(), replaces: None, effective_at: 7 };
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        let decoded = days(day("1969-12-31"), day("1970-01-02"), &file, 9).expect("days");
        assert_eq!(decoded.events.column(0).as_primitive::<Date32Type>().values().to_vec(), [-1, 0, 1]);
        let positions: Vec<_> = decoded.events.column(2).as_string::<i32>().iter().flatten().collect();
        assert!(positions.is_sorted() && positions.len() == 3, "{positions:?}");
        let later = days(day("1969-12-31"), day("1969-12-31"), &file, 10).expect("days");
        let later = later.events.column(2).as_string::<i32>().value(0);
        assert!(positions[2] < later, "staged later is newer: {positions:?} {later}");
        assert_eq!(decoded.raw.records[1].payload, "1970-01-01");
        assert_eq!(decoded.events.num_rows(), decoded.origins.len());
    }
}
