//! The columns that a warehouse's tables have now.
//!
//! Owns the question for them, its answer's form, and the spelling of a found type as `column` spells it. Redshift is
//! asked through `svv_columns`, PostgreSQL through `information_schema.columns`; both know the same columns.

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::super::arrow_bug;
use super::super::script::{Dialect, SqlTarget};
use crate::error::{Error, Result};

/// A column of a table that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::load) struct FoundColumn {
    /// The table.
    pub(in crate::load) table: String,
    /// The column.
    pub(in crate::load) column: String,
    /// Its type, as the warehouse's catalog spells it: `character varying`.
    pub(in crate::load) data_type: String,
    /// The longest string, in the warehouse's own measure.
    pub(in crate::load) length: Option<i64>,
    /// A number's digits.
    pub(in crate::load) precision: Option<i64>,
    /// A number's digits after the point.
    pub(in crate::load) scale: Option<i64>,
    /// Whether it takes null.
    pub(in crate::load) nullable: bool,
    /// The collation, where it is not the database's.
    pub(in crate::load) collation: Option<String>,
}

/// The query that answers with a row a column of all the schema's tables, in the tables' order of columns. The types of
/// its columns are the same everywhere: varchar and bigint.
pub(in crate::load) fn columns_query(target: &SqlTarget) -> String {
    let text = |column: &str| format!("CAST({column} AS varchar(256)) AS {column}");
    let number = |column: &str| format!("CAST({column} AS bigint) AS {column}");
    // Redshift folds names to lower case, quoted ones too.
    let (from, schema, collation) = match target.dialect {
        Dialect::Redshift => {
            ("svv_columns", target.schema.to_lowercase(), "CAST(NULL AS varchar(256)) AS collation_name".to_owned())
        }
        Dialect::Postgres => ("information_schema.columns", target.schema.clone(), text("collation_name")),
    };
    let columns = [
        text("table_name"),
        text("column_name"),
        text("data_type"),
        number("character_maximum_length"),
        number("numeric_precision"),
        number("numeric_scale"),
        text("is_nullable"),
        collation,
    ];
    format!(
        "SELECT {}\nFROM {from}\nWHERE table_schema = '{}'\nORDER BY table_name, ordinal_position",
        columns.join(",\n       "),
        schema.replace('\'', "''")
    )
}

impl FoundColumn {
    /// The rows of an answer to [`columns_query`].
    ///
    /// # Errors
    /// Corrupt where it does not have the query's columns.
    pub(in crate::load) fn all(rows: &RecordBatch) -> Result<Vec<Self>> {
        let [tables, columns, types, nullable, collations] =
            ["table_name", "column_name", "data_type", "is_nullable", "collation_name"].map(|name| texts(rows, name));
        let [lengths, precisions, scales] =
            ["character_maximum_length", "numeric_precision", "numeric_scale"].map(|name| numbers(rows, name));
        let (tables, columns, types, nullable, collations) = (tables?, columns?, types?, nullable?, collations?);
        let (lengths, precisions, scales) = (lengths?, precisions?, scales?);
        let number = |numbers: &Int64Array, row: usize| numbers.is_valid(row).then(|| numbers.value(row));
        let found = (0..rows.num_rows()).map(|row| Self {
            table: tables.value(row).to_owned(),
            column: columns.value(row).to_owned(),
            data_type: types.value(row).to_owned(),
            length: number(&lengths, row),
            precision: number(&precisions, row),
            scale: number(&scales, row),
            nullable: !nullable.value(row).eq_ignore_ascii_case("no"),
            collation: collations.is_valid(row).then(|| collations.value(row).to_owned()),
        });
        Ok(found.collect())
    }

    /// Its type, spelled as `column_type` spells those that a pipeline may have; another as the catalog has it.
    pub(super) fn spelled(&self, dialect: Dialect) -> String {
        // Some catalogs put the size behind the word.
        let word = self.data_type.split('(').next().unwrap_or_default().trim().to_lowercase();
        let size = self.data_type.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        let mut sizes = size.into_iter().flat_map(|size| size.split(',')).map(|number| number.trim().parse().ok());
        let first = sizes.next().flatten();
        let (length, precision) = (self.length.or(first), self.precision.or(first));
        let scale = self.scale.or(sizes.next().flatten()).unwrap_or(0);
        match (dialect, word.as_str(), length, precision) {
            (Dialect::Redshift, "numeric" | "decimal", _, Some(precision)) => format!("DECIMAL({precision},{scale})"),
            (Dialect::Redshift, "character varying" | "varchar", Some(length), _) => format!("VARCHAR({length})"),
            (Dialect::Redshift, "binary varying" | "varbyte" | "varbinary", _, _) => "VARBYTE(1024000)".to_owned(),
            (Dialect::Redshift, "timestamp without time zone", ..) => "TIMESTAMP".to_owned(),
            (Dialect::Redshift, "timestamp with time zone", ..) => "TIMESTAMPTZ".to_owned(),
            (Dialect::Postgres, "numeric", _, Some(precision)) => format!("numeric({precision},{scale})"),
            (Dialect::Postgres, "timestamp without time zone", ..) => "timestamp".to_owned(),
            (Dialect::Postgres, "timestamp with time zone", ..) => "timestamptz".to_owned(),
            (Dialect::Postgres, "text", ..) if self.collation.as_deref() == Some("C") => {
                "text COLLATE \"C\"".to_owned()
            }
            (_, "character varying" | "character", Some(length), _) => cased(dialect, format!("{word}({length})")),
            _ => cased(dialect, word),
        }
    }
}

fn cased(dialect: Dialect, word: String) -> String {
    match dialect {
        Dialect::Redshift => word.to_uppercase(),
        Dialect::Postgres => word,
    }
}

fn texts(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    let texts = column(rows, name, &DataType::Utf8)?;
    texts.as_any().downcast_ref().cloned().ok_or_else(|| Error::internal("a catalog's texts are not strings"))
}

fn numbers(rows: &RecordBatch, name: &str) -> Result<Int64Array> {
    let numbers = column(rows, name, &DataType::Int64)?;
    numbers.as_any().downcast_ref().cloned().ok_or_else(|| Error::internal("a catalog's numbers are not integers"))
}

fn column(rows: &RecordBatch, name: &str, data_type: &DataType) -> Result<arrow::array::ArrayRef> {
    let found = rows.column_by_name(name).ok_or_else(|| {
        Error::corrupt(format!(
            "the warehouse told its tables' columns without their {name}: is it what it says it is?"
        ))
    })?;
    cast(found, data_type).map_err(arrow_bug)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{ArrayRef, Int32Array};

    fn of(data_type: &str, length: Option<i64>, digits: Option<(i64, i64)>) -> FoundColumn {
        FoundColumn {
            data_type: data_type.to_owned(),
            length,
            precision: digits.map(|digits| digits.0),
            scale: digits.map(|digits| digits.1),
            ..FoundColumn::default()
        }
    }

    #[test]
    fn the_catalogs_spellings_are_ours() {
        let cases = [
            (of("smallint", None, Some((16, 0))), "SMALLINT", "smallint"),
            (of("integer", None, Some((32, 0))), "INTEGER", "integer"),
            (of("bigint", None, Some((64, 0))), "BIGINT", "bigint"),
            (of("real", None, Some((24, 0))), "REAL", "real"),
            (of("double precision", None, Some((53, 0))), "DOUBLE PRECISION", "double precision"),
            (of("numeric", None, Some((10, 2))), "DECIMAL(10,2)", "numeric(10,2)"),
            (of("numeric(10,2)", None, None), "DECIMAL(10,2)", "numeric(10,2)"),
            (of("numeric", None, None), "NUMERIC", "numeric"),
            (of("character varying", Some(20), None), "VARCHAR(20)", "character varying(20)"),
            (of("character varying(20)", None, None), "VARCHAR(20)", "character varying(20)"),
            (of("character", Some(3), None), "CHARACTER(3)", "character(3)"),
            (of("text", None, None), "TEXT", "text"),
            (of("date", None, None), "DATE", "date"),
            (of("timestamp without time zone", None, None), "TIMESTAMP", "timestamp"),
            (of("timestamp with time zone", None, None), "TIMESTAMPTZ", "timestamptz"),
            (of("boolean", None, None), "BOOLEAN", "boolean"),
            (of("super", None, None), "SUPER", "super"),
            (of("jsonb", None, None), "JSONB", "jsonb"),
            (of("bytea", None, None), "BYTEA", "bytea"),
            (of("binary varying", Some(64_000), None), "VARBYTE(1024000)", "binary varying"),
        ];
        for (found, redshift, postgres) in cases {
            assert_eq!(found.spelled(Dialect::Redshift), redshift);
            assert_eq!(found.spelled(Dialect::Postgres), postgres);
        }
        let collated = FoundColumn { collation: Some("C".to_owned()), ..of("text", None, None) };
        assert_eq!(collated.spelled(Dialect::Postgres), "text COLLATE \"C\"");
    }

    #[test]
    fn an_answer_becomes_columns_whatever_integers_it_has() {
        let text = |values: [Option<&str>; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let number = |values: [Option<i32>; 2]| Arc::new(Int32Array::from(values.to_vec())) as ArrayRef;
        let columns = [
            ("table_name", text([Some("t"), Some("t")])),
            ("column_name", text([Some("a"), Some("b")])),
            ("data_type", text([Some("numeric"), Some("text")])),
            ("character_maximum_length", number([None, None])),
            ("numeric_precision", number([Some(10), None])),
            ("numeric_scale", number([Some(2), None])),
            ("is_nullable", text([Some("NO"), Some("YES")])),
            ("collation_name", text([None, Some("C")])),
        ];
        let rows = RecordBatch::try_from_iter(columns.clone()).expect("rows");
        let found = FoundColumn::all(&rows).expect("columns");
        let [table, a, b] = ["t", "a", "b"].map(str::to_owned);
        let first = FoundColumn { table: table.clone(), column: a, ..of("numeric", None, Some((10, 2))) };
        let collation = Some("C".to_owned());
        let second = FoundColumn { table, column: b, nullable: true, collation, ..of("text", None, None) };
        assert_eq!(found, [first, second]);
        for missing in 0..columns.len() {
            let left = columns.iter().enumerate().filter(|(index, _)| *index != missing).map(|(_, one)| one.clone());
            let error = FoundColumn::all(&RecordBatch::try_from_iter(left).expect("rows")).expect_err("a column lacks");
            assert!(error.to_string().contains(columns[missing].0), "{error}");
        }
    }

    #[test]
    fn a_schemas_name_is_a_text_and_folded_where_the_warehouse_folds_it() {
        let target = |dialect| SqlTarget { dialect, schema: "Bob's".to_owned() };
        let asked = columns_query(&target(Dialect::Postgres));
        assert!(asked.contains("FROM information_schema.columns\nWHERE table_schema = 'Bob''s'\n"), "{asked}");
        let asked = columns_query(&target(Dialect::Redshift));
        assert!(asked.contains("FROM svv_columns\nWHERE table_schema = 'bob''s'\n"), "{asked}");
    }
}
