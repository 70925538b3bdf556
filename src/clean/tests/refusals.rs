//! Events that are refused: by checks, by the SQL, by what a warehouse takes; and counts that add up whatever comes.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::batch::Reject;
use crate::error::ErrorKind;

#[tokio::test]
async fn an_event_fails_by_the_first_check_that_is_not_true() {
    let checks = vec![check("known", "id IS NOT NULL"), check("paid", "amount >= 0"), check("small", "amount < 100")];
    let cleaner = cleaner(checks, vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let unknown = (None, None, Some(-1), Vec::new());
    let unpaid = (Some(3), None, None, Vec::new());
    let batch = [event(1, "a", 1), unknown, event(2, "b", -500), unpaid, event(4, "d", 10_000)];
    let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
    assert_eq!(
        told(&cleaned),
        [
            ("known", "id IS NOT NULL is not true: id is null", "<1.0>\n"),
            ("paid", "amount >= 0 is not true: amount is -5.00", "<2.0>\n"),
            ("paid", "amount >= 0 is not true: amount is null", "<3.0>\n"),
            ("small", "amount < 100 is not true: amount is 100.00", "<4.0>\n"),
        ]
    );
    assert_eq!(shown(&cleaned, "t"), ["1"]);
    assert_eq!(cleaned.counts.failed_checks["paid"], 2);
    assert_eq!((cleaned.rejects[1].position.to_string(), cleaned.rejects[1].arrived_at), ("3".to_owned(), 2000));
    adds_up(&cleaned.counts);
}

/// DataFusion knows coalesce, nvl and their like only until an expression is simplified.
#[tokio::test]
async fn a_check_may_use_functions_that_exist_only_before_simplification() {
    let checks = vec![check("paid", "coalesce(amount, 0) >= 0"), check("named", "nvl(name, 'x') <> 'y'")];
    let cleaner = cleaner(checks, vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let batch = [event(1, "a", 1), (Some(2), None, None, Vec::new()), event(3, "y", 1), event(4, "d", -100)];
    let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["1", "2"]);
    let told: Vec<&str> = cleaned.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert_eq!(told, ["named", "paid"]);
}

#[tokio::test]
async fn a_refusal_repeats_what_the_producer_sent_and_whoever_shows_it_escapes_it() {
    let cleaner = cleaner(vec![check("known", "name = 'a'")], vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let cleaned = cleaner.clean(events(&[event(1, "\u{1b}[31mred\n", 1)])).await.expect("cleaned");
    assert_eq!(cleaned.rejects[0].message, "name = 'a' is not true: name is \u{1b}[31mred\n");
}

#[tokio::test]
async fn a_check_that_fails_on_an_event_refuses_that_event_alone() {
    let checks =
        vec![check("not_seven", "id <> 7"), check("share", "100 / id > 3"), check("number", "CAST(name AS int) > 0")];
    let cleaner = cleaner(checks, vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let mut batch: Vec<Event> = (1..=20).map(|id| event(id, "1", 1)).collect();
    batch[4].0 = Some(0);
    batch[6].1 = Some("never looked at".to_owned());
    batch[9].1 = Some("ten".to_owned());
    let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
    assert_eq!(
        told(&cleaned),
        [
            ("share", "100 / id > 3 cannot be told: divide by zero error: id is 0", "<4.0>\n"),
            ("not_seven", "id <> 7 is not true: id is 7", "<6.0>\n"),
            (
                "number",
                "CAST(name AS int) > 0 cannot be told: cannot cast string 'ten' to value of Int32 type: name is ten",
                "<9.0>\n"
            ),
        ]
    );
    assert_eq!(cleaned.counts.passed, 17);
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn checks_hold_even_where_no_table_reads_events() {
    let cleaner = cleaner(vec![check("c", "id > 0")], Vec::new()).await;
    let cleaned = cleaner.clean(events(&[event(0, "a", 1), event(1, "b", 1)])).await.expect("cleaned");
    assert_eq!((cleaned.counts.passed, told(&cleaned).len()), (1, 1));
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn a_long_value_is_cut_short_in_the_message() {
    let cleaner = cleaner(vec![check("c", "name = 'x'")], vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let cleaned = cleaner.clean(events(&[event(1, &"é".repeat(1000), 1)])).await.expect("cleaned");
    let expected = format!("name = 'x' is not true: name is {}…", "é".repeat(64));
    assert_eq!(cleaned.rejects[0].message, expected);
}

#[tokio::test]
async fn the_payload_is_the_event_s_own_where_its_record_holds_several() {
    let cleaner = cleaner(vec![check("c", "id > 0")], vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let batch = [vec![event(0, "a", 1), event(1, "b", 1)], vec![event(0, "c", 1)], vec![event(0, "d", 1)]];
    let mut decoded = records(&batch);
    // The last record held a second event, which decode refused.
    let last = &decoded.raw.records[2];
    decoded.rejects.push(Reject {
        reason: "not_json".to_owned(),
        message: String::new(),
        shard: last.shard.clone(),
        position: last.position.clone(),
        index: 1,
        arrived_at: last.arrived_at,
        payload: Bytes::from_static(b"{"),
    });
    let cleaned = cleaner.clean(decoded).await.expect("cleaned");
    let payloads: Vec<_> = told(&cleaned).into_iter().map(|(_, _, payload)| payload).collect();
    assert_eq!(payloads, ["{", "<0.0>", "<1.0>\n", "<2.0>"]);
    assert_eq!((cleaned.counts.events, cleaned.counts.undecodable["not_json"]), (5, 1));
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn an_event_that_one_table_s_sql_fails_on_is_in_no_table() {
    let tables = vec![
        table("all_of_it", &["id"], "SELECT id FROM events"),
        table("numbers", &["id"], "SELECT id, CAST(name AS int) AS number FROM events WHERE name <> ''"),
        table("shares", &["id"], "SELECT id, 100 / id AS share FROM events"),
    ];
    let cleaner = cleaner(Vec::new(), tables).await;
    let mut batch: Vec<Event> = (1..=30_000).map(|id| event(id, "5", 1)).collect();
    batch[100].1 = Some("x".to_owned());
    batch[101].1 = Some(String::new());
    batch[20_000].0 = Some(0);
    batch[29_999].1 = Some("y".to_owned());
    let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
    assert_eq!(
        told(&cleaned),
        [
            ("sql_error", "the SQL of numbers fails on it: cannot cast string 'x' to value of Int32 type", "<100.0>\n"),
            ("sql_error", "the SQL of shares fails on it: divide by zero error", "<20000.0>\n"),
            (
                "sql_error",
                "the SQL of numbers fails on it: cannot cast string 'y' to value of Int32 type",
                "<29999.0>\n"
            ),
        ]
    );
    for (table, filtered, staged) in [("all_of_it", 0, 29_997), ("numbers", 1, 29_996), ("shares", 0, 29_997)] {
        let counts = cleaned.counts.tables[table];
        assert_eq!((counts.filtered, counts.staged), (Some(filtered), staged), "{table}");
    }
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn rows_that_fail_only_together_are_thinned_until_the_rest_fits() {
    // Each sum fits; all of them together overflow.
    let sql = "SELECT 1 AS one, CAST(sum(CAST(amount AS bigint)) AS smallint) AS total, \
               max(_arrived_at) AS _arrived_at, max(_position) AS _position FROM file";
    let batch = [event(1, "a", 2_000_000), event(2, "b", 2_000_000)];
    let cleaned = clean_file(&["one"], sql, &batch).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["1|20000"]);
    assert_eq!(told(&cleaned)[0].0, "sql_error");
    adds_up(&cleaned.counts);
    // Far too many of them: in the end the rest is refused, and the stream goes on.
    let batch: Vec<Event> = (0..100).map(|id| event(id, "a", 2_000_000)).collect();
    let cleaned = clean_file(&["one"], sql, &batch).await.expect("cleaned");
    assert_eq!((cleaned.counts.passed, cleaned.counts.failed_checks["sql_error"]), (0, 100));
    assert!(cleaned.tables.is_empty());
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn what_a_warehouse_would_refuse_is_refused_here() {
    let sql = "SELECT id, concat(name, name) AS twice, DATE '9999-12-31' + CAST(id - 3 AS int) AS day FROM events";
    let other = "SELECT coalesce(name, 'none') AS name, id FROM events";
    let tables = vec![table("t", &["id"], sql), table("other", &["name"], other)];
    let cleaner = cleaner(Vec::new(), tables).await;
    let unkeyed = (None, Some("n".to_owned()), None, Vec::new());
    let batch = [event(1, "a", 1), unkeyed, event(2, &"b".repeat(32_768), 1), event(3, "\0", 1), event(4, "d", 1)];
    let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
    assert_eq!(
        told(&cleaned),
        [
            ("null_key", "t: the key column id is null", "<1.0>\n"),
            ("too_long", "t: twice has 65536 bytes; a warehouse takes 65535", "<2.0>\n"),
            ("nul_byte", "t: twice holds a NUL byte, its byte 0 from 0", "<3.0>\n"),
            ("out_of_range", "t: day is a day outside of 0001-01-01 to 9999-12-31", "<4.0>\n"),
        ]
    );
    assert_eq!((shown(&cleaned, "t").len(), shown(&cleaned, "other")), (1, vec!["a|1".to_owned()]));
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn a_refused_row_of_a_group_takes_the_row_it_is_versioned_by() {
    let sql = "SELECT name, string_agg(name, '') AS all_of_it, max(_arrived_at) AS _arrived_at, \
               max(_position) AS _position FROM file GROUP BY name";
    let batch = [event(1, &"a".repeat(40_000), 1), event(2, &"a".repeat(40_000), 1), event(3, "b", 1)];
    let cleaned = clean_file(&["name"], sql, &batch).await.expect("cleaned");
    let refused: Vec<_> = told(&cleaned).into_iter().map(|(reason, _, payload)| (reason, payload)).collect();
    assert_eq!(refused, [("too_long", "<1.0>\n")]);
    assert_eq!(shown(&cleaned, "t").len(), 2);
    let made_up =
        "SELECT CAST(NULL AS int) AS id, max(_arrived_at) AS _arrived_at, 'x' AS _position FROM file GROUP BY name";
    let error = clean_file(&["id"], made_up, &[event(1, "a", 1)]).await.expect_err("of no row");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("its _position is that of no event"), "{error}");
}

/// `sql` over `batch` in a session of 1 MiB.
async fn in_one_mebibyte(sql: &str, batch: &[Event]) -> Result<Cleaned> {
    let settings = SessionSettings { memory_bytes: 1 << 20, partitions: 1 };
    let planned = Cleaner::plan(&pipeline(Vec::new(), vec![table("t", &["id"], sql)]), settings).await;
    planned.expect("no fault").clean(events(batch)).await
}

const LONG_NAMES: &str = "SELECT id, repeat(name, 1000) AS name FROM events";

#[tokio::test]
async fn a_batch_that_needs_more_memory_than_there_is_is_cleaned_in_parts() {
    let batch: Vec<Event> = (0..2_000).map(|id| event(id, "0123456789", 1)).collect();
    let settings = SessionSettings { memory_bytes: 1 << 20, partitions: 1 };
    let planned = Cleaner::plan(&pipeline(Vec::new(), vec![table("t", &["id"], LONG_NAMES)]), settings).await;
    let cleaner = planned.expect("no fault");
    let (mut found, mut parts, mut records, mut rest) = (Vec::new(), 0, 0, Some(events(&batch)));
    let mut most = usize::MAX;
    while let Some(decoded) = rest {
        let (part, left) = cleaner.clean_some(decoded, most).await.expect("cleaned");
        let taken = usize::try_from(part.counts.records).expect("a count");
        assert!((1..=most).contains(&taken), "{taken} of {most}");
        most = taken * 2;
        assert!(part.rejects.is_empty(), "{:?}", part.rejects);
        found.extend(shown(&part, "t"));
        adds_up(&part.counts);
        (parts, records, rest) = (parts + 1, records + part.counts.records, left);
    }
    let expected: Vec<String> = (0..2_000).map(|id| format!("{id}|{}", "0123456789".repeat(1000))).collect();
    assert!(found == expected);
    assert_eq!(records, 2_000);
    assert!(5 < parts && parts < 200, "{parts} parts");
}

#[tokio::test]
async fn an_event_that_alone_needs_too_much_memory_is_refused_alone() {
    let mut batch: Vec<Event> = (0..100).map(|id| event(id, "0123456789", 1)).collect();
    batch[70].1 = Some("x".repeat(10_000));
    let part = "repeat(name, 100)";
    let sql = format!("SELECT id, concat({part}, {part}, {part}, {part}, {part}) AS name FROM events");
    let cleaned = in_one_mebibyte(&sql, &batch).await.expect("cleaned");
    let told = told(&cleaned);
    let [("sql_error", message, "<70.0>\n")] = told.as_slice() else { panic!("{told:?}") };
    assert!(message.starts_with("the SQL of t fails on it: concat() would make 50000"), "{message}");
    assert!(message.ends_with(" bytes for one row, more than the memory that is left"), "{message}");
    assert_eq!(shown(&cleaned, "t").len(), 99);
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn an_event_whose_unnested_rows_would_be_too_large_is_refused_alone() {
    let mut batch: Vec<Event> = (0..100).map(|id| event(id, "a name", 1)).collect();
    batch.iter_mut().for_each(|event| event.3 = vec![1, 2]);
    (batch[70].1, batch[70].3) = (Some("x".repeat(60_000)), vec![7; 2_000]);
    let sql = "SELECT id, unnest(tags) AS tag, name FROM events";
    let cleaned = cleaner(Vec::new(), vec![table("t", &[], sql)]).await.clean(events(&batch)).await.expect("cleaned");
    let told = told(&cleaned);
    let [("sql_error", message, "<70.0>\n")] = told.as_slice() else { panic!("{told:?}") };
    assert!(message.starts_with("the SQL of t fails on it: unnest() would make 120"), "{message}");
    assert_eq!(shown(&cleaned, "t").len(), 198);
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn events_of_one_record_for_which_there_is_no_memory_are_refused_and_no_run_ends_for_them() {
    let batch: Vec<Event> = (0..10_000).map(|id| event(id, "0123456789", 1)).collect();
    let cleaned = in_one_mebibyte(LONG_NAMES, &batch).await.expect("never for what an event holds");
    let rows = shown(&cleaned, "t").len();
    assert!((20..105).contains(&rows), "{rows} rows of 10 kB in 1 MiB, which takes them twice");
    let told = told(&cleaned);
    assert_eq!(told.len(), 10_000 - rows);
    assert!(told.iter().all(|(reason, message, _)| *reason == "sql_error" && message.contains("more memory")));
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn what_datafusion_calls_a_bug_is_told_of_the_events_that_it_fails_on() {
    let local = "SELECT id, to_local_time(arrow_cast(CASE WHEN id = 2 THEN 9223372036854775807 ELSE 0 END, \
                 'Timestamp(Nanosecond, Some(\"+02:00\"))')) AS local FROM events";
    let day = "SELECT id, to_date(name, '%Y-%m-%d') AS day FROM events";
    for sql in [local, day] {
        let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], sql)]).await;
        let batch = [event(1, "2024-05-01", 1), event(2, "9999999-01-01", 1), event(3, "2024-05-02", 1)];
        let cleaned = cleaner.clean(events(&batch)).await.expect("never for what an event holds");
        let found: Vec<_> = told(&cleaned).into_iter().map(|(reason, _, payload)| (reason, payload)).collect();
        assert_eq!(found, [("sql_error", "<1.0>\n")], "{sql}");
        assert_eq!(shown(&cleaned, "t").len(), 2, "{sql}");
        assert!(!cleaner.tables[0].told.load(Relaxed), "some events pass: {sql}");
        adds_up(&cleaned.counts);
    }
}

#[tokio::test]
async fn where_a_bug_takes_every_event_they_are_refused_and_the_log_is_told() {
    let local = "SELECT id, to_local_time(arrow_cast(9223372036854775807 - id, \
                 'Timestamp(Nanosecond, Some(\"+02:00\"))')) AS local FROM events";
    let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], local)]).await;
    for (ids, log) in [(1..2, false), (1..4, true), (1..4, true)] {
        let batch: Vec<Event> = ids.map(|id| event(id, "a", 1)).collect();
        let cleaned = cleaner.clean(events(&batch)).await.expect("never for what an event holds");
        assert_eq!((cleaned.counts.passed, cleaned.counts.failed_checks["sql_error"]), (0, batch.len() as u64));
        assert_eq!(cleaner.tables[0].told.load(Relaxed), log);
        adds_up(&cleaned.counts);
    }
    // A value that SQL does not take is no bug, however many events hold it.
    let cast =
        super::cleaner(Vec::new(), vec![table("t", &["id"], "SELECT CAST(name AS int) AS id FROM events")]).await;
    cast.clean(events(&[event(1, "a", 1), event(2, "b", 1)])).await.expect("cleaned");
    assert!(!cast.tables[0].told.load(Relaxed));
}

#[tokio::test]
async fn where_all_fail_a_few_are_told_alone_and_the_others_together() {
    let cast = "SELECT id, CAST(name AS int) AS number FROM events";
    for (checks, reason) in [(vec![check("number", "CAST(name AS int) > 0")], "number"), (Vec::new(), "sql_error")] {
        let cleaner = cleaner(checks, vec![table("t", &["id"], cast)]).await;
        let mut batch: Vec<Event> = (0..20_000).map(|id| event(id, "x", 1)).collect();
        // Good ones stand behind all the bad.
        batch[19_000..].iter_mut().for_each(|event| event.1 = Some("5".to_owned()));
        let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
        let together = told(&cleaned).into_iter().filter(|(_, message, _)| message.contains("refused with others"));
        let together = together.count();
        let failed = cleaned.counts.failed_checks[reason];
        // The piece in which bad meets good goes as a whole, and no other.
        assert!((19_000..19_000 + 20_000 / 64).contains(&failed), "{failed}");
        assert_eq!(together as u64, failed - 64);
        assert_eq!(cleaned.counts.tables["t"].staged, 20_000 - failed);
        adds_up(&cleaned.counts);
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let id = proptest::option::weighted(0.9, -2i32..8);
    let name = proptest::option::weighted(0.8, "[ax0-9]{0,2}|a\0|b{3}");
    let amount = proptest::option::weighted(0.8, -300i128..1000);
    (id, name, amount, proptest::collection::vec(0i32..3, 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_comes_the_counts_add_up_and_every_event_is_somewhere(
        batches in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any_event(), 1..4), 0..25), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let checks = vec![check("share", "100 / id > -1000"), check("paid", "amount >= 0")];
            let tables = vec![
                table("numbers", &["id"], "SELECT id, CAST(name AS int) AS number FROM events WHERE name <> 'x'"),
                table("named", &["name", "id"], "SELECT name, id, amount FROM events WHERE id < 6"),
                table("tags", &[], "SELECT id, unnest(tags) AS tag FROM events"),
            ];
            let cleaner = cleaner(checks, tables).await;
            for batch in batches {
                let decoded = records(&batch);
                let all = decoded.events.num_rows();
                let cleaned = cleaner.clean(decoded).await.expect("never for what an event holds");
                adds_up(&cleaned.counts);
                assert_eq!(cleaned.counts.rejected() as usize, cleaned.rejects.len());
                assert_eq!(cleaned.counts.events as usize, all);
                for rows in &cleaned.tables {
                    assert_eq!(cleaned.counts.tables[&rows.table].staged as usize, rows.rows.num_rows());
                }
                // An oracle of the first table, straight from the events.
                let passes = |event: &&Event| {
                    let number = event.1.as_deref().is_some_and(|name| name.parse::<i32>().is_ok());
                    let kept = event.1.as_deref() == Some("x");
                    event.0.is_some_and(|id| id != 0) && event.2.is_some_and(|cents| cents >= 0) && (number || kept)
                };
                let mut newest = BTreeMap::new();
                for event in batch.iter().flatten().filter(passes).filter(|event| event.1.as_deref() != Some("x")) {
                    newest.insert(event.0, event.1.clone().expect("a number").parse::<i32>().expect("a number"));
                }
                let mut expected: Vec<_> = newest.into_iter().map(|(id, number)| format!("{}|{number}", id.expect("an id"))).collect();
                let mut found = shown(&cleaned, "numbers");
                expected.sort();
                found.sort();
                assert_eq!(found, expected);
            }
        });
    }
}
