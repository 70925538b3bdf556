//! The values of pipeline.toml: each reader takes a TOML value and gives what it means, or the words that refuse it.
//!
//! Owns the spelling of durations, sizes, times, days and names. Readers are pure; they know no key and no place.

use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::{TZ_VARIANTS, Tz};
use toml::de::DeValue;
use toml::value::{Date, Datetime, Offset};

use super::document::found;
use super::fault::nearest;
use super::model::Start;
use crate::schema::FieldType;

/// How deep lists and structs nest in a declared type.
pub(super) const MAX_NESTING: usize = 16;

/// The columns that the warehouse adds to dimensions: no table's SQL may yield one of these names.
pub const RESERVED_COLUMNS: [&str; 5] = ["surrogate_key", "valid_from", "valid_to", "is_current", "is_inferred"];

/// The longest name, in bytes (Redshift's limit for identifiers).
const MAX_NAME_BYTES: usize = 127;

/// The longest stream name, in bytes (Kinesis CreateStream).
const MAX_STREAM_BYTES: usize = 128;

/// A text.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| expected("a string", value))
}

/// A text that says something.
pub(super) fn filled_text(value: &DeValue<'_>) -> Result<String, String> {
    let text = text(value)?;
    if text.trim().is_empty() { Err("the string is empty".to_owned()) } else { Ok(text) }
}

/// true or false.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("a boolean", value))
}

/// A whole number within bounds.
pub(super) fn whole(bounds: RangeInclusive<u32>) -> impl FnOnce(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let number = value.as_integer().ok_or_else(|| expected("an integer", value))?;
        let parsed = u32::from_str_radix(&number.as_str().replace('_', ""), number.radix());
        parsed.ok().filter(|parsed| bounds.contains(parsed)).ok_or_else(|| {
            format!("expected a number from {} to {}, found {}", bounds.start(), bounds.end(), shown(value))
        })
    }
}

/// One of these words.
pub(super) fn one_of<T: Clone>(words: &[(&'static str, T)]) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let text = text(value)?;
        let word = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
        word.ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("expected {}, found {text:?}", known.join(" or "))
        })
    }
}

/// An array of texts.
pub(super) fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or_else(|| expected("an array of strings", value))?;
    items.iter().map(|item| text(item.get_ref())).collect()
}

/// `500ms`, `2s`, `1m`, `1h`, within bounds.
pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl FnOnce(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        let text = value.as_str().ok_or_else(|| expected("a duration such as \"2s\"", value))?;
        let duration = parse_duration(text)
            .ok_or_else(|| format!("{text:?} is not a duration; write \"500ms\", \"2s\", \"1m\" or \"1h\""))?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        Err(format!("expected a duration from {:?} to {:?}, found {text:?}", bounds.start(), bounds.end()))
    }
}

/// `64KiB`, `32MiB`, `1GiB` or a number of bytes, within bounds.
pub(super) fn bytes(bounds: RangeInclusive<u64>) -> impl FnOnce(&DeValue<'_>) -> Result<u64, String> {
    move |value| {
        let bytes = match value {
            DeValue::Integer(number) => u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok(),
            DeValue::String(text) => parse_bytes(text),
            other => return Err(expected("a size such as \"32MiB\"", other)),
        };
        let spelling = "write \"64KiB\", \"32MiB\", \"1GiB\" or a number of bytes";
        let bytes = bytes.ok_or_else(|| format!("{} is not a size; {spelling}", shown(value)))?;
        if bounds.contains(&bytes) {
            return Ok(bytes);
        }
        Err(format!("expected a size from {} to {} bytes, found {}", bounds.start(), bounds.end(), shown(value)))
    }
}

/// `trim_horizon`, `latest`, or a time with its zone.
pub(super) fn start(value: &DeValue<'_>) -> Result<Start, String> {
    let time = match value {
        DeValue::String(text) => match text.as_ref() {
            "trim_horizon" => return Ok(Start::TrimHorizon),
            "latest" => return Ok(Start::Latest),
            other => DateTime::parse_from_rfc3339(other).ok(),
        },
        DeValue::Datetime(datetime) => instant(datetime),
        other => return Err(expected("\"trim_horizon\", \"latest\" or a time", other)),
    };
    let time = time.ok_or_else(|| {
        let words = "\"trim_horizon\", \"latest\" or a time with its zone such as 2024-03-01T00:00:00Z";
        format!("expected {words}, found {}", shown(value))
    })?;
    Ok(Start::Time(time.timestamp_millis()))
}

/// A day: 2023-01-01, as TOML's own date or as a string.
pub(super) fn day(value: &DeValue<'_>) -> Result<NaiveDate, String> {
    let day = match value {
        DeValue::Datetime(datetime) if datetime.time.is_none() => datetime.date.as_ref().and_then(calendar_day),
        DeValue::Datetime(_) => None,
        DeValue::String(text) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
        other => return Err(expected("a day such as 2023-01-01", other)),
    };
    day.ok_or_else(|| format!("expected a day such as 2023-01-01, found {}", shown(value)))
}

/// A zone of the IANA database, by its name.
pub(super) fn zone(value: &DeValue<'_>) -> Result<Tz, String> {
    let text = text(value)?;
    text.parse::<Tz>().map_err(|_| {
        let names: Vec<&str> = TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
        let city = |name: &&&str| {
            name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&text.replace(' ', "_")))
        };
        let near = names.iter().filter(city).min_by_key(|name| name.len()).copied().or_else(|| nearest(&text, &names));
        let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        format!("{text:?} is no time zone of the IANA database, such as \"UTC\" or \"Europe/Berlin\"{near}")
    })
}

/// A declared type; a struct comes without its fields.
pub(super) fn field_type(value: &DeValue<'_>) -> Result<FieldType, String> {
    let text = text(value)?;
    if text.matches("list<").count() > MAX_NESTING {
        return Err(format!("lists nest at most {MAX_NESTING} deep"));
    }
    text.parse::<FieldType>().map_err(|error| error.to_string())
}

/// The name of a stream or a consumer, as Kinesis takes it.
pub(super) fn kinesis_name(of: &'static str) -> impl FnOnce(&DeValue<'_>) -> Result<String, String> {
    move |value| {
        let text = text(value)?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        if !text.is_empty() && text.len() <= MAX_STREAM_BYTES && text.chars().all(allowed) {
            return Ok(text);
        }
        let rule = format!("letters, digits, \"_\", \".\" and \"-\", at most {MAX_STREAM_BYTES}");
        Err(format!("{text:?} is not a {of} name: {rule}"))
    }
}

/// Why a text is no name for a pipeline, field, table or check; none where it is one.
pub(super) fn name_fault(name: &str) -> Option<String> {
    if name.starts_with('_') {
        return Some(format!("{name:?}: names that begin with \"_\" are kept for the columns that Millstream adds"));
    }
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let sound = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(allowed);
    if sound && name.len() <= MAX_NAME_BYTES {
        return None;
    }
    let rule = "lower-case letters, digits and \"_\", a letter first, at most";
    Some(format!("{name:?} is not a name: {rule} {MAX_NAME_BYTES} bytes"))
}

/// Why no column of a table's SQL has this name; none where one may.
pub(super) fn column_fault(column: &str) -> Option<String> {
    if RESERVED_COLUMNS.contains(&column) {
        return Some(format!("{column:?} is a column that the warehouse adds to dimensions"));
    }
    name_fault(column)
}

/// `http://host:port` or `https://…`, without a password: it would stand in the file and in messages.
pub(super) fn endpoint(value: &DeValue<'_>) -> Result<String, String> {
    let text = filled_text(value)?;
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if host.contains('@') => Err("an endpoint holds no user and no password".to_owned()),
        Some(host) if !host.is_empty() => Ok(text),
        _ => Err(format!("{text:?} is no endpoint: write \"https://host\" or \"http://host:port\"")),
    }
}

/// A value as its file spells it, where it is a single one.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        other => found(other).to_owned(),
    }
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", found(value))
}

/// Splits `32MiB` into 32 and `MiB`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let unit_start = text.find(|letter: char| !letter.is_ascii_digit() && letter != '_')?;
    let (number, unit) = text.split_at(unit_start);
    Some((number.replace('_', "").parse().ok()?, unit.trim()))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(millis_per_unit).map(Duration::from_millis)
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes_per_unit = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes_per_unit)
}

fn calendar_day(date: &Date) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into())
}

/// The instant of a TOML datetime with an offset; TOML 1.1 lets the seconds go.
fn instant(datetime: &Datetime) -> Option<DateTime<FixedOffset>> {
    let minutes = match datetime.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i32::from(minutes),
    };
    let time = datetime.time?;
    let (second, nanosecond) = (time.second.unwrap_or(0), time.nanosecond.unwrap_or(0));
    let clock = NaiveTime::from_hms_nano_opt(time.hour.into(), time.minute.into(), second.into(), nanosecond)?;
    let local = NaiveDateTime::new(calendar_day(datetime.date.as_ref()?)?, clock);
    local.and_local_timezone(FixedOffset::east_opt(minutes * 60)?).single()
}
