//! A refusal, in the words and with the SQLSTATE of Redshift where they are known.

use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::response::ErrorResponse;
use tokio_postgres::error::SqlState;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) detail: Option<String>,
}

/// The transactions of the documentation's example; nobody may read a meaning into them.
const CYCLE: &str = "transactions forming the cycle are: 1745830, 1745762 (pid:15021)";

impl Refusal {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), detail: None }
    }

    /// The grammar does not know it.
    pub(super) fn syntax(near: &str) -> Self {
        Self::new("42601", format!("syntax error at or near \"{near}\""))
    }

    /// The grammar knows it, Redshift does not do it.
    pub(super) fn unsupported(what: &str) -> Self {
        Self::new("0A000", format!("{what} is not supported"))
    }

    /// Redshift may do it; this server does not.
    pub(super) fn stand_in_cannot(what: &str) -> Self {
        Self::new("0A000", format!("the stand-in cannot: {what}"))
    }

    /// What the compute nodes say, as a box in the detail.
    pub(super) fn in_a_box(error: &str, code: u32, context: &str) -> Self {
        let line = "-----------------------------------------------";
        let detail = format!("\n  {line}\n  error:  {error}\n  code:      {code}\n  context:   {context}\n  {line}\n");
        Self { detail: Some(detail), ..Self::new("XX000", error) }
    }

    pub(super) fn serializable_isolation() -> Self {
        let detail = format!("Serializable isolation violation on table - 119371, {CYCLE}");
        Self { detail: Some(detail), ..Self::new("XX000", "1023") }
    }

    pub(super) fn deadlock() -> Self {
        let detail = "Process 15021 waits for AccessExclusiveLock; blocked by process 15022.".to_owned();
        Self { detail: Some(detail), ..Self::new("40P01", "deadlock detected") }
    }

    pub(super) fn aborted() -> Self {
        let words = "current transaction is aborted, commands ignored until end of transaction block";
        Self::new("25P02", words)
    }
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(known) = error.as_db_error() else {
            return Self::new("XX000", format!("the PostgreSQL behind failed: {error}"));
        };
        if *known.code() == SqlState::T_R_SERIALIZATION_FAILURE {
            return Self::serializable_isolation();
        }
        if known.constraint().is_some_and(|name| name.starts_with(super::tables::BYTES)) {
            return Self::new("22001", "value too long for type character varying");
        }
        if known.message().starts_with("MERGE command cannot affect row a second time") {
            return Self::new("XX000", "Found multiple matches to update the same tuple.");
        }
        Self {
            code: known.code().code().to_owned(),
            message: known.message().to_owned(),
            detail: known.detail().map(str::to_owned),
        }
    }
}

impl From<Refusal> for ErrorInfo {
    fn from(refusal: Refusal) -> Self {
        let mut info = Self::new("ERROR".to_owned(), refusal.code, refusal.message);
        info.detail = refusal.detail;
        info
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        ErrorInfo::from(refusal).into()
    }
}

impl From<Refusal> for PgWireError {
    fn from(refusal: Refusal) -> Self {
        Self::UserError(Box::new(refusal.into()))
    }
}
