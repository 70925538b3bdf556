//! The files of a pipeline's folder: texts, SQL files, and what keeps one from being read.
//!
//! Owns every read of the file system in config. The contract: each fault names its file as the user would.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::fault::{Fault, place};

/// The SQL of a table; none, and a fault, where there is none to plan. `offset` is the place of `[[table]]`.
pub(super) fn sql_of_table(document: &Document<'_>, folder: &Path, table: &str, offset: usize) -> Option<String> {
    let path = folder.join(format!("{table}.sql"));
    match read_text(&path) {
        Ok(text) if says_nothing(&text) => {
            document.fault(offset, format!("table {table:?} has no SQL: {} is empty", path.display()));
            None
        }
        Ok(text) => Some(text),
        Err(Unreadable::Absent) => {
            document.fault(offset, format!("table {table:?} has no SQL: {} does not exist", path.display()));
            None
        }
        Err(unreadable) => {
            document.push(unreadable.into_fault(&path));
            None
        }
    }
}

/// Sees that a file is there and can be opened; the sentence says what is not so.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(format!("{} is not a file", path.display())),
        Ok(_) => File::open(path).map(|_| ()).map_err(|error| format!("{} cannot be read: {error}", path.display())),
        Err(error) if is_absent(&error) => Err(format!("{} does not exist", path.display())),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// The SQL files right in a folder, by name without the ending; hidden files are an editor's.
pub(super) fn sql_files(document: &Document<'_>, folder: &Path) -> Vec<(String, PathBuf)> {
    let paths: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let paths = paths.unwrap_or_else(|error| {
        let message = format!("the folder cannot be read: {error}");
        document.push(Fault { file: folder.to_owned(), line: 0, column: 0, message });
        Vec::new()
    });
    let is_sql = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sql") && path.is_file();
    let mut files: Vec<(String, PathBuf)> = paths
        .into_iter()
        .filter(is_sql)
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect();
    files.sort();
    files
}

/// Why a text file could not be read.
pub(super) enum Unreadable {
    /// There is no such file.
    Absent,
    /// The file system refuses.
    Io(io::Error),
    /// Bytes that are no text, from this place on.
    NotUtf8 { line: usize, column: usize },
}

impl Unreadable {
    /// The same with its file.
    pub(super) fn into_fault(self, path: &Path) -> Fault {
        let (line, column, message) = match self {
            Self::Absent => (0, 0, "the file does not exist".to_owned()),
            Self::Io(error) => (0, 0, format!("the file cannot be read: {error}")),
            Self::NotUtf8 { line, column } => (line, column, "the file is not UTF-8 from here on".to_owned()),
        };
        Fault { file: path.to_owned(), line, column, message }
    }
}

/// A file's text, without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, Unreadable> {
    let bytes = fs::read(path).map_err(|error| match is_absent(&error) {
        true => Unreadable::Absent,
        false => Unreadable::Io(error),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
        let (line, column) = place(&before, valid);
        Unreadable::NotUtf8 { line, column }
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Whether a SQL text is blank but for comments.
pub(super) fn says_nothing(sql: &str) -> bool {
    sql.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("--"))
}

/// Whether there is no file of this path.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
