//! What producers, pipelines, files, workers and servers write is shown to a person without steering the terminal, in
//! every command's text; JSON says the same in its own escapes, and CSV is the data as it is.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::command::{Millstream, PipelineCopy, Said};
use crate::python::python_with_input;

const STREAM: &str = "incoming-food-order-data";

/// Sets the title, clears the screen, reverses the order of letters, hides some: in seven and in eight bits.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{9d}8;;x\u{9c}\u{202e}lluf\u{2066}\u{2069}\u{200f}\u{61c}\u{200b}\u{2028}\u{7f}\u{8}";

/// As much of it as a status may have bytes.
const SHORT: &str = "\u{1b}[31m\u{9b}2J\u{202e}red\u{7}";

/// The characters that no terminal may get, other than line feeds.
fn steering(text: &str) -> Vec<char> {
    let steers = |letter: &char| match u32::from(*letter) {
        0x0a => false,
        code => {
            code < 0x20
                || (0x7f..=0x9f).contains(&code)
                || [0x61c, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029, 0x2060, 0xfeff].contains(&code)
                || (0x202a..=0x202e).contains(&code)
                || (0x2066..=0x2069).contains(&code)
        }
    };
    text.chars().filter(steers).collect()
}

/// Sees that both streams are harmless, and gives them together.
fn harmless(what: &str, said: &Said) -> String {
    let text = format!("{}\n{}", said.stdout, said.stderr);
    let steering = steering(&text);
    assert!(steering.is_empty(), "{what} holds {steering:?}: {text:?}");
    text
}

fn order(id: u64, status: &str) -> Value {
    json!({
        "OrderID": id, "CustomerID": 1, "RestaurantID": 1, "RiderID": 1, "OrderDate": "2026-03-01T10:00:00Z",
        "OrderValue": 12.10, "OrderStatus": status,
    })
}

/// The orders of a producer that means harm: by escapes in JSON, in bytes that are no JSON, in the names of fields.
fn put_hostile(port: u16) {
    let mut named = order(2, "Placed");
    named["OrderID"] = json!({ HOSTILE: HOSTILE });
    let mut valued = order(3, "Placed");
    valued["OrderValue"] = json!(HOSTILE);
    let raw = format!("{{\"OrderID\": 4, \"{HOSTILE}\": {HOSTILE}");
    let lines = [
        order(1, SHORT).to_string(),
        order(6, HOSTILE).to_string(),
        named.to_string(),
        valued.to_string(),
        raw,
        order(5, "Placed").to_string(),
    ];
    let count = lines.len().to_string();
    let put = python_with_input("put_records", &[&port.to_string(), STREAM, &count], lines.join("\n").as_bytes());
    assert_eq!(put["put"], lines.len());
}

/// The heartbeat of a worker whose machine has a name of its own.
fn beat(data: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let heartbeat = json!({
        "format": 1, "worker": "w", "beat": 1, "written_at": now as u64, "started_at": now as u64,
        "host": { "name": format!("host\nworker   {HOSTILE}"), "boot": null, "pid": 7 }, "loads": true,
        "shards": [{ "shard": format!("shard{HOSTILE}"), "position": null, "behind_ms": 1, "records_per_second": 1.0,
                     "expires_in_ms": null, "read_at": now as u64 }],
    });
    let folder = data.join("lake/workers");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("w.json"), heartbeat.to_string()).expect("written");
}

#[test]
fn what_producers_and_workers_write_steers_no_terminal_and_is_passed_on_as_data() {
    let mut millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    put_hostile(port);
    millstream.environment.push(("MILLSTREAM_LOG", "millstream=debug".to_owned()));
    harmless("run", &millstream.say("run", &["--once"]));
    beat(millstream.data.path());

    let rejects = harmless("rejects", &millstream.say("rejects", &[]));
    assert!(rejects.contains("\\u{202e}") && rejects.contains("\\u{1b}"), "the escapes are shown: {rejects}");
    let status = harmless("status", &millstream.say("status", &[]));
    assert!(status.contains("host\\nworker   \\u{1b}"), "one worker, one line: {status}");
    let questions = [
        "select * from rejects",
        "select message, arrow_cast(payload, 'Utf8') as \"a\u{1b}[31m\u{202e}\" from rejects where reason <> 'not_json'",
        "select cast(message as int) from rejects",
        "explain select * from rejects",
        "select \"\u{1b}[31m\" from rejects",
        "select '\u{1b}[31m' frm",
    ];
    for question in questions {
        harmless(question, &millstream.say("query", &[question]));
        let said = millstream.say("query", &[question, "--format", "json"]);
        harmless(question, &said);
    }
    for (command, arguments) in
        [("audit", vec![]), ("check", vec![]), ("status", vec!["--json"]), ("rejects", vec!["--json"])]
    {
        harmless(command, &millstream.say(command, &arguments));
    }
    let question = "select message from rejects where reason = 'status_known'";
    let message = millstream.query(question)[0]["message"].as_str().expect("a text").to_owned();
    assert!(message.contains(SHORT), "JSON says what it is: {message:?}");
    let csv = millstream.ok("query", &[question, "--format", "csv"]);
    assert!(csv.contains(&message), "CSV is the data: {csv:?}");
    let typed = millstream.type_at_prompt(&format!("select cast(message as int) from rejects;\nselect {HOSTILE};\n"));
    harmless("the prompt", &typed);
    harmless("an argument", &millstream.say("run", &[HOSTILE]));
}

#[test]
fn what_a_pipeline_says_and_its_files_are_called_steers_no_terminal() {
    let escaped: String = HOSTILE.chars().map(|letter| format!("\\U{:08x}", u32::from(letter))).collect();
    let copies = [
        PipelineCopy::new().replace(
            "pipeline.toml",
            "stream = \"incoming",
            &format!("\"{escaped}\" = 1\nstream = \"incoming"),
        ),
        PipelineCopy::new().replace("pipeline.toml", "name = \"food_delivery\"", &format!("name = \"{escaped}\"")),
        PipelineCopy::new().replace("pipeline.toml", "dims/dimCustomers.csv", &escaped),
        PipelineCopy::new().replace("pipeline.toml", "order_value >= 0", &format!("order_value >= '{escaped}'")),
        PipelineCopy::new().replace("pipeline.toml", "[source]", "[source] \u{202e}\u{1b}"),
        PipelineCopy::new().replace("fact_orders.sql", "from events", &format!("from \"{HOSTILE}\"")),
        PipelineCopy::new().replace("dims/dimCustomers.csv", "CustomerName", HOSTILE),
    ];
    for (number, copy) in copies.iter().enumerate() {
        let said = Millstream::over(copy.pipeline.clone()).say("check", &[]);
        assert_eq!(said.code, Some(2), "{number}: {said:?}");
        harmless(&format!("check of copy {number}"), &said);
    }
    let stray = PipelineCopy::new();
    fs::write(stray.pipeline.join(format!("{}\nerror.sql", HOSTILE.replace('/', ""))), "select 1").expect("written");
    let said = Millstream::over(stray.pipeline.clone()).say("check", &[]);
    let text = harmless("check of a stray file", &said);
    assert!(!text.lines().any(|line| line.starts_with("error.sql")), "no line is the file's own: {text}");
}

/// A PostgreSQL server that refuses everyone, in its own words.
fn refusing_server(words: String) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut start = [0; 8];
            let _ = stream.read_exact(&mut start);
            let fields = format!("SFATAL\0C28000\0M{words}\0D{words}\0H{words}\0\0");
            let length = u32::try_from(fields.len() + 4).expect("short").to_be_bytes();
            let _ = stream.write_all(&[b"E", &length[..], fields.as_bytes()].concat());
        }
    });
    port
}

#[test]
fn the_words_of_a_server_steer_no_terminal() {
    let port = refusing_server(format!("no entry\u{1b}[2J {HOSTILE}\nerror: all is well"));
    let millstream = Millstream::new();
    let url = format!("postgres://me@127.0.0.1:{port}/dwh");
    for command in ["check", "dims"] {
        let said = millstream.say(command, &["--warehouse", &url]);
        assert_ne!(said.code, Some(0), "{said:?}");
        let text = harmless(command, &said);
        assert!(text.contains("no entry"), "{text}");
        assert!(!text.contains("\nerror: all is well"), "no line is the server's own: {text}");
    }
}
