//! Answers on standard output: text for people, one JSON object for machines.
//!
//! Text passes through `terminal` here, so that no data steers the reader's terminal. A reader that goes away (`| head`) is no failure of ours.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::terminal::{visible, visible_json, visible_lines};

/// Writes one line to standard output.
pub(super) fn line(text: impl std::fmt::Display) -> Result<()> {
    settle(writeln!(io::stdout().lock(), "{}", visible(&text.to_string())))
}

/// Writes a text of several lines, and a line's end, to standard output: none of them is made of data alone.
pub(super) fn lines(text: impl std::fmt::Display) -> Result<()> {
    settle(writeln!(io::stdout().lock(), "{}", visible_lines(&text.to_string())))
}

/// Writes one JSON object, on one line, to standard output.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::internal("an answer does not become JSON").with_source(error))?;
    settle(writeln!(io::stdout().lock(), "{}", visible_json(&text)))
}

/// Lets a closed pipe pass.
pub(super) fn settle(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::transient("cannot write to standard output").with_source(error))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, for people only.
pub(super) fn note(text: impl std::fmt::Display) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", visible(&text.to_string()));
}

/// As [`note`], but for what this process has written already: a prompt asks the same tables again and again.
pub(super) fn note_once(text: &str) {
    static WRITTEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
        note(text);
    }
}

/// Writes an error's sentence to standard error. What follows its first line is set in: no word of a server can pass for
/// a line of ours.
pub(super) fn error(error: impl std::fmt::Display) {
    let mut text = String::from("error: ");
    for line in visible_lines(&error.to_string()).lines() {
        let is_ours = text.len() == "error: ".len() || line.is_empty() || line.starts_with("  ");
        text.push_str(if is_ours { "" } else { "  " });
        text.push_str(line);
        text.push('\n');
    }
    let _ = write!(io::stderr().lock(), "{text}");
}

/// A number with its thousands set apart: 1234567 as 1,234,567.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 load`, `2 loads`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

/// A number of bytes in the largest unit that keeps it at 1 or more: 1536 as 1.5 KiB.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = number as f64;
    let mut unit = None;
    for name in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = Some(name);
    }
    unit.map_or_else(|| format!("{number} B"), |unit| format!("{scaled:.1} {unit}"))
}

/// A duration in ms, as a person reads it: 850 ms, 2.3 s, 4 min, 3.5 h.
pub(super) fn millis(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} ms"),
        1_000..120_000 => format!("{:.1} s", number as f64 / 1e3),
        120_000..7_200_000 => format!("{} min", number / 60_000),
        _ => format!("{:.1} h", number as f64 / 3.6e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        for (number, text) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [(850, "850 ms"), (2_345, "2.3 s"), (240_000, "4 min"), (12_600_000, "3.5 h")] {
            assert_eq!(millis(number), text);
        }
    }
}
