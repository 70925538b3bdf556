//! What may be sent to the Data API as a question: it has no transaction that may only read.
//!
//! Owns the look at a statement's words, outside quotes and comments. Pure. It stops a mistake, not an adversary: rights
//! are the database's.

use crate::error::{Error, Result};

/// The words that a question begins with.
const QUESTIONS: [&str; 4] = ["select", "with", "show", "explain"];

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("it says nothing")]
    Empty,
    #[error("it begins with {0}")]
    Beginning(String),
    #[error("it holds more than one statement")]
    Several,
    #[error("SELECT … INTO makes a table")]
    Into,
}

/// # Errors
/// Invalid where it is more than one statement, or one that does not only read.
pub(super) fn check(sql: &str) -> Result<()> {
    refusal(sql).map_or(Ok(()), |refusal| {
        Err(Error::invalid(format!(
            "through the data api only one statement that reads is run, beginning with SELECT, WITH, SHOW or EXPLAIN: \
             {refusal}"
        )))
    })
}

fn refusal(sql: &str) -> Option<Refusal> {
    let words = words(sql);
    let Some(first) = words.first() else { return Some(Refusal::Empty) };
    if !QUESTIONS.contains(&first.as_str()) {
        return Some(Refusal::Beginning(first.to_uppercase()));
    }
    let end = words.iter().position(|word| word == ";");
    if end.is_some_and(|end| words[end..].iter().any(|word| word != ";")) {
        return Some(Refusal::Several);
    }
    words.iter().any(|word| word == "into").then_some(Refusal::Into)
}

/// The words in lower case and the semicolons, without what stands in quotes and comments. A quoted part is `''`.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        rest = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            after_comment(comment)
        } else if letter == '\'' || letter == '"' {
            words.push("''".to_owned());
            after_quotes(rest, letter)
        } else if is_of_a_word(letter) {
            let end = rest.find(|letter| !is_of_a_word(letter)).unwrap_or(rest.len());
            words.push(rest[..end].to_lowercase());
            &rest[end..]
        } else {
            if letter == ';' {
                words.push(";".to_owned());
            } else if !letter.is_whitespace() && words.is_empty() && letter != '(' {
                words.push(letter.to_string());
            }
            &rest[letter.len_utf8()..]
        };
    }
    words
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// What follows a comment that has begun; they nest.
fn after_comment(mut rest: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        match (rest.find("/*"), rest.find("*/")) {
            (Some(opening), Some(closing)) if opening < closing => {
                depth += 1;
                rest = &rest[opening + 2..];
            }
            (_, Some(closing)) => {
                depth -= 1;
                rest = &rest[closing + 2..];
            }
            (_, None) => return "",
        }
    }
    rest
}

/// What follows a quoted part. A doubled quote begins another one at once, and in a text a backslash escapes.
fn after_quotes(quoted: &str, quote: char) -> &str {
    let mut letters = quoted.char_indices().skip(1);
    while let Some((place, letter)) = letters.next() {
        if letter == '\\' && quote == '\'' {
            letters.next();
        } else if letter == quote {
            return &quoted[place + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn questions_are_let_through() {
        for sql in [
            "SELECT 1",
            "  select * from t ;  ",
            "-- a note\nSELECT 1",
            "/* a /* nested */ note */ with a as (select 1) select * from a",
            "(SELECT 1) UNION (SELECT 2)",
            "SHOW TABLES FROM SCHEMA dev.public",
            "explain select 1",
            "SELECT 'x; DROP TABLE t', \"into\", 'it''s; into', 'a\\'; into' FROM t -- ; DROP",
            "SELECT intolerance FROM t",
        ] {
            check(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    #[test]
    fn all_else_is_refused_with_the_reason() {
        let cases = [
            ("", Refusal::Empty),
            ("-- SELECT 1", Refusal::Empty),
            ("/* SELECT 1", Refusal::Empty),
            ("DROP TABLE t", Refusal::Beginning("DROP".to_owned())),
            ("/* x */ delete from t", Refusal::Beginning("DELETE".to_owned())),
            ("'select'", Refusal::Beginning("''".to_owned())),
            ("; select 1", Refusal::Beginning(";".to_owned())),
            ("SELECT 1; DROP TABLE t", Refusal::Several),
            ("SELECT 'a'; --\n DROP TABLE t", Refusal::Several),
            ("SELECT 'a\\\\'; DROP TABLE t", Refusal::Several),
            ("SELECT * INTO copy FROM t", Refusal::Into),
        ];
        for (sql, expected) in cases {
            assert_eq!(refusal(sql), Some(expected), "{sql}");
            assert_eq!(check(sql).expect_err(sql).kind(), ErrorKind::Invalid);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fall(sql in "[a-z'\"\\\\/*;\\- \nä]{0,40}") {
            let _ = check(&sql);
        }
    }
}
