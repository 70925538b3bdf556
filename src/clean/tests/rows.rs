//! What right SQL yields: rows, version columns, the newest of each key, shapes.

use arrow::array::{AsArray, Date32Array};
use arrow::datatypes::{DataType, TimeUnit};

use super::*;
use crate::batch::Reject;

const SIMPLE: &str = "SELECT id, trim(name) AS name, amount FROM events";

fn position_of(record: u64, index: u32) -> String {
    let mut text = String::new();
    Position::new(record.into(), 0).write_sortable(index, &mut text);
    text
}

fn versions(cleaned: &Cleaned, table: &str) -> Vec<String> {
    let rows = &cleaned.tables.iter().find(|rows| rows.table == table).expect("rows").rows;
    let positions = rows.column_by_name("_position").expect("a position").as_string::<i32>();
    positions.iter().map(|position| position.expect("never null").to_owned()).collect()
}

#[tokio::test]
async fn a_row_carries_the_version_of_its_event_and_the_newest_of_a_key_stays() {
    let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], SIMPLE)]).await;
    let batch = vec![vec![event(1, " a ", 100), event(2, "b", 200)], vec![event(1, "c", 300), event(1, "d", 400)]];
    let cleaned = cleaner.clean(records(&batch)).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["2|b|2.00", "1|d|4.00"]);
    assert_eq!(versions(&cleaned, "t"), [position_of(1, 1), position_of(2, 1)]);
    let counts = cleaned.counts.tables["t"];
    assert_eq!((counts.filtered, counts.superseded, counts.staged), (Some(0), 2, 2));
    assert_eq!((cleaned.counts.records, cleaned.counts.events, cleaned.counts.passed), (2, 4, 4));
    assert_eq!(cleaned.ranges.len(), 1);
    assert_eq!(cleaned.arrivals.waits(1).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    let names: Vec<_> = cleaned.tables[0].rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["id", "name", "amount", "_arrived_at", "_position"]);
}

#[tokio::test]
async fn one_plan_serves_many_batches_side_by_side() {
    let tables = vec![
        table("plain", &["id"], SIMPLE),
        table("kept", &["id"], "SELECT id FROM events WHERE amount > 1"),
        table("tags", &[], "SELECT id, unnest(tags) AS tag FROM events"),
    ];
    let cleaner = cleaner(Vec::new(), tables).await;
    let one = async |number: i32| {
        let batch = [event(number, "a", 100), event(number + 1, "a", i128::from(number) * 100)];
        let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
        assert_eq!(shown(&cleaned, "plain"), [format!("{number}|a|1.00"), format!("{}|a|{number}.00", number + 1)]);
        assert_eq!(shown(&cleaned, "kept"), [(number + 1).to_string()]);
        assert_eq!(shown(&cleaned, "tags"), Vec::<String>::new());
        adds_up(&cleaned.counts);
    };
    for number in 2..5 {
        one(number).await;
    }
    futures::future::join_all((10..30).map(one)).await;
}

#[tokio::test]
async fn an_empty_file_makes_no_rows_even_of_an_aggregate() {
    let sum = "SELECT count(*) AS n, max(_arrived_at) AS _arrived_at, max(_position) AS _position FROM file";
    let cleaned = clean_file(&["n"], sum, &[]).await.expect("cleaned");
    assert!(cleaned.tables.is_empty(), "{cleaned:?}");
    assert_eq!(cleaned.counts.tables["t"].staged, 0);
    adds_up(&cleaned.counts);
    let cleaned = clean_file(&["n"], sum, &[event(1, "a", 1), event(2, "a", 1)]).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["2"]);
}

#[tokio::test]
async fn a_file_s_rows_may_look_at_one_another() {
    let rows = [event(1, "a", 100), event(2, "a", 300), event(3, "b", 200)];
    let versions = "max(_arrived_at) AS _arrived_at, max(_position) AS _position";
    for (sql, expected) in [
        (
            format!("SELECT name, sum(amount) AS amount, {versions} FROM file GROUP BY name ORDER BY name"),
            vec!["a|4.00", "b|2.00"],
        ),
        (
            "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id DESC) AS place FROM file) WHERE place = 1"
                .to_owned(),
            vec!["3"],
        ),
        ("SELECT id FROM file ORDER BY amount DESC LIMIT 1".to_owned(), vec!["2"]),
        ("SELECT id FROM file WHERE id = (SELECT max(id) FROM file)".to_owned(), vec!["3"]),
        ("SELECT id FROM file WHERE id IN (SELECT id + 1 FROM file)".to_owned(), vec!["2", "3"]),
    ] {
        let cleaned = clean_file(&[], &sql, &rows).await.expect("cleaned");
        assert_eq!(shown(&cleaned, "t"), expected, "{sql}");
    }
}

#[tokio::test]
async fn shapes_that_keep_one_event_a_row_carry_by_themselves() {
    let cases: &[(&str, bool, &[&str])] = &[
        ("SELECT id FROM events WHERE id > 1", true, &["2", "3"]),
        ("SELECT e.id FROM events AS e ORDER BY id DESC", true, &["3", "2", "1"]),
        ("WITH big AS (SELECT * FROM events WHERE id > 1) SELECT id FROM big", true, &["2", "3"]),
        ("SELECT id FROM (SELECT id + 10 AS id FROM events) AS inner_query", true, &["11", "12", "13"]),
        ("SELECT id FROM events WHERE id IN (SELECT n FROM (VALUES (2), (3)) AS v(n))", true, &["2", "3"]),
        ("SELECT id FROM events WHERE id = (SELECT max(n) FROM (VALUES (1), (3)) AS v(n))", true, &["3"]),
        ("SELECT id FROM events UNION ALL SELECT id + 10 FROM events WHERE id = 2", false, &["1", "2", "3", "12"]),
        (
            "SELECT id FROM (SELECT id FROM events UNION ALL SELECT id + 10 FROM events UNION ALL SELECT id FROM events) \
             WHERE id > 12",
            false,
            &["13"],
        ),
        ("SELECT e.id FROM (VALUES (2), (3)) AS v(n) JOIN events e ON e.id = v.n ORDER BY e.id", false, &["2", "3"]),
        ("SELECT id, unnest(tags) AS tag FROM events", false, &["2|7", "2|8"]),
        (
            "SELECT e.id, v.word FROM events e LEFT JOIN (VALUES (1, 'one'), (2, 'two')) AS v(number, word) \
             ON e.id = v.number ORDER BY e.id",
            false,
            &["1|one", "2|two", "3|-"],
        ),
        ("SELECT id, _position, _arrived_at FROM events WHERE id = 3", true, &["3"]),
    ];
    let batch = [event(1, "a", 1), (Some(2), None, None, vec![7, 8]), event(3, "c", 3)];
    for (sql, one_to_one, expected) in cases {
        let cleaner = cleaner(Vec::new(), vec![table("t", &[], sql)]).await;
        assert_eq!(cleaner.specs()[0].one_to_one, *one_to_one, "{sql}");
        let cleaned = cleaner.clean(events(&batch)).await.expect("cleaned");
        assert_eq!(shown(&cleaned, "t"), *expected, "{sql}");
        let positions = versions(&cleaned, "t");
        for (row, position) in shown(&cleaned, "t").iter().zip(&positions) {
            let id: u64 = row.split('|').next().expect("an id").parse().expect("a number");
            assert_eq!(position, &position_of(if id > 10 { id - 10 } else { id }, 0), "{sql}");
        }
        adds_up(&cleaned.counts);
    }
}

#[tokio::test]
async fn a_star_stands_for_the_declared_fields() {
    let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], "SELECT *, upper(name) AS loud FROM events")]).await;
    let spec = &cleaner.specs()[0];
    let names: Vec<_> = spec.columns.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name", "amount", "tags", "loud"]);
    let cleaned = cleaner.clean(events(&[event(1, "a", 100)])).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "t"), ["1|a|1.00|[]|A"]);
}

#[tokio::test]
async fn types_and_nullability_are_those_of_a_warehouse() {
    let sql = "SELECT id, arrow_cast(id, 'UInt32') AS wide, arrow_cast(name, 'Dictionary(Int32, Utf8)') AS name, \
               to_timestamp(id) AS at, arrow_cast(_arrived_at, 'Timestamp(Nanosecond, Some(\"+02:00\"))') AS local, \
               'x' AS always, CAST(1 AS bigint) AS n FROM events";
    let cleaner = cleaner(Vec::new(), vec![table("t", &["id"], sql)]).await;
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let expected = [
        ("id", DataType::Int32, false),
        ("wide", DataType::Int64, true),
        ("name", DataType::Utf8, true),
        ("at", micros(None), true),
        ("local", micros(Some("UTC")), false),
        ("always", DataType::Utf8, false),
        ("n", DataType::Int64, false),
    ];
    let spec = &cleaner.specs()[0];
    for (field, (name, data_type, nullable)) in spec.columns.fields().iter().zip(expected) {
        assert_eq!((field.name().as_str(), field.data_type(), field.is_nullable()), (name, &data_type, nullable));
    }
    let cleaned = cleaner.clean(events(&[event(60, "a", 1)])).await.expect("cleaned");
    let row = "60|60|a|1970-01-01T00:01:00|1970-01-01T00:00:00Z|x|1";
    assert_eq!(shown(&cleaned, "t"), [row]);
}

#[tokio::test]
async fn tables_of_files_and_dates_are_cleaned_apart() {
    let file = Input::File { path: "dims/a.csv".into(), allow_outside: false, fields: fields() };
    let mut names = table("names", &["id"], "SELECT id, name FROM file WHERE name <> ''");
    (names.kind, names.history, names.input) = (TableKind::Dimension, History::Keep, file);
    let day = |text: &str| text.parse().expect("a day");
    let mut dates = table(
        "dates",
        &["date_key"],
        "SELECT CAST(to_char(date, '%Y%m%d') AS integer) AS date_key, date, \
         CAST(date_part('year', date) AS integer) AS year FROM dates",
    );
    (dates.kind, dates.input) =
        (TableKind::Dimension, Input::Dates { from: day("2023-12-31"), through: day("2024-01-02") });
    let cleaner = cleaner(vec![check("c", "id > 100")], vec![names, dates, table("t", &["id"], SIMPLE)]).await;
    let made =
        DimensionFile { path: "dims/a.csv".to_owned(), fingerprint: "f".to_owned(), replaces: None, effective_at: 5 };

    let batch = events(&[event(1, "a", 1), event(2, "", 1), event(1, "b", 1)]);
    let cleaned = cleaner.clean_file("names", batch, made.clone()).await.expect("cleaned");
    assert_eq!(shown(&cleaned, "names"), ["1|b"]);
    let counts = cleaned.counts.tables["names"];
    assert_eq!((counts.filtered, counts.superseded, counts.staged), (Some(1), 1, 1));
    assert_eq!(cleaned.dimension_files["names"], made);
    assert_eq!(cleaned.counts.tables.len(), 1);
    adds_up(&cleaned.counts);

    let cleaned = cleaner.clean_dates("dates", made.clone(), 9).await.expect("cleaned");
    assert_eq!(
        shown(&cleaned, "dates"),
        ["20231231|2023-12-31|2023", "20240101|2024-01-01|2024", "20240102|2024-01-02|2024"]
    );
    let rows = &cleaned.tables[0].rows;
    assert_eq!(rows.column(1).as_any().downcast_ref::<Date32Array>().expect("days").len(), 3);
    assert!(versions(&cleaned, "dates").is_sorted());
    assert_eq!((cleaned.counts.records, cleaned.counts.passed), (3, 3));
    adds_up(&cleaned.counts);

    let error = cleaner.clean_dates("names", made, 9).await.expect_err("reads a file");
    assert_eq!(error.to_string(), "no table \"names\" reads such an input");
    let cleaned = cleaner.clean(events(&[event(101, "a", 1)])).await.expect("cleaned");
    assert_eq!(cleaned.counts.tables.keys().collect::<Vec<_>>(), ["t"]);
}

/// What did not decode in this record, as an event after all others.
fn undecoded(record: u32) -> Reject {
    Reject {
        reason: "not_json".to_owned(),
        message: "it is none".to_owned(),
        shard: ShardId::new("shardId-0"),
        position: Position::new(u64::from(record + 1).into(), 0),
        index: 9,
        arrived_at: i64::from(record) * 1000,
        payload: Bytes::from(format!("undecoded in {record}")),
    }
}

#[tokio::test]
async fn a_batch_that_is_cut_anywhere_keeps_every_row_and_every_reject_with_its_own_bytes() {
    let cents = |record: i32, index: i32| if (record + index) % 2 == 0 { 1 } else { -1 };
    let group = |record: i32| (0..=record % 3).map(move |index| event(10 * record + index, "a", cents(record, index)));
    let groups: Vec<Vec<Event>> = (0..7).map(|record| group(record).collect()).collect();
    let decoded = || Decoded { rejects: [0, 2, 2, 6].map(undecoded).into(), ..records(&groups) };
    let tables = vec![table("t", &["id"], "SELECT id, _position AS place FROM events")];
    let cleaner = cleaner(vec![check("not_negative", "amount >= 0")], tables).await;
    let seen = |parts: &[Cleaned]| {
        let mut rows: Vec<String> = parts.iter().flat_map(|part| shown(part, "t")).collect();
        let rejects = parts.iter().flat_map(|part| &part.rejects);
        let mut rejects: Vec<String> = rejects.map(|reject| format!("{reject:?} {:?}", reject.payload)).collect();
        rows.sort_unstable();
        rejects.sort_unstable();
        (rows, rejects, parts.iter().map(|part| part.counts.events).sum::<u64>())
    };
    let whole = seen(&[cleaner.clean(decoded()).await.expect("cleaned")]);
    assert_eq!((whole.0.len(), whole.1.len(), whole.2), (7, 10, 17));
    for cut in 1..7 {
        let (first, second) = decoded().split_at(cut);
        assert_eq!((first.raw.records.len(), second.raw.records.len()), (cut, 7 - cut));
        let parts = [cleaner.clean(first).await.expect("cleaned"), cleaner.clean(second).await.expect("cleaned")];
        assert_eq!(seen(&parts), whole, "cut at {cut}");
        parts.iter().for_each(|part| adds_up(&part.counts));
    }
}
