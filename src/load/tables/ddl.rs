//! The star schema as text, for people and for their own migrations.
//!
//! Owns the text's form, and the `CREATE` statements of Delta tables, which no SQL session of ours ever runs.

use super::super::script::{Dialect, SqlTarget};
use super::super::shape::{Shape, shapes, sql_type};
use super::create::{create_statements, purpose};
use super::evolve::names_fit;
use crate::error::Result;
use crate::schema::TableSpec;

/// Whose SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DdlFor {
    /// Delta tables, as Spark writes them.
    Delta,
    /// PostgreSQL, with the tables in this schema.
    Postgres {
        /// The schema.
        schema: String,
    },
    /// Redshift, with the tables in this schema.
    Redshift {
        /// The schema.
        schema: String,
    },
}

/// The `CREATE` statements of the star schema, dimensions first, each ended by `;` and a newline, with an empty line
/// between. For a warehouse that speaks SQL its schema and the ledger stand before them.
///
/// # Errors
/// Invalid where a table cannot be loaded as it is declared, or its names do not fit the warehouse.
pub fn ddl(specs: &[TableSpec], kind: &DdlFor) -> Result<String> {
    let shapes = shapes(specs)?;
    let (dialect, schema) = match kind {
        DdlFor::Delta => return Ok(text(shapes.iter().map(|shape| delta(shape)))),
        DdlFor::Postgres { schema } => (Dialect::Postgres, schema.clone()),
        DdlFor::Redshift { schema } => (Dialect::Redshift, schema.clone()),
    };
    let target = SqlTarget { dialect, schema };
    names_fit(&target, &shapes)?;
    Ok(text(create_statements(&target, &shapes).into_iter()))
}

fn text(statements: impl Iterator<Item = String>) -> String {
    statements.map(|statement| format!("{statement};\n")).collect::<Vec<_>>().join("\n")
}

fn delta(shape: &Shape) -> String {
    let width = shape.table.fields().iter().map(|field| field.name().len()).max().unwrap_or(0);
    let columns = shape.table.fields().iter().map(|field| {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        format!("    {:width$} {}{null}", field.name(), sql_type(field.data_type()))
    });
    let columns = columns.collect::<Vec<_>>().join(",\n");
    format!("-- {}\nCREATE TABLE {} (\n{columns}\n) USING DELTA", purpose(shape), shape.name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};

    use super::super::super::golden::golden;
    use super::super::samples::{fact, food_delivery};
    use super::*;
    use crate::error::ErrorKind;
    use crate::schema::TableKind;

    #[test]
    fn the_statements_of_each_warehouse_are_the_golden_ones() {
        let schema = || "food_delivery".to_owned();
        let cases = [
            ("ddl.delta.sql", DdlFor::Delta),
            ("ddl.postgres.sql", DdlFor::Postgres { schema: schema() }),
            ("ddl.redshift.sql", DdlFor::Redshift { schema: schema() }),
        ];
        for (name, kind) in cases {
            golden(name, &ddl(&food_delivery(), &kind).expect("ddl"));
        }
    }

    #[test]
    fn names_that_postgres_would_cut_are_refused_all_at_once() {
        let long = "a".repeat(64);
        let mut spec = fact(&[("id", DataType::Int32), (&long, DataType::Int32), (&"é".repeat(32), DataType::Int32)]);
        spec.name = "t".repeat(64);
        let error = ddl(&[spec.clone()], &DdlFor::Postgres { schema: "s".repeat(64) }).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        for name in [&long, &"é".repeat(32), &spec.name, &"s".repeat(64)] {
            assert!(error.to_string().contains(name.as_str()), "{error}");
        }
        assert!(ddl(&[spec], &DdlFor::Redshift { schema: "s".to_owned() }).is_ok(), "Redshift takes 127 bytes");
        assert!(ddl(&[fact(&[("id", DataType::Int32)])], &DdlFor::Postgres { schema: "s".repeat(63) }).is_ok());
    }

    #[test]
    fn delta_tables_stand_dimensions_first() {
        let item = Field::new("item", DataType::Decimal128(5, 2), true);
        let mut first = fact(&[("id", DataType::Int32), ("tags", DataType::List(Arc::new(item)))]);
        first.name = "fact_a".to_owned();
        let dimension = TableSpec { name: "dim_b".to_owned(), kind: TableKind::Dimension, ..first.clone() };
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
        assert_eq!(ddl(&[first, dimension], &DdlFor::Delta).expect("ddl"), expected);
    }
}
