//! The keys of the rows that come in: which rows share one, and which rows of a table meet them.
//!
//! Owns the encoding of a key as comparable bytes and the index over it. It knows no versions and no tables.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{cast, sort};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};

use super::arrow_bug;
use crate::error::Result;

/// Keys, numbered in the order in which they were first seen.
pub(super) struct Keys {
    converter: RowConverter,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl Keys {
    /// No key yet; these are the key columns' types, at least one.
    pub(super) fn new(types: impl IntoIterator<Item = DataType>) -> Result<Self> {
        let fields = types.into_iter().map(SortField::new).collect();
        Ok(Self { converter: RowConverter::new(fields).map_err(arrow_bug)?, numbers: HashMap::new() })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of each row's key; a new key gets the next number.
    pub(super) fn add(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let rows = self.converter.convert_columns(columns).map_err(arrow_bug)?;
        let number = |row: arrow::row::Row<'_>| match self.numbers.get(row.data()) {
            Some(number) => *number,
            None => {
                let next = self.numbers.len() as u32;
                self.numbers.insert(row.data().into(), next);
                next
            }
        };
        Ok(rows.iter().map(number).collect())
    }

    /// The rows whose key is known: (row, number).
    pub(super) fn meet(&self, columns: &[ArrayRef]) -> Result<Vec<(u32, u32)>> {
        let rows = self.converter.convert_columns(columns).map_err(arrow_bug)?;
        let numbers = rows.iter().enumerate();
        let known = |(row, key): (usize, arrow::row::Row<'_>)| Some((row as u32, *self.numbers.get(key.data())?));
        Ok(numbers.filter_map(known).collect())
    }
}

/// The values of the first key column in order, to tell which files can hold one of them.
pub(super) struct Reach {
    converter: RowConverter,
    sorted: Rows,
    data_type: DataType,
}

impl Reach {
    /// Over these values; none where statistics of their type are no safe bounds (a decimal's go through floating
    /// point, a timestamp's are cut to ms).
    pub(super) fn over(values: &ArrayRef) -> Result<Option<Self>> {
        let data_type = values.data_type().clone();
        if !(data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::Date32)) {
            return Ok(None);
        }
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())]).map_err(arrow_bug)?;
        let sorted = sort(values, None).and_then(|sorted| converter.convert_columns(&[sorted])).map_err(arrow_bug)?;
        Ok(Some(Self { converter, sorted, data_type }))
    }

    /// For each pair of bounds, whether one of the values lies between them, both inclusive; an unknown bound is none.
    pub(super) fn within(&self, lowest: &ArrayRef, highest: &ArrayRef) -> Result<Vec<bool>> {
        let rows = |bounds: &ArrayRef| {
            let bounds = cast(bounds, &self.data_type)?;
            self.converter.convert_columns(&[bounds])
        };
        let (low, high) = (rows(lowest).map_err(arrow_bug)?, rows(highest).map_err(arrow_bug)?);
        let held = |file: usize| {
            let from = if lowest.is_null(file) { 0 } else { self.first_at_least(low.row(file)) };
            from < self.sorted.num_rows() && (highest.is_null(file) || self.sorted.row(from) <= high.row(file))
        };
        Ok((0..lowest.len()).map(held).collect())
    }

    fn first_at_least(&self, bound: arrow::row::Row<'_>) -> usize {
        let (mut from, mut to) = (0, self.sorted.num_rows());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.sorted.row(middle) < bound {
                true => from = middle + 1,
                false => to = middle,
            }
        }
        from
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn keys_are_numbered_once_and_found_again() {
        let columns = |ids: Vec<i32>, names: Vec<&str>| -> Vec<ArrayRef> {
            vec![Arc::new(Int32Array::from(ids)), Arc::new(StringArray::from(names))]
        };
        let mut keys = Keys::new([DataType::Int32, DataType::Utf8]).expect("keys");
        assert_eq!(keys.add(&columns(vec![1, 1, 2, 1], vec!["a", "b", "a", "a"])).expect("add"), [0, 1, 2, 0]);
        assert_eq!(keys.add(&columns(vec![2, 3], vec!["a", "a"])).expect("add"), [2, 3]);
        assert_eq!(keys.len(), 4);
        let met = keys.meet(&columns(vec![9, 3, 1], vec!["a", "a", "b"])).expect("meet");
        assert_eq!(met, [(1, 3), (2, 1)]);
    }

    #[test]
    fn a_file_is_out_of_reach_only_where_no_value_lies_between_its_bounds() {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![50, 10, 30]));
        let reach = Reach::over(&values).expect("reach").expect("integers have one");
        let lowest: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(0), Some(11), Some(30), Some(51), None, None, Some(1)]));
        let highest: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(9), Some(29), Some(30), Some(99), None, Some(9), None]));
        let held = reach.within(&lowest, &highest).expect("bounds");
        assert_eq!(held, [false, false, true, false, true, false, true]);
    }

    #[test]
    fn types_without_safe_bounds_have_no_reach() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert!(Reach::over(&values).expect("reach").is_none());
    }
}
