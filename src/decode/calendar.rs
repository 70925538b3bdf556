//! Days and instants: from ISO 8601 texts and epoch numbers to Arrow's counts since 1970.
//!
//! Owns the forms that are read and the years that are kept (0001 to 9999, proleptic Gregorian). The rules stand in
//! docs/decoding.md; what a wall clock's time means in a zone is `zone`'s.

use chrono_tz::Tz;

use super::fault::Reason;
use super::number::Number;
use super::zone;

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// 0001-01-01 and 9999-12-31, in days since 1970-01-01.
const FIRST_DAY: i64 = days_since_epoch(1, 1, 1);
const LAST_DAY: i64 = days_since_epoch(9999, 12, 31);

/// A number whose magnitude is below this is in seconds, else in milliseconds: 1e11 s is the year 5138, 1e11 ms is
/// March 1973.
const FIRST_MILLIS: i128 = 100_000_000_000;

/// What a text without a zone means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zoneless {
    /// Nothing: it is refused.
    Refused,
    /// The wall clock of UTC, or one that nobody names.
    Utc,
    /// The wall clock of this zone.
    In(Tz),
}

impl Zoneless {
    /// As a timestamptz has it that assumes this zone, or none.
    pub(super) fn of(zone: Option<Tz>) -> Self {
        match zone {
            None => Self::Refused,
            Some(Tz::UTC) => Self::Utc,
            Some(zone) => Self::In(zone),
        }
    }
}

/// `YYYY-MM-DD`, in days since 1970-01-01.
pub(super) fn date(text: &[u8]) -> Result<i32, Reason> {
    let (day, rest) = leading_date(text)?;
    if !rest.is_empty() {
        return Err(Reason::WrongType);
    }
    i32::try_from(day?).map_err(|_| Reason::OutOfRange)
}

/// A date with a time of day, or a date alone for its beginning, in µs since 1970-01-01 UTC.
pub(super) fn timestamp(text: &[u8], zoneless: Zoneless) -> Result<i64, Reason> {
    let (day, rest) = leading_date(text)?;
    let (clock, offset) = match rest.split_first() {
        None => (None, None),
        Some((b'T' | b't' | b' ', rest)) => {
            let (clock, rest) = leading_clock(rest).ok_or(Reason::WrongType)?;
            (Some(clock), zone_offset(rest).ok_or(Reason::WrongType)?)
        }
        Some(_) => return Err(Reason::WrongType),
    };
    let offset_minutes = match (offset, zoneless) {
        (None, Zoneless::Refused) => return Err(Reason::WrongType),
        (None, Zoneless::In(zone)) => {
            let instant = match clock {
                Some(clock) => zone::instant(day? * MICROS_PER_DAY + clock?, zone),
                None => zone::beginning_of_day(day?, zone),
            };
            return in_range(instant?);
        }
        (None, Zoneless::Utc) => 0,
        (Some(minutes), _) => minutes?,
    };
    in_range(day? * MICROS_PER_DAY + clock.unwrap_or(Ok(0))? - offset_minutes * 60 * MICROS_PER_SECOND)
}

/// Seconds or milliseconds since 1970-01-01 UTC, told apart by magnitude; in µs.
pub(super) fn epoch(number: &Number<'_>) -> Result<i64, Reason> {
    let seconds = number.scaled_dropping(6).map_err(|_| Reason::OutOfRange)?;
    let micros = if seconds.abs() < FIRST_MILLIS * i128::from(MICROS_PER_SECOND) {
        seconds
    } else {
        number.scaled_dropping(3).map_err(|_| Reason::OutOfRange)?
    };
    in_range(i64::try_from(micros).map_err(|_| Reason::OutOfRange)?)
}

fn in_range(micros: i64) -> Result<i64, Reason> {
    let day = micros.div_euclid(MICROS_PER_DAY);
    if (FIRST_DAY..=LAST_DAY).contains(&day) { Ok(micros) } else { Err(Reason::OutOfRange) }
}

/// A day, or why it is none, and what follows it in the text.
type LeadingDay<'b> = (Result<i64, Reason>, &'b [u8]);

/// The date a text begins with: the outer error is a wrong form, the inner one a day that does not exist.
fn leading_date(text: &[u8]) -> Result<LeadingDay<'_>, Reason> {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let year_digits = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (year, rest) = unsigned.split_at(year_digits);
    let [b'-', month_tens, month_ones, b'-', day_tens, day_ones, rest @ ..] = rest else {
        return Err(Reason::WrongType);
    };
    let month = two_digits(*month_tens, *month_ones).ok_or(Reason::WrongType)?;
    let day = two_digits(*day_tens, *day_ones).ok_or(Reason::WrongType)?;
    if year_digits < 4 {
        return Err(Reason::WrongType);
    }
    if unsigned.len() != text.len() || year_digits > 4 {
        return Ok((Err(Reason::OutOfRange), rest));
    }
    let year = year.iter().fold(0, |year, digit| year * 10 + i64::from(digit - b'0'));
    let exists = year >= 1 && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    Ok((if exists { Ok(days_since_epoch(year, month, day)) } else { Err(Reason::OutOfRange) }, rest))
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f…` in µs, and what follows; none for a wrong form.
fn leading_clock(text: &[u8]) -> Option<LeadingDay<'_>> {
    let [hour_tens, hour_ones, b':', minute_tens, minute_ones, rest @ ..] = text else { return None };
    let hour = two_digits(*hour_tens, *hour_ones)?;
    let minute = two_digits(*minute_tens, *minute_ones)?;
    let (second, micros, rest) = match rest {
        [b':', tens, ones, rest @ ..] => {
            let (micros, rest) = leading_fraction(rest)?;
            (two_digits(*tens, *ones)?, micros, rest)
        }
        _ => (0, 0, rest),
    };
    let exists = hour < 24 && minute < 60 && second < 60;
    let clock = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros;
    Some((if exists { Ok(clock) } else { Err(Reason::OutOfRange) }, rest))
}

/// `.f…` in µs, digits after the sixth dropped, and what follows; 0 where there is no point.
fn leading_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(count);
    let six = digits.iter().chain(b"000000").take(6);
    (count > 0).then(|| (six.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0')), rest))
}

/// Minutes east of UTC, or why they are none.
type Offset = Result<i64, Reason>;

/// `Z`, `±HH`, `±HHMM`, `±HH:MM` or nothing; the outer none is a wrong form.
fn zone_offset(text: &[u8]) -> Option<Option<Offset>> {
    let (sign, hours, minutes) = match text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(Ok(0))),
        [sign, a, b] => (sign, two_digits(*a, *b)?, 0),
        [sign, a, b, c, d] | [sign, a, b, b':', c, d] => (sign, two_digits(*a, *b)?, two_digits(*c, *d)?),
        _ => return None,
    };
    let east = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let exists = hours < 24 && minutes < 60;
    Some(Some(if exists { Ok(east * (hours * 60 + minutes)) } else { Err(Reason::OutOfRange) }))
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last: then whole 400-year
/// cycles of 146,097 days, years and months add up without a table.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    march_year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike, NaiveDate};
    use proptest::prelude::*;

    fn micros(rfc3339: &str) -> i64 {
        DateTime::parse_from_rfc3339(rfc3339).expect(rfc3339).timestamp_micros()
    }

    #[test]
    fn every_day_of_the_kept_years_counts_as_chrono_counts_it() {
        let mut day = NaiveDate::from_ymd_opt(1, 1, 1).expect("day");
        let epoch_day = NaiveDate::from_ymd_opt(1970, 1, 1).expect("day");
        while day.year() <= 9999 {
            let ours = date(day.format("%Y-%m-%d").to_string().as_bytes());
            assert_eq!(ours.map(i64::from), Ok((day - epoch_day).num_days()), "{day}");
            day += chrono::TimeDelta::days(if day.day() > 26 { 1 } else { 13 });
        }
    }

    #[test]
    fn what_is_no_date_is_told_from_one_that_does_not_exist() {
        for text in ["2024-00-10", "2024-13-01", "2024-02-30", "2023-02-29", "1900-02-29", "0000-01-01", "10000-01-01"]
        {
            assert_eq!(date(text.as_bytes()), Err(Reason::OutOfRange), "{text}");
        }
        for text in ["-0044-03-15", "+2024-01-01", "2024-01-00", "2024-04-31"] {
            assert_eq!(date(text.as_bytes()), Err(Reason::OutOfRange), "{text}");
        }
        let wrong =
            ["20240501", "2024-5-1", "01.05.2024", "05/01/2024", "24-05-01", "2024-05-01T00:00:00", "2024-05-1x", "x"];
        for text in wrong {
            assert_eq!(date(text.as_bytes()), Err(Reason::WrongType), "{text}");
        }
    }

    #[test]
    fn timestamps_are_read_in_every_form_of_the_table() {
        let same = [
            "2024-05-01T12:34:56.789Z",
            "2024-05-01t12:34:56.789z",
            "2024-05-01 12:34:56.789+00:00",
            "2024-05-01T14:34:56.789+02:00",
            "2024-05-01T14:34:56.789+0200",
            "2024-05-01T14:34:56.789+02",
            "2024-05-01T07:04:56.789000-05:30",
            "2024-05-01T12:34:56.7890009Z",
        ];
        for text in same {
            for zoneless in [Zoneless::Refused, Zoneless::Utc, Zoneless::In(Tz::America__New_York)] {
                assert_eq!(timestamp(text.as_bytes(), zoneless), Ok(micros("2024-05-01T12:34:56.789Z")), "{text}");
            }
        }
        for (text, expected) in [
            ("2024-05-01T12:34:56.789", "2024-05-01T12:34:56.789Z"),
            ("2024-05-01 12:34", "2024-05-01T12:34:00Z"),
            ("2024-05-01", "2024-05-01T00:00:00Z"),
            ("1969-12-31T23:59:59.9999999", "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(timestamp(text.as_bytes(), Zoneless::Utc), Ok(micros(expected)), "{text}");
            assert_eq!(timestamp(text.as_bytes(), Zoneless::Refused), Err(Reason::WrongType), "{text} names no zone");
        }
    }

    #[test]
    fn what_is_no_timestamp_is_told_from_one_that_does_not_exist() {
        for text in [
            "2024-05-01T24:00:00Z",
            "2024-05-01T12:60:00Z",
            "2024-06-30T23:59:60Z",
            "2024-02-30T00:00:00Z",
            "2024-05-01T12:00:00+24:00",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(timestamp(text.as_bytes(), Zoneless::Refused), Err(Reason::OutOfRange), "{text}");
        }
        for text in
            ["2024-05-01T12Z", "2024-05-01T12:00:00.Z", "2024-05-01_12:00:00Z", "2024-05-01T12:00:00 UTC", "20240501"]
        {
            assert_eq!(timestamp(text.as_bytes(), Zoneless::Refused), Err(Reason::WrongType), "{text}");
        }
        for text in
            ["2024-05-01T12:00:00*02:00", "2024-05-01T12:00:00+2:00", "2024-05-01T12:00:00,5Z", "now", "T12:00:00Z"]
        {
            assert_eq!(timestamp(text.as_bytes(), Zoneless::Refused), Err(Reason::WrongType), "{text}");
        }
    }

    #[test]
    fn magnitude_tells_seconds_from_milliseconds() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-1", Ok(-1_000_000)),
            ("1714567890", Ok(1_714_567_890_000_000)),
            ("1714567890.1234567", Ok(1_714_567_890_123_456)),
            ("1.71456789e9", Ok(1_714_567_890_000_000)),
            ("1714567890123", Ok(1_714_567_890_123_000)),
            ("1714567890123.4567", Ok(1_714_567_890_123_456)),
            ("99999999999", Ok(99_999_999_999_000_000)),
            ("99999999999.9", Ok(99_999_999_999_900_000)),
            ("100000000000", Ok(100_000_000_000_000)),
            ("-100000000000", Ok(-100_000_000_000_000)),
            ("253402300799999", Ok(253_402_300_799_999_000)),
            ("253402300800000", Err(Reason::OutOfRange)),
            ("1714567890123456", Err(Reason::OutOfRange)),
            ("-62135596800000", Ok(-62_135_596_800_000_000)),
            ("-62135596800001", Err(Reason::OutOfRange)),
            ("1e400", Err(Reason::OutOfRange)),
        ] {
            assert_eq!(epoch(&Number::parse(text.as_bytes()).expect(text)), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_instant_reads_back_from_chrono(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000, minutes in -1439_i32..1440) {
            let zone = chrono::FixedOffset::east_opt(minutes * 60).expect("offset");
            let utc = DateTime::from_timestamp_micros(micros).expect("instant");
            let local = utc.with_timezone(&zone);
            prop_assume!((1..=9999).contains(&local.year()));
            prop_assert_eq!(timestamp(local.to_rfc3339().as_bytes(), Zoneless::Refused), Ok(micros));
        }
    }
}
