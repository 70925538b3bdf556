//! A load as the statements of one transaction, and a warehouse's own words for reading and making tables.
//!
//! Owns the statements' order. Pure: text out, nothing run. `BEGIN` and `COMMIT` are the session's.

use super::plan::Copy;

/// Which SQL, and where the tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqlTarget {
    /// Which SQL.
    pub(super) dialect: Dialect,
    /// The schema of all tables.
    pub(super) schema: String,
}

/// Which SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PostgreSQL 12 and later.
    Postgres,
    /// Redshift, which knows less and other words.
    Redshift,
}

/// A step of a load's transaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// Is run; what it answers is no matter.
    Run(String),
    /// Answers one whole number, which must be this one, or the transaction ends.
    Expect {
        /// The statement.
        sql: String,
        /// The number.
        number: u64,
    },
    /// Brings the rows of staged files in; as many as the journal says, or the transaction ends.
    Copy {
        /// The files.
        copy: Copy,
        /// The table that takes them, as SQL writes it.
        into: String,
    },
}
