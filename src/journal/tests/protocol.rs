//! The commit protocol case by case: races, zombies, answers that never came.

use std::future::Future;
use std::task::{Context as TaskContext, Waker};

use super::faults::{Fault, Faulty};
use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn of_two_that_read_the_same_one_commits() {
    let store = memory();
    let (mut left, mut right) = (opened(&store, 1).await, opened(&store, 2).await);
    left.commit(&batch("left", &[(0, 0, 5)])).await.expect("first");
    let error = right.commit(&batch("right", &[(0, 0, 3)])).await.expect_err("second");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("the shard stands at 5 (inclusive)"), "{error}");
    assert_eq!(log(&store).await, ["left"]);
    assert_eq!(right.state(), left.state(), "the loser stands where it must start again");
    right.commit(&batch("again", &[(0, 5, 6)])).await.expect("from there");
}

#[tokio::test]
async fn two_with_shards_of_their_own_both_commit() {
    let store = memory();
    let (mut left, mut right) = (opened(&store, 1).await, opened(&store, 2).await);
    assert_eq!(left.commit(&batch("left", &[(0, 0, 5)])).await.expect("commits").number, 2);
    assert_eq!(right.commit(&batch("right", &[(1, 0, 3)])).await.expect("the next number").number, 3);
    let found = left.catch_up().await.expect("reads");
    assert_eq!(found.iter().map(|found| found.entry.number).collect::<Vec<_>>(), [3]);
    assert_eq!(left.state(), right.state());
    assert_eq!(left.catch_up().await.expect("reads"), []);
}

#[tokio::test]
async fn a_zombie_is_fenced_however_long_it_slept() {
    let store = memory();
    let mut zombie = opened(&store, 1).await;
    let mut heir = opened(&store, 2).await;
    for step in 0..50 {
        heir.commit(&batch(&format!("h{step}"), &[(0, step, step + 1)])).await.expect("commits");
    }
    let error = zombie.commit(&batch("zombie", &[(0, 0, 9), (1, 0, 4)])).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(zombie.state(), heir.state());
    assert_eq!(log(&store).await.len(), 50);
}

#[tokio::test]
async fn an_answer_that_never_came_is_looked_up() {
    use Fault::{Late, Lost, None as Done, Unanswered};
    let cases: [&[Fault]; 7] = [
        &[Done],
        &[Lost],
        &[Unanswered],
        &[Late],
        &[Lost, Lost, Unanswered],
        &[Late, Late, Lost],
        &[Lost, Late, Lost, Unanswered],
    ];
    for faults in cases {
        let faulty = Faulty::scripted();
        let store = faulty.store();
        let mut journal = opened(&store, 1).await;
        faulty.script(faults);
        let entry = journal.commit(&dimension("d")).await.expect("commits in the end");
        faulty.land().await;
        assert_eq!((entry.number, log(&store).await), (2, vec!["d".to_owned()]), "{faults:?}");
        assert_eq!(journal.commit(&dimension("e")).await.expect("goes on").number, 3, "{faults:?}");
    }
}

#[tokio::test]
async fn an_ambiguous_put_that_lost_the_race_takes_the_next_number() {
    let faulty = Faulty::scripted();
    let store = faulty.store();
    let (mut left, mut right) = (opened(&store, 1).await, opened(&store, 2).await);
    left.commit(&dimension("left")).await.expect("first");
    faulty.script(&[Fault::Lost]);
    assert_eq!(right.commit(&dimension("right")).await.expect("second").number, 3);
    assert_eq!(log(&store).await, ["left", "right"]);
}

/// Polls once a commit whose put meets `fault` and whose looks at the object fail, and drops it.
fn drop_midway(faulty: &Faulty, journal: &mut Journal, staged: &Staged, fault: Fault) {
    faulty.script(&[fault]);
    faulty.fail_reads(true);
    let mut commit = std::pin::pin!(journal.commit(staged));
    let polled = commit.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "{fault:?}: it pauses before the second look");
    faulty.fail_reads(false);
}

#[tokio::test]
async fn a_batch_dropped_midway_and_committed_again_stands_in_the_log_once() {
    for staged in [dimension("x"), batch("x", &[(0, 0, 5)])] {
        for fault in [Fault::Unanswered, Fault::Lost, Fault::Late] {
            for landed in [false, true] {
                let faulty = Faulty::scripted();
                let mut journal = opened(&faulty.store(), 1).await;
                drop_midway(&faulty, &mut journal, &staged, fault);
                if landed {
                    faulty.land().await;
                }
                assert_eq!(journal.commit(&staged).await.expect("commits").number, 2);
                faulty.land().await;
                assert_eq!(log(&faulty.store()).await, ["x"], "{fault:?}, landed before: {landed}");
            }
        }
    }
}

#[tokio::test]
async fn a_batch_without_an_answer_and_committed_again_stands_in_the_log_once() {
    for staged in [dimension("x"), batch("x", &[(0, 0, 5)])] {
        for folded_between in [false, true] {
            let faulty = Faulty::scripted();
            let mut journal = opened(&faulty.store(), 1).await;
            faulty.script(&[Fault::Unanswered]);
            faulty.fail_reads(true);
            let error = journal.commit(&staged).await.expect_err("nobody answers");
            faulty.fail_reads(false);
            assert_eq!(error.kind(), ErrorKind::Transient);
            assert!(error.to_string().contains("cannot tell whether journal/00000000000000000002.json"), "{error}");
            if folded_between {
                assert_eq!(journal.catch_up().await.expect("reads").len(), 1);
            }
            assert_eq!(journal.commit(&staged).await.expect("it had succeeded").number, 2);
            assert_eq!(log(&faulty.store()).await, ["x"]);
        }
    }
}

/// On a folder such a put has linked the entry and not synced it: a power cut may take it away again.
#[tokio::test]
async fn an_entry_that_no_put_has_answered_for_is_not_committed_although_it_can_be_read() {
    let faulty = Faulty::scripted();
    let mut journal = opened(&faulty.store(), 1).await;
    faulty.script(&[Fault::Unanswered]);
    faulty.script(&[Fault::Lost; 5]);
    let error = journal.commit(&dimension("x")).await.expect_err("no put answers");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(log(&faulty.store()).await, ["x"], "though it is there");
    assert_eq!(journal.commit(&dimension("x")).await.expect("a put answers").number, 2);
    assert_eq!(log(&faulty.store()).await, ["x"]);
}

#[tokio::test]
async fn an_outage_is_transient_and_leaves_nothing() {
    let faulty = Faulty::scripted();
    let mut journal = opened(&faulty.store(), 1).await;
    faulty.outage(1000);
    for error in [
        journal.commit(&batch("a", &[(0, 0, 5)])).await.expect_err("out"),
        journal.catch_up().await.expect_err("out"),
        Journal::open(faulty.store(), context(2), PIPELINE).await.err().expect("out"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
    faulty.outage(0);
    assert_eq!(journal.commit(&batch("a", &[(0, 0, 5)])).await.expect("the store is back").number, 2);
}

#[tokio::test]
async fn what_may_not_stand_in_the_log_is_not_written() {
    let mut miscounted = batch("x", &[(0, 0, 5)]);
    miscounted.counts.events = 6;
    let mut vanished = batch("x", &[(0, 0, 5)]);
    vanished.counts.events = 6;
    vanished.counts.failed_checks.insert("positive".into(), 1);
    let mut unstaged = batch("x", &[(0, 0, 5)]);
    unstaged.tables.clear();
    let cases = [
        (Staged::default(), "neither an opening"),
        (miscounted, "6 events are not"),
        (vanished, "0 rows in quarantine are not the 1 refused"),
        (unstaged, "orders: its files hold 0 rows, 5 are counted"),
    ];
    let store = memory();
    let mut journal = opened(&store, 1).await;
    for (staged, words) in cases {
        let error = journal.commit(&staged).await.expect_err(words);
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = open(&memory(), 1).await.commit(&batch("x", &[(0, 0, 5)])).await.expect_err("no chain");
    assert!(error.kind() == ErrorKind::Internal && error.to_string().contains("opened a chain"), "{error}");
    assert_eq!(open(&store, 2).await.state().through, 1);
}

#[tokio::test]
async fn dimension_files_need_no_chain_and_no_rows() {
    let mut journal = open(&memory(), 1).await;
    journal.commit(&dimension("x")).await.expect("before any chain");
    let unchanged = Staged { dimension_files: dimension("y").dimension_files, ..Staged::default() };
    journal.commit(&unchanged).await.expect("a file without a row");
    assert_eq!(journal.state().dimension_files["riders_y"].fingerprint, "y");
}

#[tokio::test]
async fn two_that_open_the_same_chain_open_it_once() {
    let store = memory();
    let (mut left, mut right) = (open(&store, 1).await, open(&store, 2).await);
    let theirs = left.open_chain(opening(1)).await.expect("first");
    left.commit(&batch("a", &[(0, 0, 5)])).await.expect("commits");
    let later = Opening { start: StartAt::Time(5), ..opening(1) };
    assert_eq!(right.open_chain(later.clone()).await.expect("the same chain"), theirs);
    assert_eq!(right.state(), left.state());
    let error = right.open_chain(later).await.expect_err("a second time");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(right.state().positions[&shard(0)], at(5), "nothing is read twice");
}

#[tokio::test]
async fn two_that_open_different_chains_are_not_both_right() {
    let store = memory();
    let (mut left, mut right) = (open(&store, 1).await, open(&store, 2).await);
    left.open_chain(opening(1)).await.expect("first");
    assert_eq!(right.open_chain(opening(2)).await.expect_err("look again").kind(), ErrorKind::Fenced);
    assert_eq!(right.open_chain(opening(2)).await.expect("decided again").number, 2);
}

#[tokio::test]
async fn a_batch_of_the_old_stream_is_fenced_even_where_its_ranges_fit_the_new() {
    let store = memory();
    let (mut left, mut right) = (opened(&store, 1).await, opened(&store, 2).await);
    right.open_chain(opening(2)).await.expect("made anew");
    let error = left.commit(&batch("old", &[(0, 0, 5)])).await.expect_err("of another stream");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("has opened a new chain"), "{error}");
    assert_eq!(log(&store).await, Vec::<String>::new());
}

#[tokio::test]
async fn it_is_fenced_even_where_an_earlier_try_has_folded_the_new_chain() {
    for folded_between in [false, true] {
        let faulty = Faulty::scripted();
        let (mut left, mut right) = (opened(&faulty.store(), 1).await, opened(&faulty.store(), 2).await);
        right.open_chain(opening(2)).await.expect("made anew");
        let old = batch("old", &[(0, 0, 5)]);
        faulty.fail_lists(true);
        assert_eq!(left.commit(&old).await.expect_err("no listing").kind(), ErrorKind::Transient);
        faulty.fail_lists(false);
        assert_eq!(left.state().through, 2, "the opening is folded");
        if folded_between {
            assert_eq!(left.catch_up().await.expect("reads"), [], "nothing is left to fold");
        }
        assert_eq!(left.commit(&old).await.expect_err("of another stream").kind(), ErrorKind::Fenced);
        left.commit(&batch("new", &[(0, 0, 3)])).await.expect("told once");
        assert_eq!(log(&faulty.store()).await, ["new"]);
    }
}

#[tokio::test]
async fn a_dimension_file_is_of_no_stream() {
    let store = memory();
    let (mut left, mut right) = (opened(&store, 1).await, opened(&store, 2).await);
    right.open_chain(opening(2)).await.expect("made anew");
    assert_eq!(left.commit(&dimension("d")).await.expect("commits").number, 3);
}

/// The engine runs the journal in a task that may move between threads.
#[test]
fn its_futures_may_move_between_threads() {
    fn may_move<T: Send>(_: T) {}
    let store = memory();
    may_move(Journal::open(store.clone(), context(1), PIPELINE));
    may_move(fold(&store, PIPELINE));
    may_move(entries(&store, 0, 1));
    may_move(async move {
        let mut journal = opened(&store, 1).await;
        (journal.commit(&Staged::default()).await, journal.catch_up().await)
    });
}
