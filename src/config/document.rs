//! A TOML file walked by hand, so that one reading finds every fault of it, each with its line and column.
//!
//! Owns the walk: sections, their keys, and the collected faults. It knows no key of a pipeline. The contract: whoever
//! holds a section asks it for every key that it may have and then finishes it, which refuses the others.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, place, suggestion};

/// A value with its place in the file.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// The text of a file, and the faults found in it so far.
pub(super) struct Document<'t> {
    file: PathBuf,
    text: &'t str,
    faults: RefCell<Vec<Fault>>,
}

impl<'t> Document<'t> {
    /// A document without faults.
    pub(super) fn new(file: &Path, text: &'t str) -> Self {
        Self { file: file.to_owned(), text, faults: RefCell::default() }
    }

    /// The file's tables; none, and one fault, where it is not TOML.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'t>>> {
        DeTable::parse(self.text)
            .map_err(|error| {
                let offset = error.span().map_or(0, |span| span.start);
                self.fault(offset, format!("this is not TOML: {}", error.message()));
            })
            .ok()
    }

    /// Adds a fault at a byte offset.
    pub(super) fn fault(&self, offset: usize, message: impl Into<String>) {
        let (line, column) = place(self.text, offset);
        self.push(Fault { file: self.file.clone(), line, column, message: message.into() });
    }

    /// Adds a fault of the whole file.
    pub(super) fn fault_of_file(&self, message: impl Into<String>) {
        self.push(Fault { file: self.file.clone(), line: 0, column: 0, message: message.into() });
    }

    /// Adds a fault of any file.
    pub(super) fn push(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        place(self.text, offset).0
    }

    /// The faults: this file's by place, then those of other files as they were found.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| match fault.file == self.file {
            true => (0, fault.line, fault.column),
            false => (1, 0, 0),
        });
        faults
    }

    /// Refuses the second and later of one name: `two tables are named "x"; the first is at line 3`.
    pub(super) fn refuse_twins<'n>(&self, what: &str, names: impl IntoIterator<Item = &'n Spanned<String>>) {
        let mut seen: Vec<&Spanned<String>> = Vec::new();
        for name in names {
            match seen.iter().find(|first| first.get_ref() == name.get_ref()) {
                Some(first) => {
                    let line = self.line(first.span().start);
                    let message = format!("two {what} are named {:?}; the first is at line {line}", name.get_ref());
                    self.fault(name.span().start, message);
                }
                None => seen.push(name),
            }
        }
    }
}

/// A table of the file, asked for its keys one by one.
pub(super) struct Section<'t> {
    /// Where its faults go.
    pub(super) document: &'t Document<'t>,
    /// The byte offset of its header, or of its opening brace.
    pub(super) offset: usize,
    label: &'static str,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// The whole file as a section.
    pub(super) fn root(document: &'t Document<'t>, table: &'t DeTable<'t>) -> Self {
        Self { document, offset: 0, label: "", table, known: Vec::new() }
    }

    /// The value of a key, where it is there.
    pub(super) fn find(&mut self, key: &'static str) -> Option<&'t Node<'t>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// The value of a key that may be absent, read; a fault where it does not read.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let node = self.find(key)?;
        match read(node.get_ref()) {
            Ok(value) => Some(Spanned::new(node.span(), value)),
            Err(message) => {
                self.refuse(key, node, &message);
                None
            }
        }
    }

    /// The value of a key that must be there; a fault where it is absent or does not read.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        if !self.table.contains_key(key) {
            self.document.fault(self.offset, format!("missing key {key:?}{}", self.place()));
        }
        self.optional(key, read)
    }

    /// The value of a key, or its default: where it is absent, or a fault where it does not read.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> T {
        self.optional(key, read).map_or(default, Spanned::into_inner)
    }

    /// The table under a key, labelled for messages.
    pub(super) fn section(&mut self, key: &'static str, label: &'static str) -> Option<Section<'t>> {
        let node = self.find(key)?;
        let section = enter(self.document, node, label);
        if section.is_none() {
            self.refuse(key, node, &format!("expected a table, {label}; found {}", found(node.get_ref())));
        }
        section
    }

    /// The array of tables under a key; empty where it is absent, none where there is something else.
    pub(super) fn sections(&mut self, key: &'static str, label: &'static str) -> Option<Vec<Section<'t>>> {
        let Some(node) = self.find(key) else { return Some(Vec::new()) };
        let Some(items) = node.get_ref().as_array() else {
            self.refuse(key, node, &format!("expected an array of tables, {label}; found {}", found(node.get_ref())));
            return None;
        };
        let sections: Vec<_> = items.iter().filter_map(|item| self.item(key, item, label)).collect();
        (sections.len() == items.len()).then_some(sections)
    }

    /// A value of this section that must be a table of its own.
    pub(super) fn item(&self, key: &str, node: &'t Node<'t>, label: &'static str) -> Option<Section<'t>> {
        let section = enter(self.document, node, label);
        if section.is_none() {
            self.refuse(key, node, &format!("expected a table, found {}", found(node.get_ref())));
        }
        section
    }

    /// Every key with its place and value, for a section whose keys the user chooses.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Spanned<String>, &'t Node<'t>)> + use<'t> {
        let table = self.table;
        table.iter().map(|(key, node)| (Spanned::new(key.span(), key.get_ref().to_string()), node))
    }

    /// A fault at a value of this section: `"key" in [[table]]: message`.
    pub(super) fn refuse(&self, key: &str, node: &Node<'_>, message: &str) {
        self.refuse_at(key, node.span().start, message);
    }

    /// A fault at a byte offset of this section.
    pub(super) fn refuse_at(&self, key: &str, offset: usize, message: &str) {
        self.document.fault(offset, format!("{key:?}{}: {message}", self.place()));
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries() {
            let name = key.get_ref();
            if !self.known.contains(&name.as_str()) {
                let near = suggestion(name, self.known.iter().copied());
                self.document.fault(key.span().start, format!("unknown key {name:?}{}{near}", self.place()));
            }
        }
    }

    fn place(&self) -> String {
        if self.label.is_empty() { String::new() } else { format!(" in {}", self.label) }
    }
}

/// What a value is, with its article: `a string`, `an integer`.
pub(super) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn enter<'t>(document: &'t Document<'t>, node: &'t Node<'t>, label: &'static str) -> Option<Section<'t>> {
    let table = node.get_ref().as_table()?;
    Some(Section { document, offset: node.span().start, label, table, known: Vec::new() })
}
