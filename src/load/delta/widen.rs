//! The columns of a Delta table that is there, held against the pipeline's; and those that it lacks, added.
//!
//! Owns both. A column that may be null is added in a commit of the metadata alone: files that are there stay, and read
//! null. The commit is tried against the columns that were looked at; whoever else adds them at the same time, they are
//! looked at again. Everything else that differs is a person's matter.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::logstore::LogStoreRef;
use deltalake::{DeltaTable, DeltaTableError};

use super::super::arrow_bug;
use super::super::shape::{Shape, difference};
use super::fault::{fault, is_conflict};
use super::folder;
use crate::error::{Error, Result};
use crate::store::Folder;

/// How often others may change the table under the commit before it gives up for now.
const TRIES: usize = 5;

/// The columns that a table of this shape lacks and that can be added.
///
/// # Errors
/// Invalid with every other difference.
pub(super) fn lacking(shape: &Shape, found: &Schema, warehouse: &Folder) -> Result<Vec<FieldRef>> {
    let is_there = |field: &FieldRef| found.field_with_name(field.name()).is_ok();
    let addable = |field: &&FieldRef| field.is_nullable() && !is_there(field);
    let fields = shape.table.fields();
    let others: Vec<FieldRef> = fields.iter().filter(|field| !addable(field)).cloned().collect();
    match difference(&Schema::new(others), found) {
        None => Ok(fields.iter().filter(addable).cloned().collect()),
        Some(difference) => Err(Error::invalid(format!(
            "the warehouse's table {} does not fit the pipeline: {difference}; nothing was changed: undo the change to \
             the pipeline; or move the whole folder {warehouse} away, and the next run loads everything anew from the \
             staged files, columns that they lack being null",
            shape.name
        ))),
    }
}

/// Whether a table with these columns takes rows of this shape: somebody may have changed it since it was prepared.
///
/// # Errors
/// Invalid with the difference.
pub(super) fn takes(shape: &Shape, found: &Schema) -> Result<()> {
    match difference(&shape.table, found) {
        None => Ok(()),
        Some(difference) => Err(Error::invalid(format!(
            "the warehouse's table {} does not fit the pipeline any more: {difference}; no row was brought into \
             it, for it would lose what only the table has: start again with the newest pipeline",
            shape.name
        ))),
    }
}

/// Adds the columns that the table lacks.
///
/// # Errors
/// As [`lacking`]; Transient.
pub(super) async fn widen(log: &LogStoreRef, shape: &Shape, warehouse: &Folder) -> Result<()> {
    for _ in 0..TRIES {
        let table = opened(log).await.map_err(|error| fault("read", &shape.name, error))?;
        let found = table.snapshot().map_err(|error| fault("read", &shape.name, error))?.snapshot().arrow_schema();
        let missing = lacking(shape, &found, warehouse)?;
        if missing.is_empty() {
            return Ok(());
        }
        match added(table, &missing).await? {
            Ok(version) => {
                let log_folder = warehouse.join(&shape.name).join("_delta_log");
                folder::sync(&shape.name, log_folder, vec![format!("{version:020}.json")]).await?;
                let columns: Vec<&str> = missing.iter().map(|field| field.name().as_str()).collect();
                tracing::info!(table = shape.name, ?columns, "added columns");
                return Ok(());
            }
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(fault("add columns to", &shape.name, error)),
        }
    }
    Err(Error::transient(format!(
        "the warehouse's table {} is changed by others all the time; its new columns are added later",
        shape.name
    )))
}

async fn opened(log: &LogStoreRef) -> Result<DeltaTable, DeltaTableError> {
    let mut table = DeltaTable::new(Arc::clone(log));
    table.load().await?;
    Ok(table)
}

/// The version of the table that has these columns too, or why there is none.
async fn added(table: DeltaTable, missing: &[FieldRef]) -> Result<Result<u64, DeltaTableError>> {
    let missing: StructType = (&Schema::new(missing.to_vec())).try_into_kernel().map_err(arrow_bug)?;
    let fields: Vec<_> = missing.fields().cloned().collect();
    // Another commit may be one of these very columns: it is looked at, not worked around.
    let once = CommitProperties::default().with_max_retries(0);
    let widened = table.add_columns().with_fields(fields).with_commit_properties(once).await;
    let version = widened.map(|table| table.version());
    Ok(match version {
        Ok(Some(version)) => Ok(version),
        Ok(None) => return Err(Error::internal("a commit made no version")),
        Err(error) => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field};

    use super::super::super::protocol::{Outcome, Step};
    use super::super::super::shape::Style;
    use super::super::Place;
    use super::super::table::DeltaTable as Table;
    use super::*;
    use crate::error::ErrorKind;
    use crate::runtime::Context;
    use crate::schema::TableLayout;
    use crate::store::Store;

    fn schema(columns: &[(&str, DataType, bool)]) -> Schema {
        let fields = columns.iter().map(|(name, data_type, null)| Field::new(*name, data_type.clone(), *null));
        Schema::new(fields.collect::<Vec<_>>())
    }

    fn shape(columns: &[(&str, DataType, bool)]) -> Arc<Shape> {
        let table = Arc::new(schema(columns));
        Arc::new(Shape {
            name: "t".to_owned(),
            style: Style::Append,
            key: vec![],
            staged: Arc::clone(&table),
            table,
            references: vec![],
            rows_per_file: 100,
            max_bytes: BTreeMap::new(),
            layout: TableLayout::default(),
        })
    }

    #[test]
    fn only_columns_that_may_be_null_can_be_added() {
        use DataType::{Int32, Int64, Utf8};
        let folder: Folder = std::path::PathBuf::from("warehouse").into();
        let wanted = shape(&[("a", Int32, false), ("b", Utf8, true), ("c", Utf8, true)]);
        let cases: [(&[_], Result<&[&str], &str>); 6] = [
            (&[("a", Int32, false), ("b", Utf8, true), ("c", Utf8, true)], Ok(&[])),
            (&[("c", Utf8, true), ("a", Int32, true)], Ok(&["b"])),
            (&[("a", Int32, false)], Ok(&["b", "c"])),
            (&[("b", Utf8, true), ("c", Utf8, true)], Err(": a INT is missing; ")),
            (&[("a", Int64, false), ("b", Utf8, true)], Err(": a is BIGINT and must be INT; ")),
            (&[("a", Int32, false), ("z", Utf8, true)], Err(": z is not of the pipeline; ")),
        ];
        for (found, expected) in cases {
            match (lacking(&wanted, &schema(found), &folder), expected) {
                (Ok(lacking), Ok(expected)) => {
                    assert_eq!(lacking.iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), expected);
                    assert_eq!(takes(&wanted, &schema(found)).is_ok(), expected.is_empty());
                }
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, expected) => panic!("{found:?} is not {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_commit_that_was_worked_out_before_a_column_came_does_not_go_in() {
        let store = Store::memory("columns").expect("a store");
        let folder = Folder::Store(store.clone(), "warehouse".to_owned());
        let place = Place { folder, store, pipeline: "p".to_owned() };
        let of = |shape: Arc<Shape>| Table::new(&place, shape, Arc::clone(&Context::system().clock), 1);
        let old = of(shape(&[("a", DataType::Int64, false)]));
        assert!(!old.prepare().await.expect("made"));
        assert_eq!(old.holds().await.expect("empty"), 0);
        let new = of(shape(&[("a", DataType::Int64, false), ("b", DataType::Int64, true)]));
        assert!(new.prepare().await.expect("it lacks a column"));
        new.widen().await.expect("widened");
        assert!(!new.prepare().await.expect("nothing is left"));
        let rows = || {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
            RecordBatch::try_new(shape(&[("a", DataType::Int64, false)]).table.clone(), vec![column]).expect("rows")
        };
        let step = Step { after: 0, through: 1 };
        assert_eq!(old.rewrite_newest(|_| Ok(rows()), step).await.expect("too late"), Outcome::Overtaken);
        let error = old.rewrite_newest(|_| Ok(rows()), step).await.expect_err("now it knows");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("b is not of the pipeline"), "{error}");
        assert_eq!(new.rows().await.expect("rows"), 0);
    }
}
