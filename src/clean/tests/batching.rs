//! How events are cut into batches leaves no trace: whatever SQL passes planning gives the same rows of a batch whole or
//! cut anywhere.

use arrow::array::{AsArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

const FROM: [&str; 13] = [
    "events",
    "events",
    "events",
    "(SELECT * FROM events WHERE id > 1) AS events",
    "(SELECT * FROM events ORDER BY amount) AS events",
    "(SELECT * FROM events ORDER BY amount LIMIT 3) AS events",
    "(SELECT DISTINCT id, name, amount, tags, _arrived_at, _position FROM events) AS events",
    "(SELECT *, row_number() OVER (PARTITION BY id ORDER BY amount) AS place FROM events) AS events",
    "events JOIN (VALUES (1, 'one'), (1, 'uno'), (2, 'two')) AS v(n, word) ON events.id = v.n",
    "events LEFT JOIN (VALUES (1, 'one'), (1, 'uno')) AS v(n, word) ON events.id = v.n",
    "(VALUES (1, 'one'), (9, 'nine')) AS v(n, word) LEFT JOIN events ON events.id = v.n",
    "events CROSS JOIN (SELECT max(id) AS most FROM events) AS m",
    "(SELECT * FROM events UNION ALL SELECT * FROM events WHERE id = 2) AS events",
];

const SELECT: [&str; 9] = [
    "events.id, events.name",
    "events.id, events.name",
    "events.id, unnest(tags) AS name",
    "events.id, CASE WHEN amount > 1 THEN events.name END AS name",
    "events.id, CAST(amount AS varchar) AS name",
    "DISTINCT events.id, events.name",
    "events.id, max(events.name) AS name, max(events._arrived_at) AS _arrived_at, max(events._position) AS _position",
    "events.id, CAST(count(*) OVER () AS varchar) AS name",
    "events.id, (SELECT max(name) FROM events) AS name",
];

const WHERE: [&str; 8] = [
    "",
    "",
    "WHERE events.id > 1",
    "WHERE events.id IN (SELECT n FROM (VALUES (1), (2)) AS v(n))",
    "WHERE events.amount > 1 AND events.name IS NOT NULL",
    "WHERE events.id IN (SELECT id FROM events WHERE amount > 2)",
    "WHERE events.amount = (SELECT max(amount) FROM events)",
    "WHERE EXISTS (SELECT 1 FROM events AS other WHERE other.id = events.id + 1)",
];

const END: [&str; 14] = [
    "",
    "",
    "",
    "",
    "ORDER BY 1",
    "ORDER BY 2 DESC",
    "GROUP BY events.id",
    "LIMIT 2",
    "OFFSET 1",
    "ORDER BY 1 DESC LIMIT 1",
    "UNION ALL SELECT id + 1, name FROM events",
    "UNION SELECT id, name FROM events",
    "EXCEPT SELECT id, name FROM events WHERE id = 3",
    "INTERSECT SELECT id, name FROM events",
];

const AROUND: [(&str, &str); 4] = [
    ("", ""),
    ("SELECT * FROM (", ") AS w"),
    ("WITH w AS (", ") SELECT * FROM w"),
    ("SELECT * FROM (", ") AS w LIMIT 3"),
];

fn an_event() -> impl Strategy<Value = Event> {
    let name = prop::option::of("[ab]");
    (1..5i32, name, prop::option::of(0..400i128), prop::collection::vec(0..3i32, 0..3))
        .prop_map(|(id, name, cents, tags)| (Some(id), name, cents, tags))
}

/// Some SQL, in as many ways as there are; most of it looks across events.
fn a_select() -> impl Strategy<Value = String> {
    let one_of = prop::sample::select::<&'static str>;
    let around = prop::sample::select(AROUND.to_vec());
    (one_of(FROM.to_vec()), one_of(SELECT.to_vec()), one_of(WHERE.to_vec()), one_of(END.to_vec()), around).prop_map(
        |(from, select, filter, end, (before, after))| {
            format!("{before}SELECT {select} FROM {from} {filter} {end}{after}")
        },
    )
}

/// A row as a text, and which of two rows is newer.
type Row = (String, (i64, String));

fn rows(cleaned: &Cleaned) -> Vec<Row> {
    let Some(table) = cleaned.tables.first() else { return Vec::new() };
    let column = |name: &str| table.rows.column_by_name(name).expect("a version column");
    let arrived: &TimestampMicrosecondArray = column("_arrived_at").as_primitive();
    let positions = column("_position").as_string::<i32>();
    let texts = shown(cleaned, "t").into_iter().enumerate();
    texts.map(|(row, text)| (text, (arrived.value(row), positions.value(row).to_owned()))).collect()
}

/// What a warehouse holds after these rows: all of them, or of each key (the first column) the newest.
fn held(rows: Vec<Row>, keyed: bool) -> Vec<Row> {
    let mut held: Vec<Row> = Vec::new();
    let key = |row: &Row| row.0.split('|').next().expect("a column").to_owned();
    for row in rows {
        match held.iter_mut().find(|other| keyed && key(other) == key(&row)) {
            Some(other) if other.1 <= row.1 => *other = row,
            Some(_) => {}
            None => held.push(row),
        }
    }
    held.sort();
    held
}

/// The events of a batch from one to before another.
fn part(whole: &Decoded, from: usize, to: usize) -> Decoded {
    Decoded {
        events: whole.events.slice(from, to - from),
        origins: whole.origins[from..to].to_vec(),
        rejects: Vec::new(),
        raw: Arc::clone(&whole.raw),
    }
}

#[tokio::test]
async fn whatever_sql_is_taken_gives_the_same_rows_of_a_batch_whole_or_cut_anywhere() {
    let mut runner = TestRunner::deterministic();
    let (mut taken, mut refused) = (0, 0);
    let batches = prop::collection::vec(prop::collection::vec(an_event(), 1..3), 1..8);
    for _ in 0..900 {
        let sql = a_select().new_tree(&mut runner).expect("a select").current();
        let keyed = any::<bool>().new_tree(&mut runner).expect("a truth").current();
        let key: &[&str] = if keyed { &["id"] } else { &[] };
        let Ok(cleaner) = Cleaner::plan(&pipeline(Vec::new(), vec![table("t", key, &sql)]), SETTINGS).await else {
            refused += 1;
            continue;
        };
        taken += 1;
        let whole = records(&batches.new_tree(&mut runner).expect("a batch").current());
        let count = whole.events.num_rows();
        let all = cleaner.clean(part(&whole, 0, count)).await.expect("cleaned");
        let expected = held(rows(&all), keyed);
        for cut in 0..=count {
            let mut found = Vec::new();
            for (from, to) in [(0, cut), (cut, count)] {
                found.extend(rows(&cleaner.clean(part(&whole, from, to)).await.expect("cleaned")));
            }
            assert_eq!(held(found, keyed), expected, "{sql}, cut before event {cut} of {count}");
        }
        let mut alone = Vec::new();
        for event in 0..count {
            alone.extend(rows(&cleaner.clean(part(&whole, event, event + 1)).await.expect("cleaned")));
        }
        assert_eq!(held(alone, keyed), expected, "{sql}, each event alone");
    }
    assert!(taken > 50 && refused > 200, "{taken} taken, {refused} refused");
}
