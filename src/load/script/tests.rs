//! The texts of whole loads, held against golden files.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::super::golden::golden;
use super::super::plan::{Attempt, LoadPlan};
use super::super::shape::{Shape, shapes};
use super::*;
use crate::batch::{DataFile, Entry};
use crate::schema::samples::table;
use crate::schema::{History, Reference, TableKind, TableSpec};

const DIALECTS: [(Dialect, &str); 2] = [(Dialect::Redshift, "redshift"), (Dialect::Postgres, "postgres")];

fn target(dialect: Dialect) -> SqlTarget {
    SqlTarget { dialect, schema: "food_delivery".to_owned() }
}

fn dimension(name: &str, history: History, columns: &[(&str, DataType)]) -> TableSpec {
    let max_bytes = BTreeMap::from([("customer_name".to_owned(), 128), ("rider_name".to_owned(), 128)]);
    TableSpec { history, max_bytes, ..table(name, TableKind::Dimension, columns) }
}

fn fact(name: &str, key: &[&str], references: &[(&str, &str)], columns: &[(&str, DataType)]) -> TableSpec {
    let reference = |(column, dimension): &(&str, &str)| Reference {
        column: (*column).to_owned(),
        dimension: (*dimension).to_owned(),
    };
    TableSpec {
        kind: TableKind::Fact,
        key: key.iter().map(|key| (*key).to_owned()).collect(),
        references: references.iter().map(reference).collect(),
        ..dimension(name, History::Overwrite, columns)
    }
}

/// The tables of food_delivery, with fewer columns.
fn food_delivery() -> Vec<Arc<Shape>> {
    use DataType::{Date32, Decimal128, Int32, Int64, Utf8};
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let references =
        [("customer_id", "dim_customers"), ("restaurant_id", "dim_restaurants"), ("rider_id", "dim_delivery_riders")];
    let orders = [
        ("order_id", Int64),
        ("customer_id", Int32),
        ("restaurant_id", Int32),
        ("rider_id", Int32),
        ("order_date", instant),
        ("order_value", Decimal128(10, 2)),
        ("order_status", Utf8),
    ];
    let customers = [("customer_id", Int32), ("customer_name", Utf8), ("registration_date", Date32)];
    let restaurants = [("restaurant_id", Int32), ("restaurant_name", Utf8), ("restaurant_rating", Decimal128(2, 1))];
    let riders = [("rider_id", Int32), ("rider_name", Utf8)];
    let dates = [("date_key", Int32), ("date", Date32), ("is_weekend", DataType::Boolean)];
    let specs = [
        fact("fact_orders", &["order_id"], &references, &orders),
        dimension("dim_customers", History::Keep, &customers),
        dimension("dim_restaurants", History::Overwrite, &restaurants),
        dimension("dim_delivery_riders", History::Keep, &riders),
        dimension("dim_date", History::Overwrite, &dates),
    ];
    shapes(&specs).expect("shapes")
}

/// An entry with one file of each of these tables.
fn entry(number: u64, tables: &[&str]) -> Arc<Entry> {
    let text = format!(
        r#"{{"format": 2, "number": {number}, "pipeline": "food_delivery", "writer": "w", "attempt": "a{number}", "written_at": 0}}"#
    );
    let entry: Entry = serde_json::from_str(&text).expect("an entry");
    let path = |table: &str| format!("staged/{table}/{number}.parquet");
    let file = |table: &str| DataFile { path: path(table), rows: 10 * number, bytes: 1000, checksum: None, etag: None };
    let tables = tables.iter().map(|table| ((*table).to_owned(), vec![file(table)])).collect();
    Arc::new(Entry { tables, ..entry })
}

fn attempt() -> Attempt {
    Attempt { id: "load-1".to_owned(), pipeline: "food_delivery".to_owned(), loaded_at: 1_795_190_458_007 }
}

fn plan(shapes: &[Arc<Shape>], entries: &[Arc<Entry>]) -> LoadPlan {
    LoadPlan::new(shapes, entries, &HashMap::new(), attempt()).expect("a plan")
}

/// A script as a file that a person reads.
fn written(script: &[Statement]) -> String {
    let mut text = String::new();
    for statement in script {
        let line = match statement {
            Statement::Run(sql) => writeln!(text, "{sql};\n"),
            Statement::Expect { sql, number } => writeln!(text, "-- must be {number}\n{sql};\n"),
            Statement::Copy { copy, into } => {
                let columns =
                    copy.columns.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
                let columns = columns.collect::<Vec<_>>().join(", ");
                let files = copy.files.iter().map(|staged| staged.file.path.as_str()).collect::<Vec<_>>().join(", ");
                let Copy { table, number, .. } = copy;
                let rows = copy.rows();
                writeln!(text, "-- copy {number} of {table} into {into} ({columns}) from {files}: {rows} rows\n")
            }
        };
        line.expect("a line");
    }
    text
}

/// An entry whose first file of a table holds these columns of it alone.
fn narrower(shapes: &[Arc<Shape>], table: &str, columns: &[&str]) -> HashMap<String, arrow::datatypes::SchemaRef> {
    let shape = shapes.iter().find(|shape| shape.name == table).expect("a table");
    let only = super::super::shape::only(&shape.staged, columns).expect("columns");
    HashMap::from([(format!("staged/{table}/1.parquet"), only)])
}

fn compare(name: &str, plan: &LoadPlan) {
    for (dialect, word) in DIALECTS {
        golden(&format!("{name}.{word}.sql"), &written(&script(&target(dialect), plan)));
    }
}

#[test]
fn the_first_load_of_food_delivery_brings_all_five_tables() {
    let tables = ["fact_orders", "dim_customers", "dim_restaurants", "dim_delivery_riders", "dim_date"];
    compare("food_delivery_first", &plan(&food_delivery(), &[entry(1, &tables), entry(2, &["fact_orders"])]));
}

#[test]
fn five_tables_at_once_are_at_most_forty_statements() {
    let tables = ["fact_orders", "dim_customers", "dim_restaurants", "dim_delivery_riders", "dim_date"];
    let script = script(&target(Dialect::Redshift), &plan(&food_delivery(), &[entry(1, &tables)]));
    assert_eq!(script.len(), 32);
    for statement in &script {
        let sql = match statement {
            Statement::Run(sql) | Statement::Expect { sql, .. } => sql,
            Statement::Copy { into, .. } => into,
        };
        assert!(sql.len() < 100_000 && !sql.contains(';'), "{sql}");
    }
}

#[test]
fn a_later_load_of_facts_touches_the_dimensions_that_they_point_at() {
    let plan = plan(&food_delivery(), &[entry(17, &["fact_orders"])]);
    assert_eq!(plan.tables.len(), 4, "dim_date is not pointed at");
    compare("food_delivery_later", &plan);
}

#[test]
fn a_load_of_nothing_moves_the_ledger_alone() {
    let script = script(&target(Dialect::Redshift), &plan(&food_delivery(), &[entry(3, &[])]));
    let [Statement::Run(lock), Statement::Expect { number: 2, .. }, Statement::Run(record)] = script.as_slice() else {
        panic!("{script:?}");
    };
    assert!(lock.starts_with("LOCK ") && record.starts_with("INSERT INTO \"food_delivery\".\"_ledger\""));
}

#[test]
fn a_type_2_dimension_with_every_kind_of_key_and_nested_attributes() {
    let instant = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let columns = [
        ("flag", DataType::Boolean),
        ("small", DataType::Int16),
        ("word", DataType::Utf8),
        ("day", DataType::Date32),
        ("amount", DataType::Decimal128(5, 2)),
        ("at", instant(Some("UTC"))),
        ("wall", instant(None)),
        ("tags", list.clone()),
        ("inner", DataType::Struct(vec![Field::new("tags", list, true)].into())),
    ];
    let key = columns[..7].iter().map(|(name, _)| (*name).to_owned()).collect();
    let spec = TableSpec { key, ..dimension("dim_it's", History::Keep, &columns) };
    compare("history", &plan(&shapes(&[spec]).expect("shapes"), &[entry(1, &["dim_it's"])]));
}

#[test]
fn a_dimension_of_nothing_but_its_key_has_one_version() {
    let spec = dimension("dim_keys", History::Keep, &[("id", DataType::Int32)]);
    let script =
        script(&target(Dialect::Redshift), &plan(&shapes(&[spec]).expect("shapes"), &[entry(1, &["dim_keys"])]));
    let rebuilt = script.iter().find_map(|statement| match statement {
        Statement::Run(sql) if sql.starts_with("INSERT INTO \"food_delivery\".\"dim_keys\"") => Some(sql),
        _ => None,
    });
    assert!(rebuilt.expect("versions").contains("WHERE \"_millstream_before\" IS NULL\n),"));
}

#[test]
fn facts_without_a_key_are_copied_straight_where_they_point_at_nothing() {
    let clicks = [("page", DataType::Utf8), ("rider_id", DataType::Int32), ("other_id", DataType::Int32)];
    let specs = [
        fact("fact_clicks", &[], &[("rider_id", "dim_riders"), ("other_id", "dim_riders")], &clicks),
        fact("fact_views", &[], &[], &clicks),
        dimension("dim_riders", History::Overwrite, &[("rider_id", DataType::Int64), ("name", DataType::Utf8)]),
    ];
    let shapes = shapes(&specs).expect("shapes");
    let columns = narrower(&shapes, "fact_views", &["rider_id", "page", "_arrived_at", "_position"]);
    let tables = ["fact_clicks", "fact_views"];
    let plan = LoadPlan::new(&shapes, &[entry(1, &tables), entry(2, &tables)], &columns, attempt());
    compare("append_only", &plan.expect("a plan"));
}

#[test]
fn what_is_asked_of_a_warehouse() {
    for (dialect, word) in DIALECTS {
        let target = target(dialect);
        let mut queries = vec![
            ledger_query(&target),
            receipts_query(&target, 20),
            load_query(&target, "it's 1"),
            rows_query(&target, "dim_customers", &["customer_id", "customer_name"], None),
            rows_query(&target, "fact_orders", &["order_id"], Some(10)),
        ];
        queries.extend(food_delivery().iter().map(|shape| held_query(&target, shape)));
        let clicks = shapes(&[fact("fact_clicks", &[], &[], &[("page", DataType::Utf8)])]).expect("shapes");
        queries.push(held_query(&target, &clicks[0]));
        golden(&format!("queries.{word}.sql"), &format!("{};\n", queries.join(";\n\n")));
    }
}

#[test]
fn the_ledger_is_written_with_the_columns_that_it_is_made_with() {
    let shape = super::super::tables::ledger_shape();
    let columns: Vec<&str> = shape.table.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(columns, queries::LEDGER_COLUMNS);
}

#[test]
fn the_rows_that_came_are_told_as_json() {
    let plan = plan(&food_delivery(), &[entry(1, &["fact_orders", "dim_date"]), entry(2, &["fact_orders"])]);
    assert_eq!(copied_text(&plan), r#"{"dim_date":10,"fact_orders":30}"#);
}
