//! `[target.NAME]`: where a pipeline runs.
//!
//! Owns the keys of a target and what may stand in them. `local` is always there; every other name is a place in AWS, or
//! of servers that speak as AWS does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::fault::nearest;
use super::model::{AwsTarget, LocalTarget, StoreAddress, Target, WarehouseSettings};
use super::values::{boolean, endpoint, filled_text, name_fault};
use super::warehouses::read_warehouse;

/// `[target.NAME]`: `local` whether it is written or not; `folder` is the pipeline's.
pub(super) fn read_targets(root: &mut Section<'_>, folder: &Path) -> BTreeMap<String, Target> {
    let mut targets = BTreeMap::from([("local".to_owned(), Target::Local(LocalTarget::default()))]);
    let Some(mut section) = root.section("target", "[target.NAME]") else { return targets };
    if let Some(local) = section.section("local", "[target.local]") {
        targets.insert("local".to_owned(), Target::Local(read_local(local, folder)));
    }
    for (name, node) in section.entries().filter(|(name, _)| name.get_ref() != "local") {
        let fault = name_fault(name.get_ref()).or_else(|| misspelt(name.get_ref()));
        if let Some(fault) = fault {
            section.document.fault(name.span().start, fault);
            continue;
        }
        let target = section.item(name.get_ref(), node, "[target.NAME]");
        if let Some(target) = target.and_then(|target| read_target(target, folder)) {
            targets.insert(name.into_inner(), target);
        }
    }
    targets
}

/// A section of no keys under a name close to `local` is meant to be it.
fn misspelt(name: &str) -> Option<String> {
    nearest(name, &["local"]).map(|_| format!("unknown target {name:?}; did you mean \"local\"?"))
}

fn read_local(mut section: Section<'_>, folder: &Path) -> LocalTarget {
    let warehouse = read_warehouse(&mut section, folder);
    if let (Some(WarehouseSettings::Redshift(_)), Some(node)) = (&warehouse, section.find("warehouse")) {
        let words = "Redshift copies from S3, and the local target keeps its files in a folder: give it a target of \
                     its own with store = \"s3://bucket/prefix\"";
        section.refuse("warehouse", node, words);
    }
    section.finish();
    match warehouse {
        Some(WarehouseSettings::Postgres(settings)) => LocalTarget { warehouse: Some(settings) },
        _ => LocalTarget::default(),
    }
}

fn read_target(mut section: Section<'_>, folder: &Path) -> Option<Target> {
    let region = section.optional("region", filled_text).map(Spanned::into_inner);
    let stream_endpoint = section.optional("stream_endpoint", endpoint).map(Spanned::into_inner);
    let store = section.required("store", store);
    let store_endpoint = section.optional("store_endpoint", endpoint).map(Spanned::into_inner);
    let path_style = section.or("path_style", false, boolean);
    if section.find("warehouse").is_none() {
        let _missing = section.required("warehouse", |_| Ok(()));
    }
    let warehouse = read_warehouse(&mut section, folder);
    if let Some(StoreAddress::Folder(_)) = store.as_ref().map(Spanned::get_ref) {
        refuse_keys_of_s3(&mut section);
        if let (Some(WarehouseSettings::Redshift(_)), Some(node)) = (&warehouse, section.find("store")) {
            section.refuse("store", node, "a Redshift warehouse copies from S3: write \"s3://bucket/prefix\"");
        }
    }
    section.finish();
    let (store, warehouse) = (store?.into_inner(), warehouse?);
    Some(Target::Aws(AwsTarget { region, stream_endpoint, store, store_endpoint, path_style, warehouse }))
}

/// Keys that say nothing of a folder must not look as if they did.
fn refuse_keys_of_s3(section: &mut Section<'_>) {
    for key in ["store_endpoint", "path_style"] {
        if let Some(node) = section.find(key) {
            section.refuse(key, node, "a store that is a folder has no use for it: take it out");
        }
    }
}

/// `s3://bucket/prefix`, or `file:///folder` for one that the workers share.
fn store(value: &DeValue<'_>) -> Result<StoreAddress, String> {
    let text = filled_text(value)?;
    let expected = || format!("{text:?} is no store: write \"s3://bucket/prefix\", or \"file:///folder\" for a folder");
    match text.split_once("://") {
        Some(("s3", rest)) if !rest.is_empty() && !rest.starts_with('/') => Ok(StoreAddress::S3(text)),
        Some(("file", folder)) if folder.starts_with('/') => Ok(StoreAddress::Folder(PathBuf::from(folder))),
        _ => Err(expected()),
    }
}
