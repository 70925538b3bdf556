//! A local stream whose files are not as they were left: no command deletes, or passes over, what was put and not read.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Millstream, Said};

/// Everything that hosts the stream.
const HOSTING: [&[&str]; 4] = [&["run", "--once"], &["generate", "--records", "1"], &["stream"], &["demo"]];

/// A pipeline that has read 200 records, and 100 more that wait in the stream; nobody hosts it.
struct Left {
    millstream: Millstream,
    /// `streams.json` and `records.log`.
    files: [(PathBuf, Vec<u8>); 2],
}

impl Left {
    fn new() -> Self {
        let millstream = Millstream::new();
        millstream.json("generate", &["--records", "200", "--rate", "0"]);
        millstream.json("run", &["--once"]);
        millstream.json("generate", &["--records", "100", "--rate", "0", "--seed", "2"]);
        let folder = millstream.data.path().join("kinesis");
        let files = ["streams.json", "records.log"].map(|name| {
            let path = folder.join(name);
            let bytes = fs::read(&path).expect("read");
            (path, bytes)
        });
        Self { millstream, files }
    }

    fn put_back(&self) {
        for (path, bytes) in &self.files {
            fs::write(path, bytes).expect("written");
        }
    }

    /// The command refuses within seconds, says these words and what to do, and leaves the files as they are.
    fn is_refused(&self, command: &[&str], words: &str) -> Said {
        let found = || self.files.each_ref().map(|(path, _)| fs::read(path).ok());
        let (before, started) = (found(), Instant::now());
        let said = self.millstream.say(command[0], &command[1..]);
        assert!(started.elapsed() < Duration::from_secs(5), "{command:?} took {:?}", started.elapsed());
        assert!(said.code == Some(1) || said.code == Some(2), "{command:?}: {said:?}");
        let advises = said.stderr.contains("--reset-stream") || said.stderr.contains("newer millstream");
        assert!(said.stderr.contains(words) && advises, "{command:?} does not say {words:?}: {said:?}");
        assert_eq!(found(), before, "{command:?} changed the files");
        said
    }

    /// All that waited is read.
    fn is_read(&self) {
        let summary = self.millstream.json("run", &["--once"]);
        assert_eq!(summary["records"], 100, "{summary}");
        assert_eq!(self.millstream.json("audit", &[])["clean"], true);
    }
}

#[test]
fn a_missing_file_is_refused_by_every_command_that_hosts_and_nothing_is_lost() {
    let left = Left::new();
    for (path, _) in &left.files {
        fs::remove_file(path).expect("removed");
        for command in HOSTING {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let said = left.is_refused(command, &format!("{name} is gone"));
            assert_eq!(said.code, Some(1), "{said:?}");
        }
        left.put_back();
    }
    left.is_read();
}

#[test]
fn a_stream_that_is_gone_as_a_whole_is_refused_and_not_made_anew() {
    let left = Left::new();
    let folder = left.millstream.data.path().join("kinesis");
    fs::remove_dir_all(&folder).expect("removed");
    for command in HOSTING.iter().chain(&[&["status"][..]]) {
        let said = left.is_refused(command, "the local stream is gone");
        assert!(said.code == Some(1) && !folder.exists(), "{said:?}");
    }
    fs::create_dir(&folder).expect("made");
    left.put_back();
    left.is_read();
    fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(left.millstream.json("run", &["--once", "--reset-stream"])["records"], 0);
}

#[test]
fn flipped_bits_in_either_file_are_refused_at_once_and_nothing_is_lost() {
    let left = Left::new();
    for (path, bytes) in &left.files {
        for at in (0..15).map(|step| step * bytes.len() / 15) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            fs::write(path, flipped).expect("written");
            left.is_refused(HOSTING[0], &path.display().to_string());
        }
        left.put_back();
    }
    left.is_read();
}

#[test]
fn a_torn_end_is_cut_off_and_said_with_its_bytes() {
    let left = Left::new();
    let (path, bytes) = &left.files[1];
    // A frame of which a kill let only the first 40 bytes be written, behind all that clients were told is kept.
    let torn = [&bytes[..], &bytes[60..100]].concat();
    fs::write(path, torn).expect("written");
    let said = left.millstream.say("run", &["--once", "--json"]);
    let told: Vec<Value> = said.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let torn = told.iter().find(|line| line["fields"]["message"].as_str().is_some_and(|words| words.contains("torn")));
    assert_eq!(torn.map(|line| &line["fields"]["bytes"]), Some(&Value::from(40)), "{said:?}");
    let summary: Value = serde_json::from_str(&said.stdout).expect("a summary");
    assert_eq!(summary["records"], 100, "{summary}");
}

#[test]
fn a_reset_keeps_the_files_and_the_pipeline_goes_on_with_an_empty_stream() {
    let left = Left::new();
    fs::remove_file(&left.files[0].0).expect("removed");
    let summary = left.millstream.json("run", &["--once", "--reset-stream"]);
    assert_eq!(summary["records"], 0, "{summary}");
    let folder = left.millstream.data.path().join("kinesis");
    let aside = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).find(|path| path.is_dir());
    let kept = fs::read(aside.expect("a folder aside").join("records.log")).expect("the log");
    assert_eq!(kept, left.files[1].1, "what is given up is kept, byte for byte");
    left.millstream.json("generate", &["--records", "70", "--rate", "0", "--seed", "3"]);
    assert_eq!(left.millstream.json("run", &["--once"])["records"], 70);
    assert_eq!(left.millstream.json("status", &[])["records"], 270);
    assert_eq!(left.millstream.json("audit", &[])["clean"], true);

    let said = left.millstream.say("run", &["--once", "--reset-stream", "--target", "aws"]);
    assert!(said.code == Some(2) && said.stderr.contains("--reset-stream is for the local target only"), "{said:?}");
}
