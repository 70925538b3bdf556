//! A fault of a pipeline's folder: a file, a place in it, a sentence.
//!
//! Owns how faults look, how they become one error, and what "did you mean" finds near. It knows no key and no file.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;

/// What is wrong with a pipeline, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, led by the folder as the user named it.
    pub file: PathBuf,
    /// The line, from 1; 0 where the fault has none.
    pub line: usize,
    /// The column in characters, from 1; 0 where the fault has none.
    pub column: usize,
    /// The sentence: lower case, no full stop, on one line.
    pub message: String,
}

/// All faults as one Invalid error: their number, then one a line. To be called with at least one.
pub fn refuse(faults: &[Fault]) -> Error {
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        many => format!("{many} faults"),
    };
    let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    Error::invalid(format!("the pipeline has {count}; nothing was written:{lines}"))
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(formatter, "{}:", self.line)?;
        }
        if self.line > 0 && self.column > 0 {
            write!(formatter, "{}:", self.column)?;
        }
        write!(formatter, " {}", self.message.replace('\n', " "))
    }
}

/// Line and column (in characters, both from 1) of a byte offset.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// `; did you mean "x"?` with the nearest of the known names, or all of them where none is near.
pub(super) fn suggestion<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, &known) {
        Some(near) => format!("; did you mean {near:?}?"),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// The known name at the fewest edits, where these are at most half of the longer name or one begins with the other.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let name = name.to_lowercase();
    let distance = |other: &str| {
        let other = other.to_lowercase();
        let edits = strsim::damerau_levenshtein(&name, &other);
        let bound = name.chars().count().max(other.chars().count()) / 2;
        let begins = !name.is_empty() && (name.starts_with(&other) || other.starts_with(&name));
        if begins { (false, edits.min(bound)) } else { (edits > bound, edits) }
    };
    let near = known.iter().copied().min_by_key(|other| distance(other))?;
    let (too_far, _) = distance(near);
    (!too_far).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn fault(line: usize, column: usize) -> Fault {
        Fault { file: "p/pipeline.toml".into(), line, column, message: "it\nis wrong".into() }
    }

    #[test]
    fn a_fault_tells_as_much_of_its_place_as_is_known() {
        assert_eq!(fault(12, 3).to_string(), "p/pipeline.toml:12:3: it is wrong");
        assert_eq!(fault(12, 0).to_string(), "p/pipeline.toml:12: it is wrong");
        assert_eq!(fault(0, 0).to_string(), "p/pipeline.toml: it is wrong");
    }

    #[test]
    fn faults_are_refused_together_and_counted() {
        let one = refuse(&[fault(1, 1)]);
        assert_eq!(one.kind(), ErrorKind::Invalid);
        assert_eq!(
            one.to_string(),
            "the pipeline has 1 fault; nothing was written:\n  p/pipeline.toml:1:1: it is wrong"
        );
        let two = refuse(&[fault(1, 1), fault(2, 1)]).to_string();
        assert!(two.starts_with("the pipeline has 2 faults;"), "{two}");
        assert_eq!(two.lines().count(), 3);
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\nä = ö\n";
        let cases = [(0, (1, 1)), (4, (1, 5)), (6, (2, 1)), (11, (2, 5)), (14, (3, 1)), (99, (3, 1)), (7, (3, 1))];
        for (offset, expected) in cases {
            assert_eq!(place(text, offset), expected, "offset {offset}");
        }
        assert_eq!(place("", 0), (1, 1));
    }

    #[test]
    fn the_nearest_name_is_suggested_or_all_where_none_is_near() {
        let known = ["name", "kind", "column"];
        assert_eq!(suggestion("colour", known), "; did you mean \"column\"?");
        assert_eq!(suggestion("Kind", known), "; did you mean \"kind\"?");
        assert_eq!(suggestion("nmae", known), "; did you mean \"name\"?");
        assert_eq!(suggestion("column_name_of_it", known), "; did you mean \"column\"?");
        assert_eq!(suggestion("", known), "; known are name, kind, column");
        assert_eq!(suggestion("freshness", known), "; known are name, kind, column");
        assert_eq!(suggestion("x", []), "");
    }
}
