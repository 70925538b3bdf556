//! The tables of the star schema, as pipeline.toml declares them, with the SQL files they name.
//!
//! Owns `[[table]]`: its keys, its input, its references, and which names are taken; `layout` reads how wide its columns
//! are and how Redshift lays it out. What the SQL yields is clean's to
//! find. The contract: a table that SQL planning can go on with is handed on, however faulty the rest of it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::document::{Document, Section};
use super::fault::suggestion;
use super::fields::{PathKind, read_fields, required_name};
use super::files::{dimension_readable, sql_of_table};
use super::layout::{read_layout, read_widths};
use super::model::{Input, Table};
use super::values::{boolean, column_fault, day, filled_text, name_fault, one_of, texts};
use crate::schema::{History, TableKind, TableLayout};

/// The relations of `millstream query` that are no tables.
const RESERVED_TABLES: [&str; 3] = ["rejects", "journal", "ledger"];

/// The most days that a table of dates holds: some 270 years.
const MAX_DAYS: i64 = 100_000;

/// The tables as read.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Those whose SQL can be planned, in the file's order, each name once.
    pub(super) tables: Vec<Table>,
    /// Every declared name; none where one could not be read.
    pub(super) names: Option<Vec<String>>,
}

/// A table before its references are followed.
struct Draft {
    name: Option<Spanned<String>>,
    kind: Option<TableKind>,
    key: Option<Vec<String>>,
    history: History,
    references: Vec<(String, Spanned<String>)>,
    widths: BTreeMap<String, u32>,
    layout: TableLayout,
    input: Option<Input>,
    sql: Option<String>,
    line: usize,
}

/// Reads the sections of tables; `None` stands for what could not be read as sections.
pub(super) fn read_tables(document: &Document<'_>, folder: &Path, sections: Option<Vec<Section<'_>>>) -> Tables {
    let Some(sections) = sections else { return Tables::default() };
    if sections.is_empty() {
        document.fault_of_file("there is no [[table]]: a pipeline fills at least one");
    }
    let drafts: Vec<Draft> = sections.into_iter().map(|section| read_draft(section, folder)).collect();
    document.refuse_twins("tables", drafts.iter().filter_map(|draft| draft.name.as_ref()));
    for (column, dimension) in drafts.iter().flat_map(|draft| &draft.references) {
        follow(document, &drafts, column, dimension);
    }
    let names = drafts.iter().map(|draft| draft.name.as_ref().map(|name| name.get_ref().clone())).collect();
    let mut tables: Vec<Table> = Vec::new();
    for table in drafts.into_iter().filter_map(Draft::into_table) {
        if tables.iter().all(|other| other.name != table.name) {
            tables.push(table);
        }
    }
    Tables { tables, names }
}

impl Draft {
    /// The table, where it has what planning its SQL needs.
    fn into_table(self) -> Option<Table> {
        let name = self.name?.into_inner();
        Some(Table {
            sql_path: PathBuf::from(format!("{name}.sql")),
            name,
            kind: self.kind.unwrap_or(TableKind::Fact),
            key: self.key.unwrap_or_default(),
            history: self.history,
            references: self.references.into_iter().map(|(column, name)| (column, name.into_inner())).collect(),
            widths: self.widths,
            layout: self.layout,
            input: self.input?,
            sql: self.sql?,
            line: self.line,
        })
    }
}

fn read_draft(mut section: Section<'_>, folder: &Path) -> Draft {
    let name = required_name(&mut section);
    let kinds = [("fact", TableKind::Fact), ("dimension", TableKind::Dimension)];
    let kind = section.required("kind", one_of(&kinds)).map(Spanned::into_inner);
    let key = read_key(&mut section, kind);
    let history = read_history(&mut section, kind);
    let references = read_references(&mut section, kind);
    let widths = read_widths(&mut section);
    let layout = read_layout(&mut section);
    let input = read_input(&mut section, folder, kind);
    let line = section.document.line(section.offset);
    let sql = name.as_ref().and_then(|name| read_sql(&section, folder, name));
    section.finish();
    Draft { name, kind, key, history, references, widths, layout, input, sql, line }
}

fn read_sql(section: &Section<'_>, folder: &Path, name: &Spanned<String>) -> Option<String> {
    if name_fault(name.get_ref()).is_some() {
        return None;
    }
    if RESERVED_TABLES.contains(&name.get_ref().as_str()) {
        let message = format!("{:?} is what `millstream query` calls a relation of its own", name.get_ref());
        section.refuse_at("name", name.span().start, &message);
        return None;
    }
    sql_of_table(section.document, folder, name.get_ref(), section.offset)
}

/// The key's columns; none where they are refused. A fact may have none: it only grows.
fn read_key(section: &mut Section<'_>, kind: Option<TableKind>) -> Option<Vec<String>> {
    let node = section.find("key");
    if node.is_none() && kind == Some(TableKind::Dimension) {
        section.document.fault(section.offset, "missing key \"key\" in [[table]]: a dimension's rows need a name");
    }
    if node.is_none() {
        return (kind == Some(TableKind::Fact)).then(Vec::new);
    }
    let key = section.optional("key", texts)?;
    let offset = key.span().start;
    let columns = key.into_inner();
    if columns.is_empty() && kind == Some(TableKind::Dimension) {
        section.refuse_at("key", offset, "a dimension's rows need a name: give at least one column");
        return None;
    }
    for (index, column) in columns.iter().enumerate() {
        if columns.iter().take(index).any(|earlier| earlier == column) {
            section.refuse_at("key", offset, &format!("{column:?} stands twice"));
        } else if let Some(message) = column_fault(column) {
            section.refuse_at("key", offset, &message);
        }
    }
    Some(columns)
}

fn read_history(section: &mut Section<'_>, kind: Option<TableKind>) -> History {
    let histories = [("overwrite", History::Overwrite), ("keep", History::Keep)];
    let Some(history) = section.optional("history", one_of(&histories)) else { return History::Overwrite };
    if kind == Some(TableKind::Fact) {
        section.refuse_at("history", history.span().start, "only a dimension has a history");
        return History::Overwrite;
    }
    history.into_inner()
}

/// `references = { column = "dimension" }`: those that read, with the place of the dimension's name.
fn read_references(section: &mut Section<'_>, kind: Option<TableKind>) -> Vec<(String, Spanned<String>)> {
    let Some(references) = section.section("references", "references = { column = \"dimension\" }") else {
        return Vec::new();
    };
    if kind == Some(TableKind::Dimension) {
        section.refuse_at("references", references.offset, "only a fact refers to dimensions");
        return Vec::new();
    }
    let mut found = Vec::new();
    for (column, node) in references.entries() {
        if let Some(message) = column_fault(column.get_ref()) {
            section.refuse_at("references", column.span().start, &message);
        }
        match filled_text(node.get_ref()) {
            Ok(dimension) => found.push((column.into_inner(), Spanned::new(node.span(), dimension))),
            Err(message) => section.refuse("references", node, &message),
        }
    }
    found
}

/// Sees that a referenced dimension is one, with one key column.
fn follow(document: &Document<'_>, drafts: &[Draft], column: &str, dimension: &Spanned<String>) {
    let name = dimension.get_ref();
    let named = |draft: &&Draft| draft.name.as_ref().is_some_and(|other| other.get_ref() == name);
    let offset = dimension.span().start;
    let Some(draft) = drafts.iter().find(named) else {
        let dimensions = drafts.iter().filter(|draft| draft.kind == Some(TableKind::Dimension));
        let names = dimensions.filter_map(|draft| draft.name.as_ref()).map(|name| name.get_ref().as_str());
        let near = suggestion(name, names);
        return document.fault(offset, format!("{column:?} refers to {name:?}, which is no table here{near}"));
    };
    if draft.kind == Some(TableKind::Fact) {
        return document.fault(offset, format!("{column:?} refers to {name:?}, which is a fact, not a dimension"));
    }
    if let Some(count) = draft.key.as_ref().map(Vec::len).filter(|count| *count != 1) {
        let message = format!("{column:?} refers to {name:?}, whose key has {count} columns; it must have exactly one");
        document.fault(offset, message);
    }
}

/// What the SQL reads; none where that cannot be told.
fn read_input(section: &mut Section<'_>, folder: &Path, kind: Option<TableKind>) -> Option<Input> {
    let has_file = section.find("from").is_some();
    let outside = section.optional("allow_outside", boolean);
    if let (false, Some(outside)) = (has_file, &outside) {
        section.refuse_at("allow_outside", outside.span().start, "only a table with \"from\" reads a file");
    }
    let allow_outside = outside.is_some_and(Spanned::into_inner);
    let dates = section.find("dates").map(|node| node.span().start);
    let fields = section.sections("field", "[[table.field]]");
    let first_field = fields.as_ref().and_then(|fields| fields.first()).map(|field| field.offset);
    if kind == Some(TableKind::Fact) && (has_file || dates.is_some()) {
        let key = if has_file { "from" } else { "dates" };
        section
            .document
            .fault(section.offset, format!("{key:?} in [[table]]: only a dimension has one; a fact reads events"));
    }
    if let (true, Some(offset)) = (has_file, dates) {
        section.refuse_at("dates", offset, "a table reads a file (\"from\") or days (\"dates\"), not both");
    }
    if let (false, Some(offset)) = (has_file, first_field) {
        section.refuse_at(
            "field",
            offset,
            "only a table with \"from\" declares fields; the others read those of the event",
        );
    }
    if dates.is_some() {
        return read_dates(section);
    }
    let fields = read_fields(fields, PathKind::Heading);
    if !has_file {
        return Some(Input::Events);
    }
    if fields.complete && fields.fields.is_empty() {
        section
            .document
            .fault(section.offset, "a table with \"from\" needs a [[table.field]] for each column that it reads");
        return None;
    }
    let path = section.optional("from", filled_text)?;
    if let Err(message) = dimension_readable(folder, path.get_ref(), allow_outside) {
        section.refuse_at("from", path.span().start, &message);
    }
    let path = PathBuf::from(path.into_inner());
    fields.complete.then_some(Input::File { path, allow_outside, fields: fields.fields })
}

fn read_dates(section: &mut Section<'_>) -> Option<Input> {
    let mut dates = section.section("dates", "dates = { from = 2023-01-01, through = 2028-12-31 }")?;
    let from = dates.required("from", day);
    let through = dates.required("through", day);
    dates.finish();
    let (from, through) = (from?, through?);
    if from.get_ref() > through.get_ref() {
        let message = format!("the last day, {}, is before the first, {}", through.get_ref(), from.get_ref());
        section.refuse_at("dates", through.span().start, &message);
    } else if (*through.get_ref() - *from.get_ref()).num_days() > MAX_DAYS {
        let message = format!("from {} through {} are over {MAX_DAYS} days", from.get_ref(), through.get_ref());
        section.refuse_at("dates", through.span().start, &message);
    }
    Some(Input::Dates { from: from.into_inner(), through: through.into_inner() })
}
