//! Faults of a pipeline's SQL, each with its place.
//!
//! Owns the way from DataFusion's errors to one sentence a person can act on. It decides nothing about what is a
//! fault: statement, columns, checks and tables do.

use std::path::PathBuf;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Location;

/// Something wrong with a pipeline that only planning its SQL finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanFault {
    /// From the pipeline's folder: `pipeline.toml` or an SQL file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// The file of checks and tables.
pub(super) const PIPELINE_FILE: &str = "pipeline.toml";

impl PlanFault {
    /// A fault of pipeline.toml, which says nothing about columns.
    pub(super) fn toml(line: usize, message: impl Into<String>) -> Self {
        Self { file: PIPELINE_FILE.into(), line, column: 1, message: message.into() }
    }

    /// A fault of an SQL file.
    pub(super) fn sql(file: &str, place: Option<Location>, message: impl Into<String>) -> Self {
        let (line, column) = place.map_or((1, 1), |place| (as_usize(place.line), as_usize(place.column)));
        Self { file: file.into(), line, column, message: message.into() }
    }
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).max(1)
}

/// The sentences of an error of DataFusion's planner, each with its place in the SQL where it has one.
pub(super) fn sentences(error: &DataFusionError) -> Vec<(Option<Location>, String)> {
    error.iter().map(sentence).collect()
}

/// The faults of an SQL file that an error of the planner tells of.
pub(super) fn located(file: &str, error: &DataFusionError) -> Vec<PlanFault> {
    sentences(error).into_iter().map(|(place, words)| PlanFault::sql(file, place, words)).collect()
}

fn sentence(error: &DataFusionError) -> (Option<Location>, String) {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span.map(|span| Location::new(span.start.line, span.start.column));
    match error.find_root() {
        DataFusionError::SchemaError(cause, _) => (place, schema_sentence(cause)),
        DataFusionError::SQL(cause, _) => parser_sentence(&cause.to_string()),
        root => (place, one_line(&root.message())),
    }
}

fn schema_sentence(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else {
        return one_line(&error.to_string());
    };
    let known: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
    let hint = nearest(&field.name, &known).map_or_else(String::new, |name| format!("did you mean {name:?}? "));
    format!("there is no column {:?}; {hint}known are {}", field.name, known.join(", "))
}

/// The known name that a misspelt one most likely stands for.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
    let best = known.iter().copied().min_by_key(distance)?;
    (distance(&best) <= 1 + name.chars().count() / 4).then_some(best)
}

/// sqlparser names the place at the end of its words only.
fn parser_sentence(text: &str) -> (Option<Location>, String) {
    let text = text.strip_prefix("sql parser error: ").unwrap_or(text);
    let found = text.rsplit_once(" at Line: ").and_then(|(words, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        Some((words, Location::new(line.trim().parse().ok()?, column.parse().ok()?)))
    });
    match found {
        Some((words, place)) => (Some(place), one_line(words)),
        None => (None, one_line(text)),
    }
}

/// The root of a run-time error in a few words.
pub(super) fn root_words(error: &DataFusionError) -> String {
    let message = error.find_root().message();
    let kinds =
        ["Cast error: ", "Compute error: ", "Parser error: ", "Arithmetic overflow: ", "Invalid argument error: "];
    one_line(kinds.iter().find_map(|kind| message.strip_prefix(kind)).unwrap_or(&message))
}

/// A sentence of DataFusion's on one line, in our case.
pub(super) fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return text };
    let rest = letters.as_str();
    // A word in capitals (CAST, SQL) stays as it is.
    let word = rest.starts_with(|letter: char| letter.is_lowercase());
    let first = if word { first.to_ascii_lowercase() } else { first };
    format!("{first}{}", rest.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_s_place_is_taken_out_of_its_words() {
        let (place, words) = parser_sentence("sql parser error: Expected: end, found: x at Line: 3, Column: 14");
        assert_eq!((place, words.as_str()), (Some(Location::new(3, 14)), "expected: end, found: x"));
        let (place, words) = parser_sentence("sql parser error: recursion limit exceeded");
        assert_eq!((place, words.as_str()), (None, "recursion limit exceeded"));
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["order_id", "order_value", "tip"];
        for (name, expected) in
            [("order_vlue", Some("order_value")), ("orderid", Some("order_id")), ("rider", None), ("tp", Some("tip"))]
        {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
    }

    #[test]
    fn words_of_others_become_one_line_of_ours() {
        for (theirs, ours) in [
            ("Invalid function 'x'.\nDid you mean 'y'?", "invalid function 'x'. Did you mean 'y'?"),
            ("CAST fails.", "CAST fails"),
            ("", ""),
        ] {
            assert_eq!(one_line(theirs), ours);
        }
    }
}
