//! Values as SQL writes them: texts, instants, and instants as numbers.
//!
//! Owns the literals. An instant is of UTC and reads back exactly: µs in a key, ms in the ledger.

use chrono::DateTime;

use super::Dialect;

/// `history::BEGINNING`, from when first versions hold.
pub(super) const BEGINNING: &str = "TIMESTAMPTZ '1900-01-01 00:00:00+00'";

/// A text. A backslash begins an escape in Redshift, and is nothing special in PostgreSQL.
pub(super) fn text(dialect: Dialect, text: &str) -> String {
    let text = text.replace('\'', "''");
    match dialect {
        Dialect::Postgres => format!("'{text}'"),
        Dialect::Redshift => format!("'{}'", text.replace('\\', "\\\\")),
    }
}

/// An instant, from ms since 1970 UTC.
pub(super) fn instant(millis: i64) -> String {
    let instant = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    format!("TIMESTAMPTZ '{}+00'", instant.format("%Y-%m-%d %H:%M:%S%.3f"))
}

/// The µs since 1970 of an expression, as a bigint; of UTC, where it has a zone.
pub(super) fn micros(dialect: Dialect, expression: &str, zone: bool) -> String {
    match dialect {
        // Through floating point (PostgreSQL 13 and before) only whole seconds and their µs are exact.
        Dialect::Postgres => format!(
            "(CAST(extract(epoch FROM date_trunc('second', {expression})) AS bigint) * 1000000 \
             + CAST(extract(microseconds FROM {expression}) AS bigint) % 1000000)"
        ),
        Dialect::Redshift => since_1970("microsecond", expression, zone),
    }
}

/// The ms since 1970 UTC of an expression with a zone that holds whole ms, as a bigint.
pub(super) fn millis(dialect: Dialect, expression: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("{} / 1000", micros(dialect, expression, true)),
        Dialect::Redshift => since_1970("millisecond", expression, true),
    }
}

fn since_1970(part: &str, expression: &str, zone: bool) -> String {
    let of_utc = if zone { " AT TIME ZONE 'UTC'" } else { "" };
    format!("DATEDIFF({part}, TIMESTAMP '1970-01-01 00:00:00', {expression}{of_utc})")
}

#[cfg(test)]
mod tests {
    use super::super::super::history;
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_quotes() {
        assert_eq!(text(Dialect::Postgres, r"it's \"), r"'it''s \'");
        assert_eq!(text(Dialect::Redshift, r"it's \"), r"'it''s \\'");
    }

    #[test]
    fn instants_are_written_to_the_millisecond() {
        assert_eq!(instant(0), "TIMESTAMPTZ '1970-01-01 00:00:00.000+00'");
        assert_eq!(instant(1_795_190_458_007), "TIMESTAMPTZ '2026-11-20 16:00:58.007+00'");
        assert_eq!(instant(history::BEGINNING / 1000).replace(".000", ""), BEGINNING);
    }
}
