//! The house rules as a test: it reads `src/` and lists everything that breaks one, with file and line.
//!
//! | rule                                                                                            | test code |
//! |-------------------------------------------------------------------------------------------------|-----------|
//! | a module imports only floors below its own ([`imports::FLOORS`])                                | too       |
//! | an outside crate comes in through its door ([`imports::DOORS`])                                 | free      |
//! | a file has at most 400 lines, a function 60, a function 4 parameters beside self                | free      |
//! | nothing panics: unwrap, expect, panic, unreachable, assert; an `#[expect]` with a reason may    | free      |
//! | a module file begins with its `//!` header                                                      | free      |
//! | nothing is called utils, helpers, common, types or misc, and nothing carries a version          | too       |
//! | a TODO or FIXME gives its reason in parentheses                                                 | too       |
//!
//! Test code is what stands under `#[cfg(test)]`: an item, or the file of a module declared so; contract suites count
//! as test code wherever they are compiled. What rustc and clippy check already is left to them.

mod imports;
mod shape;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, File, Item, Meta};

/// A file of `src/`.
struct Source {
    /// From `src/`, with `/` between.
    path: String,
    text: String,
    file: File,
    /// Whether all of it is test code.
    test: bool,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    /// From 1.
    line: usize,
    sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "src/{}:{}: {}", self.path, self.line, self.sentence)
    }
}

impl Source {
    /// Parses a file; one that does not parse is itself a violation.
    fn parse(path: &str, text: &str) -> Result<Self, Violation> {
        let file = syn::parse_file(text).map_err(|error| Violation {
            path: path.to_owned(),
            line: error.span().start().line,
            sentence: format!("does not parse: {error}"),
        })?;
        let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let test = stem == "contract" || path.split('/').any(|folder| folder == "contract");
        Ok(Self { path: path.to_owned(), text: text.to_owned(), file, test })
    }

    /// The modules from the crate's root down to this file: `query/files.rs` is `query`, `files`.
    fn modules(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        match path {
            "lib" | "main" => Vec::new(),
            path => path.split('/').map(str::to_owned).collect(),
        }
    }

    /// The files and folders, without their extension, of the modules that this file declares as test code.
    fn test_modules(&self) -> Vec<String> {
        let folder = self.modules().join("/");
        let declared = self.file.items.iter().filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => Some(module.ident.to_string()),
            _ => None,
        });
        declared.map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") }).collect()
    }

    fn violation(&self, line: usize, sentence: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, sentence: sentence.into() }
    }
}

/// Whether an item with these attributes is compiled for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test")
        }
        Meta::Path(path) => path.segments.last().is_some_and(|segment| segment.ident == "test"),
        _ => false,
    })
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// All broken rules of these files (path from `src/`, text), sorted by place.
fn violations(files: &[(String, String)]) -> Vec<Violation> {
    let mut found = BTreeSet::new();
    let mut sources = Vec::new();
    for (path, text) in files {
        match Source::parse(path, text) {
            Ok(source) => sources.push(source),
            Err(violation) => drop(found.insert(violation)),
        }
    }
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        source.test |= tests.iter().any(|module| is_inside(&source.path, module));
    }
    for source in &sources {
        found.extend(imports::check(source));
        found.extend(shape::check(source));
        found.extend(text::check(source));
    }
    found.into_iter().collect()
}

/// Whether the file is this module's own or lies in its folder.
fn is_inside(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("a folder's entry").path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).expect("a source file"))
    };
    let files: Vec<(String, String)> = rust_files(&root).into_iter().map(read).collect();
    assert!(files.len() > 20, "the sources were found: {}", files.len());
    let found: Vec<String> = violations(&files).iter().map(Violation::to_string).collect();
    assert!(found.is_empty(), "{} broken rules:\n{}", found.len(), found.join("\n"));
}

/// The sentences for one file, each with its line: `3: …`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let found = violations(&[(path.to_owned(), text.to_owned())]);
    found.iter().map(|violation| format!("{}: {}", violation.line, violation.sentence)).collect()
}

#[test]
fn a_file_that_does_not_parse_is_told_and_the_others_are_still_read() {
    let files = [("a.rs", "//! A.\nfn broken( {"), ("batch/mod.rs", "fn no_header() {}")];
    let found = violations(&files.map(|(path, text)| (path.to_owned(), text.to_owned())));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].to_string().starts_with("src/a.rs:2: does not parse"), "{}", found[0]);
}

#[test]
fn the_files_of_a_test_module_are_test_code() {
    let long = format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(500));
    let files = |declaration: &str| {
        let parent = format!("//! Query.\n{declaration}\n");
        ["query/mod.rs", "query/tests.rs", "query/tests/more.rs"]
            .map(|path| (path.to_owned(), if path.ends_with("mod.rs") { parent.clone() } else { long.clone() }))
    };
    assert_eq!(violations(&files("#[cfg(test)]\nmod tests;")), []);
    assert!(violations(&files("mod tests;")).len() > 2);
    assert_eq!(complaints("load/contract.rs", &long), Vec::<String>::new());
}
