//! What a person may send to a warehouse: one statement that only reads.
//!
//! Owns the look at a statement before anything of it is sent. It is parsed in the warehouse's own dialect; SELECT, WITH,
//! VALUES, SHOW and EXPLAIN of them pass. What is sent is what was parsed: comments, in which a server could see
//! something else than the parser does, are blanked out, and texts that the two might end at different places are refused.
//! A function may do what a statement may not (`pg_terminate_backend`, `lo_export`): the server's catalog is asked which of
//! those called are volatile, and they are refused but for the few that are known to change nothing. Pure; whoever asks
//! also has the server run it in a transaction that may only read, where the server knows such.
//!
//! It stops a statement, not a role: what a view or an operator of the database does is its owner's.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Query, Select, Statement, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::{Dialect as Grammar, PostgreSqlDialect, RedshiftSqlDialect};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::script::Dialect;
use crate::error::{Error, Result};
use crate::sql::{TOO_LONG_A_CHAIN, too_long_a_chain};

/// Volatile functions that change nothing and reach nothing outside the database: their value alone is not fixed.
const HARMLESS: [&str; 22] = [
    "clock_timestamp",
    "currval",
    "gen_random_uuid",
    "getdate",
    "lastval",
    "pg_current_wal_lsn",
    "pg_database_size",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_last_copy_count",
    "pg_last_copy_id",
    "pg_last_query_id",
    "pg_last_unload_id",
    "pg_last_xact_replay_timestamp",
    "pg_relation_size",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "random",
    "random_normal",
    "sysdate",
    "timeofday",
];

/// Functions that are not declared volatile and run SQL that they are given as a text.
const RUN_A_TEXT: [&str; 9] = [
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "xpath_table",
];

/// How deeply a statement may be nested.
const DEPTH: usize = 50;

/// Why a statement is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("it asks for nothing")]
    Empty,
    #[error("it cannot be read as {dialect}: {words}")]
    Unreadable { dialect: &'static str, words: String },
    #[error("at line {} {TOO_LONG_A_CHAIN}", .0.line)]
    Deep(Location),
    #[error("it holds {0} statements; ask them one after the other")]
    Several(usize),
    #[error("it holds {0}, which changes something")]
    Changes(String),
    #[error("SELECT … INTO makes a table")]
    Into,
    #[error("{0} locks rows; leave it out")]
    Locks(String),
    #[error("a text in dollars at line {0} may end elsewhere for the server; write it in single quotes")]
    Dollars(u64),
    #[error("a backslash before a quote at line {0} is read in two ways; write a quote in a text as two of them")]
    Backslash(u64),
    #[error(
        "a name or a text at line {0} may be read in two ways: write a name without U& and backslash, and a text in one piece"
    )]
    TwoWays(u64),
    #[error("{0} at line {1} stands for a value that nobody gives")]
    Placeholder(String, u64),
    #[error("a comment begins within an operator at line {0}; put a blank between them")]
    Comment(u64),
    #[error(
        "{0}() may change something or reach outside the database: it is volatile (a function of your own that only \
         reads can be declared STABLE)"
    )]
    Volatile(String),
    #[error("{0}() runs SQL that it is given as a text, which nobody has looked at")]
    RunsText(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::invalid(format!(
            "nothing was sent: in the warehouse too a query is one statement that only reads, with SELECT, WITH, VALUES, \
             SHOW or EXPLAIN, and {refusal}"
        ))
    }
}

/// A statement that may be sent once the server has said that none of its functions is volatile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The statement, without its comments.
    pub(super) sql: String,
    /// The functions that it calls.
    functions: BTreeSet<String>,
}

impl Question {
    /// Reads a statement.
    ///
    /// # Errors
    /// Invalid where it is not one that only reads.
    pub(super) fn read(dialect: Dialect, sql: &str) -> Result<Self> {
        Ok(read(dialect, sql)?)
    }

    /// Asks the server which of the functions are volatile; nothing where there is nothing to ask. One of a harmless
    /// name is so in the server's own schema alone: elsewhere it is whatever somebody has made of it.
    pub(super) fn volatile_query(&self) -> Option<String> {
        let listed = |names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| format!("'{}'", name.replace('\'', "''"))).collect::<Vec<_>>().join(", ")
        };
        let names = listed(&mut self.functions.iter().map(String::as_str));
        let harmless = listed(&mut HARMLESS.into_iter().filter(|name| self.functions.contains(*name)));
        if names.is_empty() {
            return None;
        }
        let but = match harmless.is_empty() {
            true => String::new(),
            false => format!(" AND NOT (n.nspname = 'pg_catalog' AND p.proname IN ({harmless}))"),
        };
        Some(format!(
            "SELECT p.proname FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace \
             WHERE p.provolatile = 'v' AND p.proname IN ({names}){but} ORDER BY p.proname"
        ))
    }
}

/// The refusal of a function that the server calls volatile.
pub(super) fn volatile(name: &str) -> Error {
    Refusal::Volatile(name.to_owned()).into()
}

fn read(dialect: Dialect, sql: &str) -> Result<Question, Refusal> {
    let (grammar, name): (&dyn Grammar, _) = match dialect {
        Dialect::Postgres => (&PostgreSqlDialect {}, "PostgreSQL's SQL"),
        Dialect::Redshift => (&RedshiftSqlDialect {}, "Redshift's SQL"),
    };
    let unreadable = |words: String| Refusal::Unreadable { dialect: name, words };
    if let Some(place) = too_long_a_chain(sql, grammar) {
        return Err(Refusal::Deep(place));
    }
    // A quote within a text stays as it is written, so that it can be looked at.
    let tokens = Tokenizer::new(grammar, sql).with_unescape(false).tokenize_with_location();
    let tokens = tokens.map_err(|error| unreadable(error.to_string()))?;
    refuse_ambiguous(dialect, &tokens)?;
    let sql = without_comments(sql, &tokens);
    let words: Vec<&Token> = tokens.iter().map(|token| &token.token).filter(|token| !is_blank(token)).collect();
    // Redshift has many a form of SHOW that the parser does not know, and none that holds an expression.
    if is_show(&words) {
        return Ok(Question { sql, functions: BTreeSet::new() });
    }
    let mut parser = Parser::new(grammar).with_recursion_limit(DEPTH).with_tokens_with_locations(tokens);
    let statements = parser.parse_statements().map_err(|error| unreadable(error.to_string()))?;
    let [statement] = statements.as_slice() else {
        return Err(if statements.is_empty() { Refusal::Empty } else { Refusal::Several(statements.len()) });
    };
    let mut look = Look::default();
    match statement.visit(&mut look) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(Question { sql, functions: look.functions }),
    }
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// SHOW as the first word, and no end of a statement but the last.
fn is_show(words: &[&Token]) -> bool {
    let first = matches!(words.first(), Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("show"));
    let end = words.iter().position(|token| **token == Token::SemiColon).unwrap_or(words.len());
    first && words.iter().skip(end).all(|token| **token == Token::SemiColon)
}

/// Refuses texts, operators and comments that a server may end or begin at another place than the tokenizer.
fn refuse_ambiguous(dialect: Dialect, tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    refuse_continued(tokens)?;
    for TokenWithSpan { token, span } in tokens {
        let line = span.start.line;
        match token {
            Token::DollarQuotedString(_) => return Err(Refusal::Dollars(line)),
            // Whether a backslash escapes is a setting of PostgreSQL, which its session sets, and a habit of Redshift.
            Token::SingleQuotedString(text) if dialect == Dialect::Redshift && escapes_quote(text) => {
                return Err(Refusal::Backslash(line));
            }
            Token::Whitespace(_) => {}
            // Some servers take it for an escape, and brackets for what an array is made of.
            Token::Word(word)
                if word.quote_style == Some('[') || quoted(token).is_some_and(|name| name.contains('\\')) =>
            {
                return Err(Refusal::TwoWays(line));
            }
            Token::Word(word) if word.quote_style.is_some() => {}
            // A tag of a text in dollars has more letters for a server than for the tokenizer.
            Token::Placeholder(name) => return Err(Refusal::Placeholder(name.clone(), line)),
            Token::Char(letter) => return Err(Refusal::Placeholder(letter.to_string(), line)),
            token if is_text(token) => {}
            token => {
                let shown = token.to_string();
                if shown.contains("--") || shown.contains("/*") {
                    return Err(Refusal::Comment(line));
                }
            }
        }
    }
    Ok(())
}

/// Refuses what a server joins and the tokenizer does not: a text that another one continues, with the first one's rules,
/// and a name behind `U&`, whose escapes are letters.
fn refuse_continued(tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    let told: Vec<&TokenWithSpan> = tokens.iter().filter(|found| !is_blank(&found.token)).collect();
    for pair in told.windows(2) {
        if is_text(&pair[0].token) && is_text(&pair[1].token) {
            return Err(Refusal::TwoWays(pair[1].span.start.line));
        }
    }
    for three in tokens.windows(3) {
        let is_u = matches!(&three[0].token, Token::Word(word) if word.value.eq_ignore_ascii_case("u"));
        if is_u && three[1].token == Token::Ampersand && quoted(&three[2].token).is_some() {
            return Err(Refusal::TwoWays(three[2].span.start.line));
        }
    }
    Ok(())
}

/// A name in quotes.
fn quoted(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) if word.quote_style.is_some() => Some(&word.value),
        _ => None,
    }
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
    )
}

/// Whether a backslash that is itself not escaped stands before a quote, or at the end.
fn escapes_quote(text: &str) -> bool {
    let mut escaped = false;
    for letter in text.chars() {
        match letter {
            '\'' if escaped => return true,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    escaped
}

/// The statement with blanks for its comments, every other letter at its place.
fn without_comments(sql: &str, tokens: &[TokenWithSpan]) -> String {
    let is_comment = |token: &Token| {
        matches!(token, Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)))
    };
    let mut comments = tokens.iter().filter(|token| is_comment(&token.token)).map(|token| token.span).peekable();
    let mut place = Location::new(1, 1);
    let mut shown = String::with_capacity(sql.len());
    for letter in sql.chars() {
        while comments.next_if(|span| span.end <= place).is_some() {}
        let inside = comments.peek().is_some_and(|span| span.start <= place);
        shown.push(if inside && letter != '\n' { ' ' } else { letter });
        place = match letter {
            '\n' => Location::new(place.line + 1, 1),
            _ => Location::new(place.line, place.column + 1),
        };
    }
    shown
}

/// What a statement does, and the functions it calls.
#[derive(Default)]
struct Look {
    functions: BTreeSet<String>,
}

impl Look {
    fn call(&mut self, name: &ObjectName) -> ControlFlow<Refusal> {
        let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else { return ControlFlow::Continue(()) };
        let name = folded(ident);
        if RUN_A_TEXT.contains(&name.as_str()) {
            return ControlFlow::Break(Refusal::RunsText(name));
        }
        self.functions.insert(name);
        ControlFlow::Continue(())
    }
}

/// A name as the catalog has it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_lowercase(),
        Some(_) => ident.value.replace("\"\"", "\""),
    }
}

impl Visitor for Look {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Refusal> {
        match statement {
            Statement::Query(_) | Statement::Explain { .. } => ControlFlow::Continue(()),
            other => {
                let word = other.to_string().split_whitespace().next().unwrap_or("another statement").to_uppercase();
                ControlFlow::Break(Refusal::Changes(word))
            }
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        match query.locks.first() {
            Some(lock) => ControlFlow::Break(Refusal::Locks(lock.to_string())),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if select.into.is_some() { ControlFlow::Break(Refusal::Into) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => self.call(name),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Refusal> {
        match expression {
            Expr::Function(function) => self.call(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests;
