//! The table's cases, random histories of splits, merges, stops and retention, and the time it takes.

use proptest::prelude::*;

use super::*;
use crate::batch::StreamIdentity;
use crate::runtime::{Clock, SystemClock};
use crate::source::HashRange;

mod history;

fn id(name: &str) -> ShardId {
    ShardId::new(name)
}

fn shard(name: &str, parents: &[&str]) -> Shard {
    let parents = parents.iter().map(|parent| id(parent)).collect();
    Shard { id: id(name), parents, closed: false, hashes: HashRange::ALL }
}

fn at(sequence: u64) -> Position {
    Position::new(sequence.into(), 0)
}

pub(super) fn opening(start: StartAt, shards: Option<&[&str]>) -> Opening {
    let stream = StreamIdentity { arn: "orders".to_owned(), created_at: 0 };
    Opening { stream, start, opened_at: None, shards: shards.map(|names| names.iter().map(|name| id(name)).collect()) }
}

/// Ready as `name@start`, waiting as `name<parents`, vanished as `name!`, in one line; then how many have ended.
fn told(plan: &ShardPlan) -> (String, usize) {
    let start = |start: &StartAt| match start {
        StartAt::TrimHorizon => "-".to_owned(),
        StartAt::Time(time) => format!("t{time}"),
        StartAt::After(position) => position.to_string(),
    };
    let ready = plan.ready.iter().map(|(shard, from)| format!("{}@{}", shard.id, start(from)));
    let names = |shards: &[ShardId]| shards.iter().map(ShardId::to_string).collect::<Vec<_>>().join("+");
    let waiting = plan.waiting.iter().map(|(shard, parents)| format!("{shard}<{}", names(parents)));
    let vanished = plan.vanished.iter().map(|shard| format!("{shard}!"));
    (ready.chain(waiting).chain(vanished).collect::<Vec<_>>().join(" "), plan.ended)
}

#[test]
fn the_table_holds() {
    let time = opening(StartAt::Time(5), Some(&["a", "b"]));
    let horizon = opening(StartAt::TrimHorizon, Some(&["a", "b"]));
    let old_format = opening(StartAt::Time(5), None);
    let family = [shard("a", &["gone"]), shard("b", &[]), shard("c", &["a", "b"]), shard("d", &["c"])];
    type Case<'a> = (&'a str, Option<&'a Opening>, &'a [Shard], &'a [(&'a str, u64)], &'a [&'a str], &'a str, usize);
    let cases: &[Case<'_>] = &[
        ("no chain yet", None, &family[..2], &[], &[], "a@- b@-", 0),
        ("a first start", Some(&time), &family[..2], &[], &[], "a@t5 b@t5", 0),
        ("from the oldest on", Some(&horizon), &family[..2], &[], &[], "a@- b@-", 0),
        ("a merged child waits for both", Some(&time), &family, &[], &[], "a@t5 b@t5 c<a+b d<c", 0),
        ("one parent ended", Some(&time), &family, &[("a", 7)], &["a"], "b@t5 c<b d<c", 1),
        ("both ended: from its beginning", Some(&time), &family, &[], &["a", "b"], "c@- d<c", 2),
        ("an old opening's start is all's", Some(&old_format), &family, &[], &["a", "b"], "c@t5 d<c", 2),
        ("after a stop", Some(&time), &family, &[("a", 7), ("c", 9)], &["a", "b"], "c@9 d<c", 2),
        ("all but the last ended", Some(&time), &family, &[("a", 7)], &["a", "b", "c"], "d@-", 3),
        ("a parent past retention, ended", Some(&time), &family[2..], &[("a", 7)], &["a", "b"], "c@- d<c", 0),
        ("parents past retention, not ended", Some(&time), &family[2..], &[("a", 7)], &[], "c@- d<c a! b!", 0),
        ("one that came and went unseen", Some(&time), &family[3..], &[], &["a", "b"], "d@- c!", 0),
        ("its child is being read: told before", Some(&time), &family[3..], &[("d", 1)], &["a", "b"], "d@1", 0),
        ("an old opening cannot tell", Some(&old_format), &family[3..], &[], &["a", "b"], "d@t5", 0),
        ("parents before the chain are no loss", Some(&horizon), &family[..2], &[], &["b"], "a@-", 1),
        ("nothing is listed", Some(&horizon), &[], &[("x", 1)], &["a"], "b! x!", 0),
    ];
    for (name, opening, listed, positions, ended, expected, ended_count) in cases {
        let positions = positions.iter().map(|(shard, sequence)| (id(shard), at(*sequence))).collect();
        let ended = ended.iter().map(|shard| id(shard)).collect();
        let known = Known { opening: *opening, positions: &positions, ended: &ended };
        assert_eq!(told(&plan(listed, &known)), ((*expected).to_owned(), *ended_count), "{name}");
    }
}

#[test]
fn parents_in_a_circle_hold_nobody_up_for_ever() {
    let cases: [(&[Shard], &str); 5] = [
        (&[shard("a", &["a"])], "a@-"),
        (&[shard("a", &["b"]), shard("b", &["a"])], "b@- a<b"),
        (&[shard("a", &["c"]), shard("b", &["a"]), shard("c", &["b"]), shard("d", &["c"])], "b@- a<c c<b d<c"),
        // The circle runs through the second parent, and the first one is free.
        (&[shard("a", &["x", "b"]), shard("b", &["a"]), shard("x", &[])], "b@- x@- a<x+b"),
        (&[shard("a", &["a", "b"]), shard("a", &["a", "b"]), shard("b", &["b"])], "a@- b@-"),
    ];
    for (listed, expected) in cases {
        let known = Known { opening: None, positions: &BTreeMap::new(), ended: &BTreeSet::new() };
        assert_eq!(told(&plan(listed, &known)).0, expected, "{listed:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_listed_comes_to_its_turn(edges in proptest::collection::vec((0..12u32, 0..12u32), 0..40)) {
        let name = |number: u32| format!("{number:02}");
        let listed: Vec<Shard> = (0..12)
            .map(|child| {
                let parents: Vec<String> = edges.iter().filter(|edge| edge.0 == child).map(|edge| name(edge.1)).collect();
                shard(&name(child), &parents.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let mut ended = BTreeSet::new();
        for _ in 0..12 {
            let plan = plan(&listed, &Known { opening: None, positions: &BTreeMap::new(), ended: &ended });
            prop_assert!(ended.len() == 12 || !plan.ready.is_empty(), "{:?}", plan.waiting);
            prop_assert_eq!(plan.ready.len() + plan.waiting.len() + plan.ended, 12);
            ended.extend(plan.ready.into_iter().map(|(shard, _)| shard.id));
        }
        prop_assert_eq!(ended.len(), 12);
    }
}

#[test]
fn ten_thousand_shards_are_planned_in_a_moment() {
    let name = |number: usize| format!("shardId-{number:012}");
    // Split and merged and split again: each has the two before it as parents, or the one.
    let deep = |count: usize| -> Vec<Shard> {
        let parents = |number: usize| (number.saturating_sub(2)..number).map(name).collect::<Vec<_>>();
        let listed = |number| shard(&name(number), &parents(number).iter().map(String::as_str).collect::<Vec<_>>());
        (0..count).map(listed).collect()
    };
    let horizon = opening(StartAt::TrimHorizon, Some(&[]));
    for (count, longest_millis) in [(1_000, 300), (10_000, 3_000)] {
        let listed = deep(count);
        let ended: BTreeSet<ShardId> = listed[..count / 2].iter().map(|shard| shard.id.clone()).collect();
        let positions = ended.iter().map(|shard| (shard.clone(), at(1))).collect();
        let started_at = SystemClock.now_millis();
        let plan = plan(&listed, &Known { opening: Some(&horizon), positions: &positions, ended: &ended });
        let millis = SystemClock.now_millis() - started_at;
        println!("{count} shards planned in {millis} ms");
        assert_eq!((plan.ready.len(), plan.waiting.len(), plan.ended), (1, count / 2 - 1, count / 2));
        assert!(millis < longest_millis, "{count} shards: {millis} ms");
    }
}
