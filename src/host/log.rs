//! The log of records: one file of frames, appended by one write a put, read back whole or cut at its torn end.
//!
//! Owns the file's format. It does not know what a frame's stream number means (`saved` does) nor when a record has
//! expired (`restore` does). All numbers are little-endian:
//!
//! | part   | bytes |
//! |--------|-------|
//! | file   | `MSRECLG1`, then frames to the end |
//! | frame  | u32 length of the body, u32 CRC-32 of the body, body |
//! | body   | u32 stream number, u32 shard index, then records to the end, oldest first |
//! | record | u8 digits of the sequence number; the digits, two a byte, an odd one followed by a 0 |
//! |        | f64 arrival, seconds since 1970 UTC |
//! |        | u16 length of the partition key; the key, UTF-8 |
//! |        | u32 length of the data, the top bit set where it is not canonical base64; the data: decoded, or that text |
//!
//! A write that failed is undone by cutting the file back; where that fails too, nothing is appended any more. A frame
//! that ends early, or whose body does not fit its CRC and is the last, is the torn end of a killed process.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ferrokinesis::types::StoredRecord;

const MAGIC: &[u8; 8] = b"MSRECLG1";
const FRAME_HEAD: usize = 8;
/// More than one put can write: what is left after a bad frame is torn only below it.
const LONGEST_TAIL: u64 = 32 << 20;
const VERBATIM: u32 = 1 << 31;

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
    /// Damage before the end.
    #[error(
        "{path} is damaged at byte {at} of {length}: the records before it are whole, those after it are in doubt; \
         keep a copy, then either cut the file there (truncate -s {at}) or move the folder away to start empty"
    )]
    Damaged {
        /// The log.
        path: String,
        /// Where the bad frame starts.
        at: u64,
        /// The file's length.
        length: u64,
    },
}

/// A file that can be written at its end and cut; a seam for a disk that is full.
pub(super) trait Medium: Write {
    /// Shortens it to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The log as it is written.
#[derive(Debug)]
pub(super) struct Log<M = File> {
    medium: M,
    length: u64,
    broken: bool,
}

impl Log {
    /// Opens the log for appending after its first `whole` bytes (as [`Frames::whole`] found them) and cuts off the
    /// rest; makes it where it is missing.
    pub(super) fn open(path: &Path, whole: u64) -> Result<Self, LogError> {
        let failed = |source| LogError::Io { path: path.display().to_string(), source };
        let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        file.set_len(whole).map_err(failed)?;
        if whole == 0 {
            file.write_all(MAGIC).map_err(failed)?;
        }
        Ok(Self::over(file, whole.max(MAGIC.len() as u64)))
    }

    /// Makes it last through a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.medium.sync_data()
    }
}

impl<M: Medium> Log<M> {
    /// A log over a medium that holds `length` bytes.
    pub(super) fn over(medium: M, length: u64) -> Self {
        Self { medium, length, broken: false }
    }

    /// Whether an earlier failure forbids any further append.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Appends frames with one write. After an error none of them is in the file.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed and could not be undone"));
        }
        match self.medium.write_all(frames) {
            Ok(()) => {
                self.length += frames.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.broken = self.medium.cut(self.length).is_err();
                Err(error)
            }
        }
    }
}

/// Adds a frame of records (key `shard/sequence` and record, in order) of one shard to `buffer`.
pub(super) fn write_frame(buffer: &mut Vec<u8>, stream: u32, shard: u32, records: &[(String, StoredRecord)]) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEAD]);
    buffer.extend_from_slice(&stream.to_le_bytes());
    buffer.extend_from_slice(&shard.to_le_bytes());
    for (key, record) in records {
        write_record(buffer, sequence_of(key), record);
    }
    let body = start + FRAME_HEAD;
    let length = (buffer.len() - body) as u32;
    let crc = crc32fast::hash(&buffer[body..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// The sequence number in a key `shard/sequence`.
pub(super) fn sequence_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(_, sequence)| sequence)
}

fn write_record(buffer: &mut Vec<u8>, sequence: &str, record: &StoredRecord) {
    buffer.push(sequence.len() as u8);
    for pair in sequence.as_bytes().chunks(2) {
        let low = pair.get(1).map_or(0, |digit| digit & 15);
        buffer.push((pair[0] << 4) | low);
    }
    buffer.extend_from_slice(&record.approximate_arrival_timestamp.to_le_bytes());
    buffer.extend_from_slice(&(record.partition_key.len() as u16).to_le_bytes());
    buffer.extend_from_slice(record.partition_key.as_bytes());
    let at = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    // The engine refuses what is not canonical, so decoded bytes encode to the same text again.
    let verbatim = match BASE64.decode_vec(&record.data, buffer) {
        Ok(()) => 0,
        Err(_) => {
            buffer.truncate(at + 4);
            buffer.extend_from_slice(record.data.as_bytes());
            VERBATIM
        }
    };
    let length = (buffer.len() - at - 4) as u32 | verbatim;
    buffer[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// A frame read back.
pub(super) struct Frame {
    /// The stream's number.
    pub(super) stream: u32,
    /// The shard's index.
    pub(super) shard: u32,
    /// Key `shard/sequence` and record, oldest first.
    pub(super) records: Vec<(String, StoredRecord)>,
}

/// The frames of a log, in order.
pub(super) struct Frames {
    path: String,
    reader: BufReader<File>,
    length: u64,
    whole: u64,
    body: Vec<u8>,
}

impl Frames {
    /// Opens a log for reading; none where there is no log, or not even its first bytes.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, LogError> {
        let name = path.display().to_string();
        let failed = |source| LogError::Io { path: name.clone(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut magic = [0; MAGIC.len()];
        let read = MAGIC.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        reader.read_exact(&mut magic[..read]).map_err(failed)?;
        if magic[..read] != MAGIC[..read] {
            return Err(LogError::Foreign(name));
        }
        let whole = MAGIC.len() as u64;
        Ok((read == MAGIC.len()).then(|| Self { path: name, reader, length, whole, body: Vec::new() }))
    }

    /// The bytes up to the end of the last frame that was read: once all are read, what a torn end leaves.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// The file's bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of the frame that was read last, with its head.
    pub(super) fn copy_last(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&(self.body.len() as u32).to_le_bytes())?;
        to.write_all(&crc32fast::hash(&self.body).to_le_bytes())?;
        to.write_all(&self.body)
    }

    /// The next frame; none at the end, be it clean or torn.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, LogError> {
        let left = self.length - self.whole;
        if left < FRAME_HEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEAD];
        self.fill_head(&mut head)?;
        let length = u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]]));
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let after = self.whole + FRAME_HEAD as u64 + length;
        if after > self.length {
            return if left <= LONGEST_TAIL { Ok(None) } else { Err(self.damaged()) };
        }
        self.body.resize(length as usize, 0);
        let read = self.reader.read_exact(&mut self.body);
        read.map_err(|source| LogError::Io { path: self.path.clone(), source })?;
        match parse(&self.body).filter(|_| crc32fast::hash(&self.body) == crc) {
            Some(frame) => {
                self.whole = after;
                Ok(Some(frame))
            }
            None if after == self.length => Ok(None),
            None => Err(self.damaged()),
        }
    }

    fn fill_head(&mut self, head: &mut [u8]) -> Result<(), LogError> {
        self.reader.read_exact(head).map_err(|source| LogError::Io { path: self.path.clone(), source })
    }

    fn damaged(&self) -> LogError {
        LogError::Damaged { path: self.path.clone(), at: self.whole, length: self.length }
    }
}

/// Copies the frames that `keep` wants into a new log at `to`, synced; the old one is untouched.
pub(super) fn copy_frames(from: &Path, to: &Path, keep: impl Fn(&Frame) -> bool) -> Result<u64, LogError> {
    let failed = |source| LogError::Io { path: to.display().to_string(), source };
    let mut writer = io::BufWriter::with_capacity(1 << 18, File::create(to).map_err(failed)?);
    writer.write_all(MAGIC).map_err(failed)?;
    if let Some(mut frames) = Frames::open(from)? {
        while let Some(frame) = frames.next()? {
            if keep(&frame) {
                frames.copy_last(&mut writer).map_err(failed)?;
            }
        }
    }
    let mut file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)
}

fn parse(body: &[u8]) -> Option<Frame> {
    let mut rest = body;
    let stream = u32::from_le_bytes(take(&mut rest)?);
    let shard = u32::from_le_bytes(take(&mut rest)?);
    let shard_text = ferrokinesis::sequence::shard_ix_to_hex(i64::from(shard));
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(parse_record(&mut rest, &shard_text)?);
    }
    Some(Frame { stream, shard, records })
}

fn parse_record(rest: &mut &[u8], shard: &str) -> Option<(String, StoredRecord)> {
    let [digits] = take::<1>(rest)?;
    let packed = take_slice(rest, usize::from(digits).div_ceil(2))?;
    let mut key = String::with_capacity(shard.len() + 1 + usize::from(digits));
    key.push_str(shard);
    key.push('/');
    key.extend((0..usize::from(digits)).map(|place| {
        let pair = packed[place / 2];
        char::from(b'0' + if place % 2 == 0 { pair >> 4 } else { pair & 15 })
    }));
    let approximate_arrival_timestamp = f64::from_le_bytes(take(rest)?);
    let key_length = usize::from(u16::from_le_bytes(take(rest)?));
    let partition_key = std::str::from_utf8(take_slice(rest, key_length)?).ok()?.to_owned();
    let length = u32::from_le_bytes(take(rest)?);
    let bytes = take_slice(rest, (length & !VERBATIM) as usize)?;
    let data = match length & VERBATIM {
        0 => BASE64.encode(bytes),
        _ => std::str::from_utf8(bytes).ok()?.to_owned(),
    };
    Some((key, StoredRecord { partition_key, data, approximate_arrival_timestamp }))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_frame_has_exactly_these_bytes() {
        let mut buffer = Vec::new();
        let records =
            [("00000002/123".to_owned(), record("k", "aGk=", 2.0)), ("x/45".to_owned(), record("", "%", 0.5))];
        write_frame(&mut buffer, 7, 2, &records);
        let body: Vec<u8> = [
            &[7, 0, 0, 0, 2, 0, 0, 0][..],
            &[3, 0x12, 0x30],
            &[0, 0, 0, 0, 0, 0, 0, 0x40],
            &[1, 0, b'k'],
            &[2, 0, 0, 0, b'h', b'i'],
            &[2, 0x45],
            &[0, 0, 0, 0, 0, 0, 0xe0, 0x3f],
            &[0, 0],
            &[1, 0, 0, 0x80, b'%'],
        ]
        .concat();
        assert_eq!(buffer[..4], (body.len() as u32).to_le_bytes());
        assert_eq!(buffer[4..8], crc32fast::hash(&body).to_le_bytes());
        assert_eq!(buffer[8..], body);
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
            let mut log = Log::open(&path, 0).expect("open");
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
            let mut log = Log::open(&path, 0).expect("open");
            log.append(&first).expect("append");
            log.append(&second[..torn]).expect("append");
            let (found, whole) = rows(&path);
            assert_eq!(found.len(), 1, "torn after {torn}");
            Log::open(&path, whole).expect("open").append(&second).expect("append");
            assert_eq!(rows(&path).0.len(), 2, "torn after {torn}");
        }
    }

    #[test]
    fn damage_before_the_end_is_told_and_damage_at_the_end_is_torn() {
        let (first, second) = two_frames();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let mut log = Log::open(&path, 0).expect("open");
        log.append(&first).expect("append");
        log.append(&second).expect("append");
        let mut bytes = std::fs::read(&path).expect("read");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).expect("write");
        assert_eq!(rows(&path).0.len(), 1);
        bytes[MAGIC.len() + FRAME_HEAD + 12] ^= 1;
        std::fs::write(&path, &bytes).expect("write");
        let error = Frames::open(&path).expect("open").expect("a log").next().err().expect("damaged").to_string();
        assert!(error.contains("damaged at byte 8 of"), "{error}");
        assert!(error.contains("truncate -s 8"), "{error}");
    }

    #[test]
    fn another_file_is_refused_and_a_torn_beginning_is_a_new_log() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, b"something else").expect("write");
        assert!(matches!(Frames::open(&path), Err(LogError::Foreign(_))));
        std::fs::write(&path, &MAGIC[..3]).expect("write");
        assert!(Frames::open(&path).expect("open").is_none());
        Log::open(&path, 0).expect("open");
        assert_eq!(rows(&path), (Vec::new(), 8));
    }

    /// Holds so many bytes, then is full; may refuse to be cut.
    struct FullMedium {
        bytes: Vec<u8>,
        room: usize,
        cuts: bool,
    }

    impl Write for FullMedium {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Medium for FullMedium {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            self.bytes.truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_nothing_half_written_and_the_log_goes_on_when_there_is_room() {
        let (first, second) = two_frames();
        let medium = FullMedium { bytes: Vec::new(), room: first.len() + 5, cuts: true };
        let mut log = Log::over(medium, 0);
        log.append(&first).expect("it fits");
        assert_eq!(log.append(&second).expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.medium.bytes, first);
        log.medium.room = 1000;
        log.append(&second).expect("there is room");
        assert_eq!(log.medium.bytes, [first, second].concat());
    }

    #[test]
    fn a_write_that_cannot_be_undone_ends_all_appending() {
        let (first, second) = two_frames();
        let medium = FullMedium { bytes: Vec::new(), room: first.len() + 5, cuts: false };
        let mut log = Log::over(medium, 0);
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
        let mut log = Log::open(&path, 0).expect("open");
        log.append(&first).expect("append");
        log.append(&second).expect("append");
        let length = copy_frames(&path, &copy, |frame| frame.records[0].1.partition_key == "b").expect("copy");
        let expected = [&MAGIC[..], &second].concat();
        assert_eq!((std::fs::read(&copy).expect("read"), length), (expected.clone(), expected.len() as u64));
    }
}
