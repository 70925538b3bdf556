//! A pipeline's folder: pipeline.toml, one SQL file a table, `report/*.sql`, and nothing that would be ignored.
//!
//! Owns the order of reading and what is handed on of a faulty pipeline. It knows no key of a section.

use std::fs;
use std::path::Path;

use super::document::{Document, Section};
use super::fault::{Fault, suggestion};
use super::fields::{Fields, PathKind, read_fields};
use super::files::{Unreadable, is_absent, read_text, says_nothing, sql_files};
use super::model::{Input, Pipeline, Report};
use super::settings::{read_batch, read_checks, read_load, read_pipeline_name, read_source};
use super::tables::{Tables, read_tables};
use super::targets::read_targets;

const PIPELINE_FILE: &str = "pipeline.toml";
const REPORT_FOLDER: &str = "report";
const WHAT_A_PIPELINE_IS: &str =
    "a PIPELINE is a folder with a pipeline.toml and one SQL file a table, such as queries/food_delivery";

/// What reading a folder gave.
#[derive(Debug)]
pub struct Reading {
    /// The pipeline. With faults it is the part of it that is sound: enough to plan the SQL of the tables and checks it
    /// still holds and find more faults, never to run. None where pipeline.toml is absent or not TOML.
    pub pipeline: Option<Pipeline>,
    /// Everything that is wrong, pipeline.toml's first, by line; empty where the pipeline may run.
    pub faults: Vec<Fault>,
}

/// Reads a pipeline's folder, blocking; finds all faults but those that only planning the SQL or reading a dimension
/// file can find.
pub fn read(folder: &Path) -> Reading {
    let path = folder.join(PIPELINE_FILE);
    let text = match pipeline_text(folder, &path) {
        Ok(text) => text,
        Err(fault) => return Reading { pipeline: None, faults: vec![fault] },
    };
    let document = Document::new(&path, &text);
    let root = document.parse();
    let pipeline = root.as_ref().map(|root| read_pipeline(folder, Section::root(&document, root.get_ref())));
    Reading { pipeline, faults: document.into_faults() }
}

fn read_pipeline(folder: &Path, mut root: Section<'_>) -> Pipeline {
    let document = root.document;
    let name = read_pipeline_name(&mut root);
    let source = read_source(&mut root);
    let batch = read_batch(&mut root);
    let load = read_load(&mut root);
    let targets = read_targets(&mut root, folder);
    let event = read_event(&mut root);
    let mut checks = read_checks(&mut root);
    let sections = root.sections("table", "[[table]]");
    let Tables { mut tables, names } = read_tables(document, folder, sections);
    root.finish();
    if let Some(names) = names {
        refuse_strays(document, folder, &names);
    }
    if !event.complete {
        // SQL over the event would only repeat that a field is missing.
        checks.clear();
        tables.retain(|table| table.input != Input::Events);
    }
    let reports = read_reports(document, folder);
    let name = name.unwrap_or_default();
    let folder = folder.to_owned();
    Pipeline { folder, name, source, batch, load, fields: event.fields, checks, tables, targets, reports }
}

fn read_event(root: &mut Section<'_>) -> Fields {
    let present = root.find("event").is_some();
    let sections = match root.section("event", "[event]") {
        Some(mut event) => {
            let sections = event.sections("field", "[[event.field]]");
            event.finish();
            sections
        }
        None => (!present).then(Vec::new),
    };
    let none_declared = sections.as_ref().is_some_and(Vec::is_empty);
    let mut fields = read_fields(sections, PathKind::Keys);
    if none_declared {
        root.document.fault_of_file("there is no [[event.field]]: an event has at least one");
        fields.complete = false;
    }
    fields
}

fn pipeline_text(folder: &Path, path: &Path) -> Result<String, Fault> {
    let whole = |message: String| Fault { file: folder.to_owned(), line: 0, column: 0, message };
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(whole(format!("this is a file; {WHAT_A_PIPELINE_IS}"))),
        Err(error) if is_absent(&error) => return Err(whole(format!("there is no such folder; {WHAT_A_PIPELINE_IS}"))),
        Err(error) => return Err(whole(format!("the folder cannot be read: {error}"))),
    }
    read_text(path, folder).map_err(|unreadable| match unreadable {
        Unreadable::Absent => whole(format!("there is no {PIPELINE_FILE} in this folder; {WHAT_A_PIPELINE_IS}")),
        unreadable => unreadable.into_fault(path),
    })
}

/// Refuses SQL files that no table names: they would be ignored without a word.
fn refuse_strays(document: &Document<'_>, folder: &Path, tables: &[String]) {
    for (name, path) in sql_files(document, folder) {
        if !tables.contains(&name) {
            let near = suggestion(&name, tables.iter().map(String::as_str));
            let message = format!("no [[table]] is named {name:?}, so this file would be ignored{near}");
            document.push(Fault { file: path, line: 0, column: 0, message });
        }
    }
}

fn read_reports(document: &Document<'_>, folder: &Path) -> Vec<Report> {
    let report_folder = folder.join(REPORT_FOLDER);
    if !report_folder.exists() {
        return Vec::new();
    }
    let mut reports = Vec::new();
    for (name, path) in sql_files(document, &report_folder) {
        match read_text(&path, folder) {
            Ok(sql) if says_nothing(&sql) => {
                document.push(Fault { file: path, line: 0, column: 0, message: "the file is empty".to_owned() });
            }
            Ok(sql) => reports.push(Report { path: Path::new(REPORT_FOLDER).join(format!("{name}.sql")), name, sql }),
            Err(unreadable) => document.push(unreadable.into_fault(&path)),
        }
    }
    reports
}
