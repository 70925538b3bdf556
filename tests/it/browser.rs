//! A real browser shows a page of another origin, which tries all that a page can do to the servers on loopback.
//!
//! Owns the browser's installation, from the distribution's package, and the attacks' outcome. The same attacks on a
//! server that lets everything in show that they would work.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command::Millstream;
use crate::metrics::Served;
use crate::node::Package;
use crate::python::python;
use crate::target::STREAM;

const PLAYWRIGHT: Package = Package {
    name: "playwright-core",
    manifest: include_str!("../browser/package.json"),
    lock: include_str!("../browser/package-lock.json"),
};

const CHROMIUM: &str = "/usr/bin/chromium";

/// Attacks whose answer a page can read where a server lets it.
const READING: [&str; 11] = [
    "simple-post",
    "list",
    "describe",
    "put",
    "delete",
    "http-put",
    "http-delete",
    "null-origin-put",
    "null-origin-delete",
    "get-0",
    "get-1",
];

/// Attacks of which a page learns nothing, but that reach a server.
const BLIND: [&str; 12] = [
    "no-cors-post",
    "form-text",
    "form-urlencoded",
    "beacon",
    "no-cors-get-0",
    "no-cors-get-1",
    "script-0",
    "script-1",
    "image-0",
    "image-1",
    "frame-0",
    "frame-1",
];

/// The distribution's own package, where the browser is not there yet.
fn install_browser() {
    // One process at a time.
    let lock = fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("chromium.lock")).expect("a lock");
    lock.lock().expect("locked");
    if Path::new(CHROMIUM).exists() {
        return;
    }
    let script = "export DEBIAN_FRONTEND=noninteractive
        apt-get update -q && apt-get install -y -q --no-install-recommends chromium";
    let hint = "these tests need Chromium at /usr/bin/chromium: install the package chromium";
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|found| found.stdout.trim_ascii() == b"0");
    assert!(is_root && Path::new("/usr/bin/apt-get").exists(), "{hint}");
    let installed = Command::new("sh").args(["-c", script]).output().expect("sh");
    assert!(installed.status.success(), "{hint}; apt-get said: {}", String::from_utf8_lossy(&installed.stderr));
}

fn attack(stream_port: u16, metrics_address: &str) -> Value {
    install_browser();
    let profile = tempfile::tempdir().expect("a profile");
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/attack.js"));
    command.arg(PLAYWRIGHT.installed()).arg(CHROMIUM).arg(profile.path()).arg(stream_port.to_string());
    command.arg(metrics_address.rsplit_once(':').expect("a port").1).arg(STREAM);
    let output = command.stdin(Stdio::null()).output().expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "attack.js failed: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {:?}, {said}", output.stdout))
}

#[test]
fn a_page_of_another_origin_reads_puts_and_deletes_nothing() {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    millstream.json("generate", &["--records", "20", "--rate", "0"]);
    let served = Served::start(&millstream);
    let told = attack(port, served.address());

    let reached: Vec<&str> = told["reached"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    for name in READING.iter().chain(&BLIND) {
        assert!(reached.contains(name), "{name} is no attack: it reaches no server: {told:#}");
    }
    for name in READING {
        assert_eq!(told["open"][name]["read"], "a secret", "{name} is no attack: {told:#}");
    }
    for target in ["stream", "metrics"] {
        for name in READING.iter().chain(&BLIND) {
            let outcome = &told[target][name];
            assert!(outcome.is_object(), "{name} was tried: {told:#}");
            // What cannot be read is null or, of an answer without a word for the page, empty.
            assert_eq!(outcome["read"].as_str().unwrap_or_default(), "", "{target}, {name}: {told:#}");
            assert_eq!(outcome["status"].as_u64().unwrap_or_default(), 0, "{target}, {name}: {told:#}");
        }
        for name in ["list", "put", "delete", "get-0", "get-1"] {
            assert_eq!(told["rebound"]["open"][name]["read"], "a secret", "{name} is no attack: {told:#}");
            let outcome = &told["rebound"][target][name];
            assert_eq!(outcome["status"], 403, "{target}, {name}: {told:#}");
            let read = outcome["read"].as_str().expect("a sentence");
            assert!(read.contains("refused: ") && read.len() < 300, "{target}, {name}: {read}");
        }
    }

    // To a program that is no browser, all of it is as it was.
    let file = millstream.data.path().join("read.jsonl");
    let read = python("read_stream", &[&port.to_string(), STREAM, file.to_str().expect("UTF-8")]);
    assert_eq!(read["records"], 20, "nothing was put and nothing deleted");
    assert!(!fs::read_to_string(file).expect("records").contains("ZXZpbA"), "not one record is the page's");
    assert_eq!(served.scrape()["samples"]["millstream_records_read_total"], 20.0);
}
