//! The ledger's columns in a warehouse that speaks SQL.
//!
//! Owns their names, types and order; what is written into them and read from them is `script`'s. The table is
//! append-only: one row a load, and the highest `loaded_through` counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::super::shape::{Shape, Style};
use crate::schema::{Distribution, TableLayout};

/// The ledger's table, beside those of the pipeline.
pub(in crate::load) const LEDGER: &str = "_ledger";

const LOADED_THROUGH: &str = "loaded_through";

/// The table `_ledger`: `load_id`, `pipeline`, `loaded_after`, `loaded_through`, `attempt`, `copied` (JSON: rows by
/// table), `loaded_at`.
pub(in crate::load) fn ledger_shape() -> Arc<Shape> {
    let columns = [
        ("load_id", DataType::Utf8),
        ("pipeline", DataType::Utf8),
        ("loaded_after", DataType::Int64),
        (LOADED_THROUGH, DataType::Int64),
        ("attempt", DataType::Utf8),
        ("copied", DataType::Utf8),
        ("loaded_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
    ];
    let columns = columns.map(|(name, data_type)| Field::new(name, data_type, false));
    let schema = Arc::new(Schema::new(columns.to_vec()));
    let max_bytes = [("load_id", 64), ("pipeline", 127), ("attempt", 64)];
    Arc::new(Shape {
        name: LEDGER.to_owned(),
        style: Style::Newest,
        key: vec![LOADED_THROUGH.to_owned()],
        staged: Arc::clone(&schema),
        table: schema,
        references: Vec::new(),
        rows_per_file: 0,
        max_bytes: max_bytes.map(|(name, bytes)| (name.to_owned(), bytes)).into(),
        // Small, and read before each load.
        layout: TableLayout {
            distribution: Some(Distribution::All),
            sort_key: vec![LOADED_THROUGH.to_owned()],
            encodings: BTreeMap::new(),
        },
    })
}
