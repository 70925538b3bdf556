//! Who may import whom: floors for our own modules, doors for outside crates.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, ItemExternCrate, ItemMod, ItemUse, Macro, Meta, UseTree};

use super::{Source, Violation, is_test, item_attributes};

/// The floors, from the ground up. A module imports what lies below it; neighbours are strangers.
pub(super) const FLOORS: [&[&str]; 7] = [
    &["error", "batch", "schema", "terminal"],
    &["config", "runtime", "telemetry", "aws"],
    &["store", "sql", "http"],
    &["source", "host", "generate", "decode", "clean", "stage", "journal", "load", "query", "workers"],
    &["engine"],
    &["serve"],
    &["cli"],
];

/// What only tests have: servers that they start. It stands on no floor, and any test may import it.
const FOR_TESTS: [&str; 1] = ["stand_ins"];

/// The outside crates with a door, and the modules that are it.
pub(super) const DOORS: [(&str, &[&str]); 24] = [
    ("aws_config", &["aws"]),
    ("aws_credential_types", &["aws", "source", "store"]),
    ("aws_sdk_kinesis", &["source"]),
    ("aws_sdk_redshift", &["load"]),
    ("aws_sdk_redshiftdata", &["load"]),
    ("aws_sdk_redshiftserverless", &["load"]),
    ("aws_sdk_secretsmanager", &["load"]),
    ("ferrokinesis", &["host"]),
    ("axum", &["host", "http", "serve"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("nix", &["cli", "config", "runtime"]),
    ("object_store", &["store"]),
    ("deltalake", &["load", "query"]),
    ("datafusion", &["sql", "clean", "load", "query"]),
    ("sqlparser", &["sql", "clean", "load", "query"]),
    ("sysinfo", &["cli"]),
    ("parquet", &["stage", "load", "query"]),
    ("prometheus_client", &["serve"]),
    ("clap", &["cli"]),
    ("rustls", &["load"]),
    ("rustls_native_certs", &["load"]),
    ("tokio_postgres", &["load"]),
    ("tokio_postgres_rustls", &["load"]),
];

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut visitor = Paths { modules: source.modules(), test: source.test, found: Vec::new() };
    visitor.visit_file(&source.file);
    let complain = |path: &Path| Some(source.violation(path.line, complaint(source, path)?));
    visitor.found.iter().filter_map(complain).collect()
}

/// A path as the code writes it, made absolute: `crate` leads our own.
struct Path {
    line: usize,
    segments: Vec<String>,
    test: bool,
}

fn complaint(source: &Source, path: &Path) -> Option<String> {
    // The map and the entry point stand above all floors.
    let own = source.modules().into_iter().next()?;
    match path.segments.as_slice() {
        [first, target, ..] if first == "crate" && path.test && FOR_TESTS.contains(&target.as_str()) => None,
        [first, target, ..] if first == "crate" => floor_complaint(&own, target),
        _ if path.test => None,
        segments => leading(segments).find_map(|name| door_complaint(&own, name)),
    }
}

/// The crate that a path begins with, or one that this hands on: `datafusion::object_store`, `datafusion::sql::sqlparser`.
fn leading(segments: &[String]) -> impl Iterator<Item = &String> {
    segments.iter().take(2).chain(segments.iter().skip(2).filter(|name| *name == "sqlparser"))
}

fn floor_complaint(own: &str, target: &str) -> Option<String> {
    let floor = |module: &str| FLOORS.iter().position(|modules| modules.contains(&module));
    match (floor(own), floor(target)) {
        _ if own == target => None,
        (None, _) => Some(format!("the module {own} stands on no floor: give it one in tests/it/tidy/imports.rs")),
        (_, None) => Some(format!("imports crate::{target}, which stands on no floor")),
        (Some(here), Some(there)) if there > here => {
            Some(format!("{own} (floor {here}) imports {target} (floor {there}): an upward import"))
        }
        (Some(here), Some(there)) if there == here => {
            Some(format!("{own} imports {target}, both on floor {here}: a sideways import"))
        }
        _ => None,
    }
}

fn door_complaint(own: &str, name: &str) -> Option<String> {
    let (name, doors) = DOORS.iter().find(|(crate_name, _)| *crate_name == name)?;
    let complaint = || format!("{own} uses {name}, whose door is {}/", doors.join("/, "));
    (!doors.contains(&own)).then(complaint)
}

/// Collects every path of a file.
struct Paths {
    modules: Vec<String>,
    test: bool,
    found: Vec<Path>,
}

impl Paths {
    fn add(&mut self, line: usize, segments: &[String]) {
        let mut here = self.modules.clone();
        let mut rest = segments;
        let outside = !matches!(segments.first().map(String::as_str), Some("crate" | "self" | "super"));
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => here.clear(),
                "super" => drop(here.pop()),
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        let start = if outside { Vec::new() } else { [vec!["crate".to_owned()], here].concat() };
        self.found.push(Path { line, segments: [&start, rest].concat(), test: self.test });
    }

    fn add_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before)),
            UseTree::Name(name) if name.ident == "self" => self.add(name.span().start().line, before),
            UseTree::Name(name) => self.add(name.span().start().line, &with(name.ident.to_string())),
            UseTree::Rename(rename) => self.add(rename.span().start().line, &with(rename.ident.to_string())),
            UseTree::Glob(glob) => self.add(glob.span().start().line, &with("*".to_owned())),
        }
    }

    /// The paths in what a macro or an attribute is given, which nothing parses.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let (mut colons, mut line) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !segments.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) if colons == 2 => segments.push(ident.to_string()),
                TokenTree::Ident(ident) => {
                    self.flush(line, &mut segments);
                    line = ident.span().start().line;
                    segments.push(ident.to_string());
                }
                TokenTree::Group(group) => {
                    self.flush(line, &mut segments);
                    self.add_tokens(group.stream());
                }
                _ => self.flush(line, &mut segments),
            }
            colons = 0;
        }
        self.flush(line, &mut segments);
    }

    /// A single word is a name of the macro's own as likely as a path.
    fn flush(&mut self, line: usize, segments: &mut Vec<String>) {
        let segments = std::mem::take(segments);
        if segments.len() > 1 {
            self.add(line, &segments);
        }
    }

    fn inside(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let before = self.test;
        self.test |= is_test(attributes);
        visit(self);
        self.test = before;
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        self.inside(item_attributes(item), |this| visit::visit_item(this, item));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.inside(&function.attrs, |this| visit::visit_impl_item_fn(this, function));
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.modules.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.modules.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&item.tree, &[]);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        self.add(item.ident.span().start().line, &[item.ident.to_string()]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A lone word names something in scope, which a `use` brought there.
        if segments.len() > 1 {
            self.add(path.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.add_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }
}

mod tests {
    use super::super::complaints;

    fn found(path: &str, code: &str) -> Vec<String> {
        complaints(path, &format!("//! Header.\n{code}\n"))
    }

    #[test]
    fn every_way_to_write_an_upward_or_sideways_import_is_seen() {
        let cases = [
            (
                "batch/mod.rs",
                "use crate::runtime::Clock;",
                "batch (floor 0) imports runtime (floor 1): an upward import",
            ),
            ("store/local.rs", "use crate::{error::Error, query::Query};", "store (floor 2) imports query (floor 3)"),
            (
                "clean/mod.rs",
                "use crate::decode::Decoder as D;",
                "clean imports decode, both on floor 3: a sideways import",
            ),
            ("clean/mod.rs", "use crate::load::*;", "sideways"),
            ("clean/mod.rs", "fn a() -> crate::load::Ledger { todo() }", "sideways"),
            ("clean/mod.rs", "fn a() { let _ = crate::load::ledger(); }", "sideways"),
            ("clean/mod.rs", "fn a() { matches!(b, crate::load::C); }", "sideways"),
            ("clean/mod.rs", "fn a() { info!(c = vec![crate::load::C]); }", "sideways"),
            ("clean/mod.rs", "#[derive(crate::load::Derive)]\nstruct A;", "sideways"),
            ("clean/mod.rs", "use super::load::Ledger;", "sideways"),
            ("clean/plan.rs", "use super::super::load::Ledger;", "sideways"),
            ("clean/mod.rs", "mod inner { use super::super::load::Ledger; }", "sideways"),
            ("clean/mod.rs", "pub use crate::engine::Engine;", "upward"),
            ("engine/mod.rs", "use crate::serve::Server;", "upward"),
            ("serve/mod.rs", "use crate::cli::Site;", "serve (floor 5) imports cli (floor 6): an upward import"),
            ("clean/mod.rs", "#[cfg(test)] mod tests { use crate::stage::Stage; }", "sideways"),
            ("clean/mod.rs", "use crate::weather::Rain;", "crate::weather, which stands on no floor"),
            ("weather/mod.rs", "use crate::error::Error;", "the module weather stands on no floor"),
            ("schema.rs", "use crate::batch::Entry;", "sideways"),
            ("load/mod.rs", "use crate::stand_ins::postgres::Postgres;", "crate::stand_ins, which stands on no floor"),
        ];
        for (path, code, words) in cases {
            let complaints = found(path, code);
            assert_eq!(complaints.len(), 1, "{code}: {complaints:?}");
            assert!(complaints[0].contains(words), "{code}: {complaints:?}");
        }
    }

    #[test]
    fn the_line_is_the_imports_own() {
        let complaints = found("clean/mod.rs", "use crate::{\n    error::Error,\n    load::Ledger,\n};");
        assert!(complaints[0].starts_with("4: "), "{complaints:?}");
    }

    #[test]
    fn what_lies_below_may_be_imported() {
        let cases = [
            ("query/mod.rs", "use crate::{batch::Entry, error::Result, sql::session, store::Store};"),
            (
                "query/files.rs",
                "use super::names::Names;\nuse crate::query::Format;\nuse self::inner::A;\nmod inner {}",
            ),
            ("query/mod.rs", "#[cfg(test)] mod tests { use super::*; use super::super::store::Store; }"),
            ("load/mod.rs", "#[cfg(test)] mod tests { use crate::stand_ins::postgres::Postgres; }"),
            ("engine/mod.rs", "use crate::source::Source;\nuse crate::load::Warehouse;"),
            ("serve/mod.rs", "use crate::engine::Progress;"),
            ("cli/run.rs", "use crate::serve::Server;"),
            ("lib.rs", "pub mod load;\npub use crate::cli::main;"),
            ("main.rs", "fn main() { millstream::cli::main() }"),
            ("query/mod.rs", "fn a(load: u8) { b(c::load::D); let load = load; }"),
        ];
        for (path, code) in cases {
            assert_eq!(found(path, code), Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn an_outside_crate_comes_through_its_door() {
        let cases = [
            ("load/mod.rs", "use aws_sdk_kinesis::Client;", "load uses aws_sdk_kinesis, whose door is source/"),
            ("source/mod.rs", "use ferrokinesis::Store;", "whose door is host/"),
            ("source/mod.rs", "fn a() { ::axum::serve(b); }", "whose door is host/, http/, serve/"),
            ("query/mod.rs", "use object_store::path::Path;", "whose door is store/"),
            ("query/mod.rs", "use datafusion::object_store::path::Path;", "query uses object_store"),
            ("decode/mod.rs", "use sqlparser::parser::Parser;", "decode uses sqlparser"),
            ("stage/mod.rs", "use {bytes::Bytes, deltalake::DeltaTable};", "whose door is load/, query/"),
            ("decode/mod.rs", "fn a() -> datafusion::error::Result<()> { b }", "decode uses datafusion"),
            ("clean/mod.rs", "use parquet as columns;", "clean uses parquet"),
            ("telemetry/mod.rs", "use prometheus_client::registry::Registry;", "whose door is serve/"),
            ("config/mod.rs", "#[derive(clap::Parser)]\nstruct A;", "config uses clap"),
            ("error.rs", "extern crate clap;", "error uses clap"),
        ];
        for (path, code, words) in cases {
            let complaints = found(path, code);
            assert_eq!(complaints.len(), 1, "{code}: {complaints:?}");
            assert!(complaints[0].contains(words), "{code}: {complaints:?}");
        }
    }

    #[test]
    fn doors_stand_open_for_their_modules_and_for_tests() {
        for (path, code) in [
            ("store/mod.rs", "use object_store::ObjectStore;"),
            ("query/mod.rs", "use datafusion::prelude::SessionContext;\nuse deltalake::DeltaTable;"),
            ("journal/mod.rs", "#[cfg(test)] mod tests { use object_store::ObjectStore; }"),
            ("journal/mod.rs", "use self::clap::A;\nmod clap {}"),
        ] {
            assert_eq!(found(path, code), Vec::<String>::new(), "{code}");
        }
    }
}
