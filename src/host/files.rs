//! The two files of a stream's folder: that they are there, and go together.
//!
//! Owns what a start makes of each state they can be in, and the order in which both are replaced. The contract: what
//! clients were told is kept is never deleted by a start. What cannot be explained is refused, and nothing is changed.
//!
//! | `streams.json` | `records.log` | a start |
//! |---|---|---|
//! | missing | missing, or the empty one of format 1 | makes both |
//! | missing | there | refuses: streams.json is lost |
//! | there | missing | refuses: the log is lost |
//! | damaged | any | refuses |
//! | there | of another id, or older streams than the log knows of | refuses: they do not go together |
//! | there | ends before what is known to be kept | refuses; after a power cut, from the last sync on, goes on with a warning |
//! | there | ends within a frame | cuts off what nobody was told is kept, with a warning |
//! | there | damaged within | refuses |
//!
//! A log is replaced in three steps: the new one beside it, then `streams.json` that names it, then its name. So a start
//! that finds the named one beside, where a kill left it, does the last step.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use uuid::Uuid;

use super::log::{Frames, HEAD, Head, Log, LogError};
use super::saved::{LogSeen, Saved, SavedError, beside};
use crate::error::{Error, ErrorKind, is_storage_full};
use crate::runtime::Random;

/// The log of records in the stream's folder.
pub(super) const RECORDS: &str = "records.log";
/// The description of the streams in the stream's folder.
pub(super) const STREAMS: &str = "streams.json";

/// Why a stream's folder cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// Of `streams.json` alone.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// Of the log alone.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No description of the streams whose records are there.
    #[error("streams.json is gone, and the {0} bytes of records.log beside it cannot be read without it")]
    StreamsLost(u64),
    /// No records.
    #[error("records.log is gone, and with it all records that were put: {0} bytes when it was last synced")]
    LogLost(u64),
    /// Two files that were never together.
    #[error("records.log and streams.json are not of one stream: one of them was replaced by another's")]
    NotOfOneStream,
    /// An older copy of one of them.
    #[error("streams.json is an older one (save {found}) than records.log was written with (save {expected})")]
    StreamsOlder {
        /// Its revision.
        found: u64,
        /// The one that the log knows of.
        expected: u64,
    },
    /// Frames of a stream that has never been.
    #[error("records.log holds records of a stream (number {0}) that streams.json does not know")]
    UnknownStream(u32),
    /// The log's end is gone.
    #[error("records.log ends at byte {whole}, and clients were told that {kept} bytes of it are kept")]
    LogCut {
        /// Bytes up to the end of the last whole frame.
        whole: u64,
        /// Bytes that should be there.
        kept: u64,
    },
}

impl FilesError {
    /// As a person at 3 a.m. needs it.
    pub(super) fn refusal(self, folder: &Path) -> Error {
        let place = folder.display();
        let kind = match &self {
            Self::Log(LogError::Io { .. }) | Self::Saved(SavedError::Io { .. }) => {
                let full = if is_storage_full(&self) {
                    ": no space left; every record is safe: free some space and start again"
                } else {
                    ""
                };
                return Error::invalid(format!("{self}{full}")).with_source(self);
            }
            Self::Saved(SavedError::Newer { .. }) => return Error::invalid(self.to_string()).with_source(self),
            Self::Log(LogError::Foreign(_)) => ErrorKind::Invalid,
            _ => ErrorKind::Corrupt,
        };
        let message = format!(
            "the local stream in {place} is not as it was left: {self}; nothing has been changed: put both files back from \
             one copy, or give up the records in the stream with --reset-stream, which moves the files to a folder beside \
             them and starts an empty stream (what is staged and loaded stays)"
        );
        Error::new(kind, message).with_source(self)
    }
}

/// The files, both there and of one stream; what of the log is whole is not known yet.
pub(super) fn open(folder: &Path) -> Result<(Saved, Frames), FilesError> {
    let (log, copy) = (folder.join(RECORDS), beside(&folder.join(RECORDS)));
    let Some(saved) = Saved::load(&folder.join(STREAMS))? else {
        return match Frames::open(&log)? {
            Some(frames) if frames.head().is_some() || frames.length() > frames.whole() => {
                Err(FilesError::StreamsLost(frames.length()))
            }
            _ => make(folder),
        };
    };
    let is_named = |frames: &Frames| frames.head().map_or(Uuid::nil(), |head| head.id) == saved.log.id;
    if saved.log.id != Uuid::nil() && Frames::open(&copy).is_ok_and(|frames| frames.as_ref().is_some_and(is_named)) {
        rename(&copy, &log)?;
    }
    let mut frames = Frames::open(&log)?.ok_or(FilesError::LogLost(saved.log.bytes))?;
    if frames.head().is_some_and(|head| !is_of_this_boot(head)) {
        frames.end_behind(saved.log.bytes);
    }
    match frames.head() {
        _ if !is_named(&frames) => Err(FilesError::NotOfOneStream),
        Some(head) if head.revision > saved.revision => {
            Err(FilesError::StreamsOlder { found: saved.revision, expected: head.revision })
        }
        _ if frames.length() < saved.log.bytes => {
            Err(FilesError::LogCut { whole: frames.length(), kept: saved.log.bytes })
        }
        _ => Ok((saved, frames)),
    }
}

/// Both files, of no stream.
pub(super) fn make(folder: &Path) -> Result<(Saved, Frames), FilesError> {
    let mut saved = Saved::default();
    let log = Log::create(&beside(&folder.join(RECORDS)), new_head(&saved))?;
    let path = folder.join(RECORDS);
    replace_log(folder, &mut saved, log)?;
    let frames = Frames::open(&path)?.ok_or(FilesError::LogLost(HEAD))?;
    Ok((saved, frames))
}

/// The head of a new log that is to go with these streams.
pub(super) fn new_head(saved: &Saved) -> Head {
    let id = Uuid::parse_str(&Random::system().id()).unwrap_or_default();
    Head { id, boot: boot(), acknowledged: HEAD, revision: saved.revision }
}

/// Puts a new log, which stands beside, in the place of the one that is there.
pub(super) fn replace_log(folder: &Path, saved: &mut Saved, mut log: Log) -> Result<Log, FilesError> {
    let failed = |source| LogError::Io { path: folder.display().to_string(), source };
    save(folder, saved, &mut log).map_err(failed)?;
    rename(&beside(&folder.join(RECORDS)), &folder.join(RECORDS))?;
    Ok(log)
}

/// Replaces `streams.json`, with the log as it is now: synced first, so that whatever is cut off it later is known.
pub(super) fn save(folder: &Path, saved: &mut Saved, log: &mut Log) -> io::Result<()> {
    log.sync()?;
    saved.log = LogSeen { id: log.head().id, bytes: log.length() };
    saved.revision += 1;
    saved.save(&folder.join(STREAMS))?;
    log.note_revision(saved.revision)
}

/// Within one boot of the machine nothing that was written gets lost, by whatever kill.
fn is_of_this_boot(head: Head) -> bool {
    !head.boot.is_nil() && head.boot == boot()
}

/// What a log whose frames have all been read has lost at its end: told, and refused where clients were told it is kept.
pub(super) fn check_end(frames: &Frames, saved: &Saved) -> Result<(), FilesError> {
    let (whole, head) = (frames.whole(), frames.head().unwrap_or_default());
    let kept = if is_of_this_boot(head) { head.acknowledged.max(saved.log.bytes) } else { saved.log.bytes };
    if whole < kept {
        return Err(FilesError::LogCut { whole, kept });
    }
    if whole < head.acknowledged {
        let bytes = head.acknowledged - whole;
        tracing::warn!(
            bytes,
            "a power cut took the end of the stream's log before it was synced: its records are lost"
        );
    } else if whole < frames.length() {
        let bytes = frames.length() - whole;
        tracing::warn!(
            bytes,
            "the end of the stream's log was torn by a kill and is cut off: no client was told it is kept"
        );
    }
    Ok(())
}

/// Moves the files to a folder beside them, and returns it; none where there are none. `now` in seconds since 1970 UTC.
pub(super) fn set_aside(folder: &Path, now: i64) -> io::Result<Option<PathBuf>> {
    let files = [RECORDS, STREAMS].map(|name| folder.join(name));
    let there: Vec<PathBuf> =
        [files.clone(), files.map(|file| beside(&file))].concat().into_iter().filter(|file| file.exists()).collect();
    if there.is_empty() {
        return Ok(None);
    }
    let time = DateTime::from_timestamp(now, 0).unwrap_or_default().format("%Y%m%dT%H%M%SZ");
    let aside = folder.join(format!("before-reset-{time}"));
    std::fs::create_dir(&aside)?;
    for file in there {
        if let Some(name) = file.file_name() {
            std::fs::rename(&file, aside.join(name))?;
        }
    }
    File::open(folder)?.sync_all()?;
    Ok(Some(aside))
}

/// The machine's boot; nil where the system does not tell.
pub(super) fn boot() -> Uuid {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    told.and_then(|id| Uuid::parse_str(id.trim()).ok()).unwrap_or_default()
}

fn rename(from: &Path, to: &Path) -> Result<(), LogError> {
    let renamed = std::fs::rename(from, to).and_then(|()| match to.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    });
    renamed.map_err(|source| LogError::Io { path: to.display().to_string(), source })
}
