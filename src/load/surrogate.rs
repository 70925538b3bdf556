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
        let digest = md5(&message);
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

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// RFC 1321's T: the integer part of 2³² · |sin(i + 1)|.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

fn md5(message: &[u8]) -> [u8; 16] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64).wrapping_mul(8).to_le_bytes());
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        digest_block(&mut state, block);
    }
    let mut digest = [0; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

fn digest_block(state: &mut [u32; 4], block: &[u8]) {
    let mut words = [0u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64 {
        let (mixed, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(SINES[step]).wrapping_add(words[word]);
        let turned = b.wrapping_add(sum.rotate_left(SHIFTS[step / 16][step % 4]));
        (a, d, c, b) = (d, c, b, turned);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Decimal128Array, Int32Array, TimestampMicrosecondArray};

    use super::super::history::BEGINNING;
    use super::*;

    #[test]
    fn md5_gives_the_digests_of_rfc_1321() {
        let cases = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (message, expected) in cases {
            let digest: String = md5(message.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "{message:?}");
        }
    }

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
