//! Surrogate keys: 63 bits that every warehouse works out alike from what the row is.
//!
//! The key is the first 8 bytes, big-endian, of the MD5 (RFC 1321) of the parts, with the top bit cleared. Each part
//! is written as a netstring, `<bytes>:<text>,`: the table's name, each key column's value as text, and `valid_from`
//! in µs since 1970 UTC (1900-01-01 for a first version, an inferred member and every row of a type 1 dimension, so
//! filling a member keeps its key). Integers are decimal digits, decimals have all their places, dates are ISO 8601,
//! booleans `true` and `false`, timestamps µs since 1970, strings themselves. MD5, since every SQL engine has it; the
//! key guards nothing.

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use md5::{Digest, Md5};

use super::arrow_bug;
use crate::error::{Error, Result};

/// The keys of rows that hold from these instants; `columns` are the key columns, as long as `valid_from`.
///
/// # Errors
/// Internal where a column's type cannot be a key's.
pub fn surrogates(table: &str, columns: &[ArrayRef], valid_from: &[i64]) -> Result<Int64Array> {
    let texts = columns.iter().map(text).collect::<Result<Vec<_>>>()?;
    let mut message = Vec::new();
    let keys = valid_from.iter().enumerate().map(|(row, from)| {
        message.clear();
        part(&mut message, table);
        for column in &texts {
            part(&mut message, column.value(row));
        }
        part(&mut message, &from.to_string());
        let digest = Md5::digest(&message);
        let first = digest.iter().take(8).fold(0u64, |key, byte| key << 8 | u64::from(*byte));
        (first & i64::MAX as u64) as i64
    });
    Ok(keys.collect())
}

fn part(message: &mut Vec<u8>, text: &str) {
    message.extend_from_slice(text.len().to_string().as_bytes());
    message.push(b':');
    message.extend_from_slice(text.as_bytes());
    message.push(b',');
}

/// Whether a column of this type can be part of a key.
pub(super) fn can_be_key(data_type: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Int16, Int32, Int64, Timestamp, Utf8};
    matches!(data_type, Boolean | Int16 | Int32 | Int64 | Utf8 | Date32 | Decimal128(..) | Timestamp(..))
}

fn text(column: &ArrayRef) -> Result<StringArray> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let as_text = |array: &dyn Array| cast_with_options(array, &DataType::Utf8, &options).map_err(arrow_bug);
    let texts = match column.data_type() {
        DataType::Timestamp(..) => as_text(&cast_with_options(column, &DataType::Int64, &options).map_err(arrow_bug)?)?,
        _ => as_text(column)?,
    };
    let strings = texts.as_any().downcast_ref::<StringArray>().cloned();
    strings.ok_or_else(|| Error::internal("a key's texts are not strings"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Decimal128Array, Int32Array, TimestampMicrosecondArray};

    use super::super::history::BEGINNING;
    use super::*;

    #[test]
    fn a_key_stays_the_same_for_ever() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        let keys = surrogates("dim_customers", &[column], &[BEGINNING, BEGINNING]).expect("keys");
        // int.from_bytes(hashlib.md5(b"13:dim_customers,1:7,17:-2208988800000000,").digest()[:8], "big") & (1 << 63) - 1
        assert_eq!(keys.values(), &[4_529_487_627_841_492_720, 706_587_022_297_922_283]);
    }

    #[test]
    fn each_type_has_one_text() {
        let cases: [(ArrayRef, &str); 5] = [
            (Arc::new(Int32Array::from(vec![-7])), "-7"),
            (Arc::new(StringArray::from(vec!["é|"])), "é|"),
            (Arc::new(Date32Array::from(vec![0])), "1970-01-01"),
            (Arc::new(Decimal128Array::from(vec![150]).with_precision_and_scale(5, 2).expect("decimal")), "1.50"),
            (Arc::new(TimestampMicrosecondArray::from(vec![12]).with_timezone("UTC")), "12"),
        ];
        for (column, expected) in cases {
            assert_eq!(text(&column).expect("text").value(0), expected);
        }
    }

    #[test]
    fn neither_the_parts_borders_nor_the_instant_are_lost() {
        let pair = |left: &str, right: &str| -> Vec<ArrayRef> {
            vec![Arc::new(StringArray::from(vec![left])), Arc::new(StringArray::from(vec![right]))]
        };
        let key = |columns: &[ArrayRef], from| surrogates("d", columns, &[from]).expect("key").value(0);
        assert_ne!(key(&pair("ab", "c"), 0), key(&pair("a", "bc"), 0));
        assert_ne!(key(&pair("a", "b"), 0), key(&pair("a", "b"), 1));
        assert!((0..500).all(|from| key(&pair("a", "b"), from) >= 0));
    }
}
