//! What Millstream leaves on a disk is its user's alone, whatever mask it is started with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Millstream, until};

/// A command of Millstream's, started where new files are open to everybody.
fn with_open_mask(millstream: &Millstream, name: &str, arguments: &[&str]) -> Command {
    let plain = millstream.command(name, arguments);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn ok(mut command: Command) {
    let output = command.output().expect("sh runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every file and folder below this one, itself included.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn nobody_else_can_read_anything_in_the_data_folder() {
    let millstream = Millstream::new();
    let data = millstream.data.path();
    fs::set_permissions(data, Permissions::from_mode(0o777)).expect("open to everybody");
    let mut host = with_open_mask(&millstream, "stream", &[]).spawn().expect("sh runs");
    until("a hosted stream", || data.join("stream.port").exists().then_some(()));
    ok(with_open_mask(&millstream, "generate", &["--records", "3000", "--rate", "0"]));
    ok(with_open_mask(&millstream, "run", &["--once"]));
    ok(with_open_mask(&millstream, "query", &["select count(*) from fact_orders"]));
    let sent = Command::new("kill").args(["-INT", &host.id().to_string()]).status().expect("kill runs");
    assert!(sent.success() && host.wait().expect("it ends").success());

    let found = walk(data);
    for path in &found {
        let mode = fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{} has mode {mode:o}", path.display());
    }
    for part in ["kinesis/records.log", "lake/journal", "lake/staged", "lake/quarantine", "warehouse", "pipeline.json"]
    {
        assert!(found.iter().any(|path| path.starts_with(data.join(part))), "nothing below {part}: no proof");
    }
}

/// Ends a process as a failed assertion of a C library would, where cores may be as large as they like; whether there is
/// one then.
fn dumps_core(mut command: Command, is_at_work: impl Fn() -> bool) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = command.current_dir(folder.path()).spawn().expect("sh runs");
    until("the process at work", || is_at_work().then_some(()));
    let sent = Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    child.wait().expect("it ends").core_dumped()
}

fn with_cores(program: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
    command
}

#[test]
fn a_process_that_dies_leaves_no_core() {
    let millstream = Millstream::new();
    let pipeline = fs::canonicalize(&millstream.pipeline).expect("the pipeline");
    let millstream = Millstream { pipeline, ..millstream };
    let port = millstream.data.path().join("stream.port");
    assert!(!dumps_core(with_cores(&millstream.command("stream", &[])), || port.exists()), "a core was dumped");

    let mark = millstream.data.path().join("mark");
    let mut other = Command::new("sh");
    other.args(["-c", "touch \"$1\"; while :; do :; done", "sh"]).arg(&mark);
    assert!(dumps_core(with_cores(&other), || mark.exists()), "no process leaves a core here: no proof");
}
