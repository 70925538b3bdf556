//! The one public error: a sentence for the person at 3 a.m. and a kind that says what to do.
//!
//! Owns `Error` and `ErrorKind`. Every module keeps its precise reasons in an enum of its own and turns them into
//! this one at its border. Faults of the data are values (`batch::Reject`), never errors.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same again may succeed: a time-out, a throttled call, a full disk that is being cleared.
    Transient,
    /// Another writer got there first: drop what is in hand and start again from the journal.
    Fenced,
    /// The user must change something: an argument, a pipeline file, a folder.
    Invalid,
    /// What is stored contradicts itself: stop, a human must look.
    Corrupt,
    /// A bug in Millstream.
    Internal,
}

/// An error with its kind, its sentence and its cause.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything that can fail with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind with this sentence (lower case, no full stop, values in it).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same again may succeed.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// Another writer got there first.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// The user must change something.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What is stored contradicts itself.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// A bug in Millstream.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with its cause attached.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, its sentence led by where it happened: `context: sentence`.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The process's exit code: 2 where the user must change something, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        if self.kind == ErrorKind::Invalid { 2 } else { 1 }
    }
}

/// The most characters of a server's words that are passed on.
const LONGEST_LINE: usize = 300;

/// What may be shown of a server's words: the first line, bounded. Servers explain a
/// refused signature by repeating the signed request, session tokens included, on the lines after it.
pub(crate) fn first_line(words: &str) -> String {
    let line = words.trim_start().split(['\n', '\r']).next().unwrap_or_default();
    line.trim_end().chars().take(LONGEST_LINE).collect()
}

/// The names of the files that a library's words hold, each once: of pages of words about a damaged file they are what
/// helps.
pub(crate) fn file_names(words: &str) -> Vec<&str> {
    let parts = words.split(|char: char| !(char.is_ascii_alphanumeric() || "._-=%".contains(char)));
    let mut names: Vec<&str> = Vec::new();
    for part in parts.filter(|part| part.ends_with(".json") || part.ends_with(".parquet")) {
        if !names.contains(&part) {
            names.push(part);
        }
    }
    names
}

/// What may be shown of the innermost cause: `Connection refused`, where an SDK says `dispatch failure` first.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    first_line(&cause.to_string())
}

/// What libraries put before the words that they hand on: it tells a person nothing.
const LABELS: [&str; 21] = [
    "Arrow error",
    "Data error",
    "Error during planning",
    "Execution error",
    "External",
    "External error",
    "Generic delta kernel error",
    "Generic error",
    "Generic LocalFileSystem error",
    "Generic S3 error",
    "Generic verified error",
    "Invalid argument error",
    "IO error",
    "Io error",
    "Json error",
    "Kernel error",
    "Object Store error",
    "Parquet argument error",
    "Parquet error",
    "SQL error",
    "This feature is not implemented",
];

/// What may be shown of a library's words: without the labels of the layers that they came through, and without the
/// backtrace that some libraries put into their words where `RUST_BACKTRACE` is set.
pub(crate) fn plain(words: &str) -> String {
    let words = words.split("\n   0: ").next().unwrap_or_default().trim_end();
    words.split(": ").filter(|part| !LABELS.contains(part)).collect::<Vec<_>>().join(": ")
}

/// Whether this error, or one that caused it, says that the disk or the quota is full.
pub fn is_storage_full(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let kind = current.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        // An io::Error that wraps another gives the inner one's source, not the inner one itself.
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => current.source(),
        };
    }
    false
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.message.clone();
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = cause {
            let text = plain(&error.to_string());
            if !told.contains(&text) {
                told = format!("{told}: {text}");
            }
            cause = error.source();
        }
        formatter.write_str(&told)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_leads_with_the_place_and_ends_with_the_cause() {
        let cause = std::io::Error::other("no space left on device");
        let error = Error::transient("cannot write lake/a.parquet").with_source(cause).context("stage");
        assert_eq!(error.to_string(), "stage: cannot write lake/a.parquet: no space left on device");
    }

    #[test]
    fn a_cause_already_told_is_not_told_twice() {
        let cause = std::io::Error::other("disk full");
        assert_eq!(Error::transient("write: disk full").with_source(cause).to_string(), "write: disk full");
    }

    #[test]
    fn a_full_disk_is_seen_through_any_wrapping() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let wrapped = std::io::Error::other(Error::transient("cannot write").with_source(full));
        assert!(is_storage_full(&Error::transient("stage").with_source(wrapped)));
        assert!(!is_storage_full(&Error::transient("stage").with_source(std::io::Error::other("no space"))));
    }

    #[test]
    fn of_a_servers_words_the_first_line_is_shown() {
        let cases = [
            ("", ""),
            ("it is so", "it is so"),
            ("\n  it is so \r\nx-amz-security-token:SESSION", "it is so"),
            ("it is so\rSESSION", "it is so"),
        ];
        for (words, expected) in cases {
            assert_eq!(first_line(words), expected);
        }
        assert_eq!(first_line(&"ä".repeat(1_000)), "ä".repeat(300));
    }

    #[test]
    fn only_what_the_user_must_change_exits_with_2() {
        assert_eq!(Error::invalid("x").exit_code(), 2);
        assert_eq!(Error::corrupt("x").exit_code(), 1);
        assert_eq!(Error::fenced("x").exit_code(), 1);
    }
}
