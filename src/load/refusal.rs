//! What a server's refusal says about trying again: one list, whichever way the refusal came.
//!
//! Over the wire a refusal has a code and words, from the Data API words alone; Redshift gives many of its own the code of
//! an internal error, and says the rest in words. Owns both lists. Pure.

/// The classes and codes (SQLSTATE) of refusals that pass: lost connections, conflicts, too few resources, a server that
/// stops or starts, another's lock, a cancelled statement, a transaction that was ended as idle or too long, a failing disk.
const PASSING_CODES: [&str; 11] = ["08", "40", "53", "57P", "55P03", "57014", "25P03", "25P04", "55006", "58", "72"];

/// The class of internal errors. Only there do the words decide: elsewhere they may repeat what the data says.
const INTERNAL: &str = "XX";

/// What two transactions that are in each other's way are told.
const CONFLICTS: [&str; 6] = [
    "serializable isolation violation",
    "could not serialize access",
    "concurrent update",
    "tuple concurrently ",
    "deadlock detected",
    "sqlstate: 40001",
];

/// What a service says that is busy, or goes away.
const PASSING: [&str; 6] = [
    "slowdown",
    "slow down",
    "service unavailable",
    "try again",
    "connection to the server was lost",
    "terminating connection",
];

/// The same, of a transaction that the system ended for its own reasons.
const ABORTED: &str = "system requested abort";

/// The number of a serialization failure, where a refusal begins with it.
const SERIALIZATION_FAILURE: &str = "1023";

/// Whether the same again may succeed after a refusal with this code.
pub(super) fn passes(code: &str, words: &str) -> bool {
    PASSING_CODES.iter().any(|passing| code.starts_with(passing)) || (code.starts_with(INTERNAL) && words_pass(words))
}

/// Whether two transactions were in each other's way; neither was committed.
pub(super) fn is_conflict(code: &str, words: &str) -> bool {
    code.starts_with("40") || (code.starts_with(INTERNAL) && words_conflict(words))
}

/// Whether the same again may succeed after a refusal that came without a code.
pub(super) fn words_pass(words: &str) -> bool {
    let lower = words.to_lowercase();
    words_conflict(words) || lower.contains(ABORTED) || PASSING.iter().any(|passing| lower.contains(passing))
}

fn words_conflict(words: &str) -> bool {
    let lower = words.to_lowercase();
    let said = lower.trim_start().strip_prefix("error:").unwrap_or(&lower).trim_start();
    let number = said.split(|letter: char| !letter.is_ascii_digit()).next();
    CONFLICTS.iter().any(|conflict| lower.contains(conflict)) || number == Some(SERIALIZATION_FAILURE)
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
            ("ERROR: tuple concurrently updated", true),
            ("ERROR: S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown", true),
            ("ERROR: internal error, please try again", true),
            ("ERROR: relation \"fact_orders\" does not exist", false),
            ("ERROR: value 1023 is too long for type character varying(3)", false),
            ("1023", true),
            ("the column has 1023 bytes", false),
            ("ERROR: permission denied for schema food", false),
            ("ERROR: 10230 rows", false),
        ];
        for (words, expected) in cases {
            assert_eq!(words_pass(words), expected, "{words}");
        }
    }

    #[test]
    fn words_decide_where_the_code_says_nothing() {
        let cases = [
            ("40P01", "deadlock detected", true, true),
            ("XX000", "1023 DETAIL: Serializable isolation violation on table", true, true),
            ("XX000", "internal error, please try again", true, false),
            ("XX000", "S3ServiceException: Please reduce your request rate., Status 503, Error SlowDown", true, false),
            ("XX000", "could not open relation", false, false),
            ("XX000", "tuple concurrently updated", true, true),
            ("XX000", "tuple concurrently deleted", true, true),
            ("25P03", "terminating connection due to idle-in-transaction timeout", true, false),
            ("25P04", "terminating connection due to transaction timeout", true, false),
            ("25P02", "current transaction is aborted", false, false),
            ("57P01", "terminating connection due to administrator command", true, false),
            ("22001", "value \"please try again\" is too long", false, false),
            ("42501", "permission denied for table deadlock detected", false, false),
        ];
        for (code, words, passing, conflict) in cases {
            assert_eq!((passes(code, words), is_conflict(code, words)), (passing, conflict), "{code} {words}");
        }
    }

    #[test]
    fn a_guard_speaks_on_the_leader_and_on_the_nodes() {
        assert!(is_division_by_zero("ERROR: division by zero"));
        assert!(is_division_by_zero("ERROR:  Divide by zero"));
        assert!(!is_division_by_zero("ERROR: syntax error at or near \"zero\""));
    }
}
