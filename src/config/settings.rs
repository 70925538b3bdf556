//! The sections that stand once: `[pipeline]`, `[source]`, `[batch]`, `[load]`, and the checks.
//!
//! Owns their keys, defaults and bounds. A value that is refused leaves its default behind, so that reading goes on.

use std::time::Duration;

use toml::Spanned;

use super::document::{Document, Section};
use super::fields::required_name;
use super::maintenance::read_maintenance;
use super::model::{BatchSettings, Check, LoadSettings, OnLoss, SourceSettings};
use super::values::{bytes, duration, filled_text, kinesis_name, name_fault, one_of, start, whole};

/// A column's text is addressed with 31 bits: a micro-batch stays well below.
const MAX_BATCH_BYTES: u64 = 1 << 30;

/// 1 TiB: no warehouse copies more at a time and stays in time.
const MAX_LOAD_BYTES: u64 = 1 << 40;

/// `[source] on_loss`.
const ON_LOSS: [(&str, OnLoss); 2] = [("stop", OnLoss::Stop), ("continue", OnLoss::Continue)];

const SHORTEST: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `[pipeline]`: the name, where it is sound.
pub(super) fn read_pipeline_name(root: &mut Section<'_>) -> Option<String> {
    let mut section = required_section(root, "pipeline", "[pipeline]")?;
    let name = required_name(&mut section).map(Spanned::into_inner);
    section.finish();
    name.filter(|name| name_fault(name).is_none())
}

/// `[source]`.
pub(super) fn read_source(root: &mut Section<'_>) -> SourceSettings {
    let mut settings = SourceSettings::default();
    let Some(mut section) = required_section(root, "source", "[source]") else { return settings };
    settings.stream = section.required("stream", kinesis_name("stream")).map(Spanned::into_inner).unwrap_or_default();
    settings.start = section.or("start", settings.start, start);
    settings.shards = section.or("shards", settings.shards, whole(1..=1000));
    settings.fan_out = section.optional("fan_out", kinesis_name("consumer")).map(Spanned::into_inner);
    settings.on_loss = section.or("on_loss", settings.on_loss, one_of(&ON_LOSS));
    settings.stall_after = section.or("stall_after", settings.stall_after, duration(SECOND..=HOUR));
    section.finish();
    settings
}

/// `[batch]`.
pub(super) fn read_batch(root: &mut Section<'_>) -> BatchSettings {
    let mut settings = BatchSettings { max_rows: 200_000, max_bytes: 12 << 20, max_age: Duration::from_secs(2) };
    let Some(mut section) = root.section("batch", "[batch]") else { return settings };
    let max_rows = section.optional("max_rows", whole(1..=10_000_000)).map(Spanned::into_inner);
    settings.max_rows = max_rows.map_or(settings.max_rows, |rows| rows as usize);
    settings.max_bytes = section.or("max_bytes", settings.max_bytes, bytes(1..=MAX_BATCH_BYTES));
    settings.max_age = section.or("max_age", settings.max_age, duration(SHORTEST..=HOUR));
    section.finish();
    settings
}

/// `[load]`.
pub(super) fn read_load(root: &mut Section<'_>) -> LoadSettings {
    let mut settings = LoadSettings::default();
    let Some(mut section) = root.section("load", "[load]") else { return settings };
    settings.freshness = section.or("freshness", settings.freshness, duration(SHORTEST..=DAY));
    let max_entries = section.optional("max_entries", whole(1..=100_000)).map(Spanned::into_inner);
    settings.max_entries = max_entries.map_or(settings.max_entries, |entries| entries as usize);
    let max_files = section.optional("max_files", whole(1..=1_000_000)).map(Spanned::into_inner);
    settings.max_files = max_files.map_or(settings.max_files, |files| files as usize);
    settings.max_bytes = section.or("max_bytes", settings.max_bytes, bytes(1..=MAX_LOAD_BYTES));
    settings.maintenance = read_maintenance(&mut section);
    section.finish();
    settings
}

/// `[[check]]`: the sound ones, in the file's order.
pub(super) fn read_checks(root: &mut Section<'_>) -> Vec<Check> {
    let document = root.document;
    let mut names = Vec::new();
    let mut checks: Vec<Check> = Vec::new();
    for section in root.sections("check", "[[check]]").unwrap_or_default() {
        let (name, check) = read_check(document, section);
        names.extend(name);
        checks.extend(check);
    }
    document.refuse_twins("checks", &names);
    checks
}

fn read_check(document: &Document<'_>, mut section: Section<'_>) -> (Option<Spanned<String>>, Option<Check>) {
    let name = required_name(&mut section);
    let expr = section.required("expr", filled_text);
    section.finish();
    let check = name.as_ref().zip(expr).map(|(name, expr)| {
        let line = document.line(expr.span().start);
        Check { name: name.get_ref().clone(), expr: expr.into_inner(), line }
    });
    (name, check)
}

fn required_section<'t>(root: &mut Section<'t>, key: &'static str, label: &'static str) -> Option<Section<'t>> {
    if root.entries().all(|(name, _)| name.get_ref() != key) {
        root.document.fault_of_file(format!("missing section {label}"));
    }
    root.section(key, label)
}
