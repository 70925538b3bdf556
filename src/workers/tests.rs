//! Whole workers on one store and one clock: joins, deaths, freezes, wakes, failing stores.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use proptest::collection::vec;
use proptest::prelude::*;

use super::heartbeat::FORMAT;
use super::machine::Machine;
use super::*;
use crate::batch::ShardId;
use crate::error::ErrorKind;
use crate::runtime::{Clock, Context, ManualClock, Random};
use crate::store::Store;

const SHARDS: u32 = 16;
const START: i64 = 1_700_000_000_000_000;

fn shard(number: u32) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

fn report(shard: ShardId) -> ShardReport {
    let (position, behind_ms, expires_in_ms) = (None, Some(0), None);
    ShardReport { shard, position, behind_ms, records_per_second: 1.0, expires_in_ms, read_at: 0 }
}

/// One store, one clock, one pair of dice for all workers of a test.
struct World {
    store: Store,
    clock: Arc<ManualClock>,
    random: Random,
}

impl World {
    fn new() -> Self {
        let store = Store::memory("workers").expect("store");
        Self { store, clock: Arc::new(ManualClock::at(START)), random: Random::seeded(1) }
    }

    fn context(&self) -> Context {
        Context { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, random: self.random.clone() }
    }

    fn worker(&self) -> Membership {
        Membership::new(self.store.clone(), self.context())
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The heartbeat of a worker that is not of this program: put as it stands.
    async fn put(&self, id: &str, json: &str) {
        self.store.put(&WorkerId::new(id).path(), json.to_owned().into()).await.expect("put");
    }
}

fn ids(members: &Members) -> Vec<&WorkerId> {
    members.ids().collect()
}

async fn beat(worker: &mut Membership) -> Members {
    worker.beat(Vec::new()).await.expect("beats")
}

#[tokio::test]
async fn nothing_is_written_before_the_first_beat_and_nothing_is_left_after_the_last() {
    let world = World::new();
    let mut worker = world.worker();
    assert_eq!(heartbeats(&world.store).await.expect("reads"), []);
    let alone = beat(&mut worker).await;
    assert_eq!(alone, Members::alone(worker.id().clone()));
    worker.leave().await.expect("leaves");
    assert_eq!(world.store.list("workers", None).await.expect("lists"), []);
}

#[tokio::test]
async fn a_heartbeat_says_who_where_and_what_and_rises() {
    let world = World::new();
    let mut worker = world.worker();
    world.pass(1);
    for number in 1..=2 {
        worker.beat(vec![report(shard(3))]).await.expect("beats");
        let lying = heartbeats(&world.store).await.expect("reads");
        let expected = Heartbeat {
            format: FORMAT,
            worker: worker.id().clone(),
            beat: number,
            written_at: START / 1000 + 1000,
            started_at: START / 1000,
            host: Machine::ours().host(),
            loads: true,
            loading_stopped: None,
            shards: vec![report(shard(3))],
        };
        assert_eq!(lying, [expected]);
    }
}

#[tokio::test]
async fn a_hand_over_waits_while_the_other_still_reads() {
    let world = World::new();
    let (mut first, mut second) = (world.worker(), world.worker());
    first.beat((0..SHARDS).map(|number| report(shard(number))).collect()).await.expect("beats");
    let members = beat(&mut second).await;
    let mine = (0..SHARDS).map(shard).find(|shard| members.is_ours(shard)).expect("some of 16 are ours");
    assert_eq!(members.still_reads(&mine), Some(first.id()));
    let members = beat(&mut first).await;
    assert_eq!(members.owner(&mine), second.id());
    assert_eq!(beat(&mut second).await.still_reads(&mine), None);
}

#[tokio::test]
async fn loading_goes_to_another_while_its_worker_does_not_offer_it() {
    let world = World::new();
    let mut workers = [world.worker(), world.worker(), world.worker()];
    let mut last = Vec::new();
    for given_up in 0..=3 {
        for _ in 0..2 {
            last.clear();
            for worker in &mut workers {
                last.push(beat(worker).await);
            }
        }
        let loaders: Vec<usize> = (0..3).filter(|number| last[*number].loads()).collect();
        assert_eq!(loaders.len(), usize::from(given_up < 3), "{given_up} load no more");
        assert!(last.iter().all(|members| members.ids().count() == 3));
        loaders.into_iter().for_each(|loader| workers[loader].loading(false, None));
    }
    workers[1].loading(true, None);
    beat(&mut workers[1]).await;
    assert!(
        !beat(&mut workers[0]).await.loads() && beat(&mut workers[1]).await.loads(),
        "and back to who offers it again"
    );
}

#[tokio::test]
async fn a_restart_on_the_same_machine_goes_on_at_once() {
    let world = World::new();
    let proc = machine::tests::proc("ingest-1", Some("b1"), &["self", "7"]);
    for (pid, expected) in [(7, 2), (8, 1)] {
        let host = Host { name: "ingest-1".into(), boot: Some("b1".into()), pid };
        let written_at = world.clock.now_millis();
        let killed = WorkerId::new(format!("killed-{pid}"));
        let (format, beat_number, shards) = (FORMAT, 1, Vec::new());
        let heartbeat = Heartbeat {
            format,
            worker: killed.clone(),
            beat: beat_number,
            written_at,
            started_at: written_at,
            host,
            loads: true,
            loading_stopped: None,
            shards,
        };
        world.store.put(&killed.path(), heartbeat.to_json().expect("json")).await.expect("put");
        let mut worker = Membership::on(Machine::at(proc.path()), world.store.clone(), world.context());
        assert_eq!(beat(&mut worker).await.ids().count(), expected, "process {pid}");
        worker.leave().await.expect("leaves");
        world.store.delete(&killed.path()).await.expect("deletes");
    }
}

#[tokio::test]
async fn a_stranger_lives_while_it_changes_and_is_left_out_of_the_status() {
    let world = World::new();
    let mut worker = world.worker();
    world.put("stranger", r#"{"format":2,"n":1}"#).await;
    world.store.put("workers/notes.txt", "no heartbeat".into()).await.expect("put");
    assert_eq!(beat(&mut worker).await.ids().count(), 1);
    world.pass(2);
    world.put("stranger", r#"{"format":2,"n":2}"#).await;
    assert_eq!(ids(&beat(&mut worker).await), [worker.id(), &WorkerId::new("stranger")]);
    assert_eq!(heartbeats(&world.store).await.expect("reads").len(), 1);
    for _ in 0..4 {
        world.pass(2);
        beat(&mut worker).await;
    }
    assert_eq!(beat(&mut worker).await.ids().count(), 1);
}

#[tokio::test]
async fn the_heartbeats_of_the_long_dead_are_deleted_and_nothing_else() {
    let world = World::new();
    let (mut worker, mut dying) = (world.worker(), world.worker());
    world.store.put("workers/notes.txt", "no heartbeat".into()).await.expect("put");
    beat(&mut dying).await;
    let mut lay_s = 0;
    while world.store.get(&dying.id().path()).await.expect("reads").is_some() {
        beat(&mut worker).await;
        world.pass(2);
        lay_s += 2;
        assert!(lay_s < 100, "it lies there for ever");
    }
    assert!(lay_s > 60, "deleted after {lay_s} s");
    assert_eq!(world.store.get("workers/notes.txt").await.expect("reads"), Some("no heartbeat".into()));
    // Whoever was only frozen writes a new one and is back at once.
    beat(&mut dying).await;
    assert_eq!(beat(&mut worker).await.ids().count(), 2);
}

#[tokio::test]
async fn a_store_that_fails_is_a_transient_error_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let world = World { store: Store::local(folder.path()).expect("store"), ..World::new() };
    let (mut worker, mut other) = (world.worker(), world.worker());
    beat(&mut other).await;
    let before = beat(&mut worker).await;
    assert_eq!(before.ids().count(), 2);
    let (workers, aside) = (folder.path().join("workers"), folder.path().join("aside"));
    std::fs::rename(&workers, &aside).expect("renamed");
    std::fs::write(&workers, "no folder").expect("written");
    for _ in 0..10 {
        world.pass(2);
        let error = worker.beat(Vec::new()).await.expect_err("the store fails");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    }
    std::fs::remove_file(&workers).expect("removed");
    std::fs::rename(&aside, &workers).expect("renamed");
    // The other had no way to beat either.
    assert_eq!(beat(&mut worker).await, before);
}

/// What happens to one worker of a simulation.
#[derive(Debug, Clone, Copy)]
enum Event {
    Join,
    Leave(prop::sample::Index),
    Kill(prop::sample::Index),
    Freeze(prop::sample::Index),
    Wake(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => Just(Event::Join),
        1 => which().prop_map(Event::Leave),
        1 => which().prop_map(Event::Kill),
        2 => which().prop_map(Event::Freeze),
        2 => which().prop_map(Event::Wake),
    ]
}

/// One worker, with what it last knew.
struct Actor {
    membership: Membership,
    members: Members,
    /// In quarter seconds, within the 8 of a beat.
    phase: u64,
}

#[derive(Default)]
struct Simulation {
    awake: Vec<Actor>,
    frozen: Vec<Actor>,
    quarters: u64,
    joined: u64,
}

impl Simulation {
    fn happen(&mut self, world: &World, event: Event) {
        let take = |from: &mut Vec<Actor>, index: prop::sample::Index| {
            (!from.is_empty()).then(|| from.swap_remove(index.index(from.len())))
        };
        match event {
            Event::Join => {
                let membership = world.worker();
                let members = Members::alone(membership.id().clone());
                self.joined += 1;
                self.awake.push(Actor { membership, members, phase: self.joined * 5 % 8 });
            }
            Event::Leave(index) => {
                if let Some(mut actor) = take(&mut self.awake, index) {
                    block_on(actor.membership.leave()).expect("leaves");
                }
            }
            Event::Kill(index) => drop(take(&mut self.awake, index)),
            Event::Freeze(index) => self.frozen.extend(take(&mut self.awake, index)),
            Event::Wake(index) => self.awake.extend(take(&mut self.frozen, index)),
        }
    }

    async fn pass(&mut self, world: &World, seconds: u64) {
        for _ in 0..seconds * 4 {
            world.clock.advance(Duration::from_millis(250));
            self.quarters += 1;
            for actor in self.awake.iter_mut().filter(|actor| actor.phase == self.quarters % 8) {
                let owned = (0..SHARDS).map(shard).filter(|shard| actor.members.is_ours(shard));
                let reads = owned.filter(|shard| actor.members.still_reads(shard).is_none()).map(report).collect();
                actor.members = actor.membership.beat(reads).await.expect("beats");
            }
        }
    }

    fn agreed(&self) {
        let living: BTreeSet<&WorkerId> = self.awake.iter().map(|actor| actor.membership.id()).collect();
        for actor in &self.awake {
            let seen: BTreeSet<&WorkerId> = actor.members.ids().collect();
            assert_eq!(seen, living, "as {} sees it", actor.membership.id());
        }
        for shard in (0..SHARDS).map(shard).filter(|_| !living.is_empty()) {
            let owners = self.awake.iter().filter(|actor| actor.members.is_ours(&shard)).count();
            assert_eq!(owners, 1, "{shard}");
        }
        let loading = self.awake.iter().filter(|actor| actor.members.loads()).count();
        assert_eq!(loading, usize::from(!living.is_empty()));
    }
}

/// [`DEAD_AFTER`] and 2 × [`BEAT_EVERY`], within which each event is to be seen.
const SETTLING_S: u64 = 12;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_all_that_live_agree_12_s_later(
        storms in vec(vec((event(), 0u64..20), 1..8), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let (world, mut simulation) = (World::new(), Simulation::default());
            for storm in storms {
                for (event, pause_s) in storm {
                    simulation.pass(&world, pause_s).await;
                    simulation.happen(&world, event);
                }
                simulation.pass(&world, SETTLING_S).await;
                simulation.agreed();
            }
        });
    }
}

#[tokio::test]
async fn the_death_of_one_of_three_moves_only_its_shards_and_its_waking_takes_them_back() {
    let (world, mut simulation) = (World::new(), Simulation::default());
    for _ in 0..3 {
        simulation.happen(&world, Event::Join);
    }
    simulation.pass(&world, 4).await;
    simulation.agreed();
    let before = simulation.awake[0].members.clone();
    let frozen = simulation.awake.pop().expect("three");
    let id = frozen.membership.id().clone();
    simulation.frozen.push(frozen);
    simulation.pass(&world, SETTLING_S).await;
    simulation.agreed();
    let after = simulation.awake[0].members.clone();
    for shard in (0..SHARDS).map(shard) {
        let (was, is) = (before.owner(&shard), after.owner(&shard));
        assert!(is == was || *was == id, "{shard} went from {was} to {is}");
    }
    simulation.pass(&world, 40).await;
    simulation.awake.append(&mut simulation.frozen);
    simulation.pass(&world, 2).await;
    // At its first look it sees what the others read meanwhile, and takes nobody for dead.
    let woken = &simulation.awake[2].members;
    assert_eq!(woken.ids().count(), 3);
    for shard in (0..SHARDS).map(shard).filter(|shard| before.owner(shard) == &id) {
        assert_eq!(woken.still_reads(&shard), Some(after.owner(&shard)), "{shard}");
    }
    simulation.pass(&world, 4).await;
    simulation.agreed();
    let woken = &simulation.awake[2].members;
    assert!((0..SHARDS).map(shard).all(|shard| woken.still_reads(&shard).is_none() || !woken.is_ours(&shard)));
}
