//! What small records may become: `run` over them takes a bounded memory and time, loses none, and their neighbours are
//! rows.
//!
//! Each kind of record is put by Python into a stream that another process hosts, and read with the default settings.
//! The peak is what Linux says of the process (`VmHWM`).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::Millstream;
use crate::python::python;

const STREAM: &str = "hostile";

/// The most that `run` may hold at any moment, in bytes; some 160 MB of it are the program itself, in a debug build.
const MOST: u64 = 400_000_000;

/// A megabyte.
const MB: u64 = 1_000_000;

/// The most that a kind may take: a debug build, on a machine that does the other tests too.
const LONGEST: Duration = Duration::from_secs(300);

/// A pipeline with few fields, and one that is a list of wide structs.
const PIPELINE: &str = r#"
[pipeline]
name = "hostile"

[source]
stream = "hostile"
start = "trim_horizon"
shards = SHARDS

[[event.field]]
name = "id"
type = "bigint"

[[event.field]]
name = "kind"
type = "string(64)"

[[event.field]]
name = "note"
type = "string(65535)"

[[event.field]]
name = "n"
type = "list<bigint>"

[[event.field]]
name = "l"
type = "list<struct>"
fields = [FIELDS]

[[check]]
name = "id_not_negative"
expr = "coalesce(id, 0) >= 0"

[[table]]
name = "facts"
kind = "fact"
key = ["place"]

[[table]]
name = "items"
kind = "fact"
key = ["place", "number"]
"#;

const FACTS: &str = "select _position as place, id, kind, note, cardinality(l) as items, l from events";

/// A row an item, of events that have any.
const ITEMS: &str = "select _position as place, unnest(n) as number, kind, _arrived_at, _position from events";

/// The pipeline in a folder of its own.
fn pipeline(shards: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let field = |number: usize| format!("{{ name = \"d{number}\", type = \"decimal(38,0)\" }}");
    let fields: Vec<String> = (0..40).map(field).collect();
    let text = PIPELINE.replace("FIELDS", &fields.join(", ")).replace("SHARDS", &shards.to_string());
    fs::write(folder.path().join("pipeline.toml"), text).expect("written");
    fs::write(folder.path().join("facts.sql"), FACTS).expect("written");
    fs::write(folder.path().join("items.sql"), ITEMS).expect("written");
    folder
}

/// The largest resident memory that the process ever had, in bytes; none where it is gone.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().expect("a number") << 10)
}

/// Puts records of this kind and runs over them; gives the rejects by reason.
fn is_bounded(kind: &str, shards: usize) -> Value {
    is_bounded_in(&pipeline(shards), kind)
}

/// As [`is_bounded`], with a pipeline's folder.
fn is_bounded_in(folder: &TempDir, kind: &str) -> Value {
    let millstream = Millstream::over(folder.path().to_owned());
    let (_host, port) = millstream.host_stream();
    let put = python("put_hostile", &[&port.to_string(), STREAM, kind]);
    let (started, mut highest) = (Instant::now(), 0);
    let mut running = millstream.start("run", &["--once"]);
    while !running.has_ended() {
        highest = highest.max(peak(running.pid()).unwrap_or(0));
        assert!(started.elapsed() < LONGEST, "{kind}: not done in {LONGEST:?}, {} MB so far", highest / MB);
        std::thread::sleep(Duration::from_millis(5));
    }
    let (took, said) = (started.elapsed(), running.wait());
    println!("{kind}: {} MB, {:.1} s", highest / MB, took.as_secs_f64());
    assert_eq!(said.code, Some(0), "{kind}: {said:?}");
    assert!((20 * MB..MOST).contains(&highest), "{kind}: {} MB", highest / MB);

    let audit = millstream.json("audit", &[]);
    assert_eq!((&audit["clean"], &audit["waiting"]), (&json!(true), &json!(0)), "{kind}: {audit}");
    let status = millstream.json("status", &[]);
    let counts = [&status, &put].map(|of| of["records"].as_u64().expect("records"));
    assert!(counts[0] >= counts[1], "{kind}: every record is counted: {counts:?}");
    let found = millstream.query("select count(*) as n, count(distinct id) as ids from facts where kind = 'neighbour'");
    assert_eq!([&found[0]["n"], &found[0]["ids"]], [&put["neighbours"]; 2], "{kind}");
    let reasons = millstream.query("select reason, count(*) as n from rejects group by reason");
    let of = |row: &Value| (row["reason"].as_str().expect("a reason").to_owned(), row["n"].clone());
    reasons.iter().map(of).collect::<serde_json::Map<_, _>>().into()
}

/// As [`is_bounded`], of several kinds; all that these reasons may refuse.
fn are_bounded(kinds: &[&str], shards: usize, reasons: &[&str]) {
    for kind in kinds {
        let rejects = is_bounded(kind, shards);
        println!("{kind}: {rejects}");
        let told = rejects.as_object().expect("by reason");
        assert!(told.keys().all(|reason| reasons.contains(&reason.as_str())), "{kind}: {rejects}");
    }
}

#[test]
fn lists_and_objects_that_become_hundreds_of_times_their_bytes() {
    assert_eq!(is_bounded("structs", 2), json!({"too_large_decoded": 12}));
    assert_eq!(is_bounded("small_events", 2), json!({"too_many_events": 12}));
    are_bounded(&["wide_events", "long_texts", "unnested", "repeated_key"], 2, &["too_many_events"]);
}

#[test]
fn what_sql_makes_of_long_texts_is_never_all_there() {
    let folder = pipeline(2);
    let glued = format!(", length(array_to_string(make_array({}), '')) as glued, l from", ["note"; 30].join(", "));
    fs::write(folder.path().join("facts.sql"), FACTS.replace(", l from", &glued)).expect("written");
    assert_eq!(is_bounded_in(&folder, "long_texts"), json!({}), "there is room for each");
}

#[test]
fn compressed_records_cost_what_they_weigh() {
    are_bounded(&["zstd_small_events", "zstd_tiny", "zstd_blanks"], 2, &["too_large_unwrapped", "empty_payload"]);
    assert_eq!(is_bounded("gzip_real", 2), json!({}), "nothing healthy is refused");
    are_bounded(&["envelopes"], 2, &["too_many_events"]);
}

#[test]
fn aggregates_of_very_many_parts_are_read_piece_by_piece() {
    are_bounded(&["many_parts", "empty_parts"], 2, &["empty_payload"]);
}

#[test]
fn whatever_is_refused_takes_no_more_than_what_is_a_row() {
    let reasons = ["too_deep", "not_json", "too_many_rejects", "too_many_events", "not_an_object", "wrong_type"];
    are_bounded(&["deep", "rejects", "quarantined_texts"], 2, &reasons);
    are_bounded(&["failed_checks"], 2, &["id_not_negative", "too_many_events"]);
}

#[test]
fn many_shards_that_are_far_behind_are_read_in_turns() {
    are_bounded(&["backlog"], 16, &[]);
}

/// The head of a request that announces as large a body as there is.
fn head_of_a_large_body(target: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n{target}content-length: {}\r\n\r\n", 15 << 20)
}

#[test]
fn bodies_that_never_end_are_answered_and_hold_no_more_than_their_room() {
    let folder = pipeline(1);
    let millstream = Millstream::over(folder.path().to_owned());
    let (host, port) = millstream.host_stream();
    let target = "x-amz-target: Kinesis_20131202.PutRecords\r\n";
    let mut unfinished: Vec<TcpStream> = (0..40)
        .map(|number| {
            let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("connected");
            let head = head_of_a_large_body(if number % 2 == 0 { target } else { "" });
            connection.write_all(head.as_bytes()).expect("sent");
            connection.set_nonblocking(true).expect("its mode");
            connection
        })
        .collect();
    // As much of each body as the server takes now, and a good client meanwhile.
    let megabyte = vec![b'x'; 1 << 20];
    for _ in 0..14 {
        for connection in &mut unfinished {
            // Nobody reads it: there is no room.
            let _ = connection.write(&megabyte);
        }
    }
    let put = python("put_hostile", &[&port.to_string(), STREAM, "good"]);
    assert_eq!(put["records"], 2);
    for mut connection in unfinished {
        connection.set_nonblocking(false).expect("its mode");
        connection.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        let mut answer = Vec::new();
        // A reset after the answer is as good an end.
        let _ = connection.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let is_refused = answer.starts_with("HTTP/1.1 408") || answer.starts_with("HTTP/1.1 503") || answer.is_empty();
        assert!(is_refused, "{answer}");
    }
    let highest = peak(host.pid()).expect("it runs");
    println!("bodies: {} MiB", highest >> 20);
    assert!(highest < 200 << 20, "{} MiB", highest >> 20);
}
