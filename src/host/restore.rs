//! Brings the streams back as they were: the same names and creation times, the same sequence numbers and arrivals.
//!
//! Owns the reading of the stream's folder at a start, once `files` has found that it can be read. Records past their retention and those of deleted streams are
//! left out, and once they are a quarter of the log it is written anew without them. A shard's numbers go on behind all
//! that are reserved in `streams.json`: after a graceful end that is the next number; after a kill or a power cut, which
//! may have cost the log its end, up to [`super::durable::RESERVED`] are skipped. The engine's counters can only be
//! raised one by one, half a microsecond each: a kill costs the next start 2 ms for each shard in use, and a shard that
//! took a hundred million records costs it a minute.

use std::collections::BTreeMap;
use std::path::Path;

use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::{parse_sequence, shard_ix_to_hex};
use ferrokinesis::store::Store;
use ferrokinesis::types::{HashKeyRange, SequenceNumberRange, StoredRecord, Stream};

use super::durable::{Durable, OnDisk, Tail};
use super::files::{self, FilesError, RECORDS};
use super::frame::{Frame, sequence_of};
use super::log::{Frames, Head, Log, LogError, copy_frames};
use super::saved::{Saved, SavedStream, beside};
use crate::error::{Error, Result};

/// Sequence numbers drawn and thrown away at a time.
const DRAWN_AT_ONCE: u64 = 4096;

/// What the log held.
#[derive(Default)]
struct Found {
    /// The last key of each stream's (by number) shards.
    last_keys: BTreeMap<(u32, u32), String>,
    /// Bytes of frames without a record that is still wanted.
    dead_bytes: u64,
    /// Records brought back.
    records: u64,
    /// The newest arrival, ms since 1970 UTC.
    newest_arrival: i64,
}

/// Reads the stream's folder into an empty engine; `now` in seconds since 1970 UTC decides what has expired.
///
/// # Errors
/// Corrupt where the files are not as they were left, Invalid where they are not ours or the disk is full.
pub(super) async fn restore(folder: &Path, store: Store, now: i64) -> Result<Durable> {
    let odd = |error: FilesError| error.refusal(folder);
    let (mut saved, mut frames) = files::open(folder).map_err(odd)?;
    let mut found = Found::default();
    let mut before = frames.whole();
    while let Some(frame) = frames.next().map_err(|error| odd(error.into()))? {
        if frame.stream >= saved.next_number {
            return Err(odd(FilesError::UnknownStream(frame.stream)));
        }
        let bytes = frames.whole() - std::mem::replace(&mut before, frames.whole());
        let (frame, wanted) = found.take_note(frame, &saved, now);
        if !wanted {
            found.dead_bytes += bytes;
        } else {
            let stream = stream_of(&saved, frame.stream).map(SavedStream::name).unwrap_or_default();
            found.records += frame.records.len() as u64;
            store.put_records_batch(stream, &frame.records).await.map_err(refused)?;
        }
    }
    files::check_end(&frames, &saved).map_err(odd)?;
    let tails = put_streams(&store, &mut saved, &found).await?;
    let log = open_log(folder, &mut saved, (&frames, &found), now).map_err(odd)?;
    tracing::debug!(streams = tails.len(), records = found.records, "the stream is back");
    Ok(Durable::new(store, folder.to_owned(), OnDisk { log, saved, tails, newest_arrival: found.newest_arrival }))
}

/// The log, open for appending; written anew where it is of an earlier format, or holds much that is not wanted.
fn open_log(
    folder: &Path,
    saved: &mut Saved,
    (frames, found): (&Frames, &Found),
    now: i64,
) -> std::result::Result<Log, FilesError> {
    if frames.head().is_none() || found.dead_bytes * 4 > frames.whole() {
        match copy_wanted(folder, saved, now) {
            Ok(copied) => return files::replace_log(folder, saved, copied),
            Err(error) if frames.head().is_none() => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "expired records stay in the stream's log until the next start"),
        }
    }
    let head = Head { boot: files::boot(), ..frames.head().unwrap_or_default() };
    Ok(Log::open(&folder.join(RECORDS), head, frames.whole())?)
}

/// A log without the dead frames, beside the one that is there; after an error there is none.
fn copy_wanted(folder: &Path, saved: &Saved, now: i64) -> std::result::Result<Log, LogError> {
    let (path, copy) = (folder.join(RECORDS), beside(&folder.join(RECORDS)));
    let keep = |frame: &Frame| stream_of(saved, frame.stream).is_some_and(|stream| is_wanted(frame, stream, now));
    let copied = copy_frames(&path, (&copy, files::new_head(saved)), keep);
    if copied.is_err() {
        // What is left of the copy helps nobody; that it cannot be removed either changes nothing.
        let _ = std::fs::remove_file(&copy);
    }
    copied
}

impl Found {
    /// Notes a frame's last key and newest arrival, and gives back what of it is fresh, and whether anything is.
    fn take_note(&mut self, mut frame: Frame, saved: &Saved, now: i64) -> (Frame, bool) {
        let stream = stream_of(saved, frame.stream);
        if let (Some(_), Some((key, _))) = (stream, frame.records.last()) {
            self.last_keys.insert((frame.stream, frame.shard), key.clone());
        }
        for (_, record) in &frame.records {
            let arrived = (record.approximate_arrival_timestamp * 1e3).round() as i64;
            self.newest_arrival = self.newest_arrival.max(arrived);
        }
        frame.records.retain(|(_, record)| stream.is_some_and(|stream| is_fresh(record, stream, now)));
        let wanted = !frame.records.is_empty();
        (frame, wanted)
    }
}

fn stream_of(saved: &Saved, number: u32) -> Option<&SavedStream> {
    saved.streams.iter().find(|stream| stream.number == number)
}

fn is_wanted(frame: &Frame, stream: &SavedStream, now: i64) -> bool {
    frame.records.iter().any(|(_, record)| is_fresh(record, stream, now))
}

fn is_fresh(record: &StoredRecord, stream: &SavedStream, now: i64) -> bool {
    record.approximate_arrival_timestamp >= (now - stream.retention_seconds()) as f64
}

/// Puts the streams and their consumers into the engine, counters raised past what the log holds.
async fn put_streams(store: &Store, saved: &mut Saved, found: &Found) -> Result<Vec<Tail>> {
    let mut tails = Vec::new();
    for stream in &mut saved.streams {
        let mut tail = Tail::empty(stream.name(), stream.number, stream.shards());
        store.put_stream(stream.name(), stream.stream()).await.map_err(refused)?;
        for (shard, end) in tail.shards.iter_mut().enumerate() {
            let saved_counter = stream.counters.get(shard).copied().unwrap_or(1);
            let logged = found.last_keys.get(&(stream.number, shard as u32));
            if let Some(key) = logged {
                end.last_key.clone_from(key);
            }
            end.counter = saved_counter.max(logged.map_or(1, |key| counter_after(key)));
            raise_counter(store, &stream.stream(), shard, end.counter).await?;
        }
        stream.counters = tail.shards.iter().map(|end| end.counter).collect();
        store.put_stream(stream.name(), stream.stream()).await.map_err(refused)?;
        tails.push(tail);
    }
    for consumer in &saved.consumers {
        store.put_consumer(&consumer.consumer_arn, consumer.clone()).await.map_err(refused)?;
    }
    Ok(tails)
}

fn counter_after(key: &str) -> u64 {
    let parsed = parse_sequence(sequence_of(key)).ok();
    parsed.and_then(|sequence| sequence.seq_ix).map_or(1, |index| index + 1)
}

/// Draws numbers until the shard's counter stands at `counter`. The engine routes a draw by the stream's shards, so
/// it is shown, for the time being, a stream in which this shard alone is open and takes every key.
async fn raise_counter(store: &Store, stream: &Stream, shard: usize, counter: u64) -> Result<()> {
    let mut only = stream.clone();
    only.shards.truncate(shard + 1);
    for (place, other) in only.shards.iter_mut().enumerate() {
        let ending = (place < shard).then(String::new);
        // A starting number that does not parse spares the engine parsing it for each draw.
        other.sequence_number_range =
            SequenceNumberRange { starting_sequence_number: String::new(), ending_sequence_number: ending };
        other.hash_key_range = HashKeyRange::new("0".to_owned(), u128::MAX.to_string());
    }
    let name = &stream.stream_name;
    store.put_stream(name, only).await.map_err(refused)?;
    let mut at = store.current_shard_seq(name, shard as i64).await;
    while at < counter {
        let draws = vec![0; DRAWN_AT_ONCE.min(counter - at) as usize];
        store.allocate_sequences_batch(name, &draws).await.map_err(refused)?;
        let now_at = store.current_shard_seq(name, shard as i64).await;
        if now_at == at {
            let shard = shard_ix_to_hex(shard as i64);
            return Err(Error::internal(format!("the sequence numbers of shard {shard} of {name} do not advance")));
        }
        at = now_at;
    }
    Ok(())
}

fn refused(error: KinesisErrorResponse) -> Error {
    Error::internal("the stream's engine refuses what it once accepted").with_source(error)
}
