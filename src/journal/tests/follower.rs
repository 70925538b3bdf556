//! A follower keeps up with every writer.

use super::*;
use crate::journal::Follower;

#[tokio::test]
async fn a_follower_sees_what_each_writer_commits_and_writes_nothing() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    let mut follower = Follower::of(&journal, &store);
    assert!(!follower.catch_up().await.expect("reads"));
    journal.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
    let mut other = open(&store, 2).await;
    other.commit(&batch("b", &[(1, 0, 7)])).await.expect("commits");
    assert!(follower.catch_up().await.expect("reads"));
    assert_eq!(follower.state(), other.state());
    assert!(!follower.catch_up().await.expect("reads"), "nothing new");
}

#[tokio::test]
async fn a_range_that_begins_at_anothers_newest_entry_is_committed() {
    let store = memory();
    let (mut journal, mut other) = (opened(&store, 1).await, opened(&store, 2).await);
    other.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
    // A follower has told this writer's reader where the other stands; the writer itself has not looked.
    let entry = journal.commit(&batch("b", &[(0, 5, 7)])).await.expect("it fits");
    assert_eq!(entry.number, 3);
    let error = other.commit(&batch("late", &[(0, 5, 9)])).await.expect_err("taken");
    assert_eq!(error.kind(), crate::error::ErrorKind::Fenced);
    assert_eq!(log(&store).await, ["a", "b"]);
}

#[tokio::test]
async fn a_shard_that_has_ended_takes_no_further_range_and_ends_once() {
    let store = memory();
    let (mut journal, mut other) = (opened(&store, 1).await, opened(&store, 2).await);
    let ended = |number: usize| Marks { ended: BTreeSet::from([shard(number)]), ..Marks::default() };
    // The end of a shard is worth an entry of its own.
    let entry = journal.commit(&Staged { marks: ended(0), ..Staged::default() }).await.expect("commits");
    assert_eq!(entry.marks.ended.len(), 1);
    for staged in [batch("late", &[(0, 0, 5)]), Staged { marks: ended(0), ..Staged::default() }] {
        let error = other.commit(&staged).await.expect_err("it has ended");
        assert_eq!(error.kind(), crate::error::ErrorKind::Fenced);
        assert!(error.to_string().contains("read to its end"), "{error}");
    }
    let last = Staged { marks: ended(1), ..batch("last", &[(1, 0, 3)]) };
    other.commit(&last).await.expect("a range and the end in one entry");
    assert_eq!(journal::fold(&store, PIPELINE).await.expect("folds").marks.ended.len(), 2);
}

#[tokio::test]
async fn marks_count_for_their_chain_alone() {
    let store = memory();
    let mut journal = opened(&store, 1).await;
    let marks = Marks {
        ended: BTreeSet::from([shard(0)]),
        caught_up: BTreeMap::from([(shard(1), 7)]),
        losses: vec![Loss { shard: shard(1), after: None, next: Some(at(3)), from: 1, to: 2 }],
    };
    journal.commit(&Staged { marks: marks.clone(), ..Staged::default() }).await.expect("commits");
    assert_eq!(journal.state().marks, marks);
    journal.open_chain(opening(2)).await.expect("a stream made anew");
    assert_eq!(journal.state().marks, Marks::default());
}
