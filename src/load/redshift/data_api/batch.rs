//! A load's script as one batch of the Data API, which runs it as one transaction.
//!
//! Owns the guards: the API answers nothing in the middle of a batch, so a number that must be another ends it by a
//! division by zero. Pure.

use crate::error::{Error, Result};
use crate::load::redshift::copy::COUNT;
use crate::load::redshift::lake::Lake;
use crate::load::script::Statement;

/// Statements of one batch, as the Data API's quotas say.
const MOST_STATEMENTS: usize = 40;

/// Bytes of one statement: 100 KB.
const MOST_BYTES: usize = 100_000;

/// What to do where a load does not fit.
const ADVICE: &str = "nothing was sent; let the warehouse be reached over the wire (host and port instead of the data \
                      api), which has no such limit";

/// The statements, and what each is of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) sqls: Vec<String>,
    pub(super) parts: Vec<Part>,
}

/// What a statement of the batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The place in the script of the statement that it is of.
    pub(super) at: usize,
    pub(super) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Run,
    Copy,
    /// Ends the batch where a number is another.
    Guard,
}

impl Batch {
    /// The batch of a script.
    ///
    /// # Errors
    /// Invalid where it is more than a batch may hold.
    pub(super) fn new(load_id: &str, script: &[Statement], lake: &Lake) -> Result<Self> {
        let mut batch = Self { sqls: Vec::new(), parts: Vec::new() };
        for (at, statement) in script.iter().enumerate() {
            match statement {
                Statement::Run(sql) => batch.push(at, Role::Run, sql.clone()),
                Statement::Expect { sql, number } => batch.push(at, Role::Guard, guard(sql, *number)),
                Statement::Copy { copy, .. } if copy.files.is_empty() => {}
                Statement::Copy { copy, into } => {
                    batch.push(at, Role::Copy, lake.copy(load_id, copy, into));
                    batch.push(at, Role::Guard, guard(COUNT, copy.rows()));
                }
            }
        }
        batch.fits()?;
        Ok(batch)
    }

    fn push(&mut self, at: usize, role: Role, sql: String) {
        self.sqls.push(sql);
        self.parts.push(Part { at, role });
    }

    fn fits(&self) -> Result<()> {
        let count = self.sqls.len();
        if count > MOST_STATEMENTS {
            return Err(Error::invalid(format!(
                "this load is {count} statements, and the data api runs at most {MOST_STATEMENTS} in one transaction: \
                 {ADVICE}"
            )));
        }
        let longest = self.sqls.iter().map(String::len).max().unwrap_or(0);
        if longest > MOST_BYTES {
            return Err(Error::invalid(format!(
                "a statement of this load has {longest} bytes, and the data api takes at most {MOST_BYTES}: {ADVICE}"
            )));
        }
        Ok(())
    }
}

/// Fails where the statement answers another number, or none.
fn guard(sql: &str, number: u64) -> String {
    let question = sql.trim_end().trim_end_matches(';');
    format!("SELECT 1 / CASE WHEN ({question}) = {number} THEN 1 ELSE 0 END")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::load::plan::Copy;
    use crate::load::redshift::examples::{copy, lake};

    fn bucket() -> Lake {
        Lake::new(lake(), "default", std::sync::Arc::new(crate::runtime::SystemClock)).expect("a bucket")
    }

    fn run(sql: impl Into<String>) -> Statement {
        Statement::Run(sql.into())
    }

    #[test]
    fn numbers_are_guarded_and_a_copy_without_files_is_left_out() {
        let expect = Statement::Expect { sql: "SELECT max(a) FROM l;".to_owned(), number: 41 };
        let into = "\"staged_1\"".to_owned();
        let empty = Statement::Copy { copy: copy(&[]), into: into.clone() };
        let full = Copy { number: 1, ..copy(&[(42, "staged/a.parquet", 3, 9), (42, "staged/b.parquet", 4, 9)]) };
        let script = [run("LOCK \"l\""), expect, empty, Statement::Copy { copy: full, into }];
        let batch = Batch::new("load-1", &script, &bucket()).expect("it fits");
        assert_eq!(
            batch.sqls,
            [
                "LOCK \"l\"",
                "SELECT 1 / CASE WHEN (SELECT max(a) FROM l) = 41 THEN 1 ELSE 0 END",
                "COPY \"staged_1\" (\"order_id\", \"_position\") \
                 FROM 's3://orders-lake/manifests/load-1-1-fact_orders.json' IAM_ROLE default FORMAT AS PARQUET MANIFEST",
                "SELECT 1 / CASE WHEN (SELECT pg_last_copy_count()) = 7 THEN 1 ELSE 0 END",
            ]
        );
        let parts: Vec<(usize, Role)> = batch.parts.iter().map(|part| (part.at, part.role)).collect();
        assert_eq!(parts, [(0, Role::Run), (1, Role::Guard), (3, Role::Copy), (3, Role::Guard)]);
    }

    #[test]
    fn forty_statements_fit_and_more_are_refused_with_their_count() {
        let script = |count: usize| (0..count).map(|_| run("SELECT 1")).collect::<Vec<_>>();
        assert_eq!(Batch::new("l", &script(40), &bucket()).expect("it fits").sqls.len(), 40);
        let error = Batch::new("l", &script(41), &bucket()).expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().starts_with("this load is 41 statements, and the data api runs at most 40"),
            "{error}"
        );
        assert!(error.to_string().contains("over the wire"), "{error}");
    }

    #[test]
    fn a_statement_may_be_long_and_not_longer() {
        Batch::new("l", &[run("x".repeat(100_000))], &bucket()).expect("it fits");
        let error = Batch::new("l", &[run("x".repeat(100_001))], &bucket()).expect_err("too long");
        assert!(error.to_string().contains("has 100001 bytes"), "{error}");
    }
}
