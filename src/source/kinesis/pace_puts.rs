//! Keeping to what a shard takes in a second.
//!
//! Pure: times are handed in. Owns, for each open shard, what was put in the last second. Not a token bucket: one that
//! is never over the limit in any second must fill below it, or take small sips. The contract: in no second, however
//! a server cuts its seconds, does a shard get more than its limits; a record larger than them goes alone.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::open_shards::OpenShards;
use super::put_requests::{BYTES_A_REQUEST, Outgoing, RECORDS_A_REQUEST};
use crate::batch::ShardId;

/// A second, and a hundredth more: servers count time in ms and round it.
const WINDOW: i64 = 1_010_000;
/// The shortest wait, so that requests are not sent for a record each.
const SHORTEST_WAIT: i64 = 20_000;

/// What a producer puts into a shard in a second at most. A Kinesis record counts once, an aggregate too; its bytes
/// are its payload and its partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Kinesis records.
    pub records_per_second: u64,
    /// Bytes.
    pub bytes_per_second: u64,
}

impl ProducerLimits {
    /// What a shard of AWS takes: 1000 records/s and 1 MB/s. Source: quotas and limits of Kinesis Data Streams.
    pub const AWS: Self = Self { records_per_second: 1000, bytes_per_second: 1_000_000 };
}

/// What the shards have had, and may have.
#[derive(Debug)]
pub(super) struct Budgets {
    limits: ProducerLimits,
    shards: HashMap<ShardId, LastSecond>,
}

/// Puts of the last second, oldest first.
#[derive(Debug, Default)]
struct LastSecond {
    puts: VecDeque<Put>,
    records: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Put {
    /// When the answer came, µs: the server took it before.
    at: i64,
    records: u64,
    bytes: u64,
}

/// A request's worth, or how long to wait for one.
#[derive(Debug)]
pub(super) enum Next {
    Request(Vec<Outgoing>),
    Wait(Duration),
    /// Nothing is left.
    Done,
}

impl Budgets {
    pub(super) fn new(limits: ProducerLimits) -> Self {
        Self { limits, shards: HashMap::new() }
    }

    /// Forgets the shards that are open no more.
    pub(super) fn keep(&mut self, shards: &OpenShards) {
        self.shards.retain(|id, _| shards.hashes(id).is_some());
    }

    /// Takes as much from the queues, one a shard, as the shards may have now and a request holds. A queue's order is
    /// kept. The queues are rotated as they are taken from, so that a full request does not always leave out the same.
    pub(super) fn next(&mut self, queues: &mut Queues, now: i64) -> Next {
        let (mut request, mut bytes, mut earliest) = (Vec::new(), 0, None);
        for _ in 0..queues.shards.len() {
            queues.shards.rotate_left(1);
            let Some((id, queue)) = queues.shards.front_mut() else { break };
            let second = self.shards.entry(id.clone()).or_default();
            second.forget(now);
            let (mut records, mut taken) = (0, 0);
            while let Some(front) = queue.front() {
                let size = front.item.bytes();
                if request.len() == RECORDS_A_REQUEST || (!request.is_empty() && bytes + size > BYTES_A_REQUEST) {
                    return Next::Request(request);
                }
                if let Some(at) = second.full_until(self.limits, records + 1, taken + size as u64) {
                    // A put of this very request makes room when it has been answered: no time is known yet.
                    earliest = Some(earliest.map_or(at, |earliest: i64| earliest.min(at)));
                    break;
                }
                records += 1;
                taken += size as u64;
                bytes += size;
                request.extend(queue.pop_front());
            }
        }
        match earliest {
            _ if !request.is_empty() => Next::Request(request),
            None => Next::Done,
            Some(at) => {
                let wait = at.saturating_sub(now).max(SHORTEST_WAIT);
                Next::Wait(Duration::from_micros(u64::try_from(wait).unwrap_or(0)))
            }
        }
    }

    /// Records that this much was put, and answered for at this time.
    pub(super) fn spend(&mut self, spent: HashMap<ShardId, (u64, u64)>, now: i64) {
        for (id, (records, bytes)) in spent {
            let second = self.shards.entry(id).or_default();
            second.puts.push_back(Put { at: now, records, bytes });
            second.records += records;
            second.bytes += bytes;
        }
    }
}

impl LastSecond {
    fn forget(&mut self, now: i64) {
        while let Some(put) = self.puts.pop_front_if(|put| put.at + WINDOW <= now) {
            self.records -= put.records;
            self.bytes -= put.bytes;
        }
    }

    /// None if so much more may be put now; else when the oldest put is forgotten.
    fn full_until(&self, limits: ProducerLimits, records: u64, bytes: u64) -> Option<i64> {
        // One that is larger than the limit itself goes into an empty second.
        let fits = self.records + records <= limits.records_per_second.max(1)
            && (self.bytes + bytes <= limits.bytes_per_second || (self.records == 0 && records == 1));
        if fits { None } else { Some(self.puts.front().map_or(0, |put| put.at + WINDOW)) }
    }
}

/// What waits to be put, by shard.
#[derive(Debug)]
pub(super) struct Queues {
    shards: VecDeque<(ShardId, VecDeque<Outgoing>)>,
}

impl Queues {
    /// Each record in the queue of its shard, in the order given.
    pub(super) fn new(shards: &OpenShards, outgoing: Vec<(usize, Outgoing)>) -> Self {
        let ids = (0..shards.count()).filter_map(|place| shards.id(place).cloned());
        let mut queues: VecDeque<_> = ids.map(|id| (id, VecDeque::new())).collect();
        for (place, item) in outgoing {
            if let Some((_, queue)) = queues.get_mut(place) {
                queue.push_back(item);
            }
        }
        Self { shards: queues }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PutItem;
    use super::super::open_shards::tests::even;
    use super::*;

    /// A server that counts its seconds from the first record after the last one ended, as ferrokinesis does.
    #[derive(Default)]
    struct Server {
        seconds: HashMap<ShardId, (i64, u64, u64)>,
        taken: u64,
        bytes: u64,
    }

    impl Server {
        /// Whether the shards take all of it now.
        fn put(&mut self, shards: &OpenShards, request: &[Outgoing], at_millis: i64, limits: ProducerLimits) -> bool {
            request.iter().all(|outgoing| {
                let place = shards.place_of(&outgoing.item).expect("a place");
                let second =
                    self.seconds.entry(shards.id(place).expect("a shard").clone()).or_insert((at_millis, 0, 0));
                if at_millis - second.0 >= 1000 {
                    *second = (at_millis, 0, 0);
                }
                let size = outgoing.item.bytes() as u64;
                *second = (second.0, second.1 + 1, second.2 + size);
                self.taken += 1;
                self.bytes += size;
                second.1 <= limits.records_per_second && (second.2 <= limits.bytes_per_second || second.1 == 1)
            })
        }
    }

    fn items(count: usize, bytes: usize) -> Vec<PutItem> {
        (0..count).map(|number| PutItem::new(format!("key {number}"), vec![0; bytes])).collect()
    }

    /// Puts the items with so much time (µs) to the server and back; how long it took, and what the server saw.
    fn run(shards: &OpenShards, items: Vec<PutItem>, limits: ProducerLimits, delays: (i64, i64)) -> (i64, Server) {
        let (mut budgets, mut server, mut now) = (Budgets::new(limits), Server::default(), 1_234_567);
        let placed = |item: PutItem| (shards.place_of(&item).expect("a place"), Outgoing::plain(item));
        let mut queues = Queues::new(shards, items.into_iter().map(placed).collect());
        let started_at = now;
        loop {
            match budgets.next(&mut queues, now) {
                Next::Done => return (now - started_at, server),
                Next::Wait(wait) => now += wait.as_micros() as i64,
                Next::Request(request) => {
                    let sent = super::super::producer::spent(shards, &request).expect("known shards");
                    now += delays.0;
                    assert!(server.put(shards, &request, now / 1000, limits), "over the limit at {now}");
                    now += delays.1;
                    budgets.spend(sent, now);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_second_of_a_server_gets_more_than_the_limits(
            count in 1usize..4000,
            bytes in 0usize..3000,
            shards in 1u128..5,
            there in 0i64..300_000,
            back in 0i64..300_000,
        ) {
            let limits = ProducerLimits { records_per_second: 300, bytes_per_second: 100_000 };
            let (_, server) = run(&even(shards), items(count, bytes), limits, (there, back));
            prop_assert_eq!(server.taken, count as u64, "and all of it is put");
        }
    }

    #[test]
    fn a_shard_gets_nearly_what_it_may_have_and_more_shards_as_much_more() {
        // Records, bytes of each, shards; the seconds that the limits ask for.
        for (count, bytes, shards, least) in [(10_000, 10, 1, 9), (40_000, 10, 4, 9), (100, 100_000, 1, 10)] {
            let (took, _) = run(&even(shards), items(count, bytes), ProducerLimits::AWS, (5_000, 5_000));
            let least = least * 1_000_000;
            assert!((least..least * 115 / 100 + 400_000).contains(&took), "{count} in {took} \u{b5}s");
        }
    }

    #[test]
    fn a_record_larger_than_the_limit_goes_alone() {
        let shards = even(1);
        let limits = ProducerLimits { records_per_second: 10, bytes_per_second: 100 };
        let (took, server) = run(&shards, items(3, 500), limits, (0, 0));
        assert_eq!((server.taken, took), (3, 2 * WINDOW));
    }

    #[test]
    fn shards_that_are_no_longer_open_are_forgotten() {
        let (one, two) = (even(1), even(2));
        let mut budgets = Budgets::new(ProducerLimits::AWS);
        let spent = |place| (two.id(place).expect("a shard").clone(), (1, 1));
        budgets.spend([spent(0), spent(1)].into(), 0);
        budgets.keep(&one);
        assert_eq!(budgets.shards.len(), 1);
    }
}
