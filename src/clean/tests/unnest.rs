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
