//! A column of texts, as a server of the PostgreSQL protocol writes them, as an Arrow array.
//!
//! Pure and exact: a value that the type cannot hold (`infinity` as a date, `NaN` as a decimal) is told, never bent.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use chrono::{NaiveDate, NaiveTime};

use super::super::arrow_bug;
use crate::error::{Error, Result};

/// These texts as a field's type.
///
/// # Errors
/// Invalid where a text is no value of it.
pub(in crate::load) fn array(field: &Field, texts: StringArray) -> Result<ArrayRef> {
    let told = |text: &str| {
        let (name, wanted) = (field.name(), field.data_type());
        Error::invalid(format!("the column {name} holds {text}, which is no {wanted}: cast it to text in the query"))
    };
    Ok(match field.data_type() {
        DataType::Boolean => Arc::new(parsed(&texts, boolean).collect::<Result<BooleanArray, _>>().map_err(told)?),
        DataType::Int16 => primitive::<Int16Type>(&texts, number).map_err(told)?,
        DataType::Int32 => primitive::<Int32Type>(&texts, number).map_err(told)?,
        DataType::Int64 => primitive::<Int64Type>(&texts, number).map_err(told)?,
        DataType::Float32 => primitive::<Float32Type>(&texts, number).map_err(told)?,
        DataType::Float64 => primitive::<Float64Type>(&texts, number).map_err(told)?,
        DataType::Date32 => primitive::<Date32Type>(&texts, days).map_err(told)?,
        DataType::Decimal128(precision, scale) => {
            let unscaled = parsed(&texts, |text| decimal(text, *precision, *scale));
            let unscaled = unscaled.collect::<Result<Decimal128Array, _>>().map_err(told)?;
            Arc::new(unscaled.with_precision_and_scale(*precision, *scale).map_err(arrow_bug)?)
        }
        DataType::Timestamp(_, zone) => {
            let instants = parsed(&texts, micros).collect::<Result<PrimitiveArray<TimestampMicrosecondType>, _>>();
            Arc::new(instants.map_err(told)?.with_timezone_opt(zone.clone()))
        }
        _ => Arc::new(texts),
    })
}

/// Each text as a value; the first that is none stops it.
fn parsed<'a, T>(
    texts: &'a StringArray,
    parse: impl Fn(&str) -> Option<T> + 'a,
) -> impl Iterator<Item = Result<Option<T>, &'a str>> {
    texts.iter().map(move |text| text.map(|text| parse(text).ok_or(text)).transpose())
}

fn primitive<'a, T: ArrowPrimitiveType>(
    texts: &'a StringArray,
    parse: impl Fn(&str) -> Option<T::Native> + 'a,
) -> Result<ArrayRef, &'a str> {
    Ok(Arc::new(parsed(texts, parse).collect::<Result<PrimitiveArray<T>, _>>()?))
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    }
}

/// The unscaled value of a decimal, where the text has no digit more.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = usize::try_from(scale).ok()?;
    let (fraction, rest) = fraction.split_at_checked(scale).unwrap_or((fraction, ""));
    let plain = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || rest.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction:0<scale$}").parse().ok()?;
    let fits = unscaled < 10i128.checked_pow(precision.into())?;
    fits.then_some(if negative { -unscaled } else { unscaled })
}

/// The proleptic Gregorian year, as astronomers count, of a text that may end in ` BC`.
fn date(text: &str, before_christ: bool) -> Option<NaiveDate> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let year: i32 = year.parse().ok()?;
    let year = if before_christ { 1 - year } else { year };
    NaiveDate::from_ymd_opt(year, month.parse().ok()?, day.parse().ok()?)
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// Days since 1970 of `2026-11-20`.
fn days(text: &str) -> Option<i32> {
    let (text, before_christ) = era(text);
    let days = date(text, before_christ)?.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).ok()
}

/// µs since 1970 of `2026-11-20 12:30:00.25`, with or without `+00` (the session's zone is UTC).
fn micros(text: &str) -> Option<i64> {
    let (text, before_christ) = era(text);
    let (day, time) = text.split_once(' ')?;
    let time = time.strip_suffix("+00").unwrap_or(time);
    let midnight = date(day, before_christ)?.and_time(NaiveTime::MIN);
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let time = NaiveTime::parse_from_str(seconds, "%H:%M:%S").ok()?;
    let fraction: i64 = match fraction.len() {
        0..=6 => format!("{fraction:0<6}").parse().ok()?,
        _ => return None,
    };
    let within = time.signed_duration_since(NaiveTime::MIN).num_microseconds()?;
    midnight.and_utc().timestamp_micros().checked_add(within)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use arrow::datatypes::TimeUnit;
    use arrow::util::display::array_value_to_string;

    use super::*;

    #[test]
    fn each_text_becomes_its_value_or_is_told() {
        let clock = DataType::Timestamp(TimeUnit::Microsecond, None);
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let cases: Vec<(DataType, &str, Option<&str>)> = vec![
            (DataType::Boolean, "t", Some("true")),
            (DataType::Boolean, "f", Some("false")),
            (DataType::Boolean, "maybe", None),
            (DataType::Int16, "-32768", Some("-32768")),
            (DataType::Int16, "32768", None),
            (DataType::Int64, "9223372036854775807", Some("9223372036854775807")),
            (DataType::Float32, "0.1", Some("0.1")),
            (DataType::Float64, "NaN", Some("NaN")),
            (DataType::Float64, "-Infinity", Some("-inf")),
            (DataType::Float64, "1e-320", Some("1e-320")),
            (DataType::Decimal128(5, 2), "-12.3", Some("-12.30")),
            (DataType::Decimal128(5, 2), "-0.05", Some("-0.05")),
            (DataType::Decimal128(5, 2), "999.99", Some("999.99")),
            (DataType::Decimal128(5, 2), "1000.00", None),
            (DataType::Decimal128(5, 2), "1.005", None),
            (DataType::Decimal128(5, 2), "1.000", Some("1.00")),
            (DataType::Decimal128(5, 2), "NaN", None),
            (DataType::Decimal128(5, 2), "+1", None),
            (
                DataType::Decimal128(38, 0),
                "99999999999999999999999999999999999999",
                Some("99999999999999999999999999999999999999"),
            ),
            (DataType::Date32, "1970-01-02", Some("1970-01-02")),
            (DataType::Date32, "0001-01-01", Some("0001-01-01")),
            (DataType::Date32, "0001-12-31 BC", Some("0000-12-31")),
            (DataType::Date32, "infinity", None),
            (DataType::Date32, "2026-02-29", None),
            (clock.clone(), "1969-12-31 23:59:59.999999", Some("1969-12-31T23:59:59.999999")),
            (clock.clone(), "2026-11-20 12:30:00.25", Some("2026-11-20T12:30:00.250")),
            (clock.clone(), "2026-11-20 12:30:00.2500001", None),
            (clock, "2026-11-20", None),
            (instant.clone(), "2026-11-20 12:30:00+00", Some("2026-11-20T12:30:00Z")),
            (instant.clone(), "2026-11-20 12:30:00+01", None),
            (instant, "infinity", None),
            (DataType::Utf8, "as it is", Some("as it is")),
        ];
        for (data_type, text, expected) in cases {
            let field = Field::new("c", data_type.clone(), true);
            let found = array(&field, StringArray::from(vec![None, Some(text)]));
            match (found, expected) {
                (Ok(found), Some(expected)) => {
                    assert_eq!(*found.data_type(), data_type);
                    assert!(found.is_null(0), "{text}");
                    assert_eq!(array_value_to_string(&found, 1).expect("a text"), expected, "{text}");
                }
                (Err(error), None) => {
                    assert!(error.to_string().contains(&format!("the column c holds {text}")), "{error}")
                }
                (found, _) => panic!("{text} as {data_type}: {found:?}"),
            }
        }
    }
}
