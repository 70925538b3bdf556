//! `[target.NAME]`: where a pipeline runs.
//!
//! Owns the keys of a target and what may stand in them. `local` is always there; every other name is a place in AWS, or
//! of servers that speak as AWS does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::fault::nearest;
use super::model::{AwsTarget, StoreAddress, Target, WarehouseSettings};
use super::values::{boolean, filled_text, name_fault, one_of, text};

/// The kinds of warehouse that this version loads.
const WAREHOUSES: [(&str, WarehouseSettings); 1] = [("delta", WarehouseSettings::Delta)];

/// Kinds that the format names and this version does not load.
const LATER_WAREHOUSES: [&str; 2] = ["redshift", "postgres"];

/// `[target.NAME]`: `local` whether it is written or not.
pub(super) fn read_targets(root: &mut Section<'_>) -> BTreeMap<String, Target> {
    let mut targets = BTreeMap::from([("local".to_owned(), Target::Local)]);
    let Some(mut section) = root.section("target", "[target.NAME]") else { return targets };
    if let Some(local) = section.section("local", "[target.local]") {
        local.finish();
    }
    for (name, node) in section.entries().filter(|(name, _)| name.get_ref() != "local") {
        let fault = name_fault(name.get_ref()).or_else(|| misspelt(name.get_ref()));
        if let Some(fault) = fault {
            section.document.fault(name.span().start, fault);
            continue;
        }
        if let Some(target) = section.item(name.get_ref(), node, "[target.NAME]").and_then(read_target) {
            targets.insert(name.into_inner(), target);
        }
    }
    targets
}

/// A section of no keys under a name close to `local` is meant to be it.
fn misspelt(name: &str) -> Option<String> {
    nearest(name, &["local"]).map(|_| format!("unknown target {name:?}; did you mean \"local\"?"))
}

fn read_target(mut section: Section<'_>) -> Option<Target> {
    let region = section.optional("region", filled_text).map(Spanned::into_inner);
    let stream_endpoint = section.optional("stream_endpoint", endpoint).map(Spanned::into_inner);
    let store = section.required("store", store).map(Spanned::into_inner);
    let store_endpoint = section.optional("store_endpoint", endpoint).map(Spanned::into_inner);
    let path_style = section.or("path_style", false, boolean);
    let warehouse = read_warehouse(&mut section);
    if let Some(StoreAddress::Folder(_)) = store {
        refuse_keys_of_s3(&mut section);
    }
    section.finish();
    let (store, warehouse) = (store?, warehouse?);
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

/// `warehouse = { kind = "delta" }`.
fn read_warehouse(section: &mut Section<'_>) -> Option<WarehouseSettings> {
    if section.find("warehouse").is_none() {
        let _missing = section.required("warehouse", |_| Ok(()));
        return None;
    }
    let mut warehouse = section.section("warehouse", "warehouse = { … }")?;
    let kind = warehouse.required("kind", warehouse_kind).map(Spanned::into_inner);
    warehouse.finish();
    kind
}

fn warehouse_kind(value: &DeValue<'_>) -> Result<WarehouseSettings, String> {
    match text(value)?.as_str() {
        kind if LATER_WAREHOUSES.contains(&kind) => {
            Err(format!("this version of Millstream loads \"delta\" only; {kind:?} comes with a later one"))
        }
        _ => one_of(&WAREHOUSES)(value),
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

/// `http://host:port` or `https://…`, without a password: it would stand in the file and in messages.
fn endpoint(value: &DeValue<'_>) -> Result<String, String> {
    let text = filled_text(value)?;
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if host.contains('@') => Err("an endpoint holds no user and no password".to_owned()),
        Some(host) if !host.is_empty() => Ok(text),
        _ => Err(format!("{text:?} is no endpoint: write \"https://host\" or \"http://host:port\"")),
    }
}
