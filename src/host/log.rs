//! The log of records: one file of frames, appended by one write a put, read back whole or cut at its torn end.
//!
//! Owns the file's format but for its frames (`frame` does). It does not know what a frame's stream number means (`saved`
//! does), nor when a record has expired (`restore` does), nor what the head's numbers are compared with (`files` does). All
//! numbers are little-endian:
//!
//! | part   | bytes |
//! |--------|-------|
//! | file   | head, then frames to the end |
//! | head   | `MSRECLG2`, 16 bytes id, 16 bytes id of the machine's boot, u64 bytes of the file that clients were told are kept, |
//! |        | u64 revision of `streams.json`, u32 CRC-32 of all this |
//!
//! A write that failed is undone by cutting the file back; where that fails too, nothing is appended any more. What a
//! killed process leaves is a frame that ends early: a torn end. A frame that is all there and does not fit its CRC is
//! damage, wherever it is. Format 1, of earlier versions, has `MSRECLG1` for a head and frames without the third number;
//! it is read, and never written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use uuid::Uuid;

use super::frame::{FRAME_HEAD, Frame, frame_head, parse, take};

const MAGIC: &[u8; 8] = b"MSRECLG2";
const FIRST_MAGIC: &[u8; 8] = b"MSRECLG1";
/// The file's head.
pub(super) const HEAD: u64 = 60;
const FIRST_FRAME_HEAD: usize = 8;
/// More than one put can write: what is left after a bad frame of format 1 is torn only below it.
const LONGEST_TAIL: u64 = 32 << 20;

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The file system failed.
    #[error("cannot use {path}")]
    Io {
        /// The log.
        path: String,
        /// Its words.
        source: io::Error,
    },
    /// Another file, or a later format.
    #[error("{0} is not a log of records that this version of millstream reads")]
    Foreign(String),
    /// Bytes that are not as they were written.
    #[error(
        "{path} is damaged at byte {at} of {length}: the records before it are whole, those at and after it are in doubt"
    )]
    Damaged {
        /// The log.
        path: String,
        /// Where what is damaged starts.
        at: u64,
        /// The file's length.
        length: u64,
    },
}

/// What a log says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// Which log it is; nil in format 1.
    pub(super) id: Uuid,
    /// The machine's boot in which it was written: within one, no byte that was written is lost. Nil where unknown.
    pub(super) boot: Uuid,
    /// So many of its bytes hold what clients were told is kept.
    pub(super) acknowledged: u64,
    /// The revision of `streams.json` that goes with it, or a later one.
    pub(super) revision: u64,
}

impl Head {
    fn bytes(&self) -> Vec<u8> {
        let (acknowledged, revision) = (self.acknowledged.to_le_bytes(), self.revision.to_le_bytes());
        let mut bytes = [&MAGIC[..], self.id.as_bytes(), self.boot.as_bytes(), &acknowledged, &revision].concat();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// What follows the magic number, where it is as it was written.
    fn parse(mut rest: &[u8]) -> Option<Self> {
        let id = Uuid::from_bytes(take(&mut rest)?);
        let boot = Uuid::from_bytes(take(&mut rest)?);
        let acknowledged = u64::from_le_bytes(take(&mut rest)?);
        let revision = u64::from_le_bytes(take(&mut rest)?);
        let head = Self { id, boot, acknowledged, revision };
        let bytes = head.bytes();
        (rest == &bytes[bytes.len() - 4..]).then_some(head)
    }
}

/// A file that can be written anywhere and cut; a seam for a disk that is full.
pub(super) trait Medium {
    /// Writes all bytes at this place.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Shortens it to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.seek(SeekFrom::Start(at))?;
        self.write_all(bytes)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The log as it is written.
#[derive(Debug)]
pub(super) struct Log<M = File> {
    medium: M,
    head: Head,
    length: u64,
    broken: bool,
}

impl Log {
    /// Makes an empty log, or empties the one that is there; synced.
    pub(super) fn create(path: &Path, head: Head) -> Result<Self, LogError> {
        let failed = |source| LogError::Io { path: path.display().to_string(), source };
        let mut log = Self::over(File::create(path).map_err(failed)?, head, HEAD);
        log.tell(HEAD).and_then(|()| log.medium.sync_all()).map_err(failed)?;
        Ok(log)
    }

    /// Opens the log for appending after its first `whole` bytes (as [`Frames::whole`] found them), cuts off the rest, and
    /// writes the head anew.
    pub(super) fn open(path: &Path, head: Head, whole: u64) -> Result<Self, LogError> {
        let failed = |source| LogError::Io { path: path.display().to_string(), source };
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        file.set_len(whole).map_err(failed)?;
        let mut log = Self::over(file, head, whole);
        log.tell(whole).map_err(failed)?;
        Ok(log)
    }

    /// Makes it last through a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.medium.sync_data()
    }
}

impl<M: Medium> Log<M> {
    /// A log over a medium that holds `length` bytes.
    pub(super) fn over(medium: M, head: Head, length: u64) -> Self {
        Self { medium, head, length, broken: false }
    }

    /// What it says of itself.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Its bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether an earlier failure forbids any further append.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Appends frames with one write, and says in the head that they are kept. After an error none of them is in the file.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed and could not be undone"));
        }
        let longer = self.length + frames.len() as u64;
        match self.medium.write_at(frames, self.length).and_then(|()| self.tell(longer)) {
            Ok(()) => {
                self.length = longer;
                Ok(())
            }
            Err(error) => {
                let undone = self.medium.cut(self.length).and_then(|()| self.tell(self.length));
                self.broken = undone.is_err();
                Err(error)
            }
        }
    }

    /// Says in the head which revision of `streams.json` is on disk.
    pub(super) fn note_revision(&mut self, revision: u64) -> io::Result<()> {
        self.head.revision = revision;
        self.tell(self.length)
    }

    fn tell(&mut self, acknowledged: u64) -> io::Result<()> {
        self.head.acknowledged = acknowledged;
        self.medium.write_at(&self.head.bytes(), 0)
    }
}

/// The frames of a log, in order.
#[derive(Debug)]
pub(super) struct Frames {
    path: String,
    reader: BufReader<File>,
    length: u64,
    whole: u64,
    /// None in format 1.
    head: Option<Head>,
    /// From where on what is no frame is the end: a power cut leaves zeros or old bytes where nothing was synced.
    synced: Option<u64>,
    body: Vec<u8>,
}

impl Frames {
    /// Opens a log for reading; none where there is no file.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, LogError> {
        let name = path.display().to_string();
        let failed = |source| LogError::Io { path: name.clone(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut start = Vec::new();
        reader.by_ref().take(FIRST_MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
        // In format 1 a process that was killed at its first start may have left less than the magic number.
        let is_first = FIRST_MAGIC.starts_with(&start);
        if !is_first && !MAGIC.starts_with(&start) {
            return Err(LogError::Foreign(name));
        }
        let whole = start.len() as u64;
        let mut frames = Self { path: name, reader, length, whole, head: None, synced: None, body: Vec::new() };
        if !is_first {
            frames.read_head()?;
        }
        Ok(Some(frames))
    }

    fn read_head(&mut self) -> Result<(), LogError> {
        let mut rest = Vec::new();
        let read = self.reader.by_ref().take(HEAD - self.whole).read_to_end(&mut rest);
        read.map_err(|source| LogError::Io { path: self.path.clone(), source })?;
        self.whole = 0;
        self.head = Some(Head::parse(&rest).ok_or_else(|| self.damaged())?);
        self.whole = HEAD;
        Ok(())
    }

    /// Takes what is no frame for the end, where it begins behind these synced bytes: the machine went down.
    pub(super) fn end_behind(&mut self, synced: u64) {
        self.synced = Some(synced);
    }

    /// What the log says of itself; none in format 1.
    pub(super) fn head(&self) -> Option<Head> {
        self.head
    }

    /// The bytes up to the end of the last frame that was read: once all are read, what a torn end leaves.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// The file's bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The next frame; none at the end, be it clean or torn.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, LogError> {
        let left = self.length - self.whole;
        let head_length = if self.head.is_some() { FRAME_HEAD } else { FIRST_FRAME_HEAD };
        if left < head_length as u64 {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEAD];
        self.fill(&mut head[..head_length])?;
        if self.head.is_some() && head[8..] != crc32fast::hash(&head[..8]).to_le_bytes() {
            return self.no_frame();
        }
        let length = u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]]));
        let after = self.whole + head_length as u64 + length;
        if after > self.length {
            return if self.head.is_some() || left <= LONGEST_TAIL { Ok(None) } else { Err(self.damaged()) };
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length as usize, 0);
        self.fill(&mut body)?;
        self.body = body;
        match parse(&self.body).filter(|_| crc32fast::hash(&self.body).to_le_bytes() == head[4..8]) {
            Some(frame) => {
                self.whole = after;
                Ok(Some(frame))
            }
            None => self.no_frame(),
        }
    }

    fn no_frame(&self) -> Result<Option<Frame>, LogError> {
        if self.synced.is_some_and(|synced| self.whole >= synced) { Ok(None) } else { Err(self.damaged()) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), LogError> {
        self.reader.read_exact(buffer).map_err(|source| LogError::Io { path: self.path.clone(), source })
    }

    fn damaged(&self) -> LogError {
        LogError::Damaged { path: self.path.clone(), at: self.whole, length: self.length }
    }
}

/// Copies the frames that `keep` wants into a new log at `to`, synced; the old one is untouched.
pub(super) fn copy_frames(
    from: &Path,
    (to, head): (&Path, Head),
    keep: impl Fn(&Frame) -> bool,
) -> Result<Log, LogError> {
    let failed = |source| LogError::Io { path: to.display().to_string(), source };
    let log = Log::create(to, head)?;
    let mut writer = BufWriter::with_capacity(1 << 18, log.medium);
    if let Some(mut frames) = Frames::open(from)? {
        while let Some(frame) = frames.next()? {
            if keep(&frame) {
                let written = writer.write_all(&frame_head(&frames.body)).and_then(|()| writer.write_all(&frames.body));
                written.map_err(failed)?;
            }
        }
    }
    let mut file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut log = Log::over(file, head, length);
    log.tell(length).and_then(|()| log.medium.sync_all()).map_err(failed)?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use ferrokinesis::types::StoredRecord;
    use proptest::prelude::*;

    use super::super::frame::write_frame;
    use super::*;

    fn record(key: &str, data: &str, arrival: f64) -> StoredRecord {
        StoredRecord { partition_key: key.to_owned(), data: data.to_owned(), approximate_arrival_timestamp: arrival }
    }

    /// Stream, shard, key, partition key, data.
    type Row = (u32, u32, String, String, String);

    fn rows(path: &Path) -> (Vec<Row>, u64) {
        let mut frames = Frames::open(path).expect("open").expect("a log");
        let mut rows = Vec::new();
        while let Some(frame) = frames.next().expect("next") {
            for (key, record) in frame.records {
                rows.push((frame.stream, frame.shard, key, record.partition_key, record.data));
            }
        }
        (rows, frames.whole())
    }

    fn head() -> Head {
        Head { id: Uuid::from_u128(1), boot: Uuid::from_u128(2), acknowledged: HEAD, revision: 3 }
    }

    #[test]
    fn the_head_has_exactly_these_bytes() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let mut log = Log::create(&path, head()).expect("made");
        log.append(&[7; 5]).expect("append");
        log.note_revision(4).expect("noted");
        let numbers = [&[0; 15][..], &[1], &[0; 15], &[2], &[65, 0, 0, 0, 0, 0, 0, 0], &[4, 0, 0, 0, 0, 0, 0, 0]];
        let expected = [&b"MSRECLG2"[..], &numbers.concat()].concat();
        let crc = crc32fast::hash(&expected).to_le_bytes();
        assert_eq!(std::fs::read(&path).expect("read"), [&expected[..], &crc, &[7; 5]].concat());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            sequences in prop::collection::vec("[0-9]{0,60}", 1..5),
            key in "\\PC{0,20}",
            data in prop::collection::vec(any::<u8>(), 0..50),
            odd in "[A-Za-z0-9+/=]{0,9}",
            arrival in any::<u32>(),
        ) {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("log");
            let text = BASE64.encode(&data);
            let records: Vec<_> = sequences
                .iter()
                .flat_map(|sequence| [(sequence, &text), (sequence, &odd)])
                .map(|(sequence, data)| (format!("00000003/{sequence}"), record(&key, data, f64::from(arrival))))
                .collect();
            let mut buffer = Vec::new();
            write_frame(&mut buffer, 9, 3, &records);
            let mut log = Log::create(&path, head()).expect("made");
            log.append(&buffer).expect("append");
            log.append(&buffer).expect("append");
            let expected: Vec<_> = records
                .iter()
                .chain(&records)
                .map(|(key, record)| (9, 3, key.clone(), record.partition_key.clone(), record.data.clone()))
                .collect();
            prop_assert_eq!(rows(&path).0, expected);
        }
    }

    fn two_frames() -> (Vec<u8>, Vec<u8>) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        write_frame(&mut first, 1, 0, &[("0/1".to_owned(), record("a", "aGk=", 1.0))]);
        write_frame(&mut second, 1, 0, &[("0/2".to_owned(), record("b", "aG8=", 1.0))]);
        (first, second)
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_tore_and_the_log_goes_on() {
        let (first, second) = two_frames();
        for torn in 0..second.len() {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("log");
            let mut log = Log::create(&path, head()).expect("made");
            log.append(&first).expect("append");
            log.append(&second[..torn]).expect("append");
            let (found, whole) = rows(&path);
            assert_eq!(found.len(), 1, "torn after {torn}");
            Log::open(&path, head(), whole).expect("open").append(&second).expect("append");
            assert_eq!(rows(&path).0.len(), 2, "torn after {torn}");
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_wherever_it_is() {
        let (first, second) = two_frames();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let mut log = Log::create(&path, head()).expect("made");
        log.append(&[first, second].concat()).expect("append");
        let bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).expect("write");
            let read = Frames::open(&path).and_then(|frames| {
                let mut frames = frames.expect("a log");
                while frames.next()?.is_some() {}
                Ok(())
            });
            let is_told = matches!(read, Err(LogError::Damaged { .. }));
            assert!(is_told || at < 8 && matches!(read, Err(LogError::Foreign(_))), "byte {at}: {read:?}");
        }
    }

    #[test]
    fn another_file_is_refused_and_a_torn_beginning_of_format_1_is_empty() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, b"something else").expect("write");
        assert!(matches!(Frames::open(&path), Err(LogError::Foreign(_))));
        for length in 0..=FIRST_MAGIC.len() {
            std::fs::write(&path, &FIRST_MAGIC[..length]).expect("write");
            assert_eq!(rows(&path), (Vec::new(), length as u64));
        }
    }

    /// Holds so many bytes, then is full; may refuse to be cut.
    struct FullMedium {
        bytes: Vec<u8>,
        room: usize,
        cuts: bool,
    }

    impl Medium for FullMedium {
        fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
            let (at, end) = (at as usize, (at as usize + bytes.len()).min(self.room));
            self.bytes.resize(self.bytes.len().max(end), 0);
            self.bytes[at..end].copy_from_slice(&bytes[..end - at]);
            if end - at < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            self.bytes.truncate(length as usize);
            Ok(())
        }
    }

    /// A log on a medium that has room for so many bytes of frames.
    fn on_full_medium(room: usize, cuts: bool) -> Log<FullMedium> {
        Log::over(FullMedium { bytes: vec![0; HEAD as usize], room: HEAD as usize + room, cuts }, head(), HEAD)
    }

    #[test]
    fn a_full_disk_leaves_nothing_half_written_and_the_log_goes_on_when_there_is_room() {
        let (first, second) = two_frames();
        let mut log = on_full_medium(first.len() + 5, true);
        log.append(&first).expect("it fits");
        assert_eq!(log.append(&second).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.medium.bytes[HEAD as usize..], first);
        assert_eq!(Head::parse(&log.medium.bytes[8..HEAD as usize]).expect("a head").acknowledged, log.length);
        log.medium.room = 1000;
        log.append(&second).expect("there is room");
        assert_eq!(log.medium.bytes[HEAD as usize..], [first, second].concat());
    }

    #[test]
    fn a_write_that_cannot_be_undone_ends_all_appending() {
        let (first, second) = two_frames();
        let mut log = on_full_medium(first.len() + 5, false);
        log.append(&first).expect("it fits");
        log.append(&second).expect_err("full");
        log.medium.room = 1000;
        assert!(log.is_broken());
        log.append(&second).expect_err("no further append");
    }

    #[test]
    fn copying_keeps_the_wanted_frames_byte_for_byte() {
        let (first, second) = two_frames();
        let folder = tempfile::tempdir().expect("folder");
        let (path, copy) = (folder.path().join("log"), folder.path().join("copy"));
        let mut log = Log::create(&path, head()).expect("made");
        log.append(&first).expect("append");
        log.append(&second).expect("append");
        let wanted = |frame: &Frame| frame.records[0].1.partition_key == "b";
        let copied = copy_frames(&path, (&copy, head()), wanted).expect("copy");
        let expected = [copied.head().bytes(), second].concat();
        assert_eq!((std::fs::read(&copy).expect("read"), copied.length()), (expected.clone(), expected.len() as u64));
        assert_eq!(copied.head().acknowledged, copied.length());
    }
}
