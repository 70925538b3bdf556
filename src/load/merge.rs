//! What incoming rows do to a table: which of its rows go, and which come.
//!
//! Pure, and the same for every warehouse: it hands out a [`Merge`], shows it the rows that may be met (in parts: a file,
//! a batch), and gets a [`Change`]. Owns "the newest row of a key wins" and inferred members of a type 1 dimension;
//! `keep` owns type 2.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::history::BEGINNING;
use super::keys::{Keys, Reach};
use super::shape::{ARRIVED_AT, IS_INFERRED, POSITION, SURROGATE_KEY, Shape, Style, conform};
use super::surrogate::surrogates;
use super::{arrow_bug, keep};
use crate::error::{Error, Result};

/// Rows of one part of the table whose keys come in.
pub(super) struct Found {
    /// The columns that [`Merge::needs`] names.
    pub(super) rows: RecordBatch,
    /// Where each stands in its part.
    pub(super) at: Vec<u32>,
    /// The number of each one's key.
    pub(super) keys: Vec<u32>,
}

/// What a merge comes to.
pub(super) struct Change {
    /// For each part that was shown, the rows that go, ascending.
    pub(super) removed: Vec<Vec<u32>>,
    /// The rows that come, with the table's columns.
    pub(super) added: RecordBatch,
}

/// Rows on their way into a table.
pub(super) struct Merge {
    pub(super) shape: Arc<Shape>,
    /// The staged rows in journal order.
    pub(super) rows: RecordBatch,
    /// Keys that facts point at and that no row brings, each once.
    pub(super) inferred: ArrayRef,
    pub(super) keys: Keys,
    /// The number of each row's key.
    pub(super) row_keys: Vec<u32>,
    /// The number of each inferred key.
    pub(super) inferred_keys: Vec<u32>,
}

impl Merge {
    /// Staged rows in journal order, and key values that facts point at: nulls and repetitions are no matter.
    ///
    /// # Errors
    /// Internal.
    pub(super) fn new(shape: &Arc<Shape>, rows: RecordBatch, pointed_at: &[ArrayRef]) -> Result<Self> {
        // Without a key nothing is ever met; some column must stand in for its type.
        let names = if shape.key.is_empty() { vec![ARRIVED_AT.to_owned()] } else { shape.key.clone() };
        let columns = named(&rows, &names)?;
        let mut keys = Keys::new(columns.iter().map(|column| column.data_type().clone()))?;
        let row_keys = if shape.style == Style::Append { Vec::new() } else { keys.add(&columns)? };
        let mut inferred: ArrayRef = columns[0].slice(0, 0);
        let mut inferred_keys = Vec::new();
        for values in pointed_at {
            let values = arrow::compute::filter(values, &arrow::compute::is_not_null(values).map_err(arrow_bug)?);
            let values = values.map_err(arrow_bug)?;
            let known = keys.len() as u32;
            let mut next = known;
            let mut first = Vec::new();
            for (row, key) in keys.add(&[Arc::clone(&values)])?.into_iter().enumerate() {
                if key == next {
                    first.push(row as u32);
                    next += 1;
                }
            }
            inferred_keys.extend(known..next);
            let new = take(&values, &UInt32Array::from(first), None).map_err(arrow_bug)?;
            inferred = arrow::compute::concat(&[&inferred, &new]).map_err(arrow_bug)?;
        }
        Ok(Self { shape: Arc::clone(shape), rows, inferred, keys, row_keys, inferred_keys })
    }

    /// Whether nothing comes in.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0 && self.inferred.is_empty()
    }

    /// The columns of the table that this merge must see.
    pub(super) fn needs(&self) -> Vec<&str> {
        let key = self.shape.key.iter().map(String::as_str);
        match self.shape.style {
            Style::Append => Vec::new(),
            Style::Newest => key.chain([ARRIVED_AT, POSITION]).collect(),
            Style::Overwrite => key.chain([IS_INFERRED, ARRIVED_AT, POSITION]).collect(),
            Style::Keep => {
                let all = self.shape.table.fields().iter().map(|field| field.name().as_str());
                all.filter(|name| *name != SURROGATE_KEY).collect()
            }
        }
    }

    /// What tells which parts can be met; none where every part must be shown.
    ///
    /// # Errors
    /// Internal.
    pub(super) fn reach(&self) -> Result<Option<Reach>> {
        let column = named(&self.rows, &self.shape.key[..1])?.swap_remove(0);
        Reach::over(&arrow::compute::concat(&[&column, &self.inferred]).map_err(arrow_bug)?)
    }

    /// The rows of a part that are met. The part holds the needed columns.
    ///
    /// # Errors
    /// Internal.
    pub(super) fn find(&self, part: &RecordBatch) -> Result<Found> {
        let met = self.keys.meet(&named(part, &self.shape.key)?)?;
        let (at, keys): (Vec<u32>, Vec<u32>) = met.into_iter().unzip();
        let rows = take_record_batch(part, &UInt32Array::from(at.clone())).map_err(arrow_bug)?;
        Ok(Found { rows, at, keys })
    }

    /// What this merge comes to, given what was found in each part.
    ///
    /// # Errors
    /// Internal.
    pub(super) fn change(&self, found: &[Found]) -> Result<Change> {
        match self.shape.style {
            Style::Append => {
                let added = conform(&self.rows, &self.shape.table).map_err(arrow_bug)?;
                Ok(Change { removed: vec![Vec::new(); found.len()], added })
            }
            Style::Newest | Style::Overwrite => self.newest(found),
            Style::Keep => keep::change(self, found),
        }
    }

    fn newest(&self, found: &[Found]) -> Result<Change> {
        let mut winners = self.newest_of_each_key()?;
        let mut held = vec![false; self.keys.len()];
        let incoming = Versions::of(&self.rows)?;
        let mut removed = Vec::with_capacity(found.len());
        for part in found {
            let versions = Versions::of(&part.rows)?;
            let inferred = part.rows.column_by_name(IS_INFERRED).map(|column| column.as_boolean());
            let mut gone = Vec::new();
            for (row, &key) in part.keys.iter().enumerate() {
                held[key as usize] = true;
                let Some(winner) = winners[key as usize] else { continue };
                let is_inferred = inferred.is_some_and(|flags| flags.value(row));
                match is_inferred || versions.at(row) <= incoming.at(winner as usize) {
                    true => gone.push(part.at[row]),
                    false => winners[key as usize] = None,
                }
            }
            removed.push(gone);
        }
        let winners: UInt32Array = winners.into_iter().flatten().collect();
        let rows = take_record_batch(&self.rows, &winners).map_err(arrow_bug)?;
        if self.shape.style == Style::Newest {
            return Ok(Change { removed, added: conform(&rows, &self.shape.table).map_err(arrow_bug)? });
        }
        let absent = self.inferred_keys.iter().enumerate().filter(|(_, key)| !held[**key as usize]);
        let absent: UInt32Array = absent.map(|(index, _)| index as u32).collect();
        let inferred = take(&self.inferred, &absent, None).map_err(arrow_bug)?;
        let parts = [members(&self.shape, &rows)?, inferred_members(&self.shape, inferred)?];
        Ok(Change { removed, added: concat_batches(&self.shape.table, &parts).map_err(arrow_bug)? })
    }

    /// For each key the newest incoming row; of equal ones the last in the journal.
    fn newest_of_each_key(&self) -> Result<Vec<Option<u32>>> {
        let versions = Versions::of(&self.rows)?;
        let mut winners: Vec<Option<u32>> = vec![None; self.keys.len()];
        for (row, &key) in self.row_keys.iter().enumerate() {
            let winner = &mut winners[key as usize];
            let newer = winner.is_none_or(|held| versions.at(held as usize) <= versions.at(row));
            if newer {
                *winner = Some(row as u32);
            }
        }
        Ok(winners)
    }
}

/// The version columns of some rows.
pub(super) struct Versions<'a> {
    arrived_at: &'a TimestampMicrosecondArray,
    position: &'a StringArray,
}

impl<'a> Versions<'a> {
    pub(super) fn of(rows: &'a RecordBatch) -> Result<Self> {
        let arrived_at = instants(rows, ARRIVED_AT)?;
        let position = rows.column_by_name(POSITION).and_then(|column| column.as_string_opt::<i32>());
        Ok(Self { arrived_at, position: position.ok_or_else(|| missing(POSITION))? })
    }

    pub(super) fn at(&self, row: usize) -> (i64, &'a str) {
        (self.arrived_at.value(row), self.position.value(row))
    }
}

/// A column of instants, µs since 1970 UTC.
pub(super) fn instants<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a TimestampMicrosecondArray> {
    let column = rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    column.ok_or_else(|| missing(name))
}

fn missing(column: &str) -> Error {
    Error::internal(format!("a merge misses the column {column}"))
}

/// The columns of these names.
pub(super) fn named(rows: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>> {
    names.iter().map(|name| rows.column_by_name(name).cloned().ok_or_else(|| missing(name))).collect()
}

/// Puts the table's columns together, each made by its name.
pub(super) fn assemble(schema: &SchemaRef, mut column: impl FnMut(&str) -> Result<ArrayRef>) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(arrow_bug)
}

/// Rows of a type 1 dimension from staged ones.
fn members(shape: &Shape, rows: &RecordBatch) -> Result<RecordBatch> {
    let count = rows.num_rows();
    assemble(&shape.table, |name| match name {
        SURROGATE_KEY => {
            Ok(Arc::new(surrogates(&shape.name, &named(rows, &shape.key)?, &vec![BEGINNING; count])?) as ArrayRef)
        }
        IS_INFERRED => Ok(Arc::new(BooleanArray::from(vec![false; count]))),
        name => rows.column_by_name(name).cloned().ok_or_else(|| missing(name)),
    })
}

/// Rows of a type 1 dimension of which only the key is known.
fn inferred_members(shape: &Shape, keys: ArrayRef) -> Result<RecordBatch> {
    let count = keys.len();
    assemble(&shape.table, |name| match name {
        SURROGATE_KEY => {
            Ok(Arc::new(surrogates(&shape.name, &[Arc::clone(&keys)], &vec![BEGINNING; count])?) as ArrayRef)
        }
        IS_INFERRED => Ok(Arc::new(BooleanArray::from(vec![true; count]))),
        ARRIVED_AT => Ok(utc(vec![Some(BEGINNING); count])),
        POSITION => Ok(Arc::new(StringArray::from(vec![""; count]))),
        name if shape.key.iter().any(|key| key == name) => Ok(Arc::clone(&keys)),
        name => {
            let field = shape.table.field_with_name(name).map_err(arrow_bug)?;
            Ok(new_null_array(field.data_type(), count))
        }
    })
}

/// Instants as a column, µs since 1970 UTC.
pub(super) fn utc(instants: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC"))
}
