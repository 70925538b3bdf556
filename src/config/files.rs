//! The files that a pipeline names: texts, SQL files, dimension files, and what keeps one from being read.
//!
//! Owns every read of the file system in config, and the reading of dimension files and certificates for others. Whoever
//! writes pipeline.toml is not always whoever runs it, so a name is not believed: only a regular file is read (a pipe
//! would never end, a device does things), only inside the pipeline's folder, links followed, unless a person permits
//! more (`allow_outside`), and only so much of it. All of that is seen on the path and, because a name may change hands
//! in between, on the opened file again. The contract: each fault names its file as the user would.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::document::Document;
use super::fault::{Fault, place};
use super::model::Pipeline;
use crate::error::{Error, Result};

/// The longest text: pipeline.toml, a table's SQL, a report's.
const LONGEST_TEXT: u64 = 1 << 20;

/// The longest dimension file: it is read whole.
const LONGEST_DIMENSION: u64 = 256 << 20;

/// The longest file of certificates; those of a whole system are 300 KB.
const LONGEST_CERTIFICATES: u64 = 16 << 20;

impl Pipeline {
    /// The bytes of a dimension file that the pipeline names, blocking.
    ///
    /// # Errors
    /// Invalid where it is no regular file, lies outside the folder though that is not allowed, is too long or cannot be
    /// read.
    pub fn read_dimension(&self, path: &Path, allow_outside: bool) -> Result<Vec<u8>> {
        let inside = (!allow_outside).then_some(self.folder.as_path());
        let path = self.folder.join(path);
        let refused = |why: Unreadable| Error::invalid(format!("the dimension file {} {why}", path.display()));
        read_bytes(&path, inside, LONGEST_DIMENSION).map_err(refused)
    }
}

/// The bytes of a file of certificates, wherever it lies, blocking: no word of it becomes data or a message.
///
/// # Errors
/// A sentence that goes on after the file's name.
pub fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    read_bytes(path, None, LONGEST_CERTIFICATES).map_err(|why| why.to_string())
}

/// The SQL of a table; none, and a fault, where there is none to plan. `offset` is the place of `[[table]]`.
pub(super) fn sql_of_table(document: &Document<'_>, folder: &Path, table: &str, offset: usize) -> Option<String> {
    let path = folder.join(format!("{table}.sql"));
    match read_text(&path, folder) {
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

/// Sees that a dimension file could be read; the sentence says what is not so.
pub(super) fn dimension_readable(folder: &Path, path: &str, allow_outside: bool) -> Result<(), String> {
    let inside = (!allow_outside).then_some(folder);
    let path = folder.join(path);
    let hint = |why: &Unreadable| match why {
        Unreadable::Outside(_) => ": if that is meant, say allow_outside = true beside it",
        _ => "",
    };
    let refused = |why: Unreadable| format!("{} {why}{}", path.display(), hint(&why));
    open(&path, inside, LONGEST_DIMENSION).map(drop).map_err(refused)
}

/// Sees that certificates are not a pipe, a device or a folder; that they are there is for whoever connects to find.
pub(super) fn no_special_file(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).ok();
    metadata.map_or(Ok(()), |metadata| must_be_regular(&metadata)).map_err(|why| format!("{} {why}", path.display()))
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
    let is_sql = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sql") && !path.is_dir();
    let mut files: Vec<(String, PathBuf)> = paths
        .into_iter()
        .filter(is_sql)
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect();
    files.sort();
    files
}

/// Why a file is not read; each sentence goes on after its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// There is no such file.
    #[error("does not exist")]
    Absent,
    /// The file system refuses.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// A pipe, a device, a socket, a folder.
    #[error("is {0}: only a regular file is read")]
    Special(&'static str),
    /// Not in the folder, or by a link in it that leads out.
    #[error("lies outside the pipeline's folder, at {}", .0.display())]
    Outside(PathBuf),
    /// More than is read.
    #[error("is longer than the {} MiB that are read of it", .0 >> 20)]
    TooLong(u64),
    /// Bytes that are no text, from this place on.
    #[error("is not UTF-8 from here on")]
    NotUtf8 {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
}

impl Unreadable {
    /// The same with its file.
    pub(super) fn into_fault(self, path: &Path) -> Fault {
        let (line, column) = if let Self::NotUtf8 { line, column } = self { (line, column) } else { (0, 0) };
        Fault { file: path.to_owned(), line, column, message: format!("the file {self}") }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        if is_absent(&error) { Self::Absent } else { Self::Io(error) }
    }
}

/// Opens a regular file of at most so many bytes, inside this folder where one is given.
fn open(path: &Path, inside: Option<&Path>, longest: u64) -> Result<File, Unreadable> {
    let real = fs::canonicalize(path)?;
    if let Some(folder) = inside
        && !real.starts_with(fs::canonicalize(folder)?)
    {
        return Err(Unreadable::Outside(real));
    }
    must_be_regular(&fs::metadata(&real)?)?;
    // Whatever has taken its place since: a link is not followed, and a pipe that nobody writes to does not block.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&real)?;
    let opened = file.metadata()?;
    must_be_regular(&opened)?;
    if opened.len() > longest { Err(Unreadable::TooLong(longest)) } else { Ok(file) }
}

fn must_be_regular(metadata: &Metadata) -> Result<(), Unreadable> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let names = [(kind.is_dir(), "a folder"), (kind.is_fifo(), "a named pipe"), (kind.is_socket(), "a socket")];
    Err(Unreadable::Special(names.into_iter().find(|(is, _)| *is).map_or("a device", |(_, name)| name)))
}

fn read_bytes(path: &Path, inside: Option<&Path>, longest: u64) -> Result<Vec<u8>, Unreadable> {
    let file = open(path, inside, longest)?;
    let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |metadata| metadata.len() as usize + 1));
    // A file that grows, or one of /proc, is longer than it says.
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest { Err(Unreadable::TooLong(longest)) } else { Ok(bytes) }
}

/// A file's text, without a byte order mark; the file lies in this folder.
pub(super) fn read_text(path: &Path, folder: &Path) -> Result<String, Unreadable> {
    let bytes = read_bytes(path, Some(folder), LONGEST_TEXT)?;
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
