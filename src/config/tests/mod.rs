//! Whole folders, sound and broken: the pipeline they give and the exact faults.

mod fields;
mod folder;
mod keys;
mod load;
mod named_files;
mod pipeline;
mod settings;
mod tables;
mod targets;
mod warehouses;
mod widths;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::schema::{Distribution, Field, FieldType, History, TableKind, TableLayout};

/// The smallest sound pipeline; what is appended to it begins at line 11.
const BASE: &str = r#"[pipeline]
name = "shop"
[source]
stream = "orders"
[[event.field]]
name = "id"
type = "bigint"
[[table]]
name = "fact_sales"
kind = "fact"
"#;

/// A dimension that a file fills; six lines.
const DIMENSION: &str = r#"[[table]]
name = "dim_shops"
kind = "dimension"
key = ["shop_id"]
from = "dims/shops.csv"
field = [{ name = "shop_id", path = "Shop ID", type = "integer", required = true }]
"#;

/// A folder with this pipeline.toml, the SQL of both tables above, and the dimension's file.
fn folder(pipeline: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    put(&folder, "pipeline.toml", pipeline);
    put(&folder, "fact_sales.sql", "select id from events");
    if pipeline.contains("\"dim_shops\"\nkind") {
        put(&folder, "dim_shops.sql", "select shop_id from file");
    }
    put(&folder, "dims/shops.csv", "Shop ID\n1\n");
    folder
}

fn put(folder: &TempDir, path: &str, content: impl AsRef<[u8]>) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    fs::write(path, content).expect("a file");
}

/// The faults as shown, with the folder's own path taken out.
fn faults(folder: &TempDir) -> Vec<String> {
    shown(folder, &read(folder.path()).faults)
}

fn shown(folder: &TempDir, faults: &[Fault]) -> Vec<String> {
    let prefix = folder.path().display().to_string();
    let strip = |fault: &Fault| fault.to_string().replace(&format!("{prefix}/"), "").replace(&prefix, "FOLDER");
    faults.iter().map(strip).collect()
}

/// The pipeline of a text that has no fault.
fn sound(pipeline: &str) -> Pipeline {
    let folder = folder(pipeline);
    let reading = read(folder.path());
    assert_eq!(shown(&folder, &reading.faults), Vec::<String>::new());
    reading.pipeline.expect("a pipeline")
}

/// A table of cases: what of BASE is replaced (nothing: appended to it), by what, and the faults after `pipeline.toml`.
fn check(cases: &[(&str, &str, &[&str])]) {
    for (old, new, expected) in cases {
        assert!(BASE.contains(old), "{old:?} is not in BASE");
        let text = if old.is_empty() { format!("{BASE}{new}") } else { BASE.replacen(old, new, 1) };
        let expected: Vec<String> = expected.iter().map(|fault| format!("pipeline.toml:{fault}")).collect();
        assert_eq!(faults(&folder(&text)), expected, "{text}");
    }
}
