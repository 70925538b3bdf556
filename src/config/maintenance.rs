//! Maintenance windows: the times of the week, in UTC, at which no load starts.
//!
//! Owns their spelling and when loading may go on again. It reads no clock: the time comes from whoever asks. A window
//! holds its first instant and not its last; windows that touch or overlap are one pause.

use chrono::{NaiveTime, Timelike, Weekday};

use super::document::{Section, found};
use super::model::{LoadSettings, MaintenanceWindow};

const DAY: i64 = 24 * 60 * 60 * 1000;
const WEEK: i64 = 7 * DAY;

/// 1970-01-01 was a Thursday; weeks begin on Monday here.
const FIRST_MONDAY: i64 = 4 * DAY;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];

impl LoadSettings {
    /// When loading may go on, ms since 1970 UTC, where this time lies in a maintenance window; none where it does not.
    pub fn paused_until(&self, now_millis: i64) -> Option<i64> {
        let pause = pause(&self.maintenance, now_millis)?;
        Some(now_millis.saturating_add(pause))
    }
}

/// How long the pause at this time lasts, ms; a week where it never ends.
fn pause(windows: &[MaintenanceWindow], now_millis: i64) -> Option<i64> {
    let now_in_week = (now_millis.rem_euclid(WEEK) - FIRST_MONDAY).rem_euclid(WEEK);
    let mut waited = 0;
    while waited < WEEK {
        let moment = (now_in_week + waited) % WEEK;
        let Some(rest) = windows.iter().filter_map(|window| window.rest(moment)).max() else { break };
        waited += rest;
    }
    (waited > 0).then_some(waited.min(WEEK))
}

impl MaintenanceWindow {
    /// How long the window still lasts at this moment of the week, ms; none where the moment is outside of it.
    fn rest(&self, moment: i64) -> Option<i64> {
        let (from, until) = (millis(self.from), millis(self.until));
        let length = if until > from { until - from } else { until - from + DAY };
        let days = if self.days.is_empty() { &DAYS.map(|(_, day)| day)[..] } else { &self.days };
        let rest = |day: &Weekday| {
            let start = i64::from(day.num_days_from_monday()) * DAY + from;
            length - (moment - start).rem_euclid(WEEK)
        };
        days.iter().map(rest).max().filter(|rest| *rest > 0)
    }
}

fn millis(time: NaiveTime) -> i64 {
    i64::from(time.num_seconds_from_midnight()) * 1000
}

/// `maintenance = ["sat 22:00-04:00", …]`: the sound ones.
pub(super) fn read_maintenance(section: &mut Section<'_>) -> Vec<MaintenanceWindow> {
    let Some(node) = section.find("maintenance") else { return Vec::new() };
    let Some(items) = node.get_ref().as_array() else {
        let words = format!("expected an array such as [\"sat 22:00-04:00\"], found {}", found(node.get_ref()));
        section.refuse("maintenance", node, &words);
        return Vec::new();
    };
    let mut windows = Vec::new();
    for item in items {
        let text = item.get_ref().as_str().ok_or_else(|| format!("expected a string, found {}", found(item.get_ref())));
        match text.and_then(parse) {
            Ok(window) => windows.push(window),
            Err(words) => section.refuse("maintenance", item, &words),
        }
    }
    // Whether a pause never ends does not depend on when it is asked for, where the windows leave no gap.
    if pause(&windows, 0) == Some(WEEK) {
        section.refuse("maintenance", node, "the windows cover the whole week: no load would ever start");
    }
    windows
}

/// `sat 22:00-04:00`, `daily 03:00-03:30`, `mon,wed 01:00-02:00`.
fn parse(text: &str) -> Result<MaintenanceWindow, String> {
    let spelling = || {
        format!(
            "{text:?} is no window: write \"sat 22:00-04:00\", \"mon,wed 01:00-02:00\" or \"daily 03:00-03:30\", in UTC"
        )
    };
    let (days, times) = text.trim().split_once(' ').ok_or_else(spelling)?;
    let days = if days == "daily" { Some(Vec::new()) } else { days.split(',').map(weekday).collect() };
    let times = times.trim().split_once('-').and_then(|(from, until)| Some((clock(from)?, clock(until)?)));
    let (days, (from, until)) = days.zip(times).ok_or_else(spelling)?;
    if from == until {
        return Err(format!("{text:?} ends when it begins: a window is shorter than a day, and not empty"));
    }
    Ok(MaintenanceWindow { days, from, until })
}

fn weekday(word: &str) -> Option<Weekday> {
    DAYS.iter().find(|(name, _)| *name == word).map(|(_, day)| *day)
}

/// `22:00`: two digits each, from 00:00 to 23:59.
fn clock(text: &str) -> Option<NaiveTime> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        if plain { digits.parse::<u32>().ok() } else { None }
    };
    NaiveTime::from_hms_opt(two_digits(hour)?, two_digits(minute)?, 0)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn settings(windows: &[&str]) -> LoadSettings {
        let maintenance = windows.iter().map(|window| parse(window).expect("a window")).collect();
        LoadSettings { maintenance, ..LoadSettings::default() }
    }

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(&format!("{text}Z")).expect("a time").timestamp_millis()
    }

    /// 2026-01-05 was a Monday.
    #[test]
    fn loading_goes_on_when_the_windows_are_over() {
        let cases: [(&[&str], &str, Option<&str>); 24] = [
            (&[], "2026-01-05T00:00:00", None),
            (&["daily 03:00-03:30"], "2026-01-05T02:59:59.999", None),
            (&["daily 03:00-03:30"], "2026-01-05T03:00:00", Some("2026-01-05T03:30:00")),
            (&["daily 03:00-03:30"], "2026-01-05T03:29:59.999", Some("2026-01-05T03:30:00")),
            (&["daily 03:00-03:30"], "2026-01-05T03:30:00", None),
            // Over midnight; and not on the days beside.
            (&["sat 22:00-04:00"], "2026-01-10T23:00:00", Some("2026-01-11T04:00:00")),
            (&["sat 22:00-04:00"], "2026-01-11T03:59:00", Some("2026-01-11T04:00:00")),
            (&["sat 22:00-04:00"], "2026-01-10T03:00:00", None),
            (&["sat 22:00-04:00"], "2026-01-11T22:00:00", None),
            // Until midnight, and from it.
            (&["tue 23:00-00:00"], "2026-01-06T23:30:00", Some("2026-01-07T00:00:00")),
            (&["tue 23:00-00:00"], "2026-01-07T00:00:00", None),
            (&["tue 00:00-00:01"], "2026-01-06T00:00:00", Some("2026-01-06T00:01:00")),
            // Over the end of the week.
            (&["sun 23:00-01:00"], "2026-01-11T23:30:00", Some("2026-01-12T01:00:00")),
            (&["sun 23:00-01:00"], "2026-01-12T00:59:59", Some("2026-01-12T01:00:00")),
            (&["sun 23:00-01:00"], "2026-01-12T01:00:00", None),
            // Several days; several windows.
            (&["mon,wed 01:00-02:00"], "2026-01-07T01:10:00", Some("2026-01-07T02:00:00")),
            (&["mon,wed 01:00-02:00"], "2026-01-06T01:10:00", None),
            (&["mon 01:00-02:00", "daily 05:00-06:00"], "2026-01-05T05:00:00", Some("2026-01-05T06:00:00")),
            // Overlapping, one inside of the other, touching.
            (&["mon 01:00-03:00", "mon 02:00-05:00"], "2026-01-05T01:00:00", Some("2026-01-05T05:00:00")),
            (&["mon 01:00-09:00", "mon 02:00-05:00"], "2026-01-05T03:00:00", Some("2026-01-05T09:00:00")),
            (&["mon 02:00-03:00", "mon 01:00-02:00"], "2026-01-05T01:30:00", Some("2026-01-05T03:00:00")),
            (&["sun 12:00-00:00", "daily 00:00-06:00"], "2026-01-11T12:00:00", Some("2026-01-12T06:00:00")),
            // Before 1970, and the first day of it: a Thursday.
            (&["thu 00:00-01:00"], "1970-01-01T00:00:00", Some("1970-01-01T01:00:00")),
            (&["wed 23:00-00:30"], "1969-12-31T23:59:59.999", Some("1970-01-01T00:30:00")),
        ];
        for (windows, now, until) in cases {
            assert_eq!(settings(windows).paused_until(at(now)), until.map(at), "{windows:?} at {now}");
        }
    }

    #[test]
    fn a_pause_that_never_ends_is_a_week_and_no_time_is_too_far() {
        let always = settings(&["daily 00:00-12:00", "daily 12:00-00:00"]);
        assert_eq!(always.paused_until(5), Some(5 + WEEK));
        assert_eq!(always.paused_until(i64::MAX), Some(i64::MAX));
        assert_eq!(always.paused_until(i64::MIN), Some(i64::MIN + WEEK));
    }

    #[test]
    fn windows_are_spelled_with_days_and_a_24_hour_clock() {
        let time = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).expect("a time");
        let cases = [
            ("sat 22:00-04:00", vec![Weekday::Sat], (22, 0), (4, 0)),
            ("daily 03:00-03:30", vec![], (3, 0), (3, 30)),
            (" mon,wed  01:05-02:00 ", vec![Weekday::Mon, Weekday::Wed], (1, 5), (2, 0)),
            ("sun 00:00-23:59", vec![Weekday::Sun], (0, 0), (23, 59)),
        ];
        for (text, days, from, until) in cases {
            let expected = MaintenanceWindow { days, from: time(from.0, from.1), until: time(until.0, until.1) };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        let wrong = [
            "",
            "sat",
            "22:00-04:00",
            "Sat 22:00-04:00",
            "sat,  sun 1:00-2:00",
            "sat 22:00",
            "sat 24:00-01:00",
            "sat 22:60-23:00",
            "sat 9:00-10:00",
            "mon, 01:00-02:00",
            "mon-fri 01:00-02:00",
            "daily 10pm-11pm",
            "daily +1:00-02:00",
            "weekly 01:00-02:00",
            "sat 22:00-23:00-24:00",
        ];
        for text in wrong {
            assert!(parse(text).is_err_and(|words| words.contains("is no window: write")), "{text}");
        }
        assert!(parse("daily 03:00-03:00").is_err_and(|words| words.contains("ends when it begins")));
    }

    proptest! {
        /// The end of a pause is outside of every window, and all before it is inside of one.
        #[test]
        fn a_pause_ends_at_the_first_free_minute(
            windows in proptest::collection::vec((0..7_usize, 0..1440_u32, 1..1440_u32), 0..6),
            now in 0..20_160_i64,
        ) {
            let time = |minute: u32| NaiveTime::from_hms_opt(minute / 60 % 24, minute % 60, 0).expect("a time");
            let window = |(day, from, length): (usize, u32, u32)| MaintenanceWindow {
                days: vec![DAYS[day].1],
                from: time(from),
                until: time(from + length),
            };
            let maintenance: Vec<_> = windows.into_iter().map(window).collect();
            let minute = 60_000;
            let inside = |at: i64| {
                let moment = (at - FIRST_MONDAY).rem_euclid(WEEK);
                maintenance.iter().any(|window| window.rest(moment).is_some())
            };
            let free = (now..now + WEEK / minute).find(|at| !inside(at * minute));
            let until = LoadSettings { maintenance: maintenance.clone(), ..LoadSettings::default() }.paused_until(now * minute);
            prop_assert_eq!(until.unwrap_or(now * minute), free.unwrap_or(now + WEEK / minute) * minute);
        }
    }
}
