//! What makes the hosted stream last: after each change, what is new in the engine's memory goes to disk.
//!
//! Owns the rule that a client's answer and a reader's look both come after the log. Whoever changes something holds
//! this exclusively, says so with [`Durable::begin`], and calls [`Durable::settle`] before answering; whoever reads
//! makes sure that it is settled. A change whose client went away half-way is settled by the next one to come. A put
//! that the disk does not take is taken back out of memory and refused. A shard's counter never passes what is reserved
//! for it in `streams.json`, which is synced before the answer that uses it; a graceful end gives back what is left.
//! It does not know HTTP.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ferrokinesis::sequence::shard_ix_to_hex;
use ferrokinesis::store::Store;
use ferrokinesis::types::{Consumer, ConsumerStatus, StoredRecord, Stream, StreamStatus};

use super::files;
use super::frame::write_frame;
use super::log::Log;
use super::saved::{Saved, SavedStream};
use crate::runtime::{Clock, SystemClock};

/// The engine applies a change at once, but on a task of its own: so often is looked, 1 ms apart.
const LOOKS: usize = 3000;
/// Expired records taken out of memory at a time.
const TRIM_CHUNK: usize = 1000;
/// Sequence numbers of a shard that are reserved at a time: a sync each time, and what a start after a kill skips.
pub(super) const RESERVED: u64 = 4_096;
/// A new stream's creation time lies this far back (the engine's own habit), ms.
const BACKDATED: i64 = 2000;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No room.
    #[error("no space left in the stream's folder: nothing of this request was kept, free some space and try again")]
    Full,
    /// The file system failed otherwise.
    #[error("the stream's folder cannot be written, nothing of this request was kept: {0}")]
    Unwritable(io::Error),
    /// An earlier failure left the log in doubt.
    #[error("the stream's log could not be repaired after a failed write: start the host of the stream again")]
    Broken,
    /// The host is ending.
    #[error("the host of the stream is ending")]
    Closed,
    /// The engine did not finish what it began.
    #[error("stream {0} did not become active")]
    Stuck(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match crate::error::is_storage_full(&error) {
            true => Self::Full,
            false => Self::Unwritable(error),
        }
    }
}

/// How far a shard's records are in the log.
#[derive(Debug, Clone)]
pub(super) struct ShardEnd {
    /// The engine's counter when it was last looked at.
    pub(super) counter: u64,
    /// The key `shard/sequence` of the last logged record, or `shard/`.
    pub(super) last_key: String,
}

/// A stream's shards.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    /// The stream's name.
    pub(super) name: String,
    /// Its number in the log.
    pub(super) number: u32,
    /// By shard index.
    pub(super) shards: Vec<ShardEnd>,
}

impl Tail {
    /// A stream whose shards, so many, hold no record yet.
    pub(super) fn empty(name: &str, number: u32, shards: usize) -> Self {
        let end = |shard| ShardEnd { counter: 1, last_key: format!("{}/", shard_ix_to_hex(shard as i64)) };
        Self { name: name.to_owned(), number, shards: (0..shards).map(end).collect() }
    }
}

/// The engine's memory and what of it is on disk.
pub(super) struct Durable {
    /// The engine's memory.
    pub(super) store: Store,
    /// `DIR/kinesis`.
    pub(super) folder: PathBuf,
    /// The log of records.
    pub(super) log: Log,
    /// The streams as they are on disk.
    pub(super) saved: Saved,
    /// The same streams' ends in the log.
    pub(super) tails: Vec<Tail>,
    state: State,
    frames: Vec<u8>,
    /// The newest arrival that was stamped, ms since 1970 UTC: no later one may seem older.
    stamped_at: i64,
}

/// What of a stream's folder has been read.
pub(super) struct OnDisk {
    pub(super) log: Log,
    pub(super) saved: Saved,
    pub(super) tails: Vec<Tail>,
    /// The newest arrival in the log, ms since 1970 UTC; 0 where it is empty.
    pub(super) newest_arrival: i64,
}

/// Records of one shard that are in memory and not in the log.
struct NewRecords {
    /// The stream's place among the tails.
    place: usize,
    shard: usize,
    /// The shard's counter behind them.
    counter: u64,
    /// By key, oldest first; none where numbers were drawn in vain.
    records: Vec<(String, StoredRecord)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Settled,
    /// Records may be in memory that are not in the log.
    Records,
    /// The streams themselves may have changed, too.
    Streams,
    Closed,
}

impl Durable {
    /// Memory and disk agree.
    pub(super) fn new(store: Store, folder: PathBuf, disk: OnDisk) -> Self {
        let OnDisk { log, saved, tails, newest_arrival: stamped_at } = disk;
        Self { store, folder, log, saved, tails, state: State::Settled, frames: Vec::new(), stamped_at }
    }

    /// Whether memory holds nothing that is not on disk.
    pub(super) fn is_settled(&self) -> bool {
        self.state == State::Settled
    }

    /// Says that a request is about to change records or, with `streams`, the streams themselves.
    pub(super) async fn begin(&mut self, streams: bool) -> Result<(), Refusal> {
        self.settle().await?;
        if self.log.is_broken() {
            return Err(Refusal::Broken);
        }
        self.state = if streams { State::Streams } else { State::Records };
        Ok(())
    }

    /// Waits until a stream that is made now gets a later creation time than any that was deleted: the time, in whole
    /// seconds, is what tells one of the same name from the other.
    pub(super) async fn await_new_creation_time(&self) {
        while (SystemClock.now_millis() - BACKDATED) / 1000 <= self.saved.newest_deleted {
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Brings the disk up to memory. After a refusal what could not be logged is out of memory again.
    pub(super) async fn settle(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Settled => return Ok(()),
            State::Closed => return Err(Refusal::Closed),
            State::Streams => self.save_streams().await?,
            State::Records => {}
        }
        self.state = State::Records;
        self.log_records().await?;
        self.state = State::Settled;
        Ok(())
    }

    /// Settles, makes everything last through a power cut, and refuses all that comes after.
    pub(super) async fn close(&mut self) -> Result<(), Refusal> {
        self.begin(true).await?;
        let settled = self.settle().await;
        self.state = State::Closed;
        settled?;
        Ok(self.unreserve()?)
    }

    /// Drops expired records from memory; they stay in the log until it is read again. `now` in seconds.
    pub(super) async fn trim(&self, now: i64) {
        for (tail, stream) in self.tails.iter().zip(&self.saved.streams) {
            let oldest = (now - stream.retention_seconds()) as f64;
            for shard in 0..tail.shards.len() as i64 {
                self.trim_shard(&tail.name, shard, oldest).await;
            }
        }
    }

    async fn trim_shard(&self, name: &str, shard: i64, oldest: f64) {
        let (from, to) = (format!("{}/", shard_ix_to_hex(shard)), shard_ix_to_hex(shard + 1));
        loop {
            let first = self.store.get_records_range_limited(name, &from, &to, TRIM_CHUNK).await;
            let expired: Vec<String> = first
                .into_iter()
                .take_while(|(_, record)| record.approximate_arrival_timestamp < oldest)
                .map(|(key, _)| key)
                .collect();
            self.store.delete_record_keys(name, &expired).await;
            if expired.len() < TRIM_CHUNK {
                return;
            }
        }
    }

    async fn log_records(&mut self) -> Result<(), Refusal> {
        let mut found = self.new_records().await;
        if let Err(refusal) = self.keep(&mut found).await {
            for new in found {
                let keys: Vec<String> = new.records.into_iter().map(|(key, _)| key).collect();
                self.store.delete_record_keys(&self.tails[new.place].name, &keys).await;
            }
            return Err(refusal);
        }
        for mut new in found {
            let end = &mut self.tails[new.place].shards[new.shard];
            end.counter = new.counter;
            if let Some((key, _)) = new.records.pop() {
                end.last_key = key;
            }
        }
        Ok(())
    }

    /// What the shards whose counters moved hold beyond their ends in the log.
    async fn new_records(&self) -> Vec<NewRecords> {
        let mut found = Vec::new();
        for (place, tail) in self.tails.iter().enumerate() {
            for (shard, end) in tail.shards.iter().enumerate() {
                let counter = self.store.current_shard_seq(&tail.name, shard as i64).await;
                if counter == end.counter {
                    continue;
                }
                let (from, to) = (format!("{}!", end.last_key), shard_ix_to_hex(shard as i64 + 1));
                let records = self.store.get_records_range_limited(&tail.name, &from, &to, usize::MAX).await;
                found.push(NewRecords { place, shard, counter, records });
            }
        }
        found
    }

    /// Stamps new records and puts them on disk. After an error none of them is in the log; all are in memory.
    async fn keep(&mut self, found: &mut [NewRecords]) -> Result<(), Refusal> {
        self.frames.clear();
        self.stamped_at = self.stamped_at.max(SystemClock.now_millis());
        for new in found.iter_mut().filter(|new| !new.records.is_empty()) {
            let tail = &self.tails[new.place];
            stamp(&mut new.records, self.stamped_at);
            let stamped = self.store.put_records_batch(&tail.name, &new.records).await;
            stamped.map_err(|error| Refusal::Unwritable(io::Error::other(format!("{error:?}"))))?;
            write_frame(&mut self.frames, tail.number, new.shard as u32, &new.records);
        }
        self.reserve(found)?;
        if !self.frames.is_empty() {
            self.log.append(&self.frames)?;
        }
        Ok(())
    }

    /// Reserves more numbers for the shards that have used up theirs: synced, unlike the log, so that no number is
    /// given a second time to a stream that lost the log's end.
    fn reserve(&mut self, found: &[NewRecords]) -> io::Result<()> {
        let mut next = None;
        for new in found {
            if new.counter > self.saved.streams[new.place].counters[new.shard] {
                let next = next.get_or_insert_with(|| self.saved.clone());
                next.streams[new.place].counters[new.shard] = new.counter + RESERVED;
            }
        }
        next.map_or(Ok(()), |next| self.save(next))
    }

    fn save(&mut self, mut next: Saved) -> io::Result<()> {
        files::save(&self.folder, &mut next, &mut self.log)?;
        self.saved = next;
        Ok(())
    }

    /// Gives back the numbers that are reserved and were not handed out, all synced.
    fn unreserve(&mut self) -> io::Result<()> {
        let mut next = self.saved.clone();
        for (stream, tail) in next.streams.iter_mut().zip(&self.tails) {
            stream.counters = tail.shards.iter().map(|end| end.counter).collect();
        }
        self.save(next)
    }

    async fn save_streams(&mut self) -> Result<(), Refusal> {
        let mut next = self.saved.clone();
        next.streams.clear();
        next.consumers.clear();
        let mut tails = Vec::new();
        for stream in self.active_streams().await? {
            next.consumers.extend(self.consumers_of(&stream).await);
            let created = stream.stream_creation_timestamp.0 as i64;
            let known = |old: &&SavedStream| old.name() == stream.stream_name && old.created() == created;
            let old = self.saved.streams.iter().find(known);
            let number = match old {
                Some(old) => old.number,
                None => {
                    next.next_number += 1;
                    next.next_number - 1
                }
            };
            let mut tail = Tail::empty(&stream.stream_name, number, stream.shards.len());
            if let Some(old) = self.tails.iter().find(|old| old.number == number) {
                tail.shards[..old.shards.len()].clone_from_slice(&old.shards);
            }
            let mut counters = Vec::new();
            for shard in 0..stream.shards.len() {
                let reserved = old.and_then(|old| old.counters.get(shard)).copied().unwrap_or(1);
                counters.push(reserved.max(self.store.current_shard_seq(&stream.stream_name, shard as i64).await));
            }
            tails.push(tail);
            next.streams.push(SavedStream::new(number, counters, stream));
        }
        let is_gone = |old: &&SavedStream| next.streams.iter().all(|stream| stream.number != old.number);
        let newest_gone = self.saved.streams.iter().filter(is_gone).map(SavedStream::created).max();
        next.newest_deleted = next.newest_deleted.max(newest_gone.unwrap_or_default());
        self.save(next)?;
        self.tails = tails;
        Ok(())
    }

    /// The streams once each is active; one that is being deleted is awaited until it is gone.
    async fn active_streams(&self) -> Result<Vec<Stream>, Refusal> {
        let mut waiting_for = String::new();
        for _ in 0..LOOKS {
            let mut streams = Vec::new();
            for name in self.store.list_stream_names().await {
                // One that was listed and is gone now is as good as not listed.
                streams.extend(self.store.get_stream(&name).await);
            }
            match streams.iter().find(|stream| stream.stream_status != StreamStatus::Active) {
                None => return Ok(streams),
                Some(stream) => waiting_for.clone_from(&stream.stream_name),
            }
            SystemClock.sleep(Duration::from_millis(1)).await;
        }
        Err(Refusal::Stuck(waiting_for))
    }

    /// A stream's consumers as they will be once the engine, which takes its time over them, is done.
    async fn consumers_of(&self, stream: &Stream) -> Vec<Consumer> {
        let consumers = self.store.list_consumers_for_stream(&stream.stream_arn).await;
        let lasting = consumers.into_iter().filter(|consumer| consumer.consumer_status != ConsumerStatus::Deleting);
        lasting.map(|consumer| Consumer { consumer_status: ConsumerStatus::Active, ..consumer }).collect()
    }
}

/// Gives records their arrival to the millisecond, as Kinesis does; the engine knows whole seconds alone.
fn stamp(records: &mut [(String, StoredRecord)], arrived_at: i64) {
    for (_, record) in records {
        record.approximate_arrival_timestamp = arrived_at as f64 / 1e3;
    }
}
