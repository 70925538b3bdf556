//! `[load]`: how often, how much, and when not.

use chrono::{NaiveTime, Weekday};

use super::*;

#[test]
fn a_load_is_bounded_and_pauses_at_times() {
    let load = sound(&format!(
        "{BASE}[load]\nfreshness = \"30s\"\nmax_entries = 5\nmax_files = 70\nmax_bytes = \"2GiB\"\n\
         maintenance = [\"sat 22:00-04:00\", \"daily 03:00-03:30\", \"mon,wed 01:00-02:00\"]\n"
    ))
    .load;
    let time = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).expect("a time");
    let window = |days: &[Weekday], from, until| MaintenanceWindow { days: days.to_vec(), from, until };
    let maintenance = vec![
        window(&[Weekday::Sat], time(22, 0), time(4, 0)),
        window(&[], time(3, 0), time(3, 30)),
        window(&[Weekday::Mon, Weekday::Wed], time(1, 0), time(2, 0)),
    ];
    let freshness = Duration::from_secs(30);
    assert_eq!(load, LoadSettings { freshness, max_entries: 5, max_files: 70, max_bytes: 2 << 30, maintenance });
}

#[test]
fn what_a_load_cannot_be_is_told_with_its_place() {
    let spelling = "write \"sat 22:00-04:00\", \"mon,wed 01:00-02:00\" or \"daily 03:00-03:30\", in UTC";
    let no_window = format!("12:19: \"maintenance\" in [load]: \"tue\" is no window: {spelling}");
    check(&[
        (
            "",
            "[load]\nmax_files = 0\nmax_bytes = 0\nmax_file = 1\n",
            &[
                "12:13: \"max_files\" in [load]: expected a number from 1 to 1000000, found 0",
                "13:13: \"max_bytes\" in [load]: expected a size from 1 to 1099511627776 bytes, found 0",
                "14:1: unknown key \"max_file\" in [load]; did you mean \"max_files\"?",
            ],
        ),
        (
            "",
            "[load]\nmaintenance = \"daily 03:00-03:30\"\n",
            &["12:15: \"maintenance\" in [load]: expected an array such as [\"sat 22:00-04:00\"], found a string"],
        ),
        (
            "",
            "[load]\nmaintenance = [\"sat 1:00-2:0\"]\nmaintenance_ = 1\n",
            &[
                &format!("12:16: \"maintenance\" in [load]: \"sat 1:00-2:0\" is no window: {spelling}"),
                "13:1: unknown key \"maintenance_\" in [load]; did you mean \"maintenance\"?",
            ],
        ),
        (
            "",
            "[load]\nmaintenance = [5, \"tue\", \"sat 04:00-04:00\"]\n",
            &[
                "12:16: \"maintenance\" in [load]: expected a string, found an integer",
                &no_window,
                "12:26: \"maintenance\" in [load]: \"sat 04:00-04:00\" ends when it begins: a window is shorter than a day, and not empty",
            ],
        ),
        (
            "",
            "[load]\nmaintenance = [\"daily 00:00-12:00\", \"daily 12:00-00:00\"]\n",
            &["12:15: \"maintenance\" in [load]: the windows cover the whole week: no load would ever start"],
        ),
    ]);
}
