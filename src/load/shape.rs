//! What a warehouse's table looks like, from what the pipeline says of it.
//!
//! Owns the columns that loading adds, their order, and which of a table's rows an incoming row meets. It does no IO.
//!
//! | table                | columns                                                                                   |
//! |----------------------|-------------------------------------------------------------------------------------------|
//! | fact                 | declared…, `_arrived_at`, `_position`                                                     |
//! | dimension, overwrite | `surrogate_key`, declared…, `is_inferred`, `_arrived_at`, `_position`                     |
//! | dimension, keep      | `surrogate_key`, declared…, `is_inferred`, `valid_from`, `valid_to`, `is_current`,        |
//! |                      | `_arrived_at`, `_position`, `_confirmed_at`                                               |
//!
//! Times are µs in UTC. Only the key and the added columns are never null (`valid_to` is, where a version is open):
//! an inferred member knows its key and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::surrogate::can_be_key;
use crate::error::{Error, Result};
use crate::schema::{History, Reference, TableKind, TableLayout, TableSpec, VERSION_COLUMNS};

pub(super) const SURROGATE_KEY: &str = "surrogate_key";
pub(super) const IS_INFERRED: &str = "is_inferred";
pub(super) const VALID_FROM: &str = "valid_from";
pub(super) const VALID_TO: &str = "valid_to";
pub(super) const IS_CURRENT: &str = "is_current";
pub(super) const ARRIVED_AT: &str = VERSION_COLUMNS[0];
pub(super) const POSITION: &str = VERSION_COLUMNS[1];
/// The newest observation that agreed with a version: a late row between it and the opening does not undo it.
pub(super) const CONFIRMED_AT: &str = "_confirmed_at";

/// Rows that a file of a table aims at: small enough to rewrite for a few changes, few enough to list.
const ROWS_PER_FILE: usize = 131_072;

/// What an incoming row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A fact without a key: it is added.
    Append,
    /// A fact: the newest row of a key wins.
    Newest,
    /// A type 1 dimension: as `Newest`, and it fills an inferred member.
    Overwrite,
    /// A type 2 dimension: it joins the key's history.
    Keep,
}

/// A table of the warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The table's name.
    pub(super) name: String,
    /// What an incoming row does.
    pub(super) style: Style,
    /// The columns that name a row, and by which files are sorted.
    pub(super) key: Vec<String>,
    /// The declared columns and the version columns: what staged files hold.
    pub(super) staged: SchemaRef,
    /// What the warehouse holds.
    pub(super) table: SchemaRef,
    /// The dimensions that a fact points at.
    pub(super) references: Vec<Reference>,
    /// Rows that a file aims at.
    pub(super) rows_per_file: usize,
    /// The most bytes of each string column that has a bound of its own.
    pub(super) max_bytes: BTreeMap<String, u32>,
    /// What the pipeline says of the table's layout.
    pub(super) layout: TableLayout,
}

impl Shape {
    fn of(spec: &TableSpec) -> Result<Self> {
        let style = match (spec.kind, spec.history, spec.key.is_empty()) {
            (TableKind::Fact, _, true) => Style::Append,
            (TableKind::Fact, _, false) => Style::Newest,
            (TableKind::Dimension, _, true) => {
                return Err(Error::invalid(format!("the dimension {} has no key: name its key columns", spec.name)));
            }
            (TableKind::Dimension, History::Overwrite, false) => Style::Overwrite,
            (TableKind::Dimension, History::Keep, false) => Style::Keep,
        };
        let staged: Vec<Field> = spec.columns.fields().iter().map(|field| declared(field, &spec.key)).collect();
        let versions = [instant(ARRIVED_AT, false), Field::new(POSITION, DataType::Utf8, false)];
        let shape = Self {
            name: spec.name.clone(),
            style,
            key: spec.key.clone(),
            table: Arc::new(Schema::new(arranged(style, staged.clone()))),
            staged: Arc::new(Schema::new(staged.into_iter().chain(versions).collect::<Vec<_>>())),
            references: spec.references.clone(),
            rows_per_file: ROWS_PER_FILE,
            max_bytes: spec.max_bytes.clone(),
            layout: spec.layout.clone(),
        };
        shape.check()?;
        Ok(shape)
    }

    /// The declared columns that are not key, by name.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let names = self.staged.fields().iter().map(|field| field.name().as_str());
        names.filter(|name| !VERSION_COLUMNS.contains(name) && !self.key.iter().any(|key| key == name)).collect()
    }

    fn check(&self) -> Result<()> {
        for (index, field) in self.table.fields().iter().enumerate() {
            if self.table.index_of(field.name()).ok() != Some(index) {
                return Err(Error::invalid(format!(
                    "the table {} has two columns named {}: that name is taken, rename the one of the SQL file",
                    self.name,
                    field.name()
                )));
            }
        }
        for key in &self.key {
            let found = self.staged.field_with_name(key).map_err(|_| {
                Error::invalid(format!("the table {} has no column {key}, which is its key", self.name))
            })?;
            if !can_be_key(found.data_type()) {
                let found = found.data_type();
                return Err(Error::invalid(format!("{key} of {} is a {found}, which cannot be a key", self.name)));
            }
        }
        Ok(())
    }

    fn check_references(&self, dimensions: &HashMap<&str, &Self>) -> Result<()> {
        for reference in &self.references {
            let Reference { column, dimension } = reference;
            let place = format!("the reference {column} = {dimension} of {}", self.name);
            let target = dimensions.get(dimension.as_str());
            let target = target.ok_or_else(|| Error::invalid(format!("{place}: there is no such dimension")))?;
            let [key] = target.key.as_slice() else {
                return Err(Error::invalid(format!("{place}: the dimension has more than one key column")));
            };
            let column = self.staged.field_with_name(column);
            let column = column.map_err(|_| Error::invalid(format!("{place}: the fact has no such column")))?;
            let key = target.staged.field_with_name(key).map_err(arrow_invalid)?;
            let (from, to) = (column.data_type(), key.data_type());
            let fits = from == to || (from.is_integer() && to.is_integer());
            if !fits {
                return Err(Error::invalid(format!("{place}: the column is a {from}, the dimension's key a {to}")));
            }
        }
        Ok(())
    }
}

fn arrow_invalid(error: ArrowError) -> Error {
    Error::invalid("a table does not fit together").with_source(error)
}

/// The shapes of a pipeline's tables, in the order of a load: dimensions, then facts.
///
/// # Errors
/// Invalid where a table cannot be loaded as it is declared.
pub(super) fn shapes(specs: &[TableSpec]) -> Result<Vec<Arc<Shape>>> {
    let (dimensions, facts): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| spec.kind == TableKind::Dimension);
    let shapes = dimensions.into_iter().chain(facts).map(Shape::of).collect::<Result<Vec<_>>>()?;
    let dimensions = shapes.iter().filter(|shape| matches!(shape.style, Style::Overwrite | Style::Keep));
    let dimensions: HashMap<&str, &Shape> = dimensions.map(|shape| (shape.name.as_str(), shape)).collect();
    shapes.iter().try_for_each(|shape| shape.check_references(&dimensions))?;
    Ok(shapes.into_iter().map(Arc::new).collect())
}

/// How the columns of a table that is there differ from what they must be; none where they fit. Whether a column may
/// be null is no difference.
pub(super) fn difference(expected: &Schema, found: &Schema) -> Option<String> {
    let mut differences = Vec::new();
    for field in expected.fields() {
        match found.field_with_name(field.name()) {
            Err(_) => differences.push(format!("{} {} is missing", field.name(), sql_type(field.data_type()))),
            Ok(there) if sql_type(there.data_type()) != sql_type(field.data_type()) => differences.push(format!(
                "{} is {} and must be {}",
                field.name(),
                sql_type(there.data_type()),
                sql_type(field.data_type())
            )),
            Ok(_) => {}
        }
    }
    let unknown = found.fields().iter().filter(|field| expected.field_with_name(field.name()).is_err());
    differences.extend(unknown.map(|field| format!("{} is not of the pipeline", field.name())));
    (!differences.is_empty()).then(|| differences.join(", "))
}

/// The name of a type in Delta's SQL.
pub(super) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::List(item) => format!("ARRAY<{}>", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name(), sql_type(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The same rows with exactly these columns, by name; types that differ are cast where no value is lost, and a column
/// that may be null is null where it is absent (the file was staged before the pipeline had it).
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let column = |field: &Arc<Field>| -> Result<ArrayRef, ArrowError> {
        let Some(found) = batch.column_by_name(field.name()) else {
            return match field.is_nullable() {
                true => Ok(new_null_array(field.data_type(), batch.num_rows())),
                false => Err(ArrowError::SchemaError(format!("there is no column {}", field.name()))),
            };
        };
        match found.data_type() == field.data_type() {
            true => Ok(Arc::clone(found)),
            false => cast_with_options(found, field.data_type(), &options),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// The columns of these names, in this order.
pub(super) fn only(schema: &Schema, names: &[&str]) -> Result<SchemaRef, ArrowError> {
    let fields = names.iter().map(|name| schema.field_with_name(name).cloned());
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
}

fn declared(field: &Field, key: &[String]) -> Field {
    let nullable = !key.contains(field.name());
    Field::new(field.name(), stored(field.data_type()), nullable)
}

/// The type as Delta holds it: a list's item is called `element`, and anything inside may be null.
fn stored(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(Arc::new(Field::new("element", stored(item.data_type()), true))),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| Field::new(field.name(), stored(field.data_type()), true));
            DataType::Struct(fields.collect())
        }
        other => other.clone(),
    }
}

fn instant(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable)
}

fn arranged(style: Style, declared: Vec<Field>) -> Vec<Field> {
    let flag = |name: &str| Field::new(name, DataType::Boolean, false);
    let surrogate = Field::new(SURROGATE_KEY, DataType::Int64, false);
    let versions = [instant(ARRIVED_AT, false), Field::new(POSITION, DataType::Utf8, false)];
    let (first, middle, last) = match style {
        Style::Append | Style::Newest => (vec![], vec![], vec![]),
        Style::Overwrite => (vec![surrogate], vec![flag(IS_INFERRED)], vec![]),
        Style::Keep => (
            vec![surrogate],
            vec![flag(IS_INFERRED), instant(VALID_FROM, false), instant(VALID_TO, true), flag(IS_CURRENT)],
            vec![instant(CONFIRMED_AT, false)],
        ),
    };
    first.into_iter().chain(declared).chain(middle).chain(versions).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: TableKind, key: &[&str], columns: &[(&str, DataType)]) -> TableSpec {
        let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false));
        TableSpec {
            name: "t".to_owned(),
            kind,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            history: History::Keep,
            references: vec![],
            columns: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            one_to_one: true,
            max_bytes: BTreeMap::new(),
            layout: TableLayout::default(),
        }
    }

    fn names(schema: &Schema) -> Vec<&str> {
        schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    #[test]
    fn columns_stand_in_the_documented_order() {
        let columns = [("id", DataType::Int32), ("name", DataType::Utf8)];
        let fact = Shape::of(&spec(TableKind::Fact, &["id"], &columns)).expect("shape");
        assert_eq!(names(&fact.table), ["id", "name", "_arrived_at", "_position"]);
        let overwrite = TableSpec { history: History::Overwrite, ..spec(TableKind::Dimension, &["id"], &columns) };
        let overwrite = Shape::of(&overwrite).expect("shape");
        assert_eq!(names(&overwrite.table), ["surrogate_key", "id", "name", "is_inferred", "_arrived_at", "_position"]);
        let keep = Shape::of(&spec(TableKind::Dimension, &["id"], &columns)).expect("shape");
        let added = ["is_inferred", "valid_from", "valid_to", "is_current", "_arrived_at", "_position"];
        assert_eq!(names(&keep.table)[3..9], added);
        let nullable = keep.table.fields().iter().filter(|field| field.is_nullable());
        assert_eq!(nullable.map(|field| field.name().as_str()).collect::<Vec<_>>(), ["name", "valid_to"]);
        assert_eq!(keep.attributes(), ["name"]);
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_with_its_name() {
        let cases = [
            (spec(TableKind::Dimension, &[], &[("id", DataType::Int32)]), "the dimension t has no key"),
            (spec(TableKind::Fact, &["id"], &[("other", DataType::Int32)]), "no column id"),
            (spec(TableKind::Fact, &["id"], &[("id", DataType::Float64)]), "cannot be a key"),
            (
                spec(TableKind::Dimension, &["id"], &[("id", DataType::Int32), ("is_current", DataType::Int32)]),
                "two columns named is_current",
            ),
        ];
        for (spec, expected) in cases {
            let error = Shape::of(&spec).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn references_must_meet_a_dimension_of_one_fitting_key() {
        let dimension = |key: &[&str]| {
            let columns = [("id", DataType::Int64), ("part", DataType::Int64)];
            TableSpec { name: "d".to_owned(), ..spec(TableKind::Dimension, key, &columns) }
        };
        let fact = |column: &str, data_type: DataType, target: &str| TableSpec {
            references: vec![Reference { column: column.to_owned(), dimension: target.to_owned() }],
            ..spec(TableKind::Fact, &[], &[("d_id", data_type)])
        };
        assert!(shapes(&[fact("d_id", DataType::Int32, "d"), dimension(&["id"])]).is_ok());
        let cases = [
            (fact("d_id", DataType::Utf8, "d"), dimension(&["id"]), "the column is a Utf8"),
            (fact("d_id", DataType::Int64, "e"), dimension(&["id"]), "no such dimension"),
            (fact("e_id", DataType::Int64, "d"), dimension(&["id"]), "no such column"),
            (fact("d_id", DataType::Int64, "d"), dimension(&["id", "part"]), "more than one key"),
        ];
        for (fact, dimension, expected) in cases {
            let error = shapes(&[fact, dimension]).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_difference_is_spelled_out() {
        let schema = |columns: &[(&str, DataType)]| {
            let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
            Schema::new(fields.collect::<Vec<_>>())
        };
        let expected = schema(&[("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Date32)]);
        assert_eq!(difference(&expected, &expected), None);
        let found = schema(&[("a", DataType::Int64), ("b", DataType::Utf8), ("z", DataType::Utf8)]);
        assert_eq!(
            difference(&expected, &found).as_deref(),
            Some("a is BIGINT and must be INT, c DATE is missing, z is not of the pipeline")
        );
    }
}
