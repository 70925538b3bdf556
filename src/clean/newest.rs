//! The newest row of a key wins: the one with the greatest (`_arrived_at`, `_position`).
//!
//! Of rows that are equal in both (one event that yields a key twice) the last one yielded wins.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

/// The rows of a table that ends in the version columns, one per key, in the order they had. `key` holds the columns'
/// places; without one every row stays.
///
/// # Errors
/// Where the key's type cannot be compared or the version columns are not there: planning has seen to both.
pub(super) fn newest(rows: RecordBatch, key: &[usize]) -> Result<RecordBatch, ArrowError> {
    if key.is_empty() || rows.num_rows() < 2 {
        return Ok(rows);
    }
    let versions = Versions::of(&rows)?;
    let columns: Vec<ArrayRef> = key.iter().map(|place| rows.column(*place).clone()).collect();
    let kept = match columns.as_slice() {
        [column] => match column.data_type() {
            DataType::Int16 => kept(column.as_primitive::<Int16Type>().values().iter().copied(), &versions),
            DataType::Int32 => kept(column.as_primitive::<Int32Type>().values().iter().copied(), &versions),
            DataType::Int64 => kept(column.as_primitive::<Int64Type>().values().iter().copied(), &versions),
            _ => kept_by_rows(&rows.schema(), key, &columns, &versions)?,
        },
        _ => kept_by_rows(&rows.schema(), key, &columns, &versions)?,
    };
    if kept.iter().all(|keep| *keep) {
        return Ok(rows);
    }
    filter_record_batch(&rows, &BooleanArray::from(kept))
}

fn kept_by_rows(
    schema: &SchemaRef,
    key: &[usize],
    columns: &[ArrayRef],
    versions: &Versions<'_>,
) -> Result<Vec<bool>, ArrowError> {
    let fields = key.iter().map(|place| SortField::new(schema.field(*place).data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(columns)?;
    Ok(kept(keys.iter(), versions))
}

fn kept<K: Hash + Eq>(keys: impl ExactSizeIterator<Item = K>, versions: &Versions<'_>) -> Vec<bool> {
    let mut kept = vec![true; keys.len()];
    let mut best: HashMap<K, usize> = HashMap::with_capacity(keys.len());
    for (row, key) in keys.enumerate() {
        let winner = best.entry(key).or_insert(row);
        if *winner == row {
            continue;
        }
        let loser = if versions.compare(row, *winner) == Ordering::Less { row } else { std::mem::replace(winner, row) };
        kept[loser] = false;
    }
    kept
}

struct Versions<'a> {
    arrived_at: &'a TimestampMicrosecondArray,
    position: &'a StringArray,
}

impl<'a> Versions<'a> {
    fn of(rows: &'a RecordBatch) -> Result<Self, ArrowError> {
        let missing = || ArrowError::SchemaError("the rows do not end in the version columns".to_owned());
        let [.., arrived_at, position] = rows.columns() else { return Err(missing()) };
        Ok(Self {
            arrived_at: arrived_at.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(missing)?,
            position: position.as_string_opt().ok_or_else(missing)?,
        })
    }

    fn compare(&self, left: usize, right: usize) -> Ordering {
        let arrived_at = self.arrived_at.value(left).cmp(&self.arrived_at.value(right));
        arrived_at.then_with(|| self.position.value(left).cmp(self.position.value(right)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array};
    use proptest::prelude::*;

    use super::*;

    /// (key, arrival, position).
    type Versioned = (i32, i64, u32);

    /// The places of the rows that stay.
    fn marks(rows: &[Versioned], wide: bool) -> Vec<i64> {
        let key: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)));
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("k{}", row.0 % 2))));
        let arrived_at: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC"));
        let position: ArrayRef =
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("{:06}", row.2))));
        let mark: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.len() as i64));
        let named = [("k", key), ("t", text), ("m", mark), ("_arrived_at", arrived_at), ("_position", position)];
        let batch = RecordBatch::try_from_iter(named).expect("columns");
        let kept = newest(batch, if wide { &[1, 0] } else { &[0] }).expect("comparable");
        kept.column(2).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn arrival_decides_then_position_then_the_last_yielded() {
        let cases: [(&[Versioned], &[i64]); 6] = [
            (&[(1, 10, 1), (1, 20, 0)], &[1]),
            (&[(1, 20, 0), (1, 10, 1)], &[0]),
            (&[(1, 10, 2), (1, 10, 1), (2, 0, 0)], &[0, 2]),
            (&[(1, 10, 1), (1, 10, 1)], &[1]),
            (&[(1, 10, 1), (2, 10, 2), (3, 10, 3)], &[0, 1, 2]),
            (&[], &[]),
        ];
        for (rows, expected) in cases {
            assert_eq!(marks(rows, false), expected, "{rows:?}");
            assert_eq!(marks(rows, true), expected, "{rows:?}");
        }
    }

    proptest! {
        #[test]
        fn what_stays_is_the_maximum_of_each_key(rows in proptest::collection::vec((0i32..6, 0i64..4, 0u32..4), 0..60)) {
            let best = |key: i32| {
                let of_key = rows.iter().enumerate().filter(|(_, row)| row.0 == key);
                of_key.max_by_key(|(place, row)| (row.1, row.2, *place)).map(|(place, _)| place as i64)
            };
            let mut expected: Vec<i64> = (0..6).filter_map(best).collect();
            expected.sort_unstable();
            prop_assert_eq!(&marks(&rows, false), &expected);
            prop_assert_eq!(&marks(&rows, true), &expected);
        }
    }
}
