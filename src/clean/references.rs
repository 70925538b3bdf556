//! What a fact's references demand of the dimensions that they point at.
//!
//! A reference must be of its dimension's key's type, or no row would ever be found. And the key must hold every value
//! that a reference may have, since an absent row is inferred from it.

use arrow::datatypes::DataType;

use super::faults::PlanFault;
use crate::config::Pipeline;
use crate::schema::{MAX_STRING_BYTES, TableSpec};

/// The references of another type than the key they point at.
pub(super) fn mismatched(pipeline: &Pipeline, specs: &[TableSpec]) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    for spec in specs {
        for reference in &spec.references {
            let dimension = specs.iter().find(|other| other.name == reference.dimension);
            let key = dimension.and_then(|dimension| {
                let [key] = dimension.key.as_slice() else { return None };
                dimension.columns.field_with_name(key).ok()
            });
            let (Some(key), Ok(column)) = (key, spec.columns.field_with_name(&reference.column)) else { continue };
            if key.data_type() == column.data_type() {
                continue;
            }
            let message = format!(
                "{}.{} is {} but the key {}.{} is {}; CAST one of them to the other's type",
                spec.name,
                column.name(),
                column.data_type(),
                reference.dimension,
                key.name(),
                key.data_type()
            );
            faults.push(PlanFault::toml(line_of(pipeline, &spec.name), message));
        }
    }
    faults
}

/// Makes each dimension's key as wide as the widest reference to it; a fault where the pipeline says that it is not.
pub(super) fn widen_keys(pipeline: &Pipeline, specs: &mut [TableSpec]) -> Vec<PlanFault> {
    let mut faults = Vec::new();
    for (fact, column, dimension, needed) in widths_of(specs) {
        let Some(spec) = specs.iter_mut().find(|spec| spec.name == dimension) else { continue };
        let [key] = spec.key.as_slice() else { continue };
        let width = width(spec, key);
        if width >= needed {
            continue;
        }
        let said = pipeline.tables.iter().any(|table| table.name == dimension && table.widths.contains_key(key));
        if said {
            let message = format!(
                "{dimension}.{key} is {width} bytes wide, but {fact}.{column}, which refers to it, may have {needed}; \
                 make the key wider, or the reference narrower with widths = {{ {column} = {width} }}"
            );
            faults.push(PlanFault::toml(line_of(pipeline, &dimension), message));
        } else {
            let key = key.clone();
            spec.max_bytes.insert(key, needed);
        }
    }
    faults
}

/// Each reference that is a string: fact, column, dimension, width.
fn widths_of(specs: &[TableSpec]) -> Vec<(String, String, String, u32)> {
    let mut found = Vec::new();
    for spec in specs {
        for reference in &spec.references {
            let field = spec.columns.field_with_name(&reference.column);
            if field.is_ok_and(|field| *field.data_type() == DataType::Utf8) {
                let width = width(spec, &reference.column);
                found.push((spec.name.clone(), reference.column.clone(), reference.dimension.clone(), width));
            }
        }
    }
    found
}

fn width(spec: &TableSpec, column: &str) -> u32 {
    spec.max_bytes.get(column).copied().unwrap_or(MAX_STRING_BYTES)
}

fn line_of(pipeline: &Pipeline, table: &str) -> usize {
    pipeline.tables.iter().find(|other| other.name == table).map_or(1, |table| table.line)
}
