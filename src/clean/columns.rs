//! What a table's columns may be: their names, and the types that Parquet, Delta and a COPY all take.
//!
//! | the SQL yields                          | the table holds                   |
//! |-----------------------------------------|-----------------------------------|
//! | boolean, smallint … double, decimal128  | the same                          |
//! | tinyint; unsigned 8, 16, 32 bits        | smallint; smallint, integer, bigint |
//! | unsigned 64 bits                        | decimal(20,0)                     |
//! | half float                              | real                              |
//! | any string, dictionary or view of one   | Utf8                              |
//! | any binary                              | Binary                            |
//! | date                                    | Date32                            |
//! | timestamp of any unit                   | µs; with a zone, of UTC           |
//! | list, struct of these                   | List, Struct of these             |
//! | null, decimal256, time, interval, duration, map, union | refused            |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::schema::VERSION_COLUMNS;

/// The columns that loading adds to a dimension.
const LOADED_COLUMNS: [&str; 5] = ["surrogate_key", "valid_from", "valid_to", "is_current", "is_inferred"];

/// The longest identifier a warehouse takes, in bytes (Redshift).
const MAX_NAME_BYTES: usize = 127;

/// What is wrong with a column's name, if anything.
pub(super) fn name_fault(name: &str) -> Option<String> {
    let renamed = "give it another name with AS";
    if LOADED_COLUMNS.contains(&name) {
        return Some(format!("the column {name:?} is one that loading adds; {renamed}"));
    }
    if name.starts_with('_') && !VERSION_COLUMNS.contains(&name) {
        return Some(format!("the column {name:?} starts with _, which is kept for Millstream's own; {renamed}"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Some(format!(
            "the column {name:?} has over {MAX_NAME_BYTES} bytes, which no warehouse takes; {renamed}"
        ));
    }
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    if name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_') && name.chars().all(plain) {
        return None;
    }
    Some(format!("the column {name:?} needs a plain name: a lower-case letter, then letters, digits and _; {renamed}"))
}

/// The type that a column of this type is stored with.
///
/// # Errors
/// What is wrong with it, to follow "the column … ".
pub(super) fn stored_type(yielded: &DataType) -> Result<DataType, String> {
    let stored = match yielded {
        DataType::Boolean | DataType::Int16 | DataType::Int32 | DataType::Int64 => yielded.clone(),
        DataType::Float32 | DataType::Float64 | DataType::Date32 | DataType::Decimal128(..) => yielded.clone(),
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date64 => DataType::Date32,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| Arc::from("UTC")))
        }
        DataType::Dictionary(_, values) => stored_type(values)?,
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type())?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(Field::new("item", stored_type(item.data_type())?, true)))
        }
        DataType::Struct(fields) => DataType::Struct(stored_fields(fields)?),
        DataType::Null => return Err("has no type; give it one with CAST(… AS …)".to_owned()),
        other => return Err(format!("is of type {other}, which cannot be stored; give it another with CAST(… AS …)")),
    };
    match stored {
        DataType::Decimal128(_, scale) if scale < 0 => {
            Err(format!("is of type {yielded}, whose scale is negative; CAST it to a decimal(p,s) with s from 0 to p"))
        }
        stored => Ok(stored),
    }
}

fn stored_fields(fields: &Fields) -> Result<Fields, String> {
    let stored = |field: &Arc<Field>| Ok(Field::new(field.name(), stored_type(field.data_type())?, true));
    fields.iter().map(stored).collect()
}

/// Whether rows can be told apart by a column of this type.
pub(super) fn is_key_type(stored: &DataType) -> bool {
    !matches!(stored, DataType::List(_) | DataType::Struct(_) | DataType::Float32 | DataType::Float64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_stored_as_the_table_says() {
        let text = |data_type| DataType::Dictionary(Box::new(DataType::Int32), Box::new(data_type));
        let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
        let cases = [
            (DataType::Int8, DataType::Int16),
            (DataType::UInt8, DataType::Int16),
            (DataType::UInt16, DataType::Int32),
            (DataType::UInt32, DataType::Int64),
            (DataType::UInt64, DataType::Decimal128(20, 0)),
            (DataType::Float16, DataType::Float32),
            (DataType::Decimal128(10, 2), DataType::Decimal128(10, 2)),
            (DataType::Utf8View, DataType::Utf8),
            (text(DataType::LargeUtf8), DataType::Utf8),
            (DataType::BinaryView, DataType::Binary),
            (DataType::Date64, DataType::Date32),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), DataType::Timestamp(TimeUnit::Microsecond, None)),
            (
                DataType::Timestamp(TimeUnit::Second, Some("+02:00".into())),
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
            (list(DataType::Utf8View), list(DataType::Utf8)),
        ];
        for (yielded, stored) in cases {
            assert_eq!(stored_type(&yielded), Ok(stored), "{yielded}");
        }
    }

    #[test]
    fn what_no_warehouse_takes_is_refused_with_a_way_out() {
        let cases = [
            (DataType::Null, "has no type; give it one with CAST"),
            (DataType::Decimal256(50, 2), "Decimal256(50, 2), which cannot be stored"),
            (DataType::Decimal128(5, -2), "scale is negative"),
            (DataType::Time64(TimeUnit::Microsecond), "cannot be stored"),
            (DataType::Duration(TimeUnit::Second), "cannot be stored"),
            (DataType::Interval(arrow::datatypes::IntervalUnit::DayTime), "cannot be stored"),
            (DataType::List(Arc::new(Field::new("item", DataType::Null, true))), "has no type"),
        ];
        for (yielded, words) in cases {
            let fault = stored_type(&yielded).expect_err("refused");
            assert!(fault.contains(words), "{fault}");
        }
    }

    #[test]
    fn names_are_plain_and_free() {
        for name in ["order_id", "a", "x1_2", "_arrived_at", "_position"] {
            assert_eq!(name_fault(name), None, "{name}");
        }
        for (name, words) in [
            ("Order", "needs a plain name"),
            ("1a", "needs a plain name"),
            ("events.a + Int64(1)", "needs a plain name"),
            ("größe", "needs a plain name"),
            ("", "needs a plain name"),
            ("_shard", "starts with _"),
            ("valid_to", "loading adds"),
            (&"a".repeat(128), "over 127 bytes"),
        ] {
            let fault = name_fault(name).expect("refused");
            assert!(fault.contains(words), "{name}: {fault}");
        }
    }
}
