//! Who lives, given what was seen at which look: pure, without IO.
//!
//! Owns one worker's memory of the others' heartbeats. The clocks of two machines are compared only as a hint at the
//! first look; from then on a heartbeat that changes is alive, and its silence is counted by our own clock from look to
//! look. `old` is a heartbeat's age as the two clocks have it, `silent` is our count, `again` are our looks since.
//!
//! | what we see at a look                    | it is                                                               |
//! |------------------------------------------|---------------------------------------------------------------------|
//! | new, `old` ≤ 8 s                         | alive; `silent` starts at `old`, at least 0, at most 4 s             |
//! | new, `old` > 8 s                         | dead                                                                |
//! | new, its process on our machine is gone  | dead                                                                |
//! | new, can't be read                       | dead: a stranger                                                    |
//! | changed, whatever it was                 | alive; `silent` = 0, `again` = 0; who can't be read reads no shard  |
//! | unchanged, alive                         | dead where `silent` ≥ 8 s and `again` ≥ 2, else alive               |
//! | unchanged, dead                          | dead; for over a minute: its heartbeat is to be deleted             |
//! | gone                                     | forgotten: it left, or was deleted; if it comes back it is new      |
//!
//! Our own sleep (frozen, suspended, a clock that leapt, a store that failed us) shows as a look more than 8 s after the
//! one before. The others may have slept with us, or have written just before we look:
//!
//! | our look                                 | what an unchanged heartbeat counts                                  |
//! |------------------------------------------|---------------------------------------------------------------------|
//! | within 8 s of the last                   | the time since, and one look `again`                                |
//! | later, the first such one: we slept      | `silent` at most 4 s, `again` = 0; time dead is not counted         |
//! | later, and the last was late as well     | as usual: our looks are slow, and the dead must not live for ever   |
//! | before the last, by our clock            | no time, and one look `again`                                       |
//!
//! So whoever lives has two more looks, and 4 s, to show a change before it is taken for dead on a guess. A worker that
//! beats every 2 s is dead to all within 8 + 2 × 2 s, however long its watchers have watched: at first sight its age
//! counts, so that a newcomer agrees with the others in time.

use std::collections::{BTreeMap, BTreeSet};

use super::heartbeat::{Heartbeat, Unreadable, WorkerId};
use super::members::Members;
use super::{BEAT_EVERY, DEAD_AFTER};
use crate::batch::ShardId;

const DEAD_AFTER_MS: i64 = DEAD_AFTER.as_millis() as i64;

/// The silence that is believed without having been watched.
const GUESSED_MS: i64 = DEAD_AFTER_MS - 2 * BEAT_EVERY.as_millis() as i64;

/// Unchanged looks that it takes, beside the time.
const LOOKS: u32 = 2;

/// A heartbeat dead for longer, in our watch, is deleted.
const BURIED_AFTER_MS: i64 = 60_000;

/// One heartbeat object, as one look found it.
pub(super) struct Sight {
    pub(super) worker: WorkerId,
    /// Tells the object's bytes from those of another look.
    pub(super) mark: u64,
    pub(super) heartbeat: Result<Heartbeat, Unreadable>,
    /// It ran on this machine, and there is no such process any more.
    pub(super) process_gone: bool,
}

/// What a look gave.
pub(super) struct Findings {
    pub(super) members: Members,
    /// Dead for so long that their heartbeats are in the way.
    pub(super) buried: Vec<WorkerId>,
    /// The time since the look before, where it shows that we slept.
    pub(super) slept_ms: Option<i64>,
    /// Those that can't be read and could, or were not there, before.
    pub(super) unreadable: Vec<(WorkerId, Unreadable)>,
}

/// One worker's memory of the others.
pub(super) struct Watch {
    us: WorkerId,
    /// Whether we load, where it falls to us.
    loads: bool,
    looked_at: Option<i64>,
    /// The last look came long after the one before it.
    late: bool,
    others: BTreeMap<WorkerId, Watched>,
}

struct Watched {
    mark: u64,
    readable: bool,
    reads: BTreeSet<ShardId>,
    /// Who can't be read is taken to load: it may be of a later version.
    loads: bool,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Alive { silent_ms: i64, again: u32 },
    Dead { watched_ms: i64 },
}

/// The way from one look to the next.
#[derive(Clone, Copy)]
struct Step {
    elapsed_ms: i64,
    slept: bool,
}

impl Watch {
    pub(super) fn new(us: WorkerId) -> Self {
        Self { us, loads: true, looked_at: None, late: false, others: BTreeMap::new() }
    }

    pub(super) fn loading(&mut self, offered: bool) {
        self.loads = offered;
    }

    /// Whether the last look saw this worker's heartbeat.
    pub(super) fn knows(&self, worker: &WorkerId) -> bool {
        self.others.contains_key(worker)
    }

    /// What follows from these sights. `at` is a time by our clock before the first of them was taken: a sleep between
    /// two sights then counts as one before the next look.
    pub(super) fn look(&mut self, at: i64, sights: Vec<Sight>) -> Findings {
        let step = self.step(at);
        let mut before = std::mem::take(&mut self.others);
        let mut unreadable = Vec::new();
        for sight in sights.into_iter().filter(|sight| sight.worker != self.us) {
            let known = before.remove(&sight.worker);
            let was_readable = known.as_ref().is_none_or(|watched| watched.readable);
            let state = known.as_ref().map_or_else(
                || State::at_first(at, &sight),
                |watched| if watched.mark == sight.mark { watched.state.after(step) } else { State::CHANGED },
            );
            let (readable, reads) = (sight.heartbeat.is_ok(), sight.reads());
            let loads = sight.heartbeat.as_ref().map_or(true, |heartbeat| heartbeat.loads);
            self.others.insert(sight.worker.clone(), Watched { mark: sight.mark, readable, reads, loads, state });
            if let (Err(reason), true) = (sight.heartbeat, was_readable) {
                unreadable.push((sight.worker, reason));
            }
        }
        let slept_ms = step.slept.then_some(step.elapsed_ms);
        Findings { members: self.members(), buried: self.buried(), slept_ms, unreadable }
    }

    fn step(&mut self, at: i64) -> Step {
        let elapsed_ms = self.looked_at.map_or(0, |before| at.saturating_sub(before).max(0));
        let late = elapsed_ms > DEAD_AFTER_MS;
        let slept = late && !self.late;
        self.looked_at = Some(at);
        self.late = late;
        Step { elapsed_ms, slept }
    }

    fn members(&self) -> Members {
        let alive = self.others.iter().filter(|(_, watched)| matches!(watched.state, State::Alive { .. }));
        let reads = alive.map(|(worker, watched)| (worker.clone(), watched.reads.clone())).collect();
        let others = self.others.iter().filter(|(_, watched)| !watched.loads).map(|(worker, _)| worker);
        let idle = others.chain((!self.loads).then_some(&self.us)).cloned().collect();
        Members::with(self.us.clone(), reads).without_loading(idle)
    }

    fn buried(&self) -> Vec<WorkerId> {
        let long_dead = |state: State| matches!(state, State::Dead { watched_ms } if watched_ms > BURIED_AFTER_MS);
        self.others.iter().filter(|(_, watched)| long_dead(watched.state)).map(|(worker, _)| worker.clone()).collect()
    }
}

impl Sight {
    fn reads(&self) -> BTreeSet<ShardId> {
        let shards = self.heartbeat.iter().flat_map(|heartbeat| &heartbeat.shards);
        shards.map(|report| report.shard.clone()).collect()
    }
}

impl State {
    const CHANGED: Self = Self::Alive { silent_ms: 0, again: 0 };
    const DEAD: Self = Self::Dead { watched_ms: 0 };

    fn at_first(at: i64, sight: &Sight) -> Self {
        let Ok(heartbeat) = &sight.heartbeat else { return Self::DEAD };
        let old = at.saturating_sub(heartbeat.written_at);
        if sight.process_gone || old > DEAD_AFTER_MS {
            return Self::DEAD;
        }
        Self::Alive { silent_ms: old.clamp(0, GUESSED_MS), again: 0 }
    }

    /// The state of a heartbeat that did not change.
    fn after(self, step: Step) -> Self {
        match self {
            Self::Dead { watched_ms } if step.slept => Self::Dead { watched_ms },
            Self::Dead { watched_ms } => Self::Dead { watched_ms: watched_ms.saturating_add(step.elapsed_ms) },
            Self::Alive { silent_ms, .. } if step.slept => {
                let silent_ms = silent_ms.saturating_add(step.elapsed_ms).min(GUESSED_MS);
                Self::Alive { silent_ms, again: 0 }
            }
            Self::Alive { silent_ms, again } => {
                let (silent_ms, again) = (silent_ms.saturating_add(step.elapsed_ms), again.saturating_add(1));
                if silent_ms >= DEAD_AFTER_MS && again >= LOOKS { Self::DEAD } else { Self::Alive { silent_ms, again } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::{Host, ShardReport};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// What lies under the other worker's name at a look.
    #[derive(Debug, Clone, Copy)]
    enum Lies {
        /// A heartbeat of this number, written at this time by the writer's clock.
        Beat(u64, i64),
        /// The same, of a process on our machine that is gone.
        Gone(u64, i64),
        /// Bytes that can't be read.
        Torn(u64),
        Nothing,
    }

    use Lies::{Beat, Gone, Nothing, Torn};

    fn heartbeat(beat: u64, written_at: i64) -> Heartbeat {
        let shard = ShardReport {
            shard: ShardId::new("s"),
            position: None,
            behind_ms: None,
            records_per_second: 0.0,
            expires_in_ms: None,
            read_at: 0,
        };
        let host = Host { name: "h".into(), boot: None, pid: 1 };
        let worker = WorkerId::new("b");
        Heartbeat {
            format: 1,
            worker,
            beat,
            written_at,
            started_at: 0,
            host,
            loads: true,
            loading_stopped: None,
            shards: vec![shard],
        }
    }

    fn sights(lies: Lies) -> Vec<Sight> {
        let (mark, heartbeat, process_gone) = match lies {
            Beat(beat, written_at) => (beat, Ok(heartbeat(beat, written_at)), false),
            Gone(beat, written_at) => (beat, Ok(heartbeat(beat, written_at)), true),
            Torn(mark) => (mark, Err(Unreadable::Format(9)), false),
            Nothing => return Vec::new(),
        };
        vec![Sight { worker: WorkerId::new("b"), mark, heartbeat, process_gone }]
    }

    fn watch() -> Watch {
        Watch::new(WorkerId::new("a"))
    }

    fn lives(watch: &mut Watch, at: i64, lies: Lies) -> bool {
        watch.look(at, sights(lies)).members.ids().any(|worker| worker.as_str() == "b")
    }

    /// A case: its name, and at each look its time in s, what lies there, and whether it is then alive.
    type Case = (&'static str, &'static [(i64, Lies, bool)]);

    const CASES: &[Case] = &[
        ("alive while it changes", &[(0, Beat(1, 0), true), (7, Beat(2, 6), true), (14, Beat(3, 12), true)]),
        (
            "dead when silent for 8 s",
            &[
                (0, Beat(1, 0), true),
                (2, Beat(2, 2), true),
                (4, Beat(2, 2), true),
                (8, Beat(2, 2), true),
                (10, Beat(2, 2), false),
                (12, Beat(2, 2), false),
            ],
        ),
        ("dead ones that change live", &[(100, Beat(1, 0), false), (102, Beat(2, 2), true), (108, Beat(2, 2), true)]),
        ("an old one is dead at first sight", &[(9, Beat(1, 0), false), (11, Beat(1, 0), false)]),
        (
            "an age counts at first sight, as the others count it",
            &[(8, Beat(1, 0), true), (10, Beat(1, 0), true), (12, Beat(1, 0), false)],
        ),
        (
            "a newcomer's own watch counts beside the age",
            &[(2, Beat(1, 0), true), (4, Beat(1, 0), true), (6, Beat(1, 0), true), (8, Beat(1, 0), false)],
        ),
        (
            "a writer's clock ahead of ours is no age",
            &[(0, Beat(1, 900), true), (4, Beat(1, 900), true), (7, Beat(1, 900), true), (8, Beat(1, 900), false)],
        ),
        (
            "a writer's clock behind ours costs it one look",
            &[(900, Beat(1, 0), false), (902, Beat(2, 2), true), (904, Beat(3, 4), true)],
        ),
        ("a process that is gone is dead at once", &[(0, Gone(1, 0), false), (2, Gone(1, 0), false)]),
        ("one that only seemed gone lives", &[(0, Gone(1, 0), false), (2, Gone(2, 2), true), (4, Gone(2, 2), true)]),
        ("a stranger lives only if it changes", &[(0, Torn(1), false), (2, Torn(1), false), (4, Torn(2), true)]),
        (
            "a stranger dies as others do",
            &[(0, Torn(1), false), (2, Torn(2), true), (6, Torn(2), true), (10, Torn(2), false)],
        ),
        ("one that left is gone at once", &[(0, Beat(1, 0), true), (2, Nothing, false), (4, Beat(2, 4), true)]),
        (
            "after our sleep it takes two more looks",
            &[(0, Beat(1, 0), true), (60, Beat(1, 0), true), (62, Beat(1, 0), true), (64, Beat(1, 0), false)],
        ),
        (
            "after our sleep whoever slept with us has time to beat",
            &[(0, Beat(1, 0), true), (6, Beat(1, 0), true), (60, Beat(1, 0), true), (62, Beat(2, 61), true)],
        ),
        (
            "after our sleep hasty looks are not enough",
            &[
                (0, Beat(1, 0), true),
                (60, Beat(1, 0), true),
                (60, Beat(1, 0), true),
                (60, Beat(1, 0), true),
                (61, Beat(1, 0), true),
                (64, Beat(1, 0), false),
            ],
        ),
        (
            "looks that are always slow see a death as well",
            &[(0, Beat(1, 0), true), (9, Beat(1, 0), true), (18, Beat(1, 0), true), (27, Beat(1, 0), false)],
        ),
        (
            "a clock set back counts nothing",
            &[
                (500, Beat(1, 500), true),
                (100, Beat(1, 500), true),
                (106, Beat(1, 500), true),
                (108, Beat(1, 500), false),
            ],
        ),
        ("one slow look is not two", &[(0, Beat(1, 0), true), (8, Beat(1, 0), true), (9, Beat(1, 0), false)]),
    ];

    #[test]
    fn who_lives_follows_the_table() {
        for (name, looks) in CASES {
            let mut watch = watch();
            for (at, lies, expected) in *looks {
                let writer = match *lies {
                    Beat(beat, written_at) => Beat(beat, written_at * 1000),
                    Gone(beat, written_at) => Gone(beat, written_at * 1000),
                    other => other,
                };
                assert_eq!(lives(&mut watch, at * 1000, writer), *expected, "{name}, at {at} s");
            }
        }
    }

    #[test]
    fn a_worker_is_never_its_own_neighbour() {
        let mut watch = Watch::new(WorkerId::new("b"));
        let members = watch.look(0, sights(Beat(1, 0))).members;
        assert_eq!(members, Members::alone(WorkerId::new("b")));
    }

    #[test]
    fn what_it_reads_is_told_while_it_lives_and_can_be_read() {
        let mut watch = watch();
        let reader = |members: &Members| members.still_reads(&ShardId::new("s")).map(ToString::to_string);
        assert_eq!(reader(&watch.look(0, sights(Beat(1, 0))).members), Some("b".into()));
        assert_eq!(reader(&watch.look(2000, sights(Torn(2))).members), None);
        assert_eq!(reader(&watch.look(4000, sights(Beat(3, 4000))).members), Some("b".into()));
        for at in [8000, 12_000] {
            let _ = watch.look(at, sights(Beat(3, 4000)));
        }
        assert_eq!(reader(&watch.look(14_000, sights(Beat(3, 4000))).members), None);
    }

    #[test]
    fn what_cannot_be_read_is_told_once() {
        let mut watch = watch();
        let looks = [(Beat(1, 0), 0), (Torn(2), 1), (Torn(2), 0), (Torn(3), 0), (Beat(4, 0), 0), (Torn(5), 1)];
        for (number, (lies, told)) in looks.into_iter().enumerate() {
            assert_eq!(watch.look(0, sights(lies)).unreadable.len(), told, "look {number}");
        }
    }

    #[test]
    fn a_sleep_of_ours_is_told_once() {
        let mut watch = watch();
        let looks =
            [(0, None), (8000, None), (16_001, Some(8001)), (30_000, None), (32_000, None), (90_000, Some(58_000))];
        for (at, told) in looks {
            assert_eq!(watch.look(at, sights(Beat(1, 0))).slept_ms, told, "at {at}");
        }
    }

    #[test]
    fn the_dead_are_buried_after_a_minute_of_our_watch() {
        let mut watch = watch();
        let dead = Beat(1, -20_000);
        assert!(watch.look(0, sights(dead)).buried.is_empty());
        // An hour of sleep is no watch.
        assert!(watch.look(3_600_000, sights(dead)).buried.is_empty());
        for second in (2..=60).step_by(2) {
            assert!(watch.look(3_600_000 + second * 1000, sights(dead)).buried.is_empty(), "{second}");
        }
        assert_eq!(watch.look(3_662_000, sights(dead)).buried, [WorkerId::new("b")]);
        assert!(watch.look(3_664_000, sights(Beat(2, 0))).buried.is_empty());
    }

    proptest! {
        #[test]
        fn who_changes_at_every_look_lives_whatever_the_clocks_do(
            looks in vec((any::<i64>(), any::<i64>()), 1..30),
        ) {
            let mut watch = watch();
            let _ = lives(&mut watch, 0, Beat(0, 0));
            for (beat, (at, written_at)) in (1..).zip(looks) {
                prop_assert!(lives(&mut watch, at, Beat(beat, written_at)));
            }
        }

        #[test]
        fn a_death_is_seen_by_the_first_look_after_12_s_and_not_before_8(
            jitter in vec(0i64..200, 40),
            joined_ms in -10_000i64..10_000,
        ) {
            // The writer's last heartbeat is of time 0; it wrote one each 2 s before. We look nearly every 2 s.
            let mut watch = watch();
            let mut at = joined_ms;
            for late in jitter {
                let beat = at.min(0).div_euclid(2000);
                let alive = lives(&mut watch, at, Beat(beat.cast_unsigned(), beat * 2000));
                prop_assert!(alive || at >= 8000, "dead at {}", at);
                prop_assert!(!alive || at < 12_000, "alive at {}", at);
                at += 1800 + late;
            }
        }

        #[test]
        fn after_a_sleep_of_ours_nobody_dies_within_4_s_or_two_looks(
            before in vec(0i64..4000, 0..4),
            slept in 8001i64..1_000_000_000,
            hasty in vec(0i64..2000, 1..6),
        ) {
            let mut watch = watch();
            let mut at = 0;
            prop_assert!(lives(&mut watch, at, Beat(1, 0)));
            for step in before {
                at += step;
                if !lives(&mut watch, at, Beat(1, 0)) {
                    return Ok(());
                }
            }
            let woke = at + slept;
            prop_assert!(lives(&mut watch, woke, Beat(1, 0)));
            at = woke;
            for (looks, step) in (1..).zip(hasty) {
                at += step;
                let alive = lives(&mut watch, at, Beat(1, 0));
                prop_assert_eq!(alive, at - woke < 4000 || looks < 2, "{} ms and {} looks on", at - woke, looks);
                if !alive {
                    break;
                }
            }
        }
    }
}
