//! Which forms of unnest a table's SQL takes: those that docs/sql.md names.

use super::*;

/// The fields of [`fields`], and `samples`, a list of structs of `metric` and `value`.
async fn planned(sql: &str) -> Result<Vec<String>, String> {
    let field = |name: &str, field_type| Field {
        name: name.to_owned(),
        path: vec![name.to_owned()],
        field_type,
        required: false,
    };
    let members = vec![field("metric", FieldType::String { max_bytes: 20 }), field("value", FieldType::Double)];
    let samples = field("samples", FieldType::List(Box::new(FieldType::Struct(members))));
    let with_samples = Pipeline {
        fields: fields().into_iter().chain([samples]).collect(),
        ..pipeline(Vec::new(), vec![table("t", &[], sql)])
    };
    let cleaner = Cleaner::plan(&with_samples, SETTINGS).await.map_err(|faults| faults[0].message.clone())?;
    let columns = cleaner.specs()[0].columns.fields().iter();
    Ok(columns.map(|column| format!("{} {}", column.name(), column.data_type())).collect())
}

#[tokio::test]
async fn the_documented_forms_are_planned() {
    let cases: &[(&str, &[&str])] = &[
        ("SELECT id, unnest(tags) AS tag FROM events", &["id Int32", "tag Int32"]),
        ("SELECT id, tag FROM (SELECT id, unnest(tags) AS tag FROM events) WHERE tag > 1", &["id Int32", "tag Int32"]),
        (
            "SELECT id, unnest(samples)['metric'] AS metric, unnest(samples)['value'] AS value FROM events",
            &["id Int32", "metric Utf8", "value Float64"],
        ),
        (
            "SELECT id, s['metric'] AS metric, s.value AS value FROM (SELECT id, unnest(samples) AS s FROM events)",
            &["id Int32", "metric Utf8", "value Float64"],
        ),
    ];
    for (sql, columns) in cases {
        let expected: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        assert_eq!(planned(sql).await, Ok(expected), "{sql}");
    }
}

#[tokio::test]
async fn each_item_is_a_row_of_its_event() {
    let mut batch: Vec<Event> = (1..=3).map(|id| event(id, "a", 1)).collect();
    (batch[0].3, batch[2].3) = (vec![7, 8], vec![9]);
    for sql in [
        "SELECT id, unnest(tags) AS tag FROM events",
        "SELECT id, tag FROM (SELECT id, unnest(tags) AS tag FROM events) WHERE tag > 1",
    ] {
        let cleaner = cleaner(Vec::new(), vec![table("t", &[], sql)]).await;
        let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
        assert_eq!(shown(&cleaned, "t"), ["1|7", "1|8", "3|9"], "{sql}");
        adds_up(&cleaned.counts);
    }
}

#[tokio::test]
async fn the_forms_that_are_said_to_be_refused_are() {
    for sql in [
        "SELECT id, tag FROM events, unnest(tags) AS t(tag)",
        "SELECT id, tag FROM events CROSS JOIN unnest(tags) AS t(tag)",
        "SELECT id, tag FROM events LEFT JOIN unnest(tags) AS t(tag) ON true",
        "SELECT id, tag FROM events CROSS JOIN LATERAL unnest(tags) AS t(tag)",
        "SELECT id, unnest(samples).metric AS metric FROM events",
        "SELECT id, (unnest(samples)).metric AS metric FROM events",
    ] {
        assert!(planned(sql).await.is_err(), "{sql}");
    }
}

/// What a run gives its tables.
const AS_IN_A_RUN: SessionSettings = SessionSettings { memory_bytes: 96 << 20, partitions: 1 };

/// The rows and rejects of these records by this SQL, in a few parts at most.
async fn cleaned(sql: &str, of: &[Vec<Event>]) -> (u64, usize) {
    let pipeline = pipeline(Vec::new(), vec![table("t", &[], sql)]);
    let cleaner = Cleaner::plan(&pipeline, AS_IN_A_RUN).await.expect("it plans");
    let (mut left, mut rows, mut rejects) = (Some(records(of)), 0, 0);
    for _ in 0..8 {
        let Some(decoded) = left.take() else { break };
        let (part, rest) = cleaner.clean_some(decoded, usize::MAX).await.expect("cleaned");
        adds_up(&part.counts);
        (rows, rejects, left) = (rows + part.counts.tables["t"].staged, rejects + part.rejects.len(), rest);
    }
    assert!(left.is_none(), "it takes many parts");
    (rows, rejects)
}

fn with_tags(id: i32, items: i32) -> Event {
    let (id, name, cents, _) = event(id, "a", 1);
    (id, name, cents, (0..items).collect())
}

#[tokio::test]
async fn a_list_counts_by_its_own_items_and_not_by_those_of_its_neighbours() {
    let each = |count: i32, items: i32| (1..=count).map(|id| vec![with_tags(id, items)]).collect::<Vec<_>>();
    let positions = "SELECT id, cardinality(array_positions(tags, 3)) AS c FROM events";
    assert_eq!(cleaned(positions, &each(80, 3_000)).await, (80, 0));
    let mut one_is_long = each(2_000, 10);
    one_is_long[7] = vec![with_tags(8, 1_000)];
    assert_eq!(
        cleaned("SELECT id, unnest(tags) AS tag, tags FROM events", &one_is_long).await,
        (1_999 * 10 + 1_000, 0)
    );
    assert_eq!(cleaned("SELECT id, tags FROM events", &each(6_000, 500)).await, (6_000, 0), "12 MB pass through");
}

#[tokio::test]
async fn a_record_of_many_events_and_an_event_of_many_items_have_room() {
    let unnested = "SELECT id, unnest(tags) AS tag FROM events";
    let of_events = vec![(1..=30_000).map(|id| with_tags(id, 20)).collect()];
    assert_eq!(cleaned(unnested, &of_events).await, (600_000, 0));
    assert_eq!(cleaned(unnested, &[vec![with_tags(1, 400_000)]]).await, (400_000, 0));
}

#[tokio::test]
async fn of_a_record_that_is_too_large_the_events_that_fit_are_kept() {
    let of_events = vec![(1..=3_000).map(|id| with_tags(id, 1_000)).collect::<Vec<_>>()];
    let (rows, rejects) = cleaned("SELECT id, unnest(tags) AS tag FROM events", &of_events).await;
    assert!(
        rows > 100_000 && rejects > 0 && rows == 1_000 * (3_000 - rejects as u64),
        "{rows} rows, {rejects} refused"
    );
}
