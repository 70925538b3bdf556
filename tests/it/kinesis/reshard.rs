//! Splits, merges and long lists of shards on kinesis-local, as AWS documents them.

use millstream::batch::{Position, StartAt};
use millstream::source::{KinesisSource, Shard, Source};

use super::{Stream, context, kinesis_local, middle, settings};

/// Opens a closed shard and reads it to its end: the payloads, and how many answers it took.
async fn read_to_the_end(source: &KinesisSource, shard: &Shard, start: StartAt) -> (Vec<String>, Vec<Position>) {
    let mut reader = source.open(shard, start).await.expect("open");
    let (mut payloads, mut positions) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let page = reader.next().await.expect("a page");
        for record in page.records {
            payloads.push(String::from_utf8_lossy(&record.payload).into_owned());
            positions.push(record.position);
        }
        if page.end_of_shard {
            return (payloads, positions);
        }
    }
    panic!("{} has not ended after 20 answers", shard.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_parents_are_read_to_their_end_from_wherever_reading_stopped() {
    let port = kinesis_local::port();
    let stream = Stream::make(port, "closed-parents", 1).await;
    let source = KinesisSource::new(settings(port, "closed-parents"), context());
    let records = |from: usize| -> Vec<(String, String)> {
        (from..from + 30).map(|number| (format!("key {number}"), number.to_string())).collect()
    };
    let numbers = |from: usize, to: usize| -> Vec<String> { (from..to).map(|number| number.to_string()).collect() };
    stream.put(&records(0)).await;
    let parent = stream.open_shards().await.remove(0);
    stream.split(&parent, middle(&parent)).await;
    stream.put(&records(30)).await;
    let children = stream.open_shards().await;
    stream.merge(&children[0], &children[1]).await;
    stream.put(&records(60)).await;

    let shards = stream.shards().await;
    let closed: Vec<bool> = shards.iter().map(|shard| shard.closed).collect();
    assert_eq!(closed, [true, true, true, false]);
    let (all, positions) = read_to_the_end(&source, &shards[0], StartAt::TrimHorizon).await;
    assert_eq!(all, numbers(0, 30));
    for stopped_after in [0, 14, 28, 29] {
        let start = StartAt::After(positions[stopped_after].clone());
        let (rest, _) = read_to_the_end(&source, &shards[0], start).await;
        assert_eq!(rest, numbers(stopped_after + 1, 30));
    }
    let mut halves = Vec::new();
    for child in &shards[1..3] {
        let (half, _) = read_to_the_end(&source, child, StartAt::TrimHorizon).await;
        assert!(!half.is_empty(), "30 keys reach both halves");
        halves.extend(half);
    }
    halves.sort();
    assert_eq!(halves, numbers(30, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_of_a_parent_names_the_children_that_are_listed() {
    let port = kinesis_local::port();
    let stream = Stream::make(port, "named-children", 2).await;
    let parents = stream.open_shards().await;
    stream.split(&parents[0], middle(&parents[0])).await;
    for shard in stream.shards().await.iter().filter(|shard| shard.closed) {
        let iterator = stream.client.get_shard_iterator().stream_name(&stream.name).shard_id(shard.id.as_str());
        let iterator = iterator.shard_iterator_type("TRIM_HORIZON".into()).send().await.expect("an iterator");
        let mut next = iterator.shard_iterator;
        let mut named = Vec::new();
        while let Some(iterator) = next {
            let answer = stream.client.get_records().shard_iterator(iterator).send().await.expect("an answer");
            named = answer.child_shards.unwrap_or_default();
            next = answer.next_shard_iterator;
        }
        let listed = stream.shards().await;
        let children = listed.iter().filter(|candidate| candidate.parents.contains(&shard.id));
        let ranges = |first: u128, last: u128| (first.to_string(), last.to_string());
        let expected: Vec<(String, (String, String))> =
            children.map(|child| (child.id.to_string(), ranges(child.hashes.first, child.hashes.last))).collect();
        let mut found: Vec<(String, (String, String))> = named
            .into_iter()
            .map(|child| {
                let range = child.hash_key_range.expect("its hash keys");
                (child.shard_id, (range.starting_hash_key, range.ending_hash_key))
            })
            .collect();
        found.sort();
        assert_eq!((found.len(), found), (2, expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_shards_than_a_page_holds_are_all_listed_with_the_closed_ones() {
    let stream = Stream::make(kinesis_local::port(), "many-shards", 1_000).await;
    for shard in &stream.open_shards().await[..3] {
        stream.split(shard, middle(shard)).await;
    }
    let shards = stream.shards().await;
    assert_eq!((shards.len(), shards.iter().filter(|shard| shard.closed).count()), (1_006, 3));
    let mut names: Vec<&str> = shards.iter().map(|shard| shard.id.as_str()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 1_006, "none twice");
    let open = stream.open_shards().await;
    let joined = open.windows(2).all(|pair| pair[0].hashes.last + 1 == pair[1].hashes.first);
    assert!(joined && open[0].hashes.first == 0 && open[1_002].hashes.last == u128::MAX, "no hash key is left out");
}
