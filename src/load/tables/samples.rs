//! Tables that the tests of this room share: one of each style, with a column of each type.
//!
//! Owns nothing that runs outside tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::super::shape::{Shape, shapes};
use crate::schema::samples::table;
use crate::schema::{Distribution, History, Reference, TableKind, TableLayout, TableSpec};

/// A fact `t` with these columns, the first of which is its key.
pub(super) fn fact(columns: &[(&str, DataType)]) -> TableSpec {
    table("t", TableKind::Fact, columns)
}

/// The shape of a table that points at none.
pub(super) fn shape_of(spec: TableSpec) -> Arc<Shape> {
    shapes(&[spec]).expect("a shape").remove(0)
}

fn bytes(bounds: &[(&str, u32)]) -> BTreeMap<String, u32> {
    bounds.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect()
}

fn dimension(name: &str, history: History, columns: &[(&str, DataType)]) -> TableSpec {
    let max_bytes = bytes(&[("name", 64), ("city", 40)]);
    TableSpec { name: name.to_owned(), kind: TableKind::Dimension, history, max_bytes, ..fact(columns) }
}

/// A star schema: an order's fact with every type, one without a key, and dimensions of both types.
pub(super) fn food_delivery() -> Vec<TableSpec> {
    let reference =
        |column: &str, dimension: &str| Reference { column: column.to_owned(), dimension: dimension.to_owned() };
    let instant = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let item = vec![Field::new("dish", DataType::Utf8, true), Field::new("pieces", DataType::Int32, true)];
    let items = DataType::List(Arc::new(Field::new("item", DataType::Struct(item.into()), true)));
    let orders = [
        ("order_id", DataType::Int64),
        ("customer_id", DataType::Int32),
        ("rider_id", DataType::Int32),
        ("order_date", DataType::Date32),
        ("order_time", instant(Some("UTC"))),
        ("local_time", instant(None)),
        ("order_value", DataType::Decimal128(10, 2)),
        ("status", DataType::Utf8),
        ("comment", DataType::Utf8),
        ("distance", DataType::Float32),
        ("rating", DataType::Float64),
        ("pieces", DataType::Int16),
        ("is_paid", DataType::Boolean),
        ("items", items),
    ];
    let clicks = [("page", DataType::Utf8), ("rider_id", DataType::Int32)];
    let customers = [("customer_id", DataType::Int32), ("name", DataType::Utf8), ("city", DataType::Utf8)];
    let menus = [("restaurant", DataType::Utf8), ("dish", DataType::Utf8), ("price", DataType::Decimal128(6, 2))];
    vec![
        TableSpec {
            name: "fact_orders".to_owned(),
            references: vec![reference("customer_id", "dim_customers"), reference("rider_id", "dim_riders")],
            max_bytes: bytes(&[("status", 32)]),
            ..fact(&orders)
        },
        TableSpec {
            name: "fact_clicks".to_owned(),
            key: vec![],
            references: vec![reference("rider_id", "dim_riders")],
            layout: TableLayout {
                encodings: BTreeMap::from([("page".to_owned(), "bytedict".to_owned())]),
                ..TableLayout::default()
            },
            ..fact(&clicks)
        },
        dimension("dim_customers", History::Keep, &customers),
        dimension("dim_riders", History::Overwrite, &[("rider_id", DataType::Int32), ("name", DataType::Utf8)]),
        TableSpec {
            key: vec!["restaurant".to_owned(), "dish".to_owned()],
            layout: TableLayout {
                distribution: Some(Distribution::Key("restaurant".to_owned())),
                sort_key: vec!["dish".to_owned(), "restaurant".to_owned()],
                encodings: BTreeMap::new(),
            },
            ..dimension("dim_menus", History::Overwrite, &menus)
        },
    ]
}
