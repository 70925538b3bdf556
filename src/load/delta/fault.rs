//! Delta's errors in our words.

use deltalake::kernel::transaction::TransactionError;
use deltalake::{DeltaTableError, Path};

use crate::error::{Error, file_names, is_storage_full};
use crate::store::kind_of;

/// How the Delta kernel begins what it says of an object store's error.
const KERNEL_STORE_FAULT: &str = "Error interacting with object store";

/// The error of doing this (`write`, `read`) to this table.
pub(super) fn fault(verb: &str, table: &str, error: DeltaTableError) -> Error {
    if is_storage_full(&error) {
        return full(table).with_source(error);
    }
    let told = format!("cannot {verb} the warehouse's table {table}");
    if let Some(kind) = kind_of(&error) {
        return Error::new(kind, told).with_source(error);
    }
    let found = match &error {
        DeltaTableError::InvalidJsonLog { .. }
        | DeltaTableError::InvalidStatsJson { .. }
        | DeltaTableError::Parquet { .. }
        | DeltaTableError::Arrow { .. }
        | DeltaTableError::NoSchema
        | DeltaTableError::MetadataError(_) => Error::corrupt(format!("{told}: its log or a file of it is damaged")),
        DeltaTableError::Transaction { source: TransactionError::UnsupportedTableFeatures(_) }
        | DeltaTableError::SchemaMismatch { .. } => Error::invalid(told),
        // The kernel gives its cause to nobody, and its type is not ours to name.
        DeltaTableError::KernelError(cause) if !cause.to_string().starts_with(KERNEL_STORE_FAULT) => {
            // Nor do its words, pages of them, help anybody but by the files that they name.
            let words = cause.to_string();
            tracing::debug!(table, "the Delta kernel says: {words}");
            let files = match file_names(&words).as_slice() {
                [] => String::new(),
                names => format!(" (look at {})", names.join(", ")),
            };
            return Error::corrupt(format!("{told}: its log is damaged, or a part of it is gone{files}; {WHAT_NOW}"));
        }
        _ => Error::transient(told),
    };
    found.with_source(error)
}

/// What a person does about a table of which something is lost: what is staged is untouched by that.
pub(super) const WHAT_NOW: &str = "bring it back from a backup; or move the whole warehouse folder away, and the next run \
                                   loads everything anew from the staged files";

/// The error of a data file whose bytes are not those that were written.
pub(super) fn altered(table: &str, path: &Path) -> Error {
    Error::corrupt(format!(
        "the file {path} of the warehouse's table {table} was altered or damaged after it was written (its SHA-256 is not \
         the one in the table's log); nothing of it is used: {WHAT_NOW}"
    ))
}

/// The error of a data file that is not there.
pub(super) fn gone(table: &str, path: &Path) -> Error {
    Error::corrupt(format!(
        "the file {path} of the warehouse's table {table} is gone, though the table's log names it: {WHAT_NOW}"
    ))
}

/// The error of a full disk: nothing is lost, and the person knows what to do.
pub(super) fn full(table: &str) -> Error {
    Error::invalid(format!(
        "no space left for the warehouse's table {table}; everything committed so far is safe: free some space and \
         start again, it goes on where it stopped"
    ))
}

/// Whether a commit failed because the table had changed.
pub(super) fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::VersionAlreadyExists(_)
                    | TransactionError::CommitConflict(_)
                    | TransactionError::MaxCommitAttempts(_)
            }
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn each_failure_has_the_kind_that_says_what_to_do() {
        let io = |kind: io::ErrorKind| DeltaTableError::Io { source: io::Error::from(kind) };
        let generic = DeltaTableError::GenericError { source: Box::new(io::Error::from(io::ErrorKind::StorageFull)) };
        let cases = [
            (io(io::ErrorKind::StorageFull), ErrorKind::Invalid),
            (generic, ErrorKind::Invalid),
            (io(io::ErrorKind::TimedOut), ErrorKind::Transient),
            (DeltaTableError::NoSchema, ErrorKind::Corrupt),
            (DeltaTableError::SchemaMismatch { msg: "x".to_owned() }, ErrorKind::Invalid),
        ];
        for (error, expected) in cases {
            let told = fault("write", "fact_orders", error);
            assert_eq!(told.kind(), expected, "{told}");
            assert!(told.to_string().contains("fact_orders"), "{told}");
        }
    }

    #[test]
    fn only_a_changed_table_is_a_conflict() {
        assert!(is_conflict(&DeltaTableError::VersionAlreadyExists(3)));
        assert!(is_conflict(&DeltaTableError::Transaction { source: TransactionError::MaxCommitAttempts(0) }));
        assert!(!is_conflict(&DeltaTableError::NoSchema));
    }
}
