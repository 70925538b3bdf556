use arrow::datatypes::DataType;

use super::super::super::shape::shapes;
use super::super::create::create_statements;
use super::super::samples::{fact, food_delivery, shape_of};
use super::*;
use crate::error::ErrorKind;
use crate::schema::{Distribution, History, TableKind, TableSpec};

fn target(dialect: Dialect) -> SqlTarget {
    SqlTarget { dialect, schema: "food".to_owned() }
}

const BOTH: [Dialect; 2] = [Dialect::Redshift, Dialect::Postgres];

/// A column as the catalog tells it, of a type as we write it: `found("t", "a", "VARCHAR(9)")`.
fn found(table: &str, column: &str, spelled: &str) -> FoundColumn {
    let word = spelled.split('(').next().expect("a word").to_lowercase();
    let mut sizes = spelled.split(['(', ')', ',']).skip(1).map_while(|size| size.parse().ok());
    let data_type = match word.as_str() {
        "decimal" => "numeric",
        "varchar" => "character varying",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "text collate \"c\"" => "text",
        word => word,
    };
    let (first, second) = (sizes.next(), sizes.next());
    let (length, precision) = if data_type == "numeric" { (None, first) } else { (first, None) };
    FoundColumn {
        table: table.to_owned(),
        column: column.to_owned(),
        data_type: data_type.to_owned(),
        length,
        precision,
        scale: second,
        nullable: true,
        collation: spelled.contains("COLLATE").then(|| "C".to_owned()),
    }
}

/// What the catalog tells of a table as we make it.
fn made(dialect: Dialect, shape: &Shape) -> Vec<FoundColumn> {
    let column = |field: &Arc<Field>| FoundColumn {
        nullable: field.is_nullable(),
        ..found(&shape.name, field.name(), &column_type(dialect, shape, field))
    };
    shape.table.fields().iter().map(column).collect()
}

/// The catalog after the ledger and these tables were made.
fn all_made(dialect: Dialect, shapes: &[Arc<Shape>]) -> Vec<FoundColumn> {
    std::iter::once(&ledger_shape()).chain(shapes).flat_map(|shape| made(dialect, shape)).collect()
}

/// What a changed catalog leads to: the statements, or the sentence.
fn after(
    dialect: Dialect,
    shapes: &[Arc<Shape>],
    change: impl FnOnce(&mut Vec<FoundColumn>),
) -> Result<Vec<String>, String> {
    let mut columns = all_made(dialect, shapes);
    change(&mut columns);
    changes(&target(dialect), shapes, &columns).map(|changes| changes.statements).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    })
}

/// A fact of each kind of column; `id` is its key.
fn plain() -> Vec<Arc<Shape>> {
    vec![shape_of(spec())]
}

fn spec() -> TableSpec {
    let columns = [
        ("id", DataType::Int32),
        ("price", DataType::Decimal128(10, 2)),
        ("name", DataType::Utf8),
        ("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
    ];
    let mut spec = fact(&columns);
    spec.max_bytes.insert("name".to_owned(), 20);
    spec
}

/// A fact whose one column and key is a string of at most 20 bytes.
fn of_text_key(kind: TableKind, history: History) -> Vec<Arc<Shape>> {
    let mut spec = TableSpec { kind, history, ..fact(&[("code", DataType::Utf8), ("name", DataType::Utf8)]) };
    spec.max_bytes = [("code".to_owned(), 20), ("name".to_owned(), 20)].into();
    vec![shape_of(spec)]
}

#[test]
fn tables_as_we_make_them_fit() {
    for dialect in BOTH {
        let shapes = shapes(&food_delivery()).expect("shapes");
        assert_eq!(after(dialect, &shapes, |_| ()), Ok(vec![]));
    }
}

#[test]
fn in_an_empty_schema_everything_is_made() {
    for dialect in BOTH {
        let shapes = shapes(&food_delivery()).expect("shapes");
        let expected = create_statements(&target(dialect), &shapes);
        assert_eq!(after(dialect, &shapes, Vec::clear), Ok(expected.clone()));
        let stranger = |columns: &mut Vec<FoundColumn>| *columns = vec![found("somebodys", "a", "date")];
        assert_eq!(after(dialect, &shapes, stranger).as_deref(), Ok(&expected[1..]), "the schema is there");
        let one_gone = |columns: &mut Vec<FoundColumn>| columns.retain(|column| column.table != "dim_riders");
        let made = after(dialect, &shapes, one_gone).expect("made");
        assert_eq!(made.len(), 1);
        assert!(made[0].contains("CREATE TABLE IF NOT EXISTS \"food\".\"dim_riders\""), "{made:?}");
    }
}

#[test]
fn columns_that_may_be_null_are_added_one_statement_each() {
    let gone = |columns: &mut Vec<FoundColumn>| columns.retain(|c| c.column != "name" && c.column != "tags");
    let added = after(Dialect::Redshift, &plain(), gone).expect("added");
    let expected = [
        "ALTER TABLE \"food\".\"t\" ADD COLUMN \"name\" VARCHAR(20) ENCODE zstd",
        "ALTER TABLE \"food\".\"t\" ADD COLUMN \"tags\" SUPER ENCODE zstd",
    ];
    assert_eq!(added, expected);
    let added = after(Dialect::Postgres, &plain(), gone).expect("added");
    let expected = [
        "ALTER TABLE \"food\".\"t\" ADD COLUMN IF NOT EXISTS \"name\" text",
        "ALTER TABLE \"food\".\"t\" ADD COLUMN IF NOT EXISTS \"tags\" jsonb",
    ];
    assert_eq!(added, expected);
}

#[test]
fn a_column_that_is_never_null_is_not_added() {
    let dimension = TableSpec { kind: TableKind::Dimension, history: History::Keep, ..spec() };
    let shapes = [shape_of(dimension)];
    for dialect in BOTH {
        for column in ["surrogate_key", "id", "is_inferred", "valid_from", "is_current", "_arrived_at", "_position"] {
            let told = after(dialect, &shapes, |columns| columns.retain(|found| found.column != column));
            let told = told.expect_err(column);
            assert!(told.contains(&format!("\"food\".\"t\": {column} ")) && told.contains("is missing"), "{told}");
            assert!(told.contains("ALTER SCHEMA \"food\" RENAME TO \"food_before\""), "{told}");
        }
        let added = after(dialect, &shapes, |columns| columns.retain(|found| found.column != "valid_to"));
        assert_eq!(added.expect("added").len(), 1, "valid_to may be null");
    }
}

/// Sets the type of a column of the table `t`.
fn retyped(columns: &mut [FoundColumn], name: &str, spelled: &str) {
    let column = columns.iter_mut().find(|found| found.table == "t" && found.column == name).expect("a column");
    *column = FoundColumn { nullable: column.nullable, ..found("t", name, spelled) };
}

#[test]
fn in_redshift_a_narrow_string_is_widened_and_a_wide_one_fits() {
    let cases = [(20, None), (21, None), (65_535, None), (19, Some(())), (1, Some(()))];
    for (bytes, is_widened) in cases {
        let there = format!("VARCHAR({bytes})");
        let found = after(Dialect::Redshift, &plain(), |columns| retyped(columns, "name", &there));
        let expected =
            is_widened.map(|()| "ALTER TABLE \"food\".\"t\" ALTER COLUMN \"name\" TYPE VARCHAR(20)".to_owned());
        assert_eq!(found, Ok(expected.into_iter().collect::<Vec<_>>()), "{bytes}");
    }
}

#[test]
fn where_redshift_widens_nothing_the_sentence_says_why_and_the_statements_how() {
    let narrow = |columns: &mut Vec<FoundColumn>| retyped(columns, "code", "VARCHAR(9)");
    for (kind, history) in [(TableKind::Fact, History::Overwrite), (TableKind::Dimension, History::Overwrite)] {
        let told = after(Dialect::Redshift, &of_text_key(kind, history), narrow).expect_err("a key");
        let cure = "ALTER TABLE \"food\".\"t\" DROP CONSTRAINT \"t_pkey\"; ALTER TABLE \"food\".\"t\" ALTER COLUMN \"code\" \
                    TYPE VARCHAR(20); ALTER TABLE \"food\".\"t\" ADD PRIMARY KEY (\"code\")";
        assert!(
            told.contains("code is VARCHAR(9) and must be VARCHAR(20), and Redshift widens no column of a primary key")
        );
        assert!(told.contains(cure), "{told}");
    }
    // A type 2 dimension's primary key is the surrogate key.
    let widened = after(Dialect::Redshift, &of_text_key(TableKind::Dimension, History::Keep), narrow);
    assert_eq!(widened.expect("widened").len(), 1);
    for encoding in NEVER_WIDENED.map(str::to_uppercase).iter().map(String::as_str).chain(NEVER_WIDENED) {
        let mut spec = spec();
        spec.layout.encodings.insert("name".to_owned(), encoding.to_owned());
        let told = after(Dialect::Redshift, &[shape_of(spec)], |columns| retyped(columns, "name", "VARCHAR(9)"));
        let told = told.expect_err(encoding);
        assert!(told.contains("Redshift widens no column of the encoding"), "{told}");
        let cure = "ALTER TABLE \"food\".\"t\" ALTER COLUMN \"name\" ENCODE zstd; ALTER TABLE \"food\".\"t\" ALTER COLUMN \
                    \"name\" TYPE VARCHAR(20)";
        assert!(told.contains(cure), "{told}");
    }
}

#[test]
fn each_other_type_is_refused_with_the_statements_that_change_it() {
    let swap = |column: &str, data_type: &str, encoding: &str, value: &str| {
        format!(
            "ALTER TABLE \"food\".\"t\" ADD COLUMN \"{column}_new\" {data_type} ENCODE {encoding}; UPDATE \"food\".\"t\" SET \
             \"{column}_new\" = {value}; ALTER TABLE \"food\".\"t\" DROP COLUMN \"{column}\"; ALTER TABLE \"food\".\"t\" \
             RENAME COLUMN \"{column}_new\" TO \"{column}\""
        )
    };
    let price = |value: &str| swap("price", "DECIMAL(10,2)", "az64", value);
    let alter = |column: &str, rest: &str| format!("ALTER TABLE \"food\".\"t\" ALTER COLUMN \"{column}\" TYPE {rest}");
    let cases = [
        (Dialect::Redshift, "price", "DECIMAL(12,2)", price("CAST(\"price\" AS DECIMAL(10,2))")),
        (Dialect::Redshift, "price", "DECIMAL(10,3)", price("CAST(\"price\" AS DECIMAL(10,2))")),
        (Dialect::Redshift, "price", "DOUBLE PRECISION", price("CAST(\"price\" AS DECIMAL(10,2))")),
        (Dialect::Redshift, "name", "BIGINT", swap("name", "VARCHAR(20)", "zstd", "CAST(\"name\" AS VARCHAR(20))")),
        (Dialect::Redshift, "tags", "VARCHAR(99)", swap("tags", "SUPER", "zstd", "JSON_PARSE(\"tags\")")),
        (
            Dialect::Postgres,
            "price",
            "numeric(12,2)",
            alter("price", "numeric(10,2) USING CAST(\"price\" AS numeric(10,2))"),
        ),
        (Dialect::Postgres, "price", "numeric", alter("price", "numeric(10,2) USING CAST(\"price\" AS numeric(10,2))")),
        (Dialect::Postgres, "id", "bigint", alter("id", "integer USING CAST(\"id\" AS integer)")),
        (Dialect::Postgres, "name", "varchar(20)", alter("name", "text USING CAST(\"name\" AS text)")),
        (Dialect::Postgres, "tags", "json", alter("tags", "jsonb USING CAST(\"tags\" AS jsonb)")),
        (
            Dialect::Postgres,
            "_position",
            "text",
            alter("_position", "text COLLATE \"C\" USING CAST(\"_position\" AS text)"),
        ),
        (
            Dialect::Postgres,
            "_arrived_at",
            "timestamp",
            alter("_arrived_at", "timestamptz USING CAST(\"_arrived_at\" AS timestamptz)"),
        ),
    ];
    for (dialect, column, there, cure) in cases {
        let told = after(dialect, &plain(), |columns| retyped(columns, column, there)).expect_err(there);
        assert!(told.contains(&format!("\"food\".\"t\": {column} is ")) && told.contains("and must be"), "{told}");
        assert!(told.ends_with(&cure), "{told}\nwithout\n{cure}");
    }
}

#[test]
fn a_column_that_redshift_drops_only_with_its_table_is_rebuilt_with_it() {
    let rebuilt = |columns: &mut Vec<FoundColumn>| retyped(columns, "id", "BIGINT");
    let told = after(Dialect::Redshift, &plain(), rebuilt).expect_err("a key");
    let cure = "id is BIGINT and must be INTEGER: ALTER TABLE \"food\".\"t\" RENAME TO \"t_before\"; CREATE TABLE IF NOT \
                EXISTS \"food\".\"t\" ( \"id\"          INTEGER ENCODE az64 NOT NULL,";
    assert!(told.contains(cure), "{told}");
    let cure = "INSERT INTO \"food\".\"t\" (\"id\", \"price\", \"name\", \"tags\", \"_arrived_at\", \"_position\") SELECT \
                CAST(\"id\" AS INTEGER), \"price\", \"name\", \"tags\", \"_arrived_at\", \"_position\" FROM \
                \"food\".\"t_before\"; DROP TABLE \"food\".\"t_before\"";
    assert!(told.ends_with(cure), "{told}");
    for (column, there) in [("_arrived_at", "TIMESTAMP"), ("price", "REAL")] {
        let mut spec = spec();
        spec.layout.distribution = Some(Distribution::Key("price".to_owned()));
        let told = after(Dialect::Redshift, &[shape_of(spec)], |columns| retyped(columns, column, there));
        let told = told.expect_err(column);
        assert!(told.contains("RENAME TO \"t_before\""), "{told}");
    }
}

#[test]
fn not_null_is_refused_where_the_pipeline_may_leave_null_and_only_there() {
    let strict = |columns: &mut Vec<FoundColumn>| columns.iter_mut().for_each(|found| found.nullable = false);
    let told = after(Dialect::Postgres, &plain(), strict).expect_err("strict");
    for column in ["price", "name", "tags"] {
        let cure = format!(
            "{column} is NOT NULL, and the pipeline may leave it null: ALTER TABLE \"food\".\"t\" ALTER COLUMN \"{column}\" \
             DROP NOT NULL"
        );
        assert!(told.contains(&cure), "{told}");
    }
    assert_eq!(told.matches("is NOT NULL").count(), 3, "{told}");
    let told = after(Dialect::Redshift, &plain(), strict).expect_err("strict");
    assert!(told.contains("UPDATE \"food\".\"t\" SET \"price_new\" = \"price\""), "{told}");
    let lenient = |columns: &mut Vec<FoundColumn>| columns.iter_mut().for_each(|found| found.nullable = true);
    assert_eq!(after(Dialect::Redshift, &plain(), lenient), Ok(vec![]));
}

#[test]
fn every_difference_of_all_tables_is_told_at_once_and_nothing_is_changed() {
    let shapes = shapes(&food_delivery()).expect("shapes");
    for dialect in BOTH {
        let told = after(dialect, &shapes, |columns| {
            columns.retain(|column| column.column != "comment");
            columns.push(found("fact_orders", "tip", "date"));
            columns.push(found("_ledger", "note", "date"));
            let city = columns.iter_mut().find(|column| column.column == "city").expect("a column");
            *city = found("dim_customers", "city", "date");
        });
        let told = told.expect_err("three differences");
        assert_eq!(told.lines().count(), 4, "{told}");
        assert!(!told.contains("comment"), "{told}");
        let lines = [
            "\"food\".\"_ledger\": note is not of the pipeline: ALTER TABLE \"food\".\"_ledger\" DROP COLUMN \"note\"",
            "\"food\".\"dim_customers\": city is ",
            "\"food\".\"fact_orders\": tip is not of the pipeline: ALTER TABLE \"food\".\"fact_orders\" DROP COLUMN \"tip\"",
        ];
        for line in lines {
            assert!(told.contains(line), "{told}");
        }
    }
}

#[test]
fn redshift_folds_names_and_postgres_does_not() {
    let upper = |columns: &mut Vec<FoundColumn>| {
        for found in columns {
            found.table = found.table.to_uppercase();
            found.column = found.column.to_uppercase();
        }
    };
    assert_eq!(after(Dialect::Redshift, &plain(), upper), Ok(vec![]));
    let made = after(Dialect::Postgres, &plain(), upper).expect("other tables");
    assert_eq!(made.len(), 2, "the ledger and the table");
}

#[test]
fn names_that_postgres_would_cut_stop_everything() {
    let shapes = [shape_of(fact(&[(&"a".repeat(64), DataType::Int32)]))];
    let told = after(Dialect::Postgres, &shapes, |_| ()).expect_err("too long");
    assert!(told.contains(&"a".repeat(64)), "{told}");
    assert_eq!(after(Dialect::Redshift, &shapes, |_| ()), Ok(vec![]));
}
