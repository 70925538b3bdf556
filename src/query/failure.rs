//! What DataFusion says went wrong, as the sentence and the kind that this program's errors have.

use std::error::Error as StdError;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use parquet::errors::ParquetError;

use super::names::Names;
use crate::error::{Error, ErrorKind, is_storage_full, plain};
use crate::store::{FailedRead, is_missing, kind_of};

/// By this, DataFusion's words for a full spill folder differ from those for a full memory.
const SPILL_LIMIT: &str = "max_temp_directory_size";

/// The most characters of a library's words.
const LONGEST: usize = 1_000;

/// A statement that could not be planned: the user must change it.
pub(super) fn planning(error: &DataFusionError, names: &Names) -> Error {
    let root = error.find_root();
    match root {
        DataFusionError::SchemaError(fault, _) => match fault.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let reach = valid_fields.iter().map(|column| column.name.clone()).collect();
                names.unknown_column(&field.name, reach)
            }
            other => Error::invalid(format!("the query cannot be planned: {other}")),
        },
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => running(error, names),
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            running(error, names)
        }
        root => Error::invalid(format!("the query cannot be planned: {}", text(root))),
    }
}

/// A query that was planned and failed on its way: because of a read that failed, where one did.
pub(super) fn reading(error: &DataFusionError, failed: &FailedRead) -> Error {
    match failed.take() {
        Some(failed) if failed.kind() == ErrorKind::Corrupt => {
            Error::corrupt(format!("{failed}; `millstream audit` tells what else is missing or altered"))
        }
        failed => failed.unwrap_or_else(|| running(error, &Names::default())),
    }
}

/// A query that was planned and failed on its way.
pub(super) fn running(error: &DataFusionError, names: &Names) -> Error {
    let reason = text(error.find_root());
    if let Some(own) = own(error) {
        return Error::new(own.kind(), own.to_string());
    }
    if is_missing(error) {
        return Error::corrupt(format!(
            "a file that the journal or the warehouse names is not there, so the answer would lack rows and none is \
             given: {reason}; `millstream audit` tells what else is missing"
        ));
    }
    if is_storage_full(error) {
        return Error::invalid(format!(
            "no space left on the disk where large sorts, joins and groups spill: {reason}; no data is touched: free some \
             space, or ask for fewer rows"
        ));
    }
    if reason.contains(SPILL_LIMIT) {
        return Error::invalid(format!(
            "the query spills more to disk than it may: give it more with --spill (without it, half of the free disk), or \
             ask for fewer columns or rows; {reason}"
        ));
    }
    match kind_of(error) {
        Some(ErrorKind::Transient) => return unreadable_now(&reason),
        Some(kind) => return Error::new(kind, format!("a file cannot be read: {reason}")),
        None => {}
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::invalid(format!(
            "the query needs more memory than it may take: give it more with --memory (without it, a quarter of the \
             machine's) or let it spill, ask for fewer columns or rows, or group before joining; {reason}"
        )),
        DataFusionError::ParquetError(fault) if !matches!(fault.as_ref(), ParquetError::External(_)) => {
            unreadable(&reason)
        }
        DataFusionError::ArrowError(fault, _) if matches!(fault.as_ref(), ArrowError::ParquetError(_)) => {
            unreadable(&reason)
        }
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            unreadable_now(&reason)
        }
        DataFusionError::ArrowError(fault, _) if is_io(fault) => unreadable_now(&reason),
        DataFusionError::SchemaError(..) => planning(error, names),
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => {
            Error::internal(format!("the query failed inside DataFusion: {reason}; the data is untouched"))
        }
        _ => Error::invalid(format!("the query failed: {reason}")),
    }
}

/// This program's own error, where one caused the failure.
fn own(error: &DataFusionError) -> Option<&Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(own) = current.downcast_ref::<Error>() {
            return Some(own);
        }
        cause = current.source();
    }
    None
}

fn unreadable(reason: &str) -> Error {
    Error::corrupt(format!(
        "a Parquet file cannot be read, so the answer would lack rows and none is given: {reason}; `millstream audit` \
         checks every file against the journal"
    ))
}

fn unreadable_now(reason: &str) -> Error {
    Error::transient(format!("a file cannot be read just now: {reason}; the same query again may succeed"))
}

/// DataFusion's own words, on one line and without its backtrace.
pub(super) fn text(error: &DataFusionError) -> String {
    let words = match error {
        // It shows how the parser's error is made of parts.
        DataFusionError::SQL(fault, _) => match fault.as_ref() {
            ParserError::ParserError(words) | ParserError::TokenizerError(words) => words.clone(),
            other => other.to_string(),
        },
        other => other.strip_backtrace(),
    };
    let words = words.split("stack backtrace:").next().unwrap_or_default();
    let line = plain(words).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

fn is_io(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IoError(..)) || error.source().is_some_and(|source| source.is::<std::io::Error>())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    fn io_fault(kind: io::ErrorKind) -> DataFusionError {
        DataFusionError::IoError(kind.into())
    }

    #[test]
    fn the_kind_says_what_to_do() {
        let parquet = |fault| DataFusionError::ParquetError(Box::new(fault));
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        let table = [
            (io_fault(io::ErrorKind::StorageFull), ErrorKind::Invalid, "on the disk"),
            (io_fault(io::ErrorKind::TimedOut), ErrorKind::Transient, "may succeed"),
            (parquet(ParquetError::External(Box::new(timed_out))), ErrorKind::Transient, "may succeed"),
            (parquet(ParquetError::General("bad footer".into())), ErrorKind::Corrupt, "bad footer"),
            (
                DataFusionError::ArrowError(Box::new(ArrowError::ParquetError("no header".into())), None),
                ErrorKind::Corrupt,
                "none is given: no header;",
            ),
            (DataFusionError::ResourcesExhausted("12 MB".into()), ErrorKind::Invalid, "--memory"),
            (DataFusionError::ResourcesExhausted("see max_temp_directory_size".into()), ErrorKind::Invalid, "--spill"),
            (DataFusionError::Execution("a; b".into()), ErrorKind::Invalid, "the query failed: a; b"),
            (DataFusionError::Internal("odd".into()), ErrorKind::Internal, "odd"),
        ];
        for (fault, kind, words) in table {
            // As it comes out of a plan that runs in several partitions.
            let wrapped = DataFusionError::Shared(Arc::new(fault.context("scan")));
            let error = running(&wrapped, &Names::default());
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn layers_that_hand_on_an_error_are_not_told() {
        let words =
            "Failed to fetch metadata for file a: Object Store error: Generic verified error: the file a was altered";
        let fault = DataFusionError::ParquetError(Box::new(ParquetError::External(words.into())));
        let told = running(&fault, &Names::default()).to_string();
        assert!(told.contains("just now: Failed to fetch metadata for file a: the file a was altered;"), "{told}");
        let fault = DataFusionError::SQL(Box::new(ParserError::ParserError("Expected: a".into())), None);
        assert_eq!(text(&fault), "Expected: a");
    }

    #[test]
    fn what_cannot_be_planned_is_told_on_one_line() {
        let fault = DataFusionError::Plan("Invalid function 'a'.\nDid you mean 'b'?".into());
        let error = planning(&fault, &Names::default());
        assert_eq!(error.to_string(), "the query cannot be planned: Invalid function 'a'. Did you mean 'b'?");
    }
}
