//! What a person may send to a warehouse: one statement that only reads.
//!
//! Owns the look at a statement before anything of it is sent. It is parsed in the warehouse's own dialect; SELECT, WITH,
//! VALUES, SHOW and EXPLAIN of them pass. What is sent is written anew from what was parsed, and reads the same again: so
//! nothing that the parser took for a comment or a blank reaches the server, and texts that the two might end at different
//! places are refused. A function may do what a statement may not (`pg_terminate_backend`, `lo_export`): `functions` says
//! which the statement can call and what the server is asked about them. Pure; whoever asks also has the server run it in a
//! transaction that may only read. The Data API has none: there nothing but this look stands before the tables.
//!
//! It stops a statement, not a role: what a view, an operator or a cast of the database does is its owner's, and so is a
//! function that changes something and is declared not to.

mod functions;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, Statement, UnaryOperator, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::{Dialect as Grammar, PostgreSqlDialect, RedshiftSqlDialect};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use self::functions::Functions;
use super::script::{Dialect, SqlTarget};
use crate::error::{Error, Result};
use crate::sql::{TOO_LONG_A_CHAIN, too_long_a_chain};

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
    #[error("two signs follow each other in {0}; put brackets around the second and what it stands before")]
    Signs(String),
    #[error("it would read otherwise once it is written out as {0}; write that part in another way")]
    Rewritten(String),
    #[error(
        "{0}() may change something or reach outside the database: it, or a function it is made of, is volatile. A function \
         of your own that only reads can be declared STABLE; where you mean another one, write its schema before its name; \
         where you mean a column, leave out what stands before its dot"
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
    /// The statement, written anew.
    pub(super) sql: String,
    functions: Functions,
}

impl Question {
    /// Reads a statement.
    ///
    /// # Errors
    /// Invalid where it is not one that only reads.
    pub(super) fn read(dialect: Dialect, sql: &str) -> Result<Self> {
        Ok(read(dialect, sql)?)
    }

    /// Asks the server which volatile functions it can call, by schema and name; nothing where there is nothing to ask.
    pub(super) fn volatile_query(&self, target: &SqlTarget) -> Option<String> {
        self.functions.volatile_query(target)
    }
}

/// The refusal of a function that the server calls volatile.
pub(super) fn volatile(schema: &str, name: &str) -> Error {
    Refusal::Volatile(format!("{schema}.{name}")).into()
}

fn read(dialect: Dialect, sql: &str) -> Result<Question, Refusal> {
    let typed = Read::new(dialect, sql)?;
    // Redshift has many a form of SHOW that the parser does not know, and none that holds an expression.
    if is_show(&typed.words()) {
        let sql = typed.tokens.iter().map(|token| shown(&token.token)).collect();
        return Ok(Question { sql, functions: Functions::default() });
    }
    let statement = typed.statement()?;
    if let ControlFlow::Break(refusal) = statement.visit(&mut Look) {
        return Err(refusal);
    }
    written_anew(dialect, &statement, statement.to_string())
}

/// The question that sends this text for a statement, where it reads as that one and no other.
fn written_anew(dialect: Dialect, statement: &Statement, sql: String) -> Result<Question, Refusal> {
    let sent = match Read::new(dialect, &sql) {
        Ok(sent) if sent.statement().as_ref() == Ok(statement) => sent,
        _ => return Err(Refusal::Rewritten(sql)),
    };
    let functions = Functions::of(&sent.words());
    match functions.runs_a_text() {
        Some(name) => Err(Refusal::RunsText(name.to_owned())),
        None => Ok(Question { sql, functions }),
    }
}

/// A text as its tokens: none of them can be read in two ways.
struct Read {
    grammar: Box<dyn Grammar>,
    dialect: Dialect,
    tokens: Vec<TokenWithSpan>,
}

impl Read {
    fn new(dialect: Dialect, sql: &str) -> Result<Self, Refusal> {
        let grammar: Box<dyn Grammar> = match dialect {
            Dialect::Postgres => Box::new(PostgreSqlDialect {}),
            Dialect::Redshift => Box::new(RedshiftSqlDialect {}),
        };
        if let Some(place) = too_long_a_chain(sql, &*grammar) {
            return Err(Refusal::Deep(place));
        }
        // A quote within a text stays as it is written, so that it can be looked at.
        let tokens = Tokenizer::new(&*grammar, sql).with_unescape(false).tokenize_with_location();
        let tokens = tokens.map_err(|error| unreadable(dialect, error.to_string()))?;
        refuse_ambiguous(dialect, &tokens)?;
        Ok(Self { grammar, dialect, tokens })
    }

    /// All but the blanks.
    fn words(&self) -> Vec<&Token> {
        self.tokens.iter().map(|token| &token.token).filter(|token| !is_blank(token)).collect()
    }

    /// The one statement that it is.
    fn statement(&self) -> Result<Statement, Refusal> {
        let parser = Parser::new(&*self.grammar).with_recursion_limit(DEPTH);
        let statements = parser.with_tokens_with_locations(self.tokens.clone()).parse_statements();
        let mut statements = statements.map_err(|error| unreadable(self.dialect, error.to_string()))?;
        match statements.len() {
            1 => Ok(statements.remove(0)),
            0 => Err(Refusal::Empty),
            several => Err(Refusal::Several(several)),
        }
    }
}

fn unreadable(dialect: Dialect, words: String) -> Refusal {
    let dialect = match dialect {
        Dialect::Postgres => "PostgreSQL's SQL",
        Dialect::Redshift => "Redshift's SQL",
    };
    Refusal::Unreadable { dialect, words }
}

/// A token as it is sent: a blank for each comment.
fn shown(token: &Token) -> String {
    match token {
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => " ".to_owned(),
        token => token.to_string(),
    }
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// SHOW as the first word, no end of a statement but the last, and no text with escapes, of which the tokens know the
/// letters alone.
fn is_show(words: &[&Token]) -> bool {
    let first = matches!(words.first(), Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("show"));
    let end = words.iter().position(|token| **token == Token::SemiColon).unwrap_or(words.len());
    let is_escaped = |token: &&Token| matches!(token, Token::EscapedStringLiteral(_) | Token::UnicodeStringLiteral(_));
    first && !words.iter().any(is_escaped) && words.iter().skip(end).all(|token| **token == Token::SemiColon)
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

/// What a statement does.
struct Look;

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

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Refusal> {
        match expression {
            // To a server the two are one operator, or a comment.
            Expr::UnaryOp { op, expr }
                if *op != UnaryOperator::Not && expr.to_string().starts_with(is_of_an_operator) =>
            {
                ControlFlow::Break(Refusal::Signs(expression.to_string()))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_of_an_operator(letter: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(letter)
}

#[cfg(test)]
mod tests;
