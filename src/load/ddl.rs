//! The star schema as text: `CREATE TABLE` statements.
//!
//! Owns the statements' form for Delta tables. It runs nothing.

use super::shape::{Style, shapes, sql_type};
use crate::error::Result;
use crate::schema::TableSpec;

/// The `CREATE TABLE` statements of the star schema as Delta tables, dimensions first, each ended by `;` and a newline.
///
/// # Errors
/// Invalid where a table cannot be loaded as it is declared.
pub fn ddl(specs: &[TableSpec]) -> Result<String> {
    let mut text = String::new();
    for shape in shapes(specs)? {
        if !text.is_empty() {
            text.push('\n');
        }
        let what = match shape.style {
            Style::Append => "fact, without a key: rows are added".to_owned(),
            Style::Newest => format!("fact, the newest row of ({}) wins", shape.key.join(", ")),
            Style::Overwrite => format!("dimension of ({}), type 1: the newest values", shape.key.join(", ")),
            Style::Keep => format!("dimension of ({}), type 2: each version a row", shape.key.join(", ")),
        };
        let width = shape.table.fields().iter().map(|field| field.name().len()).max().unwrap_or(0);
        let columns = shape.table.fields().iter().map(|field| {
            let null = if field.is_nullable() { "" } else { " NOT NULL" };
            format!("    {:width$} {}{null}", field.name(), sql_type(field.data_type()))
        });
        let columns = columns.collect::<Vec<_>>().join(",\n");
        text.push_str(&format!("-- {what}\nCREATE TABLE {} (\n{columns}\n) USING DELTA;\n", shape.name));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::schema::{History, TableKind, TableLayout};

    #[test]
    fn the_statements_stand_dimensions_first() {
        let columns = vec![
            Field::new("id", DataType::Int32, false),
            Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Decimal128(5, 2), true))), true),
        ];
        let fact = TableSpec {
            name: "fact_a".to_owned(),
            kind: TableKind::Fact,
            key: vec!["id".to_owned()],
            history: History::Overwrite,
            references: vec![],
            columns: Arc::new(Schema::new(columns)),
            one_to_one: true,
            max_bytes: BTreeMap::new(),
            layout: TableLayout::default(),
        };
        let dimension = TableSpec {
            name: "dim_b".to_owned(),
            kind: TableKind::Dimension,
            history: History::Overwrite,
            ..fact.clone()
        };
        let expected = "\
-- dimension of (id), type 1: the newest values
CREATE TABLE dim_b (
    surrogate_key BIGINT NOT NULL,
    id            INT NOT NULL,
    tags          ARRAY<DECIMAL(5,2)>,
    is_inferred   BOOLEAN NOT NULL,
    _arrived_at   TIMESTAMP NOT NULL,
    _position     STRING NOT NULL
) USING DELTA;

-- fact, the newest row of (id) wins
CREATE TABLE fact_a (
    id          INT NOT NULL,
    tags        ARRAY<DECIMAL(5,2)>,
    _arrived_at TIMESTAMP NOT NULL,
    _position   STRING NOT NULL
) USING DELTA;
";
        assert_eq!(ddl(&[fact, dimension]).expect("ddl"), expected);
    }
}
