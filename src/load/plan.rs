//! What one load brings into a warehouse that speaks SQL, as data.
//!
//! Owns which files go into which table, in which COPY, and which dimensions the load's facts point at. Pure: it reads
//! nothing and knows no SQL; `script` says it in SQL.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::protocol::check_entries;
use super::shape::{Shape, Style, sql_type};
use crate::batch::{DataFile, Entry};
use crate::error::{Error, Result};

/// One try at a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// The load's own id.
    pub(super) id: String,
    /// The pipeline.
    pub(super) pipeline: String,
    /// When it starts, ms since 1970 UTC.
    pub(super) loaded_at: i64,
}

/// One load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LoadPlan {
    /// The load's own id: by it a load whose answer was lost is found again in the ledger.
    pub(super) id: String,
    /// The pipeline.
    pub(super) pipeline: String,
    /// The entry that the warehouse holds before.
    pub(super) after: u64,
    /// The entry that it holds then.
    pub(super) through: u64,
    /// The attempt that wrote the entry `through`.
    pub(super) attempt: String,
    /// When the load starts, ms since 1970 UTC.
    pub(super) loaded_at: i64,
    /// The tables that change, in the order of the shapes: dimensions, then facts.
    pub(super) tables: Vec<TableLoad>,
}

/// What a load does to one table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TableLoad {
    /// The table.
    pub(super) shape: Arc<Shape>,
    /// Its staged files; none where facts alone touch this dimension.
    pub(super) copies: Vec<Copy>,
    /// For a dimension: the columns of this load's facts that point at it, each after the fact's table.
    pub(super) pointed_at: Vec<(String, String)>,
}

/// Files of one table that hold the same columns in the same order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copy {
    /// The table.
    pub(super) table: String,
    /// Where they stand in the load: it tells the manifests of a load apart.
    pub(super) number: usize,
    /// The columns of the files, in their order.
    pub(super) columns: SchemaRef,
    /// In journal order.
    pub(super) files: Vec<StagedFile>,
}

/// A staged file, with the entry that names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StagedFile {
    /// The entry's number.
    pub(super) entry: u64,
    /// The file.
    pub(super) file: DataFile,
}

impl LoadPlan {
    /// What a load of these entries does. `columns` has the columns of staged files by their paths; a file that is not
    /// in it has those of its table.
    ///
    /// # Errors
    /// As [`check_entries`]; Invalid where a file's columns are not its table's.
    pub(super) fn new(
        shapes: &[Arc<Shape>],
        entries: &[Arc<Entry>],
        columns: &HashMap<String, SchemaRef>,
        attempt: Attempt,
    ) -> Result<Self> {
        let (first, through) = check_entries(&attempt.pipeline, shapes, entries)?;
        let mut tables = Vec::new();
        let mut number = 0;
        for shape in shapes {
            let copies = copies(shape, entries, columns, &mut number)?;
            tables.push(TableLoad { shape: Arc::clone(shape), copies, pointed_at: Vec::new() });
        }
        let pointed_at: Vec<_> = shapes.iter().map(|shape| pointed_at(shape, &tables)).collect();
        for (table, pointed_at) in tables.iter_mut().zip(pointed_at) {
            table.pointed_at = pointed_at;
        }
        tables.retain(|table| !table.copies.is_empty() || !table.pointed_at.is_empty());
        Ok(Self {
            id: attempt.id,
            pipeline: attempt.pipeline,
            after: first - 1,
            through,
            attempt: entries.last().map(|entry| entry.attempt.clone()).unwrap_or_default(),
            loaded_at: attempt.loaded_at,
            tables,
        })
    }

    /// Rows of the staged files, by table: what the receipt says was copied.
    pub(super) fn copied(&self) -> BTreeMap<String, u64> {
        let with_files = self.tables.iter().filter(|table| !table.copies.is_empty());
        with_files.map(|table| (table.shape.name.clone(), table.rows())).collect()
    }
}

impl TableLoad {
    /// Whether its rows come into a temp table first: rows of a fact without a key need none, unless the members that
    /// they point at are looked up in it.
    pub(super) fn is_staged(&self) -> bool {
        let straight = self.shape.style == Style::Append && self.shape.references.is_empty();
        !self.copies.is_empty() && !straight
    }

    /// Rows of all its files, as the journal says.
    pub(super) fn rows(&self) -> u64 {
        self.copies.iter().map(Copy::rows).sum()
    }
}

impl Copy {
    /// Rows of its files, as the journal says.
    pub(super) fn rows(&self) -> u64 {
        self.files.iter().map(|staged| staged.file.rows).sum()
    }
}

/// A table's files, one copy for those that hold the same columns.
fn copies(
    shape: &Shape,
    entries: &[Arc<Entry>],
    columns: &HashMap<String, SchemaRef>,
    number: &mut usize,
) -> Result<Vec<Copy>> {
    let mut copies: Vec<Copy> = Vec::new();
    for entry in entries {
        for file in entry.tables.get(&shape.name).into_iter().flatten() {
            let found = columns.get(&file.path).unwrap_or(&shape.staged);
            let staged = StagedFile { entry: entry.number, file: file.clone() };
            if let Some(copy) = copies.iter_mut().find(|copy| same_columns(&copy.columns, found)) {
                copy.files.push(staged);
                continue;
            }
            check_columns(shape, found, &staged)?;
            *number += 1;
            let (table, columns) = (shape.name.clone(), Arc::clone(found));
            copies.push(Copy { table, number: *number, columns, files: vec![staged] });
        }
    }
    Ok(copies)
}

/// The columns of this load's facts that point at a table.
fn pointed_at(dimension: &Shape, tables: &[TableLoad]) -> Vec<(String, String)> {
    let facts = tables.iter().filter(|table| !table.copies.is_empty());
    let columns = facts.flat_map(|table| table.shape.references.iter().map(move |reference| (table, reference)));
    let columns = columns.filter(|(_, reference)| reference.dimension == dimension.name);
    columns.map(|(table, reference)| (table.shape.name.clone(), reference.column.clone())).collect()
}

/// Whether every column of a file is one of its table, and those that are never null are there.
fn check_columns(shape: &Shape, found: &Schema, staged: &StagedFile) -> Result<()> {
    let refused = |fault: String| {
        let (entry, path, table) = (staged.entry, &staged.file.path, &shape.name);
        Err(Error::invalid(format!(
            "entry {entry} of the journal: the staged file {path} {fault}; the load did not begin: give the table \
             {table} the columns that it had until this entry is loaded"
        )))
    };
    for field in found.fields() {
        let (name, holds) = (field.name(), sql_type(field.data_type()));
        match shape.staged.field_with_name(name) {
            Err(_) => return refused(format!("has a column {name} {holds}, which the pipeline does not have")),
            Ok(wanted) if !same_type(wanted.data_type(), field.data_type()) => {
                let wanted = sql_type(wanted.data_type());
                return refused(format!("has a column {name} {holds}, which the pipeline has as {wanted}"));
            }
            Ok(_) => {}
        }
    }
    let missing = |field: &&Arc<Field>| !field.is_nullable() && found.field_with_name(field.name()).is_err();
    match shape.staged.fields().iter().find(missing) {
        Some(field) => refused(format!("lacks the column {}, which is never null", field.name())),
        None => Ok(()),
    }
}

fn same_columns(left: &SchemaRef, right: &SchemaRef) -> bool {
    Arc::ptr_eq(left, right) || same_fields(left.fields(), right.fields())
}

fn same_fields(left: &[Arc<Field>], right: &[Arc<Field>]) -> bool {
    let same = |(left, right): (&Arc<Field>, &Arc<Field>)| {
        left.name() == right.name() && same_type(left.data_type(), right.data_type())
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

/// Whether the types are the same; what a list's item is called is no matter.
fn same_type(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::List(left), DataType::List(right)) => same_type(left.data_type(), right.data_type()),
        (DataType::Struct(left), DataType::Struct(right)) => same_fields(left, right),
        (left, right) => left == right,
    }
}
