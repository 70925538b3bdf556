//! The wall clocks of time zones: which instant a clock's time is.
//!
//! Owns what becomes of times that a change of the clocks makes ambiguous or absent. A time that was shown twice is the
//! earlier instant: the text is true of both, and the choice is that of RFC 5545, java.time and Python. A time that was
//! never shown is refused: moving it would make up an instant that nobody meant, and that it stands there shows that
//! the zone is not the producer's. A date alone is the first instant of its day, whatever the clocks show then.

use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};

use super::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND};
use super::fault::Reason;

/// The changes of the clocks are tabulated for the years before it; later ones are as in years of the same calendar.
const FIRST_YEAR_BEYOND: i32 = 2100;

/// The last years that are tabulated: every calendar that a year can have is among them, and no century without a leap day.
const MODEL_YEARS: std::ops::Range<i32> = FIRST_YEAR_BEYOND - 28..FIRST_YEAR_BEYOND;

/// The instant at which clocks in the zone show `wall`, the µs since 1970-01-01 by that clock, in µs since 1970-01-01
/// UTC; [`Reason::SkippedTime`] where they never did.
pub(super) fn instant(wall: i64, zone: Tz) -> Result<i64, Reason> {
    let (modelled, _) = modelled(wall)?;
    let east = match zone.offset_from_local_datetime(&modelled).map(|offset| offset.fix().local_minus_utc()) {
        MappedLocalTime::Single(east) => east,
        MappedLocalTime::Ambiguous(one, other) => one.max(other),
        MappedLocalTime::None => return Err(Reason::SkippedTime),
    };
    Ok(wall - i64::from(east) * MICROS_PER_SECOND)
}

/// The first instant of a day in the zone, in µs since 1970-01-01 UTC; `day` counts from 1970-01-01.
/// [`Reason::SkippedTime`] where the zone has passed over the day.
pub(super) fn beginning_of_day(day: i64, zone: Tz) -> Result<i64, Reason> {
    let midnight = day * MICROS_PER_DAY;
    instant(midnight, zone).or_else(|skipped| {
        let (modelled, moved_by) = modelled(midnight)?;
        let first = GapInfo::new(&modelled, &zone).and_then(|gap| gap.end).ok_or(skipped)?;
        if first.naive_local().date() != modelled.date() {
            return Err(skipped);
        }
        Ok(first.timestamp_micros() + moved_by)
    })
}

/// The wall clock's time, in a year whose changes are tabulated, and by how many µs that is earlier.
fn modelled(wall: i64) -> Result<(NaiveDateTime, i64), Reason> {
    let read = |micros| DateTime::from_timestamp_micros(micros).ok_or(Reason::OutOfRange).map(|it| it.naive_utc());
    let time = read(wall)?;
    let new_year = |year| NaiveDate::from_ymd_opt(year, 1, 1).ok_or(Reason::OutOfRange);
    if time.year() < FIRST_YEAR_BEYOND {
        return Ok((time, 0));
    }
    let of_year = new_year(time.year())?;
    let is_alike = |model: &NaiveDate| model.weekday() == of_year.weekday() && model.leap_year() == of_year.leap_year();
    let model = MODEL_YEARS.rev().map_while(|year| new_year(year).ok()).find(is_alike).ok_or(Reason::OutOfRange)?;
    let moved_by = (of_year - model).num_days() * MICROS_PER_DAY;
    Ok((read(wall - moved_by)?, moved_by))
}

#[cfg(test)]
mod tests {
    use super::super::calendar::{Zoneless, timestamp};
    use super::*;

    fn read(zone: Tz, text: &str) -> Result<String, Reason> {
        let micros = timestamp(text.as_bytes(), Zoneless::of(Some(zone)))?;
        Ok(DateTime::from_timestamp_micros(micros).expect("in range").format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
    }

    fn check(zone: Tz, cases: &[(&str, Result<&str, Reason>)]) {
        for (text, expected) in cases {
            assert_eq!(read(zone, text).as_deref(), expected.as_ref().map(|text| *text), "{text} in {zone}");
        }
    }

    const SKIPPED: Result<&str, Reason> = Err(Reason::SkippedTime);

    #[test]
    fn a_time_shown_twice_is_the_earlier_instant_and_one_never_shown_is_refused() {
        check(
            Tz::Europe__Berlin,
            &[
                ("2024-01-15T12:00:00", Ok("2024-01-15T11:00:00Z")),
                ("2024-07-15 12:00:00.123456", Ok("2024-07-15T10:00:00.123456Z")),
                ("2024-03-31T01:59:59.999999", Ok("2024-03-31T00:59:59.999999Z")),
                ("2024-03-31T02:00:00", SKIPPED),
                ("2024-03-31T02:59:59.999999", SKIPPED),
                ("2024-03-31T03:00:00", Ok("2024-03-31T01:00:00Z")),
                ("2024-10-27T01:59:59.999999", Ok("2024-10-26T23:59:59.999999Z")),
                ("2024-10-27T02:00:00", Ok("2024-10-27T00:00:00Z")),
                ("2024-10-27T02:59:59.999999", Ok("2024-10-27T00:59:59.999999Z")),
                ("2024-10-27T03:00:00", Ok("2024-10-27T02:00:00Z")),
                ("2024-10-27T02:30:00+01:00", Ok("2024-10-27T01:30:00Z")),
            ],
        );
        check(
            Tz::America__New_York,
            &[
                ("2026-03-08T01:59:59", Ok("2026-03-08T06:59:59Z")),
                ("2026-03-08T02:30:00", SKIPPED),
                ("2026-03-08T03:00:00", Ok("2026-03-08T07:00:00Z")),
                ("2026-11-01T01:30:00", Ok("2026-11-01T05:30:00Z")),
                ("2026-11-01T02:00:00", Ok("2026-11-01T07:00:00Z")),
            ],
        );
    }

    #[test]
    fn half_an_hour_is_a_change_as_well() {
        check(
            Tz::Australia__Lord_Howe,
            &[
                ("2024-10-06T01:59:59", Ok("2024-10-05T15:29:59Z")),
                ("2024-10-06T02:00:00", SKIPPED),
                ("2024-10-06T02:29:59", SKIPPED),
                ("2024-10-06T02:30:00", Ok("2024-10-05T15:30:00Z")),
                ("2024-04-07T01:29:59", Ok("2024-04-06T14:29:59Z")),
                ("2024-04-07T01:30:00", Ok("2024-04-06T14:30:00Z")),
                ("2024-04-07T01:59:59", Ok("2024-04-06T14:59:59Z")),
                ("2024-04-07T02:00:00", Ok("2024-04-06T15:30:00Z")),
            ],
        );
    }

    #[test]
    fn changes_of_former_times_are_known() {
        // Local mean time until 1893; summers of the wars; double summer time.
        check(
            Tz::Europe__Berlin,
            &[
                ("1850-01-01T00:00:00", Ok("1849-12-31T23:06:32Z")),
                ("1916-04-30T23:30:00", SKIPPED),
                ("1945-06-01T12:00:00", Ok("1945-06-01T09:00:00Z")),
                ("1970-07-01T12:00:00", Ok("1970-07-01T11:00:00Z")),
            ],
        );
        check(
            Tz::Asia__Kathmandu,
            &[
                ("1985-12-31T12:00:00", Ok("1985-12-31T06:30:00Z")),
                ("1986-01-01T00:05:00", SKIPPED),
                ("2024-01-01T00:00:00", Ok("2023-12-31T18:15:00Z")),
            ],
        );
        check(
            Tz::America__Sao_Paulo,
            &[("2018-11-04T00:30:00", SKIPPED), ("2019-11-03T00:30:00", Ok("2019-11-03T03:30:00Z"))],
        );
    }

    #[test]
    fn a_date_alone_is_the_first_instant_of_its_day() {
        check(Tz::Europe__Berlin, &[("2024-05-01", Ok("2024-04-30T22:00:00Z"))]);
        check(Tz::America__Sao_Paulo, &[("2018-11-04", Ok("2018-11-04T03:00:00Z"))]);
        check(
            Tz::America__Havana,
            &[("2024-11-03", Ok("2024-11-03T04:00:00Z")), ("2024-03-10", Ok("2024-03-10T05:00:00Z"))],
        );
        // Samoa went over the date line, and had no 30th.
        check(
            Tz::Pacific__Apia,
            &[
                ("2011-12-29", Ok("2011-12-29T10:00:00Z")),
                ("2011-12-30", SKIPPED),
                ("2011-12-30T12:00:00", SKIPPED),
                ("2011-12-31", Ok("2011-12-30T10:00:00Z")),
            ],
        );
    }

    #[test]
    fn the_rules_go_on_beyond_the_table() {
        check(
            Tz::Europe__Berlin,
            &[
                ("2099-07-01T12:00:00", Ok("2099-07-01T10:00:00Z")),
                ("2100-07-01T12:00:00", Ok("2100-07-01T10:00:00Z")),
                ("2100-03-28T02:30:00", SKIPPED),
                ("2100-10-31T02:30:00", Ok("2100-10-31T00:30:00Z")),
                ("2400-03-26T02:30:00", SKIPPED),
                ("9998-07-01T12:00:00", Ok("9998-07-01T10:00:00Z")),
                ("9999-12-31T23:59:59", Ok("9999-12-31T22:59:59Z")),
                ("0001-01-01T00:00:00", Err(Reason::OutOfRange)),
                ("0001-01-01T00:53:28", Ok("0001-01-01T00:00:00Z")),
            ],
        );
        check(Tz::America__New_York, &[("9999-12-31T23:59:59", Err(Reason::OutOfRange))]);
        check(Tz::Australia__Sydney, &[("2100-01-01T00:00:00", Ok("2099-12-31T13:00:00Z"))]);
    }

    #[test]
    fn every_zone_reads_back_what_its_clocks_show() {
        // An instant in a zone, as its clocks show it, is that instant or, where they show it twice, an earlier one.
        for zone in chrono_tz::TZ_VARIANTS {
            for step in 0..400_i64 {
                let micros = -4_000_000_000_000_000 + step * 20_250_123_456_789;
                let shown =
                    DateTime::from_timestamp_micros(micros).expect("in range").with_timezone(&zone).naive_local();
                let wall = shown.and_utc().timestamp_micros();
                let back = instant(wall, zone).unwrap_or_else(|reason| panic!("{shown} in {zone}: {reason}"));
                let again = DateTime::from_timestamp_micros(back).expect("in range").with_timezone(&zone).naive_local();
                assert!(back <= micros && (back == micros || again == shown), "{shown} in {zone}");
            }
        }
    }
}
