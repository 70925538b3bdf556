//! Inferred members: rows of a dimension of which only the key is known, since a fact points at them.
//!
//! Owns their statement. It runs after the dimension's own rows are in, so what it adds no row of this load brings.

use arrow::datatypes::Field;

use super::names::{HELD, Named, agree, list, of, quoted};
use super::surrogate::{From, surrogate};
use super::values::BEGINNING;
use crate::load::shape::{
    ARRIVED_AT, CONFIRMED_AT, IS_CURRENT, IS_INFERRED, POSITION, SURROGATE_KEY, Style, VALID_FROM,
};
use crate::load::tables::column_type;

/// The statement for a dimension; none where no fact of the load points at it. `tables` are all of the load.
pub(super) fn members(dimension: &Named<'_>, tables: &[Named<'_>]) -> Option<String> {
    let keys = dimension.key_fields();
    let key = keys.first()?;
    let pointed_at = pointed_at(dimension, key, tables)?;
    let target = &dimension.target;
    let held = of(HELD, key.name());
    let same = agree(HELD, "\"pointed_at\"", &[key.name()]);
    let (columns, values): (Vec<&str>, Vec<String>) = row(dimension, key).into_iter().unzip();
    let (columns, values) = (list(&columns), values.join(", "));
    Some(format!(
        "INSERT INTO {target} ({columns})\n\
         SELECT {values}\n\
         FROM (\n    {pointed_at}\n) AS \"pointed_at\"\n\
         LEFT JOIN {target} AS {HELD} ON {same}\n\
         WHERE {held} IS NULL"
    ))
}

/// The keys that facts point at, each once, in the type of the dimension's key.
fn pointed_at(dimension: &Named<'_>, key: &Field, tables: &[Named<'_>]) -> Option<String> {
    let columns = &dimension.load.pointed_at;
    // UNION drops repetitions by itself.
    let distinct = if columns.len() == 1 { "DISTINCT " } else { "" };
    let select = |(fact, column): &(String, String)| {
        let fact = tables.iter().find(|table| table.shape.name == *fact)?;
        let field = fact.shape.staged.field_with_name(column).ok()?;
        let (name, staged) = (quoted(column), &fact.staged);
        let value = match field.data_type() == key.data_type() {
            true => name.clone(),
            false => format!("CAST({name} AS {})", column_type(dimension.dialect, dimension.shape, key)),
        };
        let key = quoted(key.name());
        Some(format!("SELECT {distinct}{value} AS {key} FROM {staged} WHERE {name} IS NOT NULL"))
    };
    let selects: Vec<String> = columns.iter().filter_map(select).collect();
    (!selects.is_empty()).then(|| selects.join("\n    UNION\n    "))
}

/// The columns of a member that are not null, with their values.
fn row<'a>(dimension: &Named<'a>, key: &'a Field) -> Vec<(&'a str, String)> {
    let beginning = || BEGINNING.to_owned();
    let truth = || "TRUE".to_owned();
    let mut row = vec![
        (SURROGATE_KEY, surrogate(dimension, "\"pointed_at\"", &From::Beginning)),
        (key.name().as_str(), of("\"pointed_at\"", key.name())),
        (IS_INFERRED, truth()),
        (ARRIVED_AT, beginning()),
        (POSITION, "''".to_owned()),
    ];
    if dimension.shape.style == Style::Keep {
        row.extend([(VALID_FROM, beginning()), (IS_CURRENT, truth()), (CONFIRMED_AT, beginning())]);
    }
    row
}
