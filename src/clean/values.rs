//! What a COPY would refuse, found in a table's rows before they are staged.
//!
//! | reason         | a row is refused where                                              |
//! |----------------|---------------------------------------------------------------------|
//! | `null_key`     | a column of the key is null                                         |
//! | `null_value`   | a column that is never null by the SQL's own types is null          |
//! | `too_long`     | a string has more bytes than its column holds; no column holds over 65,535 |
//! | `nul_byte`     | a string holds a NUL byte                                           |
//! | `out_of_range` | a date or timestamp lies outside 0001 to 9999, or a decimal has more digits than its type |
//!
//! Items of lists and fields of structs are held to the same. Of several faults in a row the first column's counts.

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, DecimalType, SchemaRef, TimestampMicrosecondType};

use crate::schema::{MAX_STRING_BYTES, TableSpec};

/// A row that a warehouse would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadRow {
    /// The row.
    pub(super) row: usize,
    /// A reason of the table above.
    pub(super) reason: &'static str,
    /// What the column is or holds, without the column's name.
    pub(super) message: String,
}

/// The bad rows among these columns of this table, whose schema is its columns' and the version columns', in order, one
/// fault each.
pub(super) fn bad_rows(schema: &SchemaRef, spec: &TableSpec, columns: &[ArrayRef]) -> Vec<BadRow> {
    let mut found: Vec<BadRow> = Vec::new();
    for (field, column) in schema.fields().iter().zip(columns) {
        if !field.is_nullable() && column.null_count() > 0 {
            let is_key = spec.key.contains(field.name());
            let reason = if is_key { "null_key" } else { "null_value" };
            let message = format!("{}{} is null", if is_key { "the key column " } else { "" }, field.name());
            let nulls = (0..column.len()).filter(|row| column.is_null(*row));
            found.extend(nulls.map(|row| BadRow { row, reason, message: message.clone() }));
        }
        let named = |(row, fault): (usize, Fault)| BadRow {
            row,
            reason: fault.reason,
            message: format!("{} {}", field.name(), fault.words),
        };
        let width = spec.max_bytes.get(field.name()).copied().unwrap_or(MAX_STRING_BYTES);
        found.extend(faults(column, width).into_iter().map(named));
    }
    // Stable: of one row's faults the first column's stays.
    found.sort_by_key(|bad| bad.row);
    found.dedup_by_key(|bad| bad.row);
    found
}

struct Fault {
    reason: &'static str,
    words: String,
}

/// The faults of a column whose texts have at most `width` bytes; texts inside of a list or struct have no width.
fn faults(column: &ArrayRef, width: u32) -> Vec<(usize, Fault)> {
    match column.data_type() {
        DataType::Utf8 => string_faults(column.as_string::<i32>(), width),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>();
            let bad = |row: &usize| !(FIRST_DAY..=LAST_DAY).contains(&days.value(*row));
            rows_where(column, bad, |_| "is a day outside of 0001-01-01 to 9999-12-31".to_owned())
        }
        DataType::Timestamp(..) => {
            let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return Vec::new() };
            let bad = |row: &usize| !(FIRST_MICRO..=LAST_MICRO).contains(&times.value(*row));
            rows_where(column, bad, |_| "is a time outside of the years 0001 to 9999".to_owned())
        }
        DataType::Decimal128(precision, scale) => decimal_faults(column.as_primitive(), *precision, *scale),
        DataType::Struct(_) => {
            let columns = column.as_struct().columns().iter();
            columns.flat_map(|member| faults(member, MAX_STRING_BYTES)).collect()
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let offsets = list.value_offsets();
            // The row whose items hold this one; items before the first offset belong to no row of this slice.
            let row_of = |item: usize| {
                let ends = offsets.partition_point(|offset| usize::try_from(*offset).unwrap_or(0) <= item);
                ends.checked_sub(1).filter(|row| *row < list.len())
            };
            let items = faults(list.values(), MAX_STRING_BYTES).into_iter();
            items.filter_map(|(item, fault)| Some((row_of(item)?, fault))).collect()
        }
        _ => Vec::new(),
    }
}

/// 0001-01-01 and 9999-12-31, in days since 1970.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 2_932_896;
/// The first and the last µs of those days.
const FIRST_MICRO: i64 = FIRST_DAY as i64 * 86_400_000_000;
const LAST_MICRO: i64 = (LAST_DAY as i64 + 1) * 86_400_000_000 - 1;

fn rows_where(
    column: &dyn Array,
    bad: impl Fn(&usize) -> bool,
    words: impl Fn(usize) -> String,
) -> Vec<(usize, Fault)> {
    let rows = (0..column.len()).filter(|row| column.is_valid(*row) && bad(row));
    rows.map(|row| (row, Fault { reason: "out_of_range", words: words(row) })).collect()
}

fn decimal_faults(values: &Decimal128Array, precision: u8, scale: i8) -> Vec<(usize, Fault)> {
    let beyond = 10u128.pow(u32::from(precision));
    let words = |row: usize| {
        let value = Decimal128Type::format_decimal(values.value(row), precision, scale);
        format!("is {value}, which has more digits than decimal({precision},{scale}) holds")
    };
    rows_where(values, |row| values.value(*row).unsigned_abs() >= beyond, words)
}

fn string_faults(values: &StringArray, width: u32) -> Vec<(usize, Fault)> {
    let offsets = values.value_offsets();
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let range = usize::try_from(first).unwrap_or(0)..usize::try_from(last).unwrap_or(0);
    let limit = i32::try_from(width).unwrap_or(i32::MAX);
    let taker = if width == MAX_STRING_BYTES { "a warehouse" } else { "the column" };
    let holds_nul = values.value_data().get(range).is_none_or(|bytes| memchr::memchr(0, bytes).is_some());
    let holds_long = last - first > limit && offsets.windows(2).any(|pair| pair[1] - pair[0] > limit);
    if !holds_nul && !holds_long {
        return Vec::new();
    }
    let fault = |text: &str| {
        if i32::try_from(text.len()).is_ok_and(|length| length <= limit) {
            let nul = memchr::memchr(0, text.as_bytes())?;
            return Some(Fault { reason: "nul_byte", words: format!("holds a NUL byte, its byte {nul} from 0") });
        }
        let words = format!("has {} bytes; {taker} takes {width}", text.len());
        Some(Fault { reason: "too_long", words })
    };
    let rows = (0..values.len()).filter(|row| values.is_valid(*row));
    rows.filter_map(|row| Some((row, fault(values.value(row))?))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, ListArray, StructArray, TimestampMicrosecondArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
    use arrow::datatypes::{Field, Fields, Schema};

    use super::*;
    use crate::schema::{History, TableKind, TableLayout};

    fn spec(key: &[&str], widths: &[(&str, u32)]) -> TableSpec {
        TableSpec {
            name: "t".to_owned(),
            kind: TableKind::Fact,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            history: History::Overwrite,
            references: Vec::new(),
            columns: Arc::new(Schema::empty()),
            one_to_one: true,
            max_bytes: widths.iter().map(|(name, width)| ((*name).to_owned(), *width)).collect(),
            layout: TableLayout::default(),
        }
    }

    fn found(column: ArrayRef) -> Vec<(usize, &'static str)> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", column.data_type().clone(), true)]));
        bad_rows(&schema, &spec(&[], &[]), &[column]).into_iter().map(|bad| (bad.row, bad.reason)).collect()
    }

    #[test]
    fn a_column_of_a_width_takes_no_longer_text_and_its_neighbours_do() {
        let texts = StringArray::from(vec![Some("abc"), Some("abcd"), None, Some("\u{e9}\u{e9}"), Some("a\0")]);
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([1, 1, 1, 1, 0]), Arc::new(texts.slice(0, 4)), None);
        let columns: [ArrayRef; 3] = [Arc::new(texts.clone()), Arc::new(texts), Arc::new(list)];
        let names = ["narrow", "wide", "items"];
        let field = |(name, column): (&str, &ArrayRef)| Field::new(name, column.data_type().clone(), true);
        let schema = Arc::new(Schema::new(names.into_iter().zip(&columns).map(field).collect::<Vec<_>>()));
        let bad = bad_rows(&schema, &spec(&[], &[("narrow", 3), ("wide", 4), ("items", 1)]), &columns);
        let told: Vec<_> = bad.iter().map(|bad| (bad.row, bad.reason, bad.message.as_str())).collect();
        let expected = [
            (1, "too_long", "narrow has 4 bytes; the column takes 3"),
            (3, "too_long", "narrow has 4 bytes; the column takes 3"),
            (4, "nul_byte", "narrow holds a NUL byte, its byte 1 from 0"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_limits_are_inclusive() {
        let longest = "a".repeat(65_535);
        let longer = "é".repeat(32_768);
        let strings = StringArray::from(vec![Some(longest.as_str()), Some(longer.as_str()), None, Some("a\0b")]);
        assert_eq!(found(Arc::new(strings)), [(1, "too_long"), (3, "nul_byte")]);
        let days = Date32Array::from(vec![FIRST_DAY, FIRST_DAY - 1, LAST_DAY, LAST_DAY + 1]);
        assert_eq!(found(Arc::new(days)), [(1, "out_of_range"), (3, "out_of_range")]);
        let times = TimestampMicrosecondArray::from(vec![FIRST_MICRO, FIRST_MICRO - 1, LAST_MICRO, LAST_MICRO + 1]);
        assert_eq!(found(Arc::new(times)), [(1, "out_of_range"), (3, "out_of_range")]);
        let decimals = Decimal128Array::from(vec![99_999, -99_999, 100_000, -100_000]);
        let decimals = decimals.with_precision_and_scale(5, 2).expect("fits");
        assert_eq!(found(Arc::new(decimals)), [(2, "out_of_range"), (3, "out_of_range")]);
    }

    #[test]
    fn the_limits_are_those_of_the_calendar() {
        let day = |year, month, day| {
            let date = chrono::NaiveDate::from_ymd_opt(year, month, day).expect("a day");
            date.signed_duration_since(chrono::NaiveDate::default()).num_days()
        };
        assert_eq!((day(1, 1, 1), day(9999, 12, 31)), (FIRST_DAY.into(), LAST_DAY.into()));
    }

    #[test]
    fn a_fault_inside_of_a_list_is_its_row_s() {
        let items: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c\0", "d", "e\0"]));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 2, 4, 5]));
        let list = ListArray::new(Arc::new(Field::new("item", DataType::Utf8, true)), offsets, items, None);
        assert_eq!(found(Arc::new(list.clone())), [(2, "nul_byte"), (3, "nul_byte")]);
        assert_eq!(found(Arc::new(list.slice(0, 2))), []);
        let fields = Fields::from(vec![Field::new("inner", list.data_type().clone(), true)]);
        let nested = StructArray::new(fields, vec![Arc::new(list)], None);
        assert_eq!(found(Arc::new(nested)), [(2, "nul_byte"), (3, "nul_byte")]);
    }

    #[test]
    fn a_null_in_the_key_is_told_from_one_elsewhere() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("must", DataType::Utf8, false),
            Field::new("id", DataType::Date32, false),
            Field::new("may", DataType::Utf8, true),
        ]));
        let must: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c"), None]));
        let id = Date32Array::new(vec![1, 2, 3, 4].into(), Some(NullBuffer::from(vec![false, true, true, false])));
        let may: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 4]));
        let bad = bad_rows(&schema, &spec(&["id"], &[]), &[must, Arc::new(id), may]);
        let told: Vec<_> = bad.iter().map(|bad| (bad.row, bad.reason, bad.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (0, "null_key", "the key column id is null"),
                (1, "null_value", "must is null"),
                (3, "null_value", "must is null"),
            ]
        );
    }
}
