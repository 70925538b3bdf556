//! How large functions are, what things are called, and that nothing panics.

use proc_macro2::Ident;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprLit, ExprMethodCall, FnArg, ImplItemFn, Item, ItemFn, Lit, Local, Macro, Meta, Signature,
    StmtMacro, TraitItemFn,
};

use super::{Source, Violation, is_test, item_attributes};

const FUNCTION_LINES: usize = 60;
const PARAMETERS: usize = 4;
const PANICKING_MACROS: [&str; 7] =
    ["panic", "unreachable", "todo", "unimplemented", "assert", "assert_eq", "assert_ne"];

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut visitor = Shape { source, test: source.test, excused: false, found: Vec::new() };
    visitor.visit_file(&source.file);
    visitor.found
}

struct Shape<'a> {
    source: &'a Source,
    test: bool,
    /// Inside something that expects a panicking lint, and says why.
    excused: bool,
    found: Vec<Violation>,
}

/// A name that ends in a version: `read_v2`, `ReaderV2`.
pub(super) fn is_versioned(name: &str) -> bool {
    let stem = name.trim_end_matches(|char: char| char.is_ascii_digit());
    let before = stem.strip_suffix('v').or_else(|| stem.strip_suffix("V")).unwrap_or_default();
    let snake = before.ends_with('_');
    let camel = stem.ends_with('V') && before.ends_with(|char: char| char.is_ascii_lowercase());
    stem.len() < name.len() && (snake || camel)
}

/// A name that says nothing of what it holds.
pub(super) fn is_empty_word(name: &str) -> bool {
    ["util", "utils", "helper", "helpers", "common", "types", "misc"].contains(&name)
}

impl Shape<'_> {
    fn complain(&mut self, line: usize, sentence: impl Into<String>) {
        self.found.push(self.source.violation(line, sentence));
    }

    fn inside(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let before = (self.test, self.excused);
        self.test |= is_test(attributes);
        self.excused |= attributes.iter().any(excuses_a_panic);
        visit(self);
        (self.test, self.excused) = before;
    }

    fn name(&mut self, name: &Ident) {
        let text = name.to_string();
        if is_versioned(&text) {
            self.complain(name.span().start().line, format!("{text} carries a version: name what it does, keep one"));
        }
    }

    fn function(&mut self, signature: &Signature, end: usize) {
        self.name(&signature.ident);
        if self.test {
            return;
        }
        let (name, line) = (&signature.ident, signature.span().start().line);
        let lines = end - line + 1;
        if lines > FUNCTION_LINES {
            self.complain(line, format!("{name} has {lines} lines, more than {FUNCTION_LINES}"));
        }
        let parameters = signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).count();
        if parameters > PARAMETERS {
            self.complain(line, format!("{name} has {parameters} parameters beside self, more than {PARAMETERS}"));
        }
    }
}

fn excuses_a_panic(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let tokens = list.tokens.to_string();
    let lints = ["unwrap_used", "expect_used", "clippy :: panic", "clippy::panic", "unreachable"];
    list.path.is_ident("expect") && tokens.contains("reason") && lints.iter().any(|lint| tokens.contains(lint))
}

/// `.unwrap()` and `.expect("…")`; an `expect` that takes no text is a method of somebody's own.
fn is_panicking_call(call: &ExprMethodCall) -> bool {
    let is_text = |argument: &Expr| match argument {
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => true,
        Expr::Reference(reference) => matches!(reference.expr.as_ref(), Expr::Macro(_)),
        _ => false,
    };
    match call.method.to_string().as_str() {
        "unwrap" | "unwrap_err" => call.args.is_empty(),
        "expect" | "expect_err" => call.args.first().is_some_and(is_text),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Shape<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        self.inside(item_attributes(item), |this| {
            match item {
                Item::Struct(item) => this.name(&item.ident),
                Item::Enum(item) => this.name(&item.ident),
                Item::Trait(item) => this.name(&item.ident),
                Item::Type(item) => this.name(&item.ident),
                Item::Const(item) => this.name(&item.ident),
                Item::Static(item) => this.name(&item.ident),
                Item::Mod(item) => {
                    this.name(&item.ident);
                    if is_empty_word(&item.ident.to_string()) {
                        let sentence = format!("the module {} is named for no purpose", item.ident);
                        this.complain(item.ident.span().start().line, sentence);
                    }
                }
                _ => {}
            }
            visit::visit_item(this, item);
        });
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.sig, function.block.span().end().line);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.inside(&function.attrs, |this| {
            this.function(&function.sig, function.block.span().end().line);
            visit::visit_impl_item_fn(this, function);
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.inside(&function.attrs, |this| {
            this.function(&function.sig, function.span().end().line);
            visit::visit_trait_item_fn(this, function);
        });
    }

    fn visit_local(&mut self, local: &'ast Local) {
        self.inside(&local.attrs, |this| visit::visit_local(this, local));
    }

    fn visit_stmt_macro(&mut self, statement: &'ast StmtMacro) {
        self.inside(&statement.attrs, |this| visit::visit_stmt_macro(this, statement));
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.inside(&call.attrs, |this| {
            if !this.test && !this.excused && is_panicking_call(call) {
                this.complain(call.method.span().start().line, format!(".{}() panics: return an error", call.method));
            }
            visit::visit_expr_method_call(this, call);
        });
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let name = called.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if !self.test && !self.excused && PANICKING_MACROS.contains(&name.as_str()) {
            self.complain(called.path.span().start().line, format!("{name}! panics: return an error"));
        }
        visit::visit_macro(self, called);
    }
}

mod tests {
    use super::super::complaints;
    use super::*;

    fn found(code: &str) -> Vec<String> {
        complaints("query/mod.rs", &format!("//! Header.\n{code}\n"))
    }

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_has_at_most_sixty_lines() {
        assert_eq!(found(&function_of(60)), Vec::<String>::new());
        assert_eq!(found(&function_of(61)), ["2: long has 61 lines, more than 60"]);
        assert_eq!(
            found(&format!("/// Docs\n/// do not count.\n#[inline]\n{}", function_of(60))),
            Vec::<String>::new()
        );
        assert_eq!(found(&format!("impl A {{\n{}\n}}", function_of(61))).len(), 1);
        assert_eq!(found(&format!("trait A {{\n{}\n}}", function_of(61))).len(), 1);
        assert_eq!(found(&format!("#[cfg(test)]\nmod tests {{\n{}\n}}", function_of(61))), Vec::<String>::new());
    }

    #[test]
    fn a_function_takes_at_most_four_parameters_beside_self() {
        assert_eq!(found("fn a(b: u8, c: u8, d: u8, e: u8) {}"), Vec::<String>::new());
        assert_eq!(found("impl A { fn a(&self, b: u8, c: u8, d: u8, e: u8) {} }"), Vec::<String>::new());
        let five = ["2: a has 5 parameters beside self, more than 4"];
        assert_eq!(found("fn a(b: u8, c: u8, d: u8, e: u8, f: u8) {}"), five);
        assert_eq!(found("trait A { fn a(&self, b: u8, c: u8, d: u8, e: u8, f: u8); }"), five);
    }

    #[test]
    fn nothing_panics() {
        for code in [
            "fn a() { b.unwrap(); }",
            "fn a() { b.expect(\"c\"); }",
            "fn a() { b.expect(&format!(\"c\")); }",
            "fn a() { let c = b.unwrap_err(); }",
            "fn a() { panic!(\"b\") }",
            "fn a() { let b = match c { D => unreachable!(), e => e }; }",
            "fn a() { std::todo!() }",
            "fn a() { assert!(b); }",
            "impl A { fn a() { assert_eq!(b, c); } }",
            "#[expect(clippy::unwrap_used)]\nfn a() { b.unwrap(); }",
        ] {
            assert_eq!(found(code).len(), 1, "{code}: {:?}", found(code));
        }
        for code in [
            "fn a() { b.unwrap_or(c); b.unwrap_or_default(); debug_assert!(b); }",
            "fn a() { parser.expect(b':'); }",
            "#[cfg(test)]\nmod tests { fn a() { b.unwrap(); panic!() } }",
            "#[expect(clippy::expect_used, reason = \"b\")]\nfn a() { b.expect(\"c\"); }",
            "fn a() {\n#[expect(clippy::unwrap_used, reason = \"b\")]\nlet c = b.unwrap();\n}",
        ] {
            assert_eq!(found(code), Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn names_carry_no_version_and_say_something() {
        for name in ["read_v2", "v2_v10", "ReaderV2", "READ_V2"] {
            assert!(is_versioned(name), "{name}");
        }
        for name in ["v", "ipv4", "read", "sha256", "utf8", "Uuid4", "HTTPV", "dev2", "v2"] {
            assert!(!is_versioned(name), "{name}");
        }
        for code in ["fn a_v2() {}", "struct RowV2;", "enum BoxV3 {}", "mod a_v2 {}", "trait T { fn b_v1(); }"] {
            assert_eq!(found(code).len(), 1, "{code}: {:?}", found(code));
        }
        assert_eq!(found("mod utils {}"), ["2: the module utils is named for no purpose"]);
    }
}
