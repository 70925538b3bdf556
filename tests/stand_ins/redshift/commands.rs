//! A statement as what the session does with it: read, refused where Redshift refuses, and put into PostgreSQL's words.

use sqlparser::ast::{ObjectType, Set, Statement, TransactionAccessMode, TransactionMode, TruncateTableTarget};
use sqlparser::dialect::RedshiftSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::copy::CopyCommand;
use super::refusal::Refusal;
use super::tables::Altered;
use super::tokens::{Words, are_words, is_word, quoted};
use super::{expressions, layout, merge, tables};

/// What a session does.
#[derive(Debug)]
pub(super) enum Command {
    Begin {
        read_only: bool,
    },
    Commit,
    Rollback,
    /// The tables.
    Lock(String),
    Copy(CopyCommand),
    /// Commits, too.
    Truncate(String),
    /// Outside a transaction only; `sql` where PostgreSQL has something to do.
    Alone {
        what: &'static str,
        sql: Option<String>,
    },
    /// Answered, without effect.
    Nothing(&'static str),
    /// Answers rows.
    Read(String),
    /// Changes something; with the first words of its answer.
    Write {
        tag: &'static str,
        sql: String,
    },
}

/// Settings that PostgreSQL has as well.
const PASSED_ON: &[&str] = &[
    "application_name",
    "client_encoding",
    "datestyle",
    "extra_float_digits",
    "search_path",
    "statement_timeout",
    "timezone",
];

/// Settings that change nothing here.
const IGNORED: &[&str] = &[
    "enable_result_cache_for_session",
    "error_on_nondeterministic_update",
    "json_serialization_enable",
    "query_group",
    "wlm_query_slot_count",
];

/// Reads one statement.
pub(super) fn command(tokens: &[Token]) -> Result<Command, Refusal> {
    let Some(Token::Word(first)) = tokens.first() else { return parsed(tokens) };
    match first.value.as_str() {
        "copy" => CopyCommand::read(tokens).map(Command::Copy),
        "lock" => lock(tokens),
        "vacuum" => Ok(Command::Alone { what: "VACUUM", sql: None }),
        "analyze" => Ok(Command::Nothing("ANALYZE")),
        "unload" | "call" | "declare" | "fetch" | "grant" | "revoke" | "explain" | "prepare" | "execute" => {
            Err(Refusal::stand_in_cannot(&format!("the statement {}", first.value.to_uppercase())))
        }
        "alter" if tokens.iter().any(|token| is_word(Some(token), "append")) => {
            Ok(Command::Alone { what: "ALTER TABLE APPEND", sql: None })
        }
        "create" if !are_words(tokens, 1, &["view"]) => parsed(&layout::strip(tokens)?),
        "alter" => parsed(&layout::strip(tokens)?),
        _ => parsed(tokens),
    }
}

/// `LOCK [TABLE] name [, …]`: the one mode is ACCESS EXCLUSIVE.
fn lock(tokens: &[Token]) -> Result<Command, Refusal> {
    let mut words = Words::new(tokens);
    words.expect("lock")?;
    words.takes("table");
    let mut names = vec![quoted(&words.table()?)];
    while words.takes_sign(&Token::Comma) {
        names.push(quoted(&words.table()?));
    }
    if words.peek().is_some() { Err(words.unexpected()) } else { Ok(Command::Lock(names.join(", "))) }
}

/// What the parser knows.
fn parsed(tokens: &[Token]) -> Result<Command, Refusal> {
    let dialect = RedshiftSqlDialect {};
    let mut parser = Parser::new(&dialect).with_tokens(tokens.to_vec());
    let statement = parser.parse_statement();
    let statement = statement.map_err(|error| Refusal::new("42601", format!("syntax error: {error}")))?;
    let rest = parser.peek_token().token;
    if rest != Token::EOF {
        return Err(Refusal::syntax(&rest.to_string()));
    }
    transaction(statement)
}

fn transaction(statement: Statement) -> Result<Command, Refusal> {
    match statement {
        Statement::StartTransaction { modes, modifier: None, statements, .. } if statements.is_empty() => {
            let read_only = modes.contains(&TransactionMode::AccessMode(TransactionAccessMode::ReadOnly));
            Ok(Command::Begin { read_only })
        }
        Statement::Commit { chain: false, .. } => Ok(Command::Commit),
        Statement::Rollback { chain: false, savepoint: None } => Ok(Command::Rollback),
        Statement::Set(set) => setting(&set),
        Statement::Truncate(truncate) => match truncate.table_names.as_slice() {
            [TruncateTableTarget { name, .. }] if truncate.identity.is_none() && truncate.cascade.is_none() => {
                Ok(Command::Truncate(format!("TRUNCATE TABLE {name}")))
            }
            _ => Err(Refusal::syntax("TRUNCATE")),
        },
        other => change(other),
    }
}

/// Statements that change rows.
fn change(mut statement: Statement) -> Result<Command, Refusal> {
    let tag = match &statement {
        Statement::Insert(insert) => merge::insert(insert).map(|()| "INSERT 0")?,
        Statement::Update(update) => merge::update(update).map(|()| "UPDATE")?,
        Statement::Delete(delete) => merge::delete(delete).map(|()| "DELETE")?,
        Statement::Merge(wanted) => merge::merge(wanted).map(|()| "MERGE")?,
        Statement::Query(_) | Statement::ShowVariable { .. } => {
            expressions::check(&mut statement)?;
            return Ok(Command::Read(statement.to_string()));
        }
        _ => return define(statement),
    };
    expressions::check(&mut statement)?;
    Ok(Command::Write { tag, sql: statement.to_string() })
}

/// Statements that make or change tables.
fn define(statement: Statement) -> Result<Command, Refusal> {
    match statement {
        Statement::CreateTable(mut table) => {
            let tag = if table.query.is_some() { "SELECT" } else { "CREATE TABLE" };
            Ok(Command::Write { tag, sql: tables::create(&mut table)? })
        }
        Statement::AlterTable(mut table) => match tables::alter(&mut table)? {
            Altered::Anywhere(sql) => Ok(Command::Write { tag: "ALTER TABLE", sql }),
            Altered::Alone(sql) => Ok(Command::Alone { what: "ALTER TABLE ALTER COLUMN", sql: Some(sql) }),
            Altered::Nothing => Ok(Command::Nothing("ALTER TABLE")),
        },
        Statement::CreateView(mut view) if !view.materialized && !view.with_no_schema_binding && !view.temporary => {
            expressions::check(view.query.as_mut())?;
            Ok(Command::Write { tag: "CREATE VIEW", sql: Statement::CreateView(view).to_string() })
        }
        Statement::CreateSchema { ref with, ref options, .. } if with.is_none() && options.is_none() => {
            Ok(Command::Write { tag: "CREATE SCHEMA", sql: statement.to_string() })
        }
        Statement::Drop { object_type: ObjectType::Table, .. } => dropped("DROP TABLE", &statement),
        Statement::Drop { object_type: ObjectType::View, .. } => dropped("DROP VIEW", &statement),
        Statement::Drop { object_type: ObjectType::Schema, .. } => dropped("DROP SCHEMA", &statement),
        Statement::CreateIndex(_) => {
            Err(Refusal::new("0A000", "SQL command \"CREATE INDEX\" not supported on Redshift tables"))
        }
        other => Err(Refusal::unsupported(&format!("the statement {other}"))),
    }
}

fn dropped(tag: &'static str, statement: &Statement) -> Result<Command, Refusal> {
    Ok(Command::Write { tag, sql: statement.to_string() })
}

fn setting(set: &Set) -> Result<Command, Refusal> {
    let name = match set {
        Set::SetTimeZone { .. } => "timezone".to_owned(),
        Set::SingleAssignment { variable, .. } => variable.to_string().replace('"', "").to_ascii_lowercase(),
        _ => return Err(Refusal::stand_in_cannot("this form of SET")),
    };
    if PASSED_ON.contains(&name.as_str()) {
        Ok(Command::Write { tag: "SET", sql: Statement::Set(set.clone()).to_string() })
    } else if IGNORED.contains(&name.as_str()) {
        Ok(Command::Nothing("SET"))
    } else if name.starts_with("enable_case") {
        Err(Refusal::stand_in_cannot("names that keep their case"))
    } else {
        Err(Refusal::new("42704", format!("unrecognized configuration parameter \"{name}\"")))
    }
}
