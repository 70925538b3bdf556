//! What is said of a file, in the journal's entries or in the log of a Delta table, and whether it is that.
//!
//! Owns the check of a file's size, e-tag and SHA-256, and the sentences where they are others. Sums are computed on threads
//! where they hold nobody up, a piece of a large file at a time.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload, ObjectStoreExt, Result as StoreResult};

use super::{Store, fault};
use crate::batch::{Checksum, Checksummer, DataFile};
use crate::error::{Error, Result};
use crate::runtime::blocking;

/// What is summed at a time.
const PIECE: usize = 1 << 20;

/// What says how the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// The entry of the journal with this number.
    Entry(u64),
    /// The log of a table of the warehouse, as it is at this version.
    Table(String, u64),
}

/// A file that something names.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// What names it.
    pub by: NamedBy,
    /// Where it is, as a person looks for it: from the store's root, or from the warehouse's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The checksum of its bytes; none where nobody wrote it down.
    pub checksum: Option<Checksum>,
}

/// Why an object is not the file that is named.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the file {path} is not in {}, though {by} names it", by.place())]
    Missing { path: String, by: NamedBy },
    #[error("the file {path} has {found} bytes, and {by} says {said}")]
    Size { path: String, by: NamedBy, found: u64, said: u64 },
    #[error(
        "the file {path} was altered or damaged after it was written: the SHA-256 of its bytes is {found}, and {by} says \
         {said}"
    )]
    Checksum { path: String, by: NamedBy, found: Checksum, said: Checksum },
}

impl NamedBy {
    fn place(&self) -> &'static str {
        match self {
            Self::Entry(_) => "the object store",
            Self::Table(..) => "the warehouse's folder",
        }
    }
}

impl Fault {
    fn by(&self) -> &NamedBy {
        let (Self::Missing { by, .. } | Self::Size { by, .. } | Self::Checksum { by, .. }) = self;
        by
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let now = match fault.by() {
            NamedBy::Entry(_) => "and start again",
            NamedBy::Table(..) => {
                "or move the whole warehouse folder away, and the next run loads everything anew from the staged files"
            }
        };
        Error::corrupt(format!(
            "{fault}; none of its rows is used: bring the file back as it was, from a backup or an older version in the \
             bucket, {now}"
        ))
        .with_source(fault)
    }
}

impl fmt::Display for NamedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(number) => write!(formatter, "entry {number} of the journal"),
            Self::Table(name, version) => write!(formatter, "the log of the table {name} (version {version})"),
        }
    }
}

impl NamedFile {
    /// A file of the journal's entry with this number.
    pub fn of(entry: u64, file: &DataFile) -> Self {
        Self { by: NamedBy::Entry(entry), path: file.path.clone(), bytes: file.bytes, checksum: file.checksum }
    }

    pub(super) fn missing(&self) -> Fault {
        Fault::Missing { path: self.path.clone(), by: self.by.clone() }
    }

    pub(super) fn check_size(&self, found: u64) -> Result<(), Fault> {
        match found == self.bytes {
            true => Ok(()),
            false => Err(Fault::Size { path: self.path.clone(), by: self.by.clone(), found, said: self.bytes }),
        }
    }

    pub(super) fn check_sum(&self, found: Checksum) -> Result<(), Fault> {
        match self.checksum {
            Some(said) if said != found => {
                Err(Fault::Checksum { path: self.path.clone(), by: self.by.clone(), found, said })
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    /// The bytes of a file that this entry names, as they were put.
    ///
    /// # Errors
    /// Corrupt where they are not, or the object is gone; Transient, or Invalid as [`Store::get`].
    pub async fn file(&self, entry: u64, file: &DataFile) -> Result<Bytes> {
        let named = NamedFile::of(entry, file);
        let bytes = self.get(&file.path).await?.ok_or_else(|| named.missing())?;
        blocking(move || {
            named.check_size(bytes.len() as u64)?;
            if named.checksum.is_some() {
                named.check_sum(Checksum::of(&bytes))?;
            }
            Ok(bytes)
        })
        .await
    }

    /// Checks that the object is still the one that was put, without reading it: by its size and its e-tag. One with
    /// another e-tag is read: it may have been brought back from a copy.
    ///
    /// # Errors
    /// As [`Store::file`].
    pub async fn check_file(&self, entry: u64, file: &DataFile) -> Result<()> {
        let named = NamedFile::of(entry, file);
        let found = match self.objects.head(&Path::from(file.path.as_str())).await {
            Err(object_store::Error::NotFound { .. }) => return Err(named.missing().into()),
            found => found.map_err(|error| fault("read", &file.path, error))?,
        };
        named.check_size(found.size)?;
        if self.folder.is_some() || file.etag.is_none() || file.etag == found.e_tag {
            return Ok(());
        }
        self.verify_file(entry, file).await?;
        tracing::debug!(path = file.path, "another e-tag than the journal's, and the same bytes");
        Ok(())
    }

    /// Reads the file and holds it against the journal, a piece at a time.
    ///
    /// # Errors
    /// As [`Store::file`].
    pub async fn verify_file(&self, entry: u64, file: &DataFile) -> Result<()> {
        let named = NamedFile::of(entry, file);
        let unread = |error| fault("read", &file.path, error);
        let found = match self.objects.get(&Path::from(file.path.as_str())).await {
            Err(object_store::Error::NotFound { .. }) => return Err(named.missing().into()),
            found => found.map_err(unread)?,
        };
        named.check_size(found.meta.size)?;
        let (sum, _) = sum(found, false).await.map_err(unread)?;
        Ok(named.check_sum(sum)?)
    }
}

/// The SHA-256 of an object, and its bytes where they are wanted.
pub(super) async fn sum(found: GetResult, keep: bool) -> StoreResult<(Checksum, Bytes)> {
    let mut summer = Checksummer::default();
    let mut kept = BytesMut::with_capacity(if keep { found.meta.size as usize } else { 0 });
    let mut parts = match found.payload {
        GetResultPayload::File(file, path) => return sum_file(file, path, kept, keep).await,
        GetResultPayload::Stream(parts) => parts,
    };
    let mut pieces: Vec<Bytes> = Vec::new();
    while let Some(part) = parts.try_next().await? {
        if keep {
            kept.extend_from_slice(&part);
        }
        pieces.push(part);
        if pieces.iter().map(Bytes::len).sum::<usize>() >= PIECE {
            summer = summed(summer, std::mem::take(&mut pieces)).await?;
        }
    }
    Ok((summed(summer, pieces).await?.finish(), kept.freeze()))
}

async fn summed(mut summer: Checksummer, pieces: Vec<Bytes>) -> StoreResult<Checksummer> {
    let work = move || {
        pieces.iter().for_each(|piece| summer.add(piece));
        Ok(summer)
    };
    blocking(work).await.map_err(told)
}

async fn sum_file(mut file: File, path: PathBuf, mut kept: BytesMut, keep: bool) -> StoreResult<(Checksum, Bytes)> {
    let work = move || {
        let (mut summer, mut piece) = (Checksummer::default(), vec![0; PIECE]);
        loop {
            let unread = |error| Error::transient(format!("cannot read {}", path.display())).with_source(error);
            let length = file.read(&mut piece).map_err(unread)?;
            if length == 0 {
                return Ok((summer.finish(), kept.freeze()));
            }
            summer.add(&piece[..length]);
            if keep {
                kept.extend_from_slice(&piece[..length]);
            }
        }
    };
    blocking(work).await.map_err(told)
}

/// This program's own error on its way through DataFusion.
pub(super) fn told(error: Error) -> object_store::Error {
    object_store::Error::Generic { store: "verified", source: Box::new(error) }
}
