//! Type 2 over columns: finds each key's versions, folds what comes in into them, and tells which rows go and come.
//!
//! Owns the way between rows and `history`'s versions. Attributes are compared as encoded bytes, so null equals null;
//! each distinct set of them has a number, and the values are taken from wherever it was seen first.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::interleave;
use arrow::row::{RowConverter, SortField};

use super::arrow_bug;
use super::history::{Observation, Version, observe};
use super::merge::{Change, Found, Merge, Versions, assemble, instants, named, utc};
use super::shape::{ARRIVED_AT, CONFIRMED_AT, IS_CURRENT, IS_INFERRED, POSITION, SURROGATE_KEY, VALID_FROM, VALID_TO};
use super::surrogate::surrogates;
use crate::error::Result;

/// A version that the table holds, with its part and its row there.
struct Held {
    version: Version<u32>,
    part: usize,
    row: u32,
}

/// What a merge into a type 2 dimension comes to.
pub(super) fn change(merge: &Merge, found: &[Found]) -> Result<Change> {
    let sources: Vec<&RecordBatch> =
        std::iter::once(&merge.rows).chain(found.iter().map(|found| &found.rows)).collect();
    let attributes = Attributes::of(&sources, &merge.shape.attributes())?;
    let mut held: Vec<Vec<Held>> = (0..merge.keys.len()).map(|_| Vec::new()).collect();
    for (part, found) in found.iter().enumerate() {
        read_versions(found, part, &attributes.numbers[part + 1], &mut held)?;
    }
    for versions in &mut held {
        versions.sort_by_key(|held| held.version.valid_from);
    }
    let histories = fold(merge, &held, &attributes.numbers[0])?;
    let mut removed = vec![Vec::new(); found.len()];
    let mut added = Vec::new();
    for (key, (held, history)) in held.iter().zip(histories).enumerate() {
        let unchanged = |version: &Version<u32>| held.iter().any(|held| held.version == *version);
        let gone = held.iter().filter(|held| !history.contains(&held.version));
        gone.for_each(|held| removed[held.part].push(held.row));
        added.extend(history.iter().filter(|version| !unchanged(version)).map(|version| (key, version.clone())));
    }
    removed.iter_mut().for_each(|rows| rows.sort_unstable());
    Ok(Change { removed, added: rows(merge, &sources, &attributes, &added)? })
}

/// Each key's versions after everything that came in, in journal order.
fn fold(merge: &Merge, held: &[Vec<Held>], numbers: &[u32]) -> Result<Vec<Vec<Version<u32>>>> {
    let versions = |held: &Vec<Held>| held.iter().map(|held| held.version.clone()).collect();
    let mut histories: Vec<Vec<Version<u32>>> = held.iter().map(versions).collect();
    let incoming = Versions::of(&merge.rows)?;
    for (row, &key) in merge.row_keys.iter().enumerate() {
        let (arrived_at, position) = incoming.at(row);
        let seen = Observation { arrived_at, position: position.to_owned(), attributes: numbers[row] };
        observe(&mut histories[key as usize], seen);
    }
    for &key in &merge.inferred_keys {
        let history = &mut histories[key as usize];
        if history.is_empty() {
            history.push(Version::inferred());
        }
    }
    Ok(histories)
}

fn read_versions(found: &Found, part: usize, numbers: &[u32], held: &mut [Vec<Held>]) -> Result<()> {
    let (valid_from, valid_to) = (instants(&found.rows, VALID_FROM)?, instants(&found.rows, VALID_TO)?);
    let confirmed_at = instants(&found.rows, CONFIRMED_AT)?;
    let inferred = named(&found.rows, &[IS_INFERRED.to_owned()])?;
    let inferred = inferred[0].as_boolean();
    let opened = Versions::of(&found.rows)?;
    for (row, &key) in found.keys.iter().enumerate() {
        let (arrived_at, position) = opened.at(row);
        let version = Version {
            attributes: (!inferred.value(row)).then_some(numbers[row]),
            valid_from: valid_from.value(row),
            valid_to: valid_to.is_valid(row).then(|| valid_to.value(row)),
            arrived_at,
            position: position.to_owned(),
            confirmed_at: confirmed_at.value(row),
        };
        held[key as usize].push(Held { version, part, row: found.at[row] });
    }
    Ok(())
}

/// Distinct sets of attributes, numbered.
struct Attributes {
    /// For each source the number of each row's.
    numbers: Vec<Vec<u32>>,
    /// Where each was seen first: source and row.
    seen: Vec<(usize, usize)>,
}

impl Attributes {
    fn of(sources: &[&RecordBatch], names: &[&str]) -> Result<Self> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        if names.is_empty() {
            let numbers = sources.iter().map(|source| vec![0; source.num_rows()]).collect();
            return Ok(Self { numbers, seen: vec![(0, 0)] });
        }
        let types = named(sources[0], &names)?.into_iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(types.collect()).map_err(arrow_bug)?;
        let mut known: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut numbers = Vec::with_capacity(sources.len());
        let mut seen = Vec::new();
        for (source, rows) in sources.iter().enumerate() {
            let encoded = converter.convert_columns(&named(rows, &names)?).map_err(arrow_bug)?;
            let number = |(row, bytes): (usize, arrow::row::Row<'_>)| {
                if let Some(number) = known.get(bytes.data()) {
                    return *number;
                }
                let next = seen.len() as u32;
                known.insert(bytes.data().into(), next);
                seen.push((source, row));
                next
            };
            numbers.push(encoded.iter().enumerate().map(number).collect());
        }
        Ok(Self { numbers, seen })
    }
}

/// The versions as rows of the table.
fn rows(
    merge: &Merge,
    sources: &[&RecordBatch],
    attributes: &Attributes,
    added: &[(usize, Version<u32>)],
) -> Result<RecordBatch> {
    let keys = key_columns(merge, added)?;
    let nothing = (sources.len(), 0);
    let place = |number: Option<u32>| number.map_or(nothing, |number| attributes.seen[number as usize]);
    let places: Vec<(usize, usize)> = added.iter().map(|(_, version)| place(version.attributes)).collect();
    let each =
        |instant: fn(&Version<u32>) -> Option<i64>| utc(added.iter().map(|(_, version)| instant(version)).collect());
    let flags = |flag: fn(&Version<u32>) -> bool| -> ArrayRef {
        Arc::new(added.iter().map(|(_, version)| Some(flag(version))).collect::<BooleanArray>())
    };
    let starts: Vec<i64> = added.iter().map(|(_, version)| version.valid_from).collect();
    assemble(&merge.shape.table, |name| match name {
        SURROGATE_KEY => Ok(Arc::new(surrogates(&merge.shape.name, &keys, &starts)?)),
        IS_INFERRED => Ok(flags(|version| version.attributes.is_none())),
        IS_CURRENT => Ok(flags(|version| version.valid_to.is_none())),
        VALID_FROM => Ok(each(|version| Some(version.valid_from))),
        VALID_TO => Ok(each(|version| version.valid_to)),
        ARRIVED_AT => Ok(each(|version| Some(version.arrived_at))),
        CONFIRMED_AT => Ok(each(|version| Some(version.confirmed_at))),
        POSITION => {
            let positions = added.iter().map(|(_, version)| Some(version.position.as_str()));
            Ok(Arc::new(positions.collect::<StringArray>()))
        }
        name => match merge.shape.key.iter().position(|key| key == name) {
            Some(index) => Ok(Arc::clone(&keys[index])),
            None => attribute(sources, name, &places),
        },
    })
}

fn attribute(sources: &[&RecordBatch], name: &str, places: &[(usize, usize)]) -> Result<ArrayRef> {
    let name = [name.to_owned()];
    let mut columns = Vec::with_capacity(sources.len() + 1);
    for source in sources {
        columns.extend(named(source, &name)?);
    }
    columns.push(new_null_array(columns[0].data_type(), 1));
    let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
    interleave(&columns, places).map_err(arrow_bug)
}

/// The key columns of the versions, from the rows or the inferred keys that brought them.
fn key_columns(merge: &Merge, added: &[(usize, Version<u32>)]) -> Result<Vec<ArrayRef>> {
    let mut brought: Vec<(usize, usize)> = vec![(0, 0); merge.keys.len()];
    for (row, &key) in merge.row_keys.iter().enumerate() {
        brought[key as usize] = (0, row);
    }
    for (index, &key) in merge.inferred_keys.iter().enumerate() {
        brought[key as usize] = (1, index);
    }
    let places: Vec<(usize, usize)> = added.iter().map(|(key, _)| brought[*key]).collect();
    let columns = named(&merge.rows, &merge.shape.key)?;
    let columns = columns.iter().map(|column| match merge.shape.key.len() {
        1 => interleave(&[column, &merge.inferred], &places),
        _ => interleave(&[column], &places),
    });
    columns.collect::<Result<Vec<_>, _>>().map_err(arrow_bug)
}
