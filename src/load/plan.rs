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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::script::{Dialect, SqlTarget, script};
    use super::super::shape::shapes;
    use super::*;
    use crate::error::ErrorKind;
    use crate::schema::samples::table;
    use crate::schema::{History, Reference, TableKind, TableSpec};

    fn spec(name: &str, kind: TableKind, columns: &[(&str, DataType)]) -> TableSpec {
        TableSpec { history: History::Keep, ..table(name, kind, columns) }
    }

    fn tags() -> DataType {
        DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))
    }

    /// Two dimensions, and a fact that points at the first.
    fn pipeline() -> Vec<Arc<Shape>> {
        let reference = Reference { column: "customer".to_owned(), dimension: "dim_a".to_owned() };
        let orders = [("id", DataType::Int64), ("customer", DataType::Int32), ("tags", tags())];
        let fact = TableSpec { references: vec![reference], ..spec("fact", TableKind::Fact, &orders) };
        let dimension =
            |name: &str| spec(name, TableKind::Dimension, &[("key", DataType::Int32), ("name", DataType::Utf8)]);
        shapes(&[fact, dimension("dim_a"), dimension("dim_b")]).expect("shapes")
    }

    /// An entry with as many files of each table.
    fn entry(number: u64, tables: &[(&str, usize)]) -> Arc<Entry> {
        let text = format!(
            r#"{{"format": 2, "number": {number}, "pipeline": "p", "writer": "w", "attempt": "a{number}", "written_at": 0}}"#
        );
        let entry: Entry = serde_json::from_str(&text).expect("an entry");
        let files = |table: &str, count: usize| {
            let path = |index| format!("staged/{table}/{number}-{index}");
            let file = |index| DataFile { path: path(index), rows: 5, bytes: 100, checksum: None, etag: None };
            (0..count).map(file).collect()
        };
        let tables = tables.iter().map(|(table, count)| ((*table).to_owned(), files(table, *count)));
        Arc::new(Entry { tables: tables.collect(), ..entry })
    }

    fn attempt() -> Attempt {
        Attempt { id: "id".to_owned(), pipeline: "p".to_owned(), loaded_at: 7 }
    }

    fn plan(entries: &[Arc<Entry>], columns: &HashMap<String, SchemaRef>) -> Result<LoadPlan> {
        LoadPlan::new(&pipeline(), entries, columns, attempt())
    }

    /// The columns of the fact's files, changed.
    fn of_fact(change: impl Fn(&Field) -> Option<Field>) -> SchemaRef {
        let shapes = pipeline();
        let fact = shapes.iter().find(|shape| shape.name == "fact").expect("the fact");
        Arc::new(Schema::new(fact.staged.fields().iter().filter_map(|field| change(field)).collect::<Vec<_>>()))
    }

    #[test]
    fn files_of_one_table_are_one_copy_in_journal_order() {
        let entries = [entry(4, &[("fact", 2), ("dim_b", 1)]), entry(5, &[]), entry(6, &[("fact", 1)])];
        let plan = plan(&entries, &HashMap::new()).expect("a plan");
        assert_eq!((plan.after, plan.through, plan.attempt.as_str(), plan.loaded_at), (3, 6, "a6", 7));
        let names: Vec<&str> = plan.tables.iter().map(|table| table.shape.name.as_str()).collect();
        assert_eq!(names, ["dim_a", "dim_b", "fact"]);
        assert!(plan.tables[0].copies.is_empty() && !plan.tables[0].is_staged());
        assert_eq!(plan.tables[0].pointed_at, [("fact".to_owned(), "customer".to_owned())]);
        assert!(plan.tables[1].pointed_at.is_empty());
        let [copy] = plan.tables[2].copies.as_slice() else { panic!("one copy") };
        let files: Vec<_> = copy.files.iter().map(|staged| (staged.entry, staged.file.path.as_str())).collect();
        assert_eq!(files, [(4, "staged/fact/4-0"), (4, "staged/fact/4-1"), (6, "staged/fact/6-0")]);
        assert_eq!((plan.tables[1].copies[0].number, copy.number, copy.rows()), (1, 2, 15));
        assert_eq!(plan.copied(), BTreeMap::from([("dim_b".to_owned(), 5), ("fact".to_owned(), 15)]));
    }

    #[test]
    fn tables_without_files_that_no_fact_points_at_are_absent() {
        let plan = plan(&[entry(1, &[("dim_b", 1)])], &HashMap::new()).expect("a plan");
        assert_eq!(plan.tables.len(), 1);
        let nothing = LoadPlan::new(&pipeline(), &[entry(1, &[])], &HashMap::new(), attempt()).expect("a plan");
        assert_eq!((nothing.tables.len(), nothing.copied().len(), nothing.through), (0, 0, 1));
    }

    #[test]
    fn files_with_other_columns_or_another_order_are_copies_of_their_own() {
        let without_tags = of_fact(|field| (field.name() != "tags").then(|| field.clone()));
        let mut turned = without_tags.fields().to_vec();
        turned.swap(0, 1);
        let same = of_fact(|field| Some(field.clone().with_nullable(true)));
        let columns = HashMap::from([
            ("staged/fact/1-0".to_owned(), Arc::clone(&without_tags)),
            ("staged/fact/1-1".to_owned(), Arc::new(Schema::new(turned))),
            ("staged/fact/1-3".to_owned(), same),
            ("staged/fact/1-4".to_owned(), Arc::new(without_tags.as_ref().clone())),
        ]);
        let plan = plan(&[entry(1, &[("fact", 5)])], &columns).expect("a plan");
        let copies = &plan.tables[1].copies;
        let files =
            copies.iter().map(|copy| copy.files.iter().map(|staged| &staged.file.path[14..]).collect::<Vec<_>>());
        assert_eq!(files.collect::<Vec<_>>(), [vec!["0", "4"], vec!["1"], vec!["2", "3"]]);
        assert_eq!(copies.iter().map(|copy| copy.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(copies[0].columns, without_tags);
    }

    #[test]
    fn what_a_list_calls_its_items_and_whether_values_may_be_null_is_no_difference() {
        let element = DataType::List(Arc::new(Field::new("element", DataType::Utf8, false)));
        let other = of_fact(|field| match field.name().as_str() {
            "tags" => Some(Field::new("tags", element.clone(), false)),
            _ => Some(field.clone()),
        });
        let columns = HashMap::from([("staged/fact/1-0".to_owned(), other)]);
        let plan = plan(&[entry(1, &[("fact", 2)])], &columns).expect("a plan");
        assert_eq!(plan.tables[1].copies.len(), 1);
    }

    #[test]
    fn a_file_that_does_not_fit_its_table_is_named_with_its_entry_and_its_column() {
        let wider = |field: &Field| match field.name().as_str() {
            "customer" => Some(Field::new("customer", DataType::Int64, true)),
            _ => Some(field.clone()),
        };
        let renamed = |field: &Field| match field.name().as_str() {
            "tags" => Some(Field::new("labels", tags(), true)),
            _ => Some(field.clone()),
        };
        let without = |name: &'static str| move |field: &Field| (field.name() != name).then(|| field.clone());
        let cases = [
            (of_fact(wider), "has a column customer BIGINT, which the pipeline has as INT"),
            (of_fact(renamed), "has a column labels ARRAY<STRING>, which the pipeline does not have"),
            (of_fact(without("id")), "lacks the column id, which is never null"),
            (of_fact(without("_position")), "lacks the column _position, which is never null"),
        ];
        for (found, expected) in cases {
            let columns = HashMap::from([("staged/fact/8-1".to_owned(), found)]);
            let error = plan(&[entry(8, &[("fact", 3)])], &columns).expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let told = error.to_string();
            assert!(
                told.contains(&format!("entry 8 of the journal: the staged file staged/fact/8-1 {expected}")),
                "{told}"
            );
            assert!(told.contains("give the table fact the columns"), "{told}");
        }
    }

    #[test]
    fn entries_that_cannot_be_loaded_together_are_no_plan() {
        let cases = [
            (vec![], ErrorKind::Internal),
            (vec![entry(1, &[]), entry(3, &[])], ErrorKind::Internal),
            (vec![entry(1, &[("gone", 1)])], ErrorKind::Invalid),
        ];
        for (entries, kind) in cases {
            assert_eq!(plan(&entries, &HashMap::new()).expect_err("refused").kind(), kind);
        }
        let other = Attempt { pipeline: "q".to_owned(), ..attempt() };
        let error = LoadPlan::new(&pipeline(), &[entry(1, &[])], &HashMap::new(), other).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn ten_thousand_files_are_planned_in_no_time_and_forty_thousand_in_four_times_that() {
        let taken = |entries: u64| {
            let entries: Vec<_> = (1..=entries).map(|number| entry(number, &[("fact", 7), ("dim_a", 3)])).collect();
            // Every file has columns of its own, equal but not the same.
            let shapes = pipeline();
            let columns = entries.iter().flat_map(|entry| &entry.tables).flat_map(|(table, files)| {
                let shape = shapes.iter().find(|shape| shape.name == *table).expect("a shape");
                files.iter().map(|file| (file.path.clone(), Arc::new(shape.staged.as_ref().clone())))
            });
            let columns: HashMap<String, SchemaRef> = columns.collect();
            let target = SqlTarget { dialect: Dialect::Redshift, schema: "p".to_owned() };
            let one = || {
                let started = now();
                let plan = LoadPlan::new(&shapes, &entries, &columns, attempt()).expect("a plan");
                let statements = script(&target, &plan).len();
                assert!(statements < 40, "{statements}");
                started.elapsed()
            };
            (0..3).map(|_| one()).min().unwrap_or_default()
        };
        let (some, more) = (taken(1_000), taken(4_000));
        println!("10,000 files: {some:?}, 40,000 files: {more:?}");
        assert!(some < Duration::from_secs(1), "{some:?}");
        assert!(more < some * 10 + Duration::from_millis(50), "{some:?}, then {more:?}");
    }

    #[expect(clippy::disallowed_methods, reason = "the test is about how long the code takes")]
    fn now() -> Instant {
        Instant::now()
    }
}
