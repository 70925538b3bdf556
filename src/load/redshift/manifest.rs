//! The manifest of a COPY: which files, every one of them mandatory, each with its exact size.
//!
//! Owns the text and the place. Pure: `written` puts it on the store. A manifest without files is an error to Redshift
//! and is none here.

use serde::Serialize;

use crate::batch::DataFile;
use crate::load::plan::Copy;
use crate::store::Store;

/// The folder of all manifests, from the store's root.
pub(super) const FOLDER: &str = "manifests";

#[derive(Serialize)]
struct Manifest {
    entries: Vec<ManifestEntry>,
}

/// Redshift wants these three of a columnar file.
#[derive(Serialize)]
struct ManifestEntry {
    url: String,
    mandatory: bool,
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    content_length: u64,
}

/// Where the manifest of this COPY stands, from the store's root.
pub(super) fn path(load_id: &str, copy: &Copy) -> String {
    format!("{FOLDER}/{load_id}-{}-{}.json", copy.number, copy.table)
}

/// The manifest of this COPY; none where it has no files.
pub(super) fn text(copy: &Copy, store: &Store) -> Option<Result<String, serde_json::Error>> {
    if copy.files.is_empty() {
        return None;
    }
    let entry = |file: &DataFile| ManifestEntry {
        url: store.address_of(&file.path),
        mandatory: true,
        meta: Meta { content_length: file.bytes },
    };
    let entries = copy.files.iter().map(|staged| entry(&staged.file)).collect();
    Some(serde_json::to_string(&Manifest { entries }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::redshift::examples::{copy, lake};

    #[test]
    fn a_manifest_names_every_file_with_its_exact_size() {
        let text =
            text(&copy(&[(41, "staged/fact_orders/a.parquet", 3, 1024), (42, "staged/b.parquet", 1, 99)]), &lake());
        assert_eq!(
            text.expect("files").expect("json"),
            concat!(
                r#"{"entries":["#,
                r#"{"url":"s3://orders-lake/staged/fact_orders/a.parquet","mandatory":true,"meta":{"content_length":1024}},"#,
                r#"{"url":"s3://orders-lake/staged/b.parquet","mandatory":true,"meta":{"content_length":99}}]}"#
            )
        );
    }

    #[test]
    fn without_files_there_is_no_manifest() {
        assert!(text(&copy(&[]), &lake()).is_none());
    }

    #[test]
    fn the_manifests_of_a_load_are_told_apart_by_their_copies() {
        let first = copy(&[]);
        let second = Copy { number: 1, ..first.clone() };
        assert_eq!(path("load-1", &first), "manifests/load-1-0-fact_orders.json");
        assert_eq!(path("load-1", &second), "manifests/load-1-1-fact_orders.json");
    }
}
