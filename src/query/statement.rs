//! What may be asked: one statement, and only one that reads.

use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::failure;
use crate::error::{Error, Result};
use crate::sql::{TOO_LONG_A_CHAIN, too_long_a_chain};

/// The one statement in this text.
///
/// # Errors
/// Invalid where it does not parse or is too deep, where there is none or more than one, or where it would change something.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Statement> {
    if let Some(place) = too_long_a_chain(sql, &GenericDialect {}) {
        return Err(Error::invalid(format!("line {}, column {}: {TOO_LONG_A_CHAIN}", place.line, place.column)));
    }
    let limit = state.config_options().sql_parser.recursion_limit.get();
    let parsed = DFParserBuilder::new(sql).with_recursion_limit(limit).build().and_then(|mut it| it.parse_statements());
    let mut statements = parsed.map_err(|error| unparsable(&error))?;
    let Some(statement) = statements.pop_front() else {
        return Err(Error::invalid("there is no statement: ask something like SELECT count(*) FROM journal"));
    };
    if !statements.is_empty() {
        return Err(Error::invalid(format!(
            "there are {} statements, and a query is one: ask them one after the other",
            statements.len() + 1
        )));
    }
    match reads(&statement) {
        true => Ok(statement),
        false => Err(refusal(&first_word(&statement))),
    }
}

/// The sentence for a statement that would change something.
pub(super) fn refusal(what: &str) -> Error {
    Error::invalid(format!(
        "{what} is refused, for a query only reads: SELECT, WITH, VALUES, SHOW, DESCRIBE and EXPLAIN are what it takes"
    ))
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => reads_sql(sql),
        Statement::Explain(explain) => reads(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

fn reads_sql(sql: &Sql) -> bool {
    match sql {
        Sql::Explain { statement, .. } => reads_sql(statement),
        Sql::Query(_) | Sql::ExplainTable { .. } => true,
        Sql::ShowTables { .. } | Sql::ShowColumns { .. } | Sql::ShowFunctions { .. } => true,
        Sql::ShowVariable { .. } | Sql::ShowCreate { .. } => true,
        _ => false,
    }
}

fn first_word(statement: &Statement) -> String {
    statement.to_string().split_whitespace().next().unwrap_or("this statement").to_uppercase()
}

fn unparsable(error: &DataFusionError) -> Error {
    Error::invalid(format!("the SQL does not parse: {}", failure::text(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::sql::{SessionSettings, session};

    fn outcome(sql: &str) -> Result<Statement> {
        let context = session(SessionSettings { memory_bytes: 1 << 20, partitions: 1 }).expect("session");
        parse(&context.state(), sql)
    }

    #[test]
    fn what_reads_is_taken() {
        let statements = [
            "select 1",
            "SELECT 1;",
            "with a as (select 1) select * from a",
            "values (1), (2)",
            "(select 1) union all (select 2)",
            "show tables",
            "show columns from a",
            "show all",
            "describe a",
            "explain select 1",
            "explain analyze verbose select 1",
        ];
        for sql in statements {
            assert!(outcome(sql).is_ok(), "{sql}: {:?}", outcome(sql));
        }
    }

    #[test]
    fn what_changes_something_is_refused_by_its_first_word() {
        let statements = [
            ("create table a as select 1", "CREATE"),
            ("create external table a stored as csv location '/a'", "CREATE"),
            ("create view a as select 1", "CREATE"),
            ("drop table a", "DROP"),
            ("insert into a values (1)", "INSERT"),
            ("update a set b = 1", "UPDATE"),
            ("delete from a", "DELETE"),
            ("truncate table a", "TRUNCATE"),
            ("merge into a using b on a.x = b.x when matched then delete", "MERGE"),
            ("copy a to '/a.csv'", "COPY"),
            ("set datafusion.execution.batch_size = 1", "SET"),
            ("reset datafusion.execution.batch_size", "RESET"),
            ("prepare a as select 1", "PREPARE"),
            ("explain insert into a values (1)", "EXPLAIN"),
            ("explain copy a to '/a.csv'", "EXPLAIN"),
        ];
        for (sql, word) in statements {
            let error = outcome(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
            assert!(error.to_string().starts_with(&format!("{word} is refused")), "{sql}: {error}");
        }
    }

    #[test]
    fn one_statement_is_one_statement() {
        for (sql, words) in [
            ("", "there is no statement"),
            ("  ; ", "there is no statement"),
            ("select 1; select 2", "there are 2 statements"),
            ("selct 1", "does not parse"),
            ("select (1 from a", "does not parse"),
        ] {
            let error = outcome(sql).expect_err(sql);
            assert!(error.to_string().contains(words), "{sql}: {error}");
        }
    }

    #[test]
    fn a_fault_of_syntax_is_told_with_its_place() {
        let error = outcome("select\n  1 frm x y z").expect_err("no SQL").to_string();
        assert!(error.contains("Line: 2"), "{error}");
    }
}
