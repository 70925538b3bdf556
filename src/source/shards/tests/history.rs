//! A model stream that is split, merged, trimmed and read by readers that stop and start again, with an auditor.

use super::*;

const KEYS: u64 = 16;

/// A step of a history; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Put(u64),
    Split(usize),
    Merge(usize),
    /// The oldest closed shard goes past retention.
    Trim,
    /// Some records of one shard that is ready.
    Read(usize, usize),
    Commit,
    /// What is not committed is forgotten.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS).prop_map(Step::Put),
        2 => any::<usize>().prop_map(Step::Split),
        2 => any::<usize>().prop_map(Step::Merge),
        1 => Just(Step::Trim),
        6 => (any::<usize>(), 1..5usize).prop_map(|(shard, count)| Step::Read(shard, count)),
        2 => Just(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

/// (when it was put, its key); the time is its sequence number too.
type Record = (u64, u64);

#[derive(Default)]
struct Stream {
    shards: Vec<Held>,
    now: u64,
    put: Vec<Record>,
}

struct Held {
    shard: Shard,
    /// The keys from here to there, exclusive.
    keys: (u64, u64),
    records: Vec<Record>,
    gone: bool,
}

impl Stream {
    fn add(&mut self, keys: (u64, u64), parents: Vec<ShardId>) {
        let hashes = HashRange { first: u128::from(keys.0), last: u128::from(keys.1 - 1) };
        let shard = Shard { id: id(&format!("shard-{:04}", self.shards.len())), parents, closed: false, hashes };
        self.shards.push(Held { shard, keys, records: Vec::new(), gone: false });
    }

    fn open(&self, mut takes: impl FnMut(&Held) -> bool) -> Vec<usize> {
        let held = self.shards.iter().enumerate();
        held.filter(|(_, held)| !held.shard.closed && takes(held)).map(|(index, _)| index).collect()
    }

    fn put(&mut self, key: u64) {
        self.now += 1;
        let index = self.open(|held| held.keys.0 <= key && key < held.keys.1)[0];
        self.shards[index].records.push((self.now, key));
        self.put.push((self.now, key));
    }

    fn close(&mut self, index: usize) -> ((u64, u64), ShardId) {
        self.shards[index].shard.closed = true;
        (self.shards[index].keys, self.shards[index].shard.id.clone())
    }

    fn split(&mut self, choice: usize) {
        let wide = self.open(|held| held.keys.1 - held.keys.0 > 1);
        if wide.is_empty() {
            return;
        }
        let ((first, end), parent) = self.close(wide[choice % wide.len()]);
        let middle = (first + end) / 2;
        self.add((first, middle), vec![parent.clone()]);
        self.add((middle, end), vec![parent]);
    }

    fn merge(&mut self, choice: usize) {
        let mut open = self.open(|_| true);
        open.sort_by_key(|index| self.shards[*index].keys);
        if open.len() < 2 {
            return;
        }
        let left = choice % (open.len() - 1);
        let ((first, _), one) = self.close(open[left]);
        let ((_, end), other) = self.close(open[left + 1]);
        self.add((first, end), vec![one, other]);
    }

    fn trim(&mut self) {
        if let Some(oldest) = self.shards.iter_mut().find(|held| !held.gone) {
            oldest.gone = oldest.shard.closed;
        }
    }

    fn listed(&self) -> Vec<Shard> {
        self.shards.iter().filter(|held| !held.gone).map(|held| held.shard.clone()).collect()
    }

    fn held(&self, shard: &ShardId) -> &Held {
        self.shards.iter().find(|held| held.shard.id == *shard).expect("one of the stream's")
    }

    fn change(&mut self, step: &Step) {
        match step {
            Step::Put(key) => self.put(*key),
            Step::Split(choice) => self.split(*choice),
            Step::Merge(choice) => self.merge(*choice),
            Step::Trim => self.trim(),
            Step::Read(..) | Step::Commit | Step::Restart => {}
        }
    }
}

/// What a worker has read; a copy of it is the journal.
#[derive(Clone, Default)]
struct Job {
    opening: Option<Opening>,
    positions: BTreeMap<ShardId, Position>,
    ended: BTreeSet<ShardId>,
    /// Told as vanished, and given up.
    lost: BTreeSet<ShardId>,
    read: Vec<Record>,
}

impl Job {
    fn plan(&mut self, stream: &Stream) -> ShardPlan {
        let known = Known { opening: self.opening.as_ref(), positions: &self.positions, ended: &self.ended };
        let plan = plan(&stream.listed(), &known);
        for shard in &plan.vanished {
            assert!(stream.held(shard).gone, "{shard} is still there");
            assert!(self.lost.insert(shard.clone()) && self.ended.insert(shard.clone()), "{shard} is told twice");
        }
        plan
    }

    /// Whether there was anything to do.
    fn read(&mut self, stream: &Stream, choice: usize, count: usize) -> bool {
        let ready = self.plan(stream).ready;
        if ready.is_empty() {
            return false;
        }
        let (shard, start) = &ready[choice % ready.len()];
        for parent in &shard.parents {
            let read_or_gone = self.ended.contains(parent) || stream.held(parent).gone;
            assert!(read_or_gone, "{} is begun before its parent {parent} has ended", shard.id);
        }
        let records = &stream.held(&shard.id).records;
        let from = match start {
            StartAt::TrimHorizon => 0,
            StartAt::Time(time) => records.partition_point(|record| record.0 < u64::try_from(*time).expect("positive")),
            StartAt::After(position) => records.partition_point(|record| at(record.0) <= *position),
        };
        let page = &records[from..records.len().min(from + count)];
        self.read.extend(page);
        if let Some(last) = page.last() {
            self.positions.insert(shard.id.clone(), at(last.0));
        }
        let at_end = shard.closed && from + page.len() == records.len();
        if at_end {
            self.ended.insert(shard.id.clone());
        }
        at_end || !page.is_empty()
    }

    fn read_the_rest(&mut self, stream: &Stream) {
        for turn in 0.. {
            let ready = self.plan(stream).ready.len();
            if !(0..ready).any(|offset| self.read(stream, turn + offset, 3)) {
                return;
            }
        }
    }
}

/// Whether the shard, or one that came from it, is told as lost.
fn is_told(stream: &Stream, lost: &BTreeSet<ShardId>, shard: &ShardId) -> bool {
    let mut children = stream.shards.iter().filter(|held| held.shard.parents.contains(shard));
    lost.contains(shard) || children.any(|child| child.gone && is_told(stream, lost, &child.shard.id))
}

/// `gone`: what was past retention before the chain opened is nobody's to read.
fn audit(stream: &Stream, job: &Job, from: u64, gone: &BTreeSet<u64>) -> Result<(), TestCaseError> {
    let read: BTreeSet<u64> = job.read.iter().map(|record| record.0).collect();
    prop_assert_eq!(read.len(), job.read.len(), "nothing is read twice");
    for key in 0..KEYS {
        let times: Vec<u64> = job.read.iter().filter(|record| record.1 == key).map(|record| record.0).collect();
        prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "key {}: {:?}", key, times);
    }
    prop_assert!(read.iter().all(|time| *time >= from), "nothing from before the start");
    for held in &stream.shards {
        let expected = held.records.iter().filter(|record| record.0 >= from && !gone.contains(&record.0));
        let missing = expected.filter(|record| !read.contains(&record.0)).count();
        let told = is_told(stream, &job.lost, &held.shard.id);
        prop_assert!(missing == 0 || told, "{} of {} are missing in silence", missing, held.shard.id);
    }
    Ok(())
}

/// `start`: 0 from the oldest on, 1 from a time so far `back`, 2 the same as an opening of format 1 says it.
fn run(before: &[Step], start: u8, back: u64, after: &[Step]) -> Result<(), TestCaseError> {
    let mut stream = Stream::default();
    stream.add((0, KEYS / 2), Vec::new());
    stream.add((KEYS / 2, KEYS), Vec::new());
    before.iter().for_each(|step| stream.change(step));
    let from = if start == 0 { 0 } else { (stream.now + 1).saturating_sub(back) };
    let start_at = if start == 0 { StartAt::TrimHorizon } else { StartAt::Time(i64::try_from(from).expect("small")) };
    let past = stream.shards.iter().filter(|held| held.gone);
    let gone = past.flat_map(|held| &held.records).map(|record| record.0).collect();
    let listed = stream.listed();
    let then: Vec<&str> = listed.iter().map(|shard| shard.id.as_str()).collect();
    let is_old = start == 2;
    let opened = opening(start_at, if is_old { None } else { Some(&then) });
    let mut committed = Job { opening: Some(opened), ..Job::default() };
    let mut job = committed.clone();
    for step in after {
        match step {
            // An old opening cannot tell what came and went unseen.
            Step::Trim if is_old => {}
            Step::Read(choice, count) => drop(job.read(&stream, *choice, *count)),
            Step::Commit => committed = job.clone(),
            Step::Restart => job = committed.clone(),
            change => stream.change(change),
        }
    }
    job.read_the_rest(&stream);
    let closed = stream.listed().iter().filter(|shard| shard.closed).count();
    let plan = job.plan(&stream);
    prop_assert!(plan.waiting.is_empty() && plan.ended == closed, "every shard comes to its turn");
    audit(&stream, &job, from, &gone)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_record_is_read_once_and_in_its_keys_order_whatever_happens_to_the_shards(
        before in proptest::collection::vec(step(), 0..60),
        start in 0..3u8,
        back in 0..10u64,
        after in proptest::collection::vec(step(), 0..200),
    ) {
        run(&before, start, back, &after)?;
    }
}
