//! A table for tests that need one and look at something else.

use super::{Arc, ArrowField, BTreeMap, DataType, History, Schema, TableKind, TableLayout, TableSpec};

/// A table with these columns, any of which may be null. The first is its key; everything else is as little as can be.
pub(crate) fn table(name: &str, kind: TableKind, columns: &[(&str, DataType)]) -> TableSpec {
    let fields = columns.iter().map(|(column, data_type)| ArrowField::new(*column, data_type.clone(), true));
    TableSpec {
        name: name.to_owned(),
        kind,
        key: vec![columns[0].0.to_owned()],
        history: History::Overwrite,
        references: vec![],
        columns: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        one_to_one: true,
        max_bytes: BTreeMap::new(),
        layout: TableLayout::default(),
    }
}
