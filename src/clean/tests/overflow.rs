//! Arithmetic that does not fit: the events concerned are refused, in tables and in checks, and nobody else.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn of_three_events_the_one_that_overflows_is_refused() {
    let squares = "SELECT id, id * id AS square FROM events";
    let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], squares)]).await;
    let cleaned = cleaner.clean(events(&[event(3, "a", 1), event(100_000, "b", 1), event(-4, "c", 1)])).await;
    let cleaned = cleaned.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["3|9", "-4|16"]);
    let words =
        "the SQL of t fails on it: 100000 * 100000 is beyond integer (32 bits) in id * id; cast to bigint first";
    assert_eq!(told(&cleaned), [("sql_error", words, "<1.0>\n")]);
    adds_up(&cleaned.counts);
}

#[tokio::test]
async fn a_check_that_overflows_refuses_the_event() {
    let cleaner =
        cleaner(vec![check("fine", "id * id >= 0")], vec![table("t", &["id"], "SELECT id FROM events")]).await;
    let cleaned = cleaner.clean(events(&[event(3, "a", 1), event(70_000, "b", 1)])).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["3"]);
    let words = "id * id >= 0 cannot be told: 70000 * 70000 is beyond integer (32 bits) in id * id; cast to bigint first: \
                 id is 70000";
    assert_eq!(told(&cleaned), [("fine", words, "<1.0>\n")]);
}

#[tokio::test]
async fn each_way_to_overflow_refuses_its_event_alone() {
    let cases = [
        "id + cast(2147483600 as integer) AS x",
        "-cast(case when id > 1000 then -2147483648 else id end as integer) AS x",
        "cast(id as smallint) AS x",
        "cast(id as bigint) * 9223372036854775 AS x",
        "cast(amount as decimal(38,30)) * cast(id as decimal(38,0)) AS x",
        "cast(name || '00000' as decimal(9,1)) AS x",
        "cast(id as bigint) << 45 AS x",
    ];
    for column in cases {
        let sql = format!("SELECT id, {column} FROM events");
        let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], &sql)]).await;
        let batch = events(&[event(3, "7", 1), event(2_000_000, "1234", 2_000_000_000), event(2, "9", 1)]);
        let cleaned = cleaner.clean(batch).await.expect("cleaned");
        let refused: Vec<_> = told(&cleaned).iter().map(|told| (told.0.to_owned(), told.2.to_owned())).collect();
        assert_eq!(refused, [("sql_error".to_owned(), "<1.0>\n".to_owned())], "{sql}: {:?}", told(&cleaned));
        assert_eq!(shown(&cleaned, "t").len(), 2, "{sql}");
    }
    let sums = "SELECT id, sum(cast(id as bigint) * 4000000000000) over (partition by id) + 1223372036854775808 AS x FROM file";
    let rows = [event(3, "7", 1), event(2_000_000, "1234", 1), event(2, "9", 1)];
    let cleaned = clean_file(&["id"], sums, &rows).await.expect("cleaned");
    let refused: Vec<_> = told(&cleaned).iter().map(|told| (told.0.to_owned(), told.2.to_owned())).collect();
    assert_eq!(refused, [("sql_error".to_owned(), "<1.0>\n".to_owned())], "{:?}", told(&cleaned));
    assert_eq!(shown(&cleaned, "t").len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_and_checks_give_what_wider_integers_give_or_refuse(
        ids in prop::collection::btree_set(prop_oneof![-50_000i32..50_000, any::<i32>(), Just(i32::MIN), Just(i32::MAX)], 1..20),
        operator in prop::sample::select(vec!["+", "-", "*"]),
        operand in prop_oneof![Just("id"), Just("46341"), Just("tags[1]")],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let expression = format!("id {operator} cast({operand} as integer)");
        let batch: Vec<Event> = ids.iter().map(|id| (Some(*id), None, None, vec![id / 3])).collect();
        let exact = |id: i32| {
            let (left, right) = (i64::from(id), i64::from(match operand { "id" => id, "46341" => 46_341, _ => id / 3 }));
            match operator { "+" => left + right, "-" => left - right, _ => left * right }
        };
        let fits = |id: &&i32| i32::try_from(exact(**id)).is_ok();
        let sql = format!("SELECT id, {expression} AS x FROM events");
        let (tabled, checked) = runtime.block_on(async {
            let tables = vec![table("t", &["id", "x"], &sql)];
            let tabled = cleaner(Vec::new(), tables).await.clean(events(&batch)).await.expect("cleaned");
            let plain = vec![table("t", &["id"], "SELECT id FROM events")];
            let check = check("c", &format!("{expression} IS NOT NULL"));
            let checked = cleaner(vec![check], plain).await.clean(events(&batch)).await.expect("cleaned");
            (tabled, checked)
        });
        let expected: std::collections::BTreeSet<String> =
            ids.iter().filter(fits).map(|id| format!("{id}|{}", exact(*id))).collect();
        let rows: std::collections::BTreeSet<String> = shown(&tabled, "t").into_iter().collect();
        prop_assert_eq!(&rows, &expected);
        let misfits = ids.iter().filter(|id| !fits(id)).count();
        prop_assert_eq!(tabled.rejects.len(), misfits);
        prop_assert_eq!(checked.rejects.len(), misfits);
        prop_assert!(tabled.rejects.iter().all(|reject| reject.reason == "sql_error"));
    }
}
