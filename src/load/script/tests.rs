//! The texts of whole loads, held against golden files.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::super::golden::golden;
use super::super::plan::{Attempt, LoadPlan};
use super::super::shape::{Shape, shapes};
use super::*;
use crate::batch::{DataFile, Entry};
use crate::schema::{History, Reference, TableKind, TableLayout, TableSpec};

const DIALECTS: [(Dialect, &str); 2] = [(Dialect::Redshift, "redshift"), (Dialect::Postgres, "postgres")];

fn target(dialect: Dialect) -> SqlTarget {
    SqlTarget { dialect, schema: "food_delivery".to_owned() }
}

fn dimension(name: &str, history: History, columns: &[(&str, DataType)]) -> TableSpec {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    TableSpec {
        name: name.to_owned(),
        kind: TableKind::Dimension,
        key: vec![columns[0].0.to_owned()],
        history,
        references: vec![],
        columns: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        one_to_one: true,
        max_bytes: BTreeMap::from([("customer_name".to_owned(), 128), ("rider_name".to_owned(), 128)]),
        layout: TableLayout::default(),
    }
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
    let file =
        |table: &str| DataFile { path: format!("staged/{table}/{number}.parquet"), rows: 10 * number, bytes: 1000 };
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
