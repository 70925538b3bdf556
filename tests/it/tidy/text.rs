//! What a file looks like from outside: its name, its header, its length, its reminders.

use std::collections::BTreeSet;

use syn::spanned::Spanned;

use super::shape::{is_empty_word, is_versioned};
use super::{Source, Violation, is_test, item_attributes};

const FILE_LINES: usize = 400;

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for name in source.path.trim_end_matches(".rs").split('/') {
        if is_empty_word(name) {
            found.push(source.violation(1, format!("the name {name} says nothing of what is in it")));
        }
        if is_versioned(name) {
            found.push(source.violation(1, format!("the name {name} carries a version: keep one")));
        }
    }
    // main.rs is ten lines that call the library, whose map is lib.rs.
    if !source.test && source.path != "main.rs" && !source.text.starts_with("//! ") {
        found.push(source.violation(1, "begins with no `//!` header: purpose, what it owns, what it does not"));
    }
    let lines = production_lines(source);
    if lines > FILE_LINES {
        found.push(source.violation(1, format!("has {lines} production lines, more than {FILE_LINES}")));
    }
    let reminders = source.text.lines().enumerate().filter(|(_, line)| has_bare_reminder(line));
    found.extend(reminders.map(|(index, _)| source.violation(index + 1, "a TODO or FIXME without its (reason)")));
    found
}

/// The lines outside items that are compiled for tests alone.
fn production_lines(source: &Source) -> usize {
    if source.test {
        return 0;
    }
    let tests = source.file.items.iter().filter(|item| is_test(item_attributes(item)));
    let tested: BTreeSet<usize> = tests.flat_map(|item| item.span().start().line..=item.span().end().line).collect();
    source.text.lines().count() - tested.len()
}

/// Whether a comment on this line reminds of something and does not say why it is still open.
fn has_bare_reminder(line: &str) -> bool {
    let Some((_, comment)) = line.split_once("//") else { return false };
    ["TODO", "FIXME"].iter().any(|word| {
        let mut parts = comment.split(word);
        let before = parts.next().unwrap_or_default();
        let starts = !before.ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let bare = |after: &str| {
            let reason = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            reason.is_none_or(|(reason, _)| reason.trim().is_empty())
        };
        starts && parts.any(bare)
    })
}

mod tests {
    use super::super::complaints;

    #[test]
    fn a_file_has_at_most_four_hundred_lines_beside_its_tests() {
        let lines = |count: usize| format!("//! Header.\n{}", "const A: u8 = 1;\n".repeat(count - 1));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(300));
        assert_eq!(complaints("query/a.rs", &lines(400)), Vec::<String>::new());
        assert_eq!(complaints("query/a.rs", &(lines(400) + &tests)), Vec::<String>::new());
        assert_eq!(complaints("query/a.rs", &lines(401)), ["1: has 401 production lines, more than 400"]);
        assert_eq!(complaints("query/a.rs", &(lines(401) + &tests)).len(), 1);
    }

    #[test]
    fn a_module_file_begins_with_its_header() {
        for text in ["", "use a;\n", "\n//! Late.\n", "// No header.\n", "/// Not the module's.\nstruct A;\n"] {
            let found = complaints("query/a.rs", text);
            assert!(found.len() == 1 && found[0].contains("header"), "{text:?}: {found:?}");
        }
        assert_eq!(complaints("main.rs", "fn main() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn a_file_is_named_for_what_it_holds() {
        let cases =
            ["utils.rs", "query/helpers.rs", "query/common/mod.rs", "types.rs", "query/misc.rs", "query/a_v2.rs"];
        for path in cases {
            assert_eq!(complaints(path, "//! Header.\n").len(), 1, "{path}");
        }
        assert_eq!(complaints("query/column_types.rs", "//! Header.\n"), Vec::<String>::new());
    }

    #[test]
    fn a_reminder_gives_its_reason() {
        // Written apart, so that nobody who searches for reminders finds this test.
        let (todo, fixme) = (["TO", "DO"].concat(), ["FIX", "ME"].concat());
        for comment in [format!("// {todo}"), format!("// {todo}: b"), format!("let a = 1; // {fixme}() c")] {
            let found = complaints("query/a.rs", &format!("//! Header.\nfn a() {{\n{comment}\n}}\n"));
            assert_eq!(found, ["3: a TODO or FIXME without its (reason)"], "{comment}");
        }
        for comment in [format!("// {todo}(until arrow 60 fits): b"), "// a METODOLOGY".to_owned()] {
            assert_eq!(
                complaints("query/a.rs", &format!("//! Header.\n{comment}\n")),
                Vec::<String>::new(),
                "{comment}"
            );
        }
    }
}
