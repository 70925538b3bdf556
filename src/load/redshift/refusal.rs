//! What Redshift's own words say about trying again.
//!
//! Owns the reading of refusals that come as a sentence and no more (the Data API), or whose code says too little (1023
//! comes as an internal error). Pure.

/// What two loads, or a load and a person, do to each other; and what a service says that is busy.
const PASSING: [&str; 12] = [
    "serializable isolation violation",
    "could not serialize access",
    "concurrent update",
    "deadlock detected",
    "sqlstate: 40001",
    "slowdown",
    "slow down",
    "service unavailable",
    "internal error encountered. please try again",
    "connection to the server was lost",
    "terminating connection",
    "system requested abort",
];

/// The number of a serialization failure, where a refusal begins with it.
const SERIALIZATION_FAILURE: &str = "1023";

/// Whether the same again may succeed.
pub(super) fn passes(words: &str) -> bool {
    let lower = words.to_lowercase();
    let said = lower.trim_start().strip_prefix("error:").unwrap_or(&lower).trim_start();
    let number = said.split(|letter: char| !letter.is_ascii_digit()).next();
    PASSING.iter().any(|passing| lower.contains(passing)) || number == Some(SERIALIZATION_FAILURE)
}

/// Whether a guard found another number.
pub(super) fn is_division_by_zero(words: &str) -> bool {
    let lower = words.to_lowercase();
    lower.contains("division by zero") || lower.contains("divide by zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_pass_and_refusals_do_not() {
        let cases = [
            ("ERROR: 1023 Serializable isolation violation on table - 100", true),
            ("ERROR: 1023", true),
            ("ERROR: could not serialize access due to concurrent update", true),
            ("ERROR: deadlock detected", true),
            ("ERROR: S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown", true),
            ("ERROR: relation \"fact_orders\" does not exist", false),
            ("ERROR: value 1023 is too long for type character varying(3)", false),
            ("1023", true),
            ("the column has 1023 bytes", false),
            ("ERROR: permission denied for schema food", false),
            ("ERROR: 10230 rows", false),
        ];
        for (words, expected) in cases {
            assert_eq!(passes(words), expected, "{words}");
        }
    }

    #[test]
    fn a_guard_speaks_on_the_leader_and_on_the_nodes() {
        assert!(is_division_by_zero("ERROR: division by zero"));
        assert!(is_division_by_zero("ERROR:  Divide by zero"));
        assert!(!is_division_by_zero("ERROR: syntax error at or near \"zero\""));
    }
}
