//! How Redshift lays a table out: distribution, sort key and encodings.
//!
//! Owns the defaults; what pipeline.toml says wins, each of the three by itself, an encoding column by column.
//!
//! |              | fact                                                                | dimension                |
//! |--------------|---------------------------------------------------------------------|--------------------------|
//! | distribution | by its key, if that is one column; else by its first reference's    | all: joins stay local    |
//! |              | column; else even                                                   |                          |
//! | sort key     | `_arrived_at`: loads append, and questions ask for days             | its key                  |
//!
//! | column                                  | encoding                                                              |
//! |-----------------------------------------|-----------------------------------------------------------------------|
//! | the sort key's first                    | raw: blocks can be skipped by it                                      |
//! | boolean                                 | raw: it is one bit                                                    |
//! | integer, decimal, date, timestamp       | az64                                                                  |
//! | string, float, SUPER, VARBYTE           | zstd                                                                  |

use arrow::datatypes::{DataType, Field};

use super::super::shape::{ARRIVED_AT, Shape, Style};
use super::list;
use crate::schema::Distribution;

/// What stands after the columns of a `CREATE TABLE`, a line each.
pub(super) fn attributes(shape: &Shape) -> String {
    let distribution = match distribution(shape) {
        Distribution::Key(column) => format!("DISTSTYLE KEY\nDISTKEY ({})", list(&[column])),
        Distribution::All => "DISTSTYLE ALL".to_owned(),
        Distribution::Even => "DISTSTYLE EVEN".to_owned(),
        Distribution::Auto => "DISTSTYLE AUTO".to_owned(),
    };
    format!("{distribution}\nSORTKEY ({})", list(&sort_key(shape)))
}

/// How a column is compressed.
pub(super) fn encoding<'a>(shape: &'a Shape, field: &Field) -> &'a str {
    if let Some(said) = shape.layout.encodings.get(field.name()) {
        return said;
    }
    if sort_key(shape).first().is_some_and(|first| first == field.name()) {
        return "raw";
    }
    match field.data_type() {
        DataType::Boolean => "raw",
        DataType::Int16 | DataType::Int32 | DataType::Int64 => "az64",
        DataType::Decimal128(..) | DataType::Date32 | DataType::Timestamp(..) => "az64",
        _ => "zstd",
    }
}

/// Whether rows are sorted or spread by the column: Redshift then drops it only with the table.
pub(super) fn carries(shape: &Shape, column: &str) -> bool {
    distribution(shape) == Distribution::Key(column.to_owned()) || sort_key(shape).contains(&column)
}

fn distribution(shape: &Shape) -> Distribution {
    if let Some(said) = &shape.layout.distribution {
        return said.clone();
    }
    if is_dimension(shape) {
        return Distribution::All;
    }
    match (shape.key.as_slice(), shape.references.first()) {
        ([key], _) => Distribution::Key(key.clone()),
        (_, Some(reference)) => Distribution::Key(reference.column.clone()),
        (_, None) => Distribution::Even,
    }
}

fn sort_key(shape: &Shape) -> Vec<&str> {
    if !shape.layout.sort_key.is_empty() {
        return shape.layout.sort_key.iter().map(String::as_str).collect();
    }
    match is_dimension(shape) {
        true => shape.key.iter().map(String::as_str).collect(),
        false => vec![ARRIVED_AT],
    }
}

fn is_dimension(shape: &Shape) -> bool {
    matches!(shape.style, Style::Overwrite | Style::Keep)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{fact, shape_of};
    use super::*;
    use crate::schema::{Reference, TableKind, TableLayout, TableSpec};

    fn laid_out(kind: TableKind, key: &[&str], references: &[&str], layout: TableLayout) -> String {
        let reference = |column: &&str| Reference { column: (*column).to_owned(), dimension: "d".to_owned() };
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        let columns = [("id", DataType::Int32), ("day", DataType::Date32), ("d_id", DataType::Int32)];
        let mut shape = shape_of(TableSpec { kind, key, layout, ..fact(&columns) }).as_ref().clone();
        shape.references = references.iter().map(reference).collect();
        attributes(&shape)
    }

    #[test]
    fn the_layout_follows_the_table_unless_the_pipeline_says_another() {
        let none = TableLayout::default;
        let said = TableLayout {
            distribution: Some(Distribution::Even),
            sort_key: vec!["day".to_owned(), "id".to_owned()],
            ..none()
        };
        let by = |distribution: Distribution| TableLayout { distribution: Some(distribution), ..none() };
        let cases: [(_, &[&str], &[&str], _, &str); 8] = [
            (TableKind::Fact, &["id"], &["d_id"], none(), "DISTSTYLE KEY\nDISTKEY (\"id\")\nSORTKEY (\"_arrived_at\")"),
            (TableKind::Fact, &[], &["d_id"], none(), "DISTSTYLE KEY\nDISTKEY (\"d_id\")\nSORTKEY (\"_arrived_at\")"),
            (TableKind::Fact, &["id", "day"], &[], none(), "DISTSTYLE EVEN\nSORTKEY (\"_arrived_at\")"),
            (TableKind::Fact, &["id"], &[], by(Distribution::Auto), "DISTSTYLE AUTO\nSORTKEY (\"_arrived_at\")"),
            (TableKind::Fact, &["id"], &[], said, "DISTSTYLE EVEN\nSORTKEY (\"day\", \"id\")"),
            (TableKind::Dimension, &["id"], &[], none(), "DISTSTYLE ALL\nSORTKEY (\"id\")"),
            (TableKind::Dimension, &["id", "day"], &[], none(), "DISTSTYLE ALL\nSORTKEY (\"id\", \"day\")"),
            (
                TableKind::Dimension,
                &["id"],
                &[],
                by(Distribution::Key("day".to_owned())),
                "DISTSTYLE KEY\nDISTKEY (\"day\")\nSORTKEY (\"id\")",
            ),
        ];
        for (kind, key, references, layout, expected) in cases {
            assert_eq!(laid_out(kind, key, references, layout), expected, "{kind:?} {key:?}");
        }
    }

    #[test]
    fn a_column_is_compressed_by_its_type_unless_the_pipeline_says_how() {
        let columns = [
            ("id", DataType::Int32),
            ("price", DataType::Decimal128(10, 2)),
            ("ratio", DataType::Float64),
            ("name", DataType::Utf8),
            ("said", DataType::Utf8),
            ("paid", DataType::Boolean),
        ];
        let mut spec = fact(&columns);
        spec.layout.encodings =
            [("said", "bytedict"), ("paid", "zstd")].map(|(c, e)| (c.to_owned(), e.to_owned())).into();
        let shape = shape_of(spec);
        let found: Vec<_> = shape.table.fields().iter().map(|field| encoding(&shape, field)).collect();
        assert_eq!(found, ["az64", "az64", "zstd", "zstd", "bytedict", "zstd", "raw", "zstd"]);
        let plain = shape_of(fact(&columns));
        assert_eq!(encoding(&plain, plain.table.field(5)), "raw");
    }
}
