//! How large the values of a call become, told from its arguments.
//!
//! | function                        | a value's size                                                               |
//! |---------------------------------|------------------------------------------------------------------------------|
//! | repeat                          | the text times the number                                                    |
//! | lpad, rpad                      | the number of characters, each as wide as the widest that is filled with     |
//! | replace                         | the text and what is put in for each of its parts that are replaced          |
//! | regexp_replace                  | at most: a replacement at every character                                    |
//! | array_repeat, array_resize      | the element times the number                                                 |
//! | range, generate_series          | 8 bytes for each element between start and end                               |
//! | array_to_string                 | the list and a delimiter for each element                                    |
//! | array_replace, …_n, …_all       | at most: the new element in the place of each                                |
//! | levenshtein                     | no bytes, but work: 1 for each pair of bytes, divided by 1024                |
//!
//! All other functions take apart, choose, or give a few times as much as they are given: that many times their arguments
//! are what they may make, all rows of a call together. Aggregates count what they hold in the session's memory by
//! themselves.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use crate::batch::slice_bytes;

/// The most bytes of a value that a function makes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The most bytes that one call makes, of all its rows.
pub const MAX_CALL_BYTES: usize = 64 << 20;

/// What a value takes beside its bytes, at most.
const PLACE: usize = 16;

/// A bound that is known only from above is this many times wider.
const FROM_ABOVE: u128 = 16;

/// What is known of a function's values before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// It takes what is there apart or chooses among it, and the optimizer may know it by its type.
    Not,
    /// They are told from its arguments.
    Told(Size),
    /// Together they are at most so many times its arguments.
    Times(usize),
    /// As many times as there are arguments.
    TimesArguments,
}

impl Watch {
    /// That of the function of this name.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "arrow_cast" | "arrow_try_cast" | "cast_to_type" | "try_cast_to_type" => Self::Not,
            "arrow_field" | "arrow_metadata" | "arrow_typeof" => Self::Not,
            "coalesce" | "nullif" | "nvl" | "nvl2" => Self::Not,
            "get_field" | "named_struct" | "struct" => Self::Not,
            // A bit becomes a number of 64.
            "array_positions" => Self::Times(64),
            // The shortest format of a whole time is `%c`.
            "to_char" => Self::Times(20),
            // A letter becomes an element.
            "string_to_array" => Self::Times(6),
            "regexp_match" | "to_hex" | "translate" => Self::Times(4),
            "initcap" | "lower" | "upper" => Self::Times(3),
            "encode" => Self::Times(2),
            "arrays_zip" | "concat_ws" => Self::TimesArguments,
            name => Size::of(name).map_or(Self::Times(1), Self::Told),
        }
    }
}

/// How a function's values grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Repeat,
    Pad,
    Replace,
    RegexpReplace,
    ArrayRepeat,
    ArrayResize,
    Range,
    ArrayToString,
    ArrayReplace,
    Levenshtein,
}

impl Size {
    /// That of the function of this name; none where its values are no larger than a few times its arguments.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "repeat" => Self::Repeat,
            "lpad" | "rpad" => Self::Pad,
            "replace" => Self::Replace,
            "regexp_replace" => Self::RegexpReplace,
            "array_repeat" => Self::ArrayRepeat,
            "array_resize" => Self::ArrayResize,
            "range" | "generate_series" => Self::Range,
            "array_to_string" => Self::ArrayToString,
            "array_replace" | "array_replace_n" | "array_replace_all" => Self::ArrayReplace,
            "levenshtein" => Self::Levenshtein,
            _ => return None,
        })
    }
}

/// A value that would be too large.
#[derive(Debug)]
pub(super) struct TooLarge {
    bytes: u128,
    most: usize,
    size: Size,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, most, size } = self;
        match size {
            Size::Levenshtein => write!(formatter, "of texts so long would take too much work; shorten them first"),
            Size::Range if *bytes == u128::MAX => write!(formatter, "never ends by its step"),
            Size::RegexpReplace | Size::ArrayReplace => {
                write!(
                    formatter,
                    "could make a value of {bytes} bytes; it may make one of {}",
                    *most as u128 * FROM_ABOVE
                )
            }
            _ => write!(formatter, "would make a value of {bytes} bytes; a value has at most {most}"),
        }
    }
}

/// The end of the sentence where a call would make more than one may.
pub(super) const ONE_CALL: &str = "; one call makes at most 67108864";

/// The end of the sentence where a session lacks the memory.
pub(super) const NO_MEMORY: &str = ", more than the memory that is left";

/// The failure of a call for whose bytes and rows there is no room: for fewer rows there may be.
pub(super) fn too_much(name: &str, (bytes, rows): (usize, usize), why: &str) -> DataFusionError {
    let rows = if rows == 1 { "one row".to_owned() } else { format!("{rows} rows") };
    let words = format!("{name}() would make {bytes} bytes for {rows}{why}");
    DataFusionError::ResourcesExhausted(words.clone()).context(words)
}

/// The most bytes that the values of a call may take which is so many times its arguments; 0 where each has a width.
pub(super) fn most_of_call(call: &ScalarFunctionArgs, times: usize) -> usize {
    let made = call.return_field.data_type();
    if made.primitive_width().is_some() || matches!(made, DataType::Boolean | DataType::Null) {
        return 0;
    }
    let is_scalar = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    let rows = if is_scalar { 1 } else { call.number_rows };
    let bytes = |argument: &ColumnarValue| match argument {
        ColumnarValue::Array(array) => slice_bytes(array),
        ColumnarValue::Scalar(scalar) => (scalar.size() - size_of::<ScalarValue>()).saturating_mul(rows),
    };
    let bytes = call.args.iter().map(bytes).fold(0, usize::saturating_add);
    bytes.saturating_mul(times).saturating_add(rows * PLACE)
}

/// What the values of a row take.
pub(super) fn row_bytes(columns: &[ArrayRef], row: usize) -> usize {
    columns.iter().map(|column| value_bytes(column, row)).sum()
}

fn value_bytes(column: &ArrayRef, row: usize) -> usize {
    match column.data_type() {
        DataType::Utf8 => usize::try_from(column.as_string::<i32>().value_length(row)).unwrap_or(0) + PLACE,
        other => match other.primitive_width() {
            Some(width) => width,
            None => slice_bytes(&column.slice(row, 1)),
        },
    }
}

/// The bytes of all the values that the call makes.
///
/// # Errors
/// The first value that is larger than `most`.
pub(super) fn size_of_call(size: Size, call: &ScalarFunctionArgs, most: usize) -> Result<u128, TooLarge> {
    let arguments = Arguments::new(&call.args);
    let rows = if arguments.all_scalar() { 1 } else { call.number_rows };
    let from_above = if matches!(size, Size::RegexpReplace | Size::ArrayReplace) { FROM_ABOVE } else { 1 };
    let mut total = 0u128;
    for row in 0..rows {
        let bytes = arguments.size(size, row).unwrap_or(0);
        if bytes > most as u128 * from_above {
            return Err(TooLarge { bytes, most, size });
        }
        total += bytes;
    }
    Ok(total / from_above)
}

/// The arguments of a call; what is the same for all rows stays one row.
struct Arguments(Vec<(ArrayRef, bool)>);

impl Arguments {
    fn new(arguments: &[ColumnarValue]) -> Self {
        let array = |argument: &ColumnarValue| match argument {
            ColumnarValue::Array(array) => Some((array.clone(), false)),
            ColumnarValue::Scalar(scalar) => Some((scalar.to_array().ok()?, true)),
        };
        Self(arguments.iter().filter_map(array).collect())
    }

    fn all_scalar(&self) -> bool {
        self.0.iter().all(|(_, is_scalar)| *is_scalar)
    }

    /// The array that holds the argument, and its place there; none for null.
    fn at(&self, argument: usize, row: usize) -> Option<(&ArrayRef, usize)> {
        let (array, is_scalar) = self.0.get(argument)?;
        let place = if *is_scalar { 0 } else { row };
        (place < array.len() && array.is_valid(place)).then_some((array, place))
    }

    fn text(&self, argument: usize, row: usize) -> Option<&str> {
        let (array, place) = self.at(argument, row)?;
        match array.data_type() {
            DataType::Utf8 => Some(array.as_string::<i32>().value(place)),
            DataType::LargeUtf8 => Some(array.as_string::<i64>().value(place)),
            DataType::Utf8View => Some(array.as_string_view().value(place)),
            _ => None,
        }
    }

    fn number(&self, argument: usize, row: usize) -> Option<i128> {
        let (array, place) = self.at(argument, row)?;
        if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            return Some(numbers.value(place).into());
        }
        let number = arrow::compute::cast(&array.slice(place, 1), &DataType::Int64).ok()?;
        number.is_valid(0).then(|| number.as_primitive::<Int64Type>().value(0).into())
    }

    fn times(&self, argument: usize, row: usize) -> Option<u128> {
        u128::try_from(self.number(argument, row)?).ok()
    }

    /// The bytes of one element of a list.
    fn element(&self, argument: usize, row: usize) -> u128 {
        let Some((array, place)) = self.at(argument, row) else { return 8 };
        slice_bytes(&array.slice(place, 1)).max(8) as u128
    }

    /// The elements of a list, and its bytes.
    fn list(&self, argument: usize, row: usize) -> Option<(u128, u128)> {
        let (array, place) = self.at(argument, row)?;
        let items = match array.data_type() {
            DataType::List(_) => array.as_list::<i32>().value(place),
            DataType::LargeList(_) => array.as_list::<i64>().value(place),
            DataType::FixedSizeList(..) => array.as_fixed_size_list().value(place),
            _ => return None,
        };
        Some((items.len() as u128, slice_bytes(&items) as u128))
    }

    fn size(&self, size: Size, row: usize) -> Option<u128> {
        match size {
            Size::Repeat => Some((self.text(0, row)?.len() as u128).saturating_mul(self.times(1, row)?)),
            Size::Pad => self.padded(row),
            Size::Replace => self.replaced(row),
            Size::RegexpReplace => self.regexp_replaced(row),
            Size::ArrayRepeat => Some(self.element(0, row).saturating_mul(self.times(1, row)?)),
            Size::ArrayResize => Some(self.element(2, row).saturating_mul(self.times(1, row)?)),
            Size::Range => self.range(row),
            Size::ArrayToString => {
                let (elements, bytes) = self.list(0, row)?;
                let (delimiter, null) = (self.text(1, row)?.len(), self.text(2, row).map_or(0, str::len));
                Some(bytes.saturating_add(elements.saturating_mul((delimiter + null) as u128)))
            }
            Size::ArrayReplace => {
                let (elements, bytes) = self.list(0, row)?;
                Some(bytes.saturating_add(elements.saturating_mul(self.element(2, row))))
            }
            Size::Levenshtein => Some(self.text(0, row)?.len() as u128 * self.text(1, row)?.len() as u128 / 1024),
        }
    }

    fn padded(&self, row: usize) -> Option<u128> {
        let (text, length) = (self.text(0, row)?, self.times(1, row)?);
        let fill = self.text(2, row).unwrap_or(" ");
        let widest = fill.chars().map(char::len_utf8).max().unwrap_or(0) as u128;
        Some((text.len() as u128).saturating_add(length.saturating_mul(widest)))
    }

    fn replaced(&self, row: usize) -> Option<u128> {
        let (text, from, to) = (self.text(0, row)?, self.text(1, row)?, self.text(2, row)?);
        let grown = |parts: usize| (text.len() as u128).saturating_add(parts as u128 * to.len() as u128);
        let at_most = text.len() / from.len().max(1) + 1;
        // Counting reads the whole text: only where it matters.
        if grown(at_most) <= MAX_VALUE_BYTES as u128 || from.is_empty() {
            return Some(grown(at_most));
        }
        Some(grown(text.matches(from).count()))
    }

    fn regexp_replaced(&self, row: usize) -> Option<u128> {
        let (text, replacement) = (self.text(0, row)?.len() as u128, self.text(2, row)?);
        let everywhere = self.text(3, row).is_some_and(|flags| flags.contains('g'));
        let matches = if everywhere { text + 1 } else { 1 };
        let groups = replacement.matches(['\\', '$']).count() as u128;
        Some(text + matches.saturating_mul(replacement.len() as u128).saturating_add(groups.saturating_mul(text)))
    }

    fn range(&self, row: usize) -> Option<u128> {
        let first_type = self.0.first()?.0.data_type();
        if let DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) = first_type {
            return self.times_between(row);
        }
        let (start, end, step) = match self.0.len() {
            1 => (0, self.number(0, row)?, 1),
            2 => (self.number(0, row)?, self.number(1, row)?, 1),
            _ => (self.number(0, row)?, self.number(1, row)?, self.number(2, row)?),
        };
        let distance = if step < 0 { start - end } else { end - start };
        let elements = u128::try_from(distance).ok()? / step.unsigned_abs().max(1) + 1;
        Some(elements.saturating_mul(size_of::<i64>() as u128))
    }

    fn times_between(&self, row: usize) -> Option<u128> {
        const DAY: i128 = 86_400_000_000_000;
        let (array, place) = self.at(2, row)?;
        let DataType::Interval(IntervalUnit::MonthDayNano) = array.data_type() else { return None };
        let step = array.as_primitive::<IntervalMonthDayNanoType>().value(place);
        let parts = [i128::from(step.months) * 28 * DAY, i128::from(step.days) * DAY, i128::from(step.nanoseconds)];
        if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
            return Some(u128::MAX);
        }
        let step: i128 = parts.iter().sum();
        let (start, end) = (self.nanoseconds(0, row)?, self.nanoseconds(1, row)?);
        let distance = if step < 0 { start - end } else { end - start };
        let elements = u128::try_from(distance).ok()? / step.unsigned_abs().max(1) + 1;
        Some(elements.saturating_mul(size_of::<i64>() as u128))
    }

    fn nanoseconds(&self, argument: usize, row: usize) -> Option<i128> {
        let (array, place) = self.at(argument, row)?;
        let unit: i128 = match array.data_type() {
            DataType::Date32 => {
                return Some(i128::from(array.as_primitive::<Date32Type>().value(place)) * 86_400_000_000_000);
            }
            DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
            _ => return None,
        };
        let number = arrow::compute::cast(&array.slice(place, 1), &DataType::Int64).ok()?;
        Some(i128::from(number.as_primitive::<Int64Type>().value(0)) * unit)
    }
}
