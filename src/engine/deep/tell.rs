//! What differs, in sentences: the table, the key, the column, what stands there and what should.
//!
//! Owns which rows are held against which, and the number of rows that are named.

use std::collections::{BTreeSet, HashMap, VecDeque};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use chrono::DateTime;

use super::super::Finding;
use super::expected::{Added, Expected};
use super::row::{Form, Row};
use crate::error::Result;
use crate::query::BEGINNING;
use crate::schema::{History, TableKind, VERSION_COLUMNS};

/// The rows of a table that are named; all are counted.
const NAMED: u64 = 10;

/// What differs in a table.
pub(super) struct Differences<'a> {
    form: &'a Form,
    rows: u64,
    sentences: Vec<String>,
}

impl<'a> Differences<'a> {
    pub(super) fn of(form: &'a Form) -> Self {
        Self { form, rows: 0, sentences: Vec::new() }
    }

    pub(super) fn findings(self) -> Vec<Finding> {
        let table = &self.form.spec.name;
        let total = (self.rows > NAMED)
            .then(|| format!("{table}: {} rows differ in all; the first {NAMED} are named above", self.rows));
        let sentences = self.sentences.into_iter().chain(total);
        sentences.map(|message| Finding { identity: "contents", message }).collect()
    }

    /// The rows of a key that should be there, and those that are.
    pub(super) fn pair(&mut self, expected: &[Expected], found: &[Row], late: bool) -> Result<()> {
        let keeps = self.keeps_history();
        let begins = |row: &Expected| row.added.filter(|_| keeps).map(|added| added.valid_from);
        let begun = |row: &Row| row.instant("valid_from").filter(|_| keeps);
        let mut left: Vec<Option<&Row>> = found.iter().map(Some).collect();
        // Of two rows of one key the one that is right is the one that should be there.
        let mut right: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (at, row) in found.iter().enumerate() {
            right.entry((begun(row), row.values())).or_default().push_back(at);
        }
        let mut unlike = Vec::new();
        for row in expected {
            let at = right.get_mut(&(begins(row), row.row.values())).and_then(VecDeque::pop_front);
            match at.and_then(|at| left[at].take()) {
                Some(other) => self.columns(row, other, late)?,
                None => unlike.push(row),
            }
        }
        // A row without a key is no other row's.
        let has_key = !self.form.spec.key.is_empty();
        let mut same: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (at, row) in left.iter().enumerate().filter_map(|(at, row)| Some((at, (*row)?))).filter(|_| has_key) {
            same.entry(begun(row)).or_default().push_back(at);
        }
        let mut missing = Vec::new();
        for row in unlike {
            let at = same.get_mut(&begins(row)).and_then(VecDeque::pop_front);
            match at.and_then(|at| left[at].take()) {
                Some(other) => self.columns(row, other, late)?,
                None => missing.push(row),
            }
        }
        // Where a row is missing and another is one too many, one became the other.
        let mut left = left.into_iter().flatten();
        for row in missing {
            match left.next() {
                None => self.add(&row.row, row.added.map(|added| added.valid_from), "is missing".to_owned()),
                Some(other) => self.columns(row, other, late)?,
            }
        }
        for other in left {
            let words = match expected.is_empty() {
                true => "is there, and no staged row puts it there",
                false => "is there once more than the staged rows put it there",
            };
            self.add(other, other.instant("valid_from"), words.to_owned());
        }
        Ok(())
    }

    /// Versions of which only the form is known: they join from the beginning, each was staged, the newest is open.
    pub(super) fn versions(&mut self, seen: &[Row], found: &[Row]) -> Result<()> {
        let staged: BTreeSet<&[u8]> = seen.iter().map(Row::told_attributes).collect();
        let newest = seen.iter().map(Row::arrived_at).max();
        let last: BTreeSet<&[u8]> =
            seen.iter().filter(|row| Some(row.arrived_at()) == newest).map(Row::told_attributes).collect();
        let Some(first) = seen.first() else { return Ok(()) };
        if found.is_empty() {
            self.add(first, None, "is missing".to_owned());
        }
        let starts: Vec<Option<i64>> = found.iter().map(|row| row.instant("valid_from")).collect();
        for (index, row) in found.iter().enumerate() {
            let valid_from = if index == 0 { BEGINNING } else { starts[index].unwrap_or_default() };
            let added = Added {
                surrogate_key: self.form.surrogate_key(row, valid_from)?,
                valid_from,
                valid_to: starts.get(index + 1).copied().flatten(),
                confirmed_at: 0,
            };
            let mut differences = self.added(&added, row, true);
            differences.extend(differing("is_inferred", row.flag("is_inferred"), Some(false)));
            let allowed = if index + 1 == found.len() { &last } else { &staged };
            if !allowed.contains(row.told_attributes()) {
                differences.push("its values are not those of the staged rows".to_owned());
            }
            self.differ(row, Some(valid_from), differences);
        }
        Ok(())
    }

    fn columns(&mut self, expected: &Expected, found: &Row, late: bool) -> Result<()> {
        let mut differences = Vec::new();
        let odd = (0..self.form.shared.len()).any(|column| found.is_odd(column));
        if odd || expected.row.values() != found.values() {
            for (column, field) in self.form.shared.iter().enumerate() {
                let name = field.name();
                let (should, is) = (expected.row.value(column), found.value(column));
                let same = self.form.agree(column, (&expected.row, found), late) && !found.is_odd(column);
                let open = late && name == VERSION_COLUMNS[1];
                if !(same || open) {
                    let is = if found.is_odd(column) { found.own(name).unwrap_or(is) } else { is };
                    differences.push(differs(name, &shown(&is), &shown(&should)));
                }
            }
        }
        if let Some(added) = &expected.added {
            // Of keys that are one to the warehouse the surrogate key is that of the one that stands there.
            let surrogate_key = self.form.surrogate_key(found, added.valid_from)?;
            let surrogate_key = if self.form.tells.pads_texts { surrogate_key } else { added.surrogate_key };
            differences.extend(self.added(&Added { surrogate_key, ..*added }, found, late));
            differences.extend(differing("is_inferred", found.flag("is_inferred"), Some(expected.row.is_inferred())));
        }
        self.differ(found, expected.added.map(|added| added.valid_from), differences);
        Ok(())
    }

    /// How what a load added differs.
    fn added(&self, added: &Added, found: &Row, late: bool) -> Vec<String> {
        let mut differences = Vec::new();
        differences.extend(differing("surrogate_key", found.number("surrogate_key"), Some(added.surrogate_key)));
        if !self.keeps_history() {
            return differences;
        }
        let is_current = added.valid_to.is_none();
        differences.extend(differing("is_current", found.flag("is_current"), Some(is_current)));
        let confirmed_at = (!late).then_some(("_confirmed_at", Some(added.confirmed_at)));
        let instants = [("valid_from", Some(added.valid_from)), ("valid_to", added.valid_to)];
        for (name, should) in instants.into_iter().chain(confirmed_at) {
            let is = found.instant(name);
            if is != should {
                differences.push(differs(name, &instant(is), &instant(should)));
            }
        }
        differences
    }

    fn keeps_history(&self) -> bool {
        self.form.spec.kind == TableKind::Dimension && self.form.spec.history == History::Keep
    }

    fn differ(&mut self, row: &Row, valid_from: Option<i64>, differences: Vec<String>) {
        if !differences.is_empty() {
            self.add(row, valid_from, differences.join("; "));
        }
    }

    fn add(&mut self, row: &Row, valid_from: Option<i64>, words: String) {
        self.rows += 1;
        if self.rows > NAMED {
            return;
        }
        let names = self.form.naming().into_iter();
        let mut names: Vec<String> =
            names.map(|column| format!("{} {}", self.form.shared[column].name(), shown(&row.value(column)))).collect();
        if let (true, Some(from)) = (self.keeps_history(), valid_from) {
            names.push(format!("valid_from {}", instant(Some(from))));
        }
        self.sentences.push(format!("{}, {}: {words}", self.form.spec.name, names.join(", ")));
    }
}

fn differs(name: &str, is: &str, should: &str) -> String {
    format!("{name} is {is} and should be {should}")
}

fn differing<T: PartialEq + ToString>(name: &str, is: Option<T>, should: Option<T>) -> Option<String> {
    let text = |value: &Option<T>| value.as_ref().map_or("null".to_owned(), ToString::to_string);
    (is != should).then(|| differs(name, &text(&is), &text(&should)))
}

fn instant(micros: Option<i64>) -> String {
    let Some(micros) = micros else { return "null".to_owned() };
    DateTime::from_timestamp_micros(micros)
        .map_or_else(|| format!("{micros} µs since 1970"), |instant| format!("{}", instant.format("%FT%T%.fZ")))
}

/// A value for a person: texts in quotes, with what is no letter escaped.
fn shown(value: &ArrayRef) -> String {
    match value.data_type() {
        _ if value.is_null(0) => "null".to_owned(),
        DataType::Utf8 => format!("{:?}", value.as_string::<i32>().value(0)),
        _ => array_value_to_string(value, 0).unwrap_or_else(|error| format!("unreadable ({error})")),
    }
}
