//! kinesis-local, a second Kinesis server from other hands, and the strictest about resharding.
//!
//! Owns its installation, from the pinned package of `tests/stand_ins/kinesis_local` into the target folder by the first
//! test that needs it, and its start, once for all tests of a run. A machine without Node.js fails these tests with what
//! to install; it skips none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::python::fingerprint;
use crate::stand_ins::Server;

const PACKAGE: &str = include_str!("../../stand_ins/kinesis_local/package.json");
const LOCK: &str = include_str!("../../stand_ins/kinesis_local/package-lock.json");

/// The server's port. Each test takes streams of its own.
pub(super) fn port() -> u16 {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("kinesis-local", command)).port
}

fn command(port: u16) -> Command {
    let mut command = Command::new("node");
    command.arg(repository("tests/stand_ins/serve.js")).arg(program());
    // Port 0 for what nobody asks for: TLS.
    command.env("KINESIS_MOCK_PLAIN_PORT", port.to_string()).env("KINESIS_MOCK_TLS_PORT", "0");
    for change in ["CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS"] {
        command.env(format!("{change}_DURATION"), "20ms");
    }
    command.env("SHARD_LIMIT", "5000").env("LOG_LEVEL", "ERROR");
    command
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The installed program; the first caller of all test processes installs it.
fn program() -> &'static Path {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INSTALLED.get_or_init(|| install(Path::new(env!("CARGO_TARGET_TMPDIR")), "npm")) {
        Ok(program) => program,
        Err(failure) => panic!("{failure}"),
    }
}

/// The package under `folder`: found, or installed by `npm`.
fn install(folder: &Path, npm: &str) -> Result<PathBuf, String> {
    let name = format!("kinesis-local-{:016x}", fingerprint(&[PACKAGE, LOCK]));
    let home = folder.join(&name);
    let (program, ready) = (home.join("node_modules/kinesis-local/main.js"), home.join("ready"));
    let unusable = |error: std::io::Error| format!("the folder {} cannot be used: {error}", folder.display());
    fs::create_dir_all(folder).map_err(unusable)?;
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    if ready.exists() {
        return Ok(program);
    }
    // What stands there without the mark is half an installation, of a run that was ended.
    if home.exists() {
        fs::remove_dir_all(&home).map_err(unusable)?;
    }
    fs::create_dir(&home).map_err(unusable)?;
    fs::write(home.join("package.json"), PACKAGE).map_err(unusable)?;
    fs::write(home.join("package-lock.json"), LOCK).map_err(unusable)?;
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
    let outcome = Command::new(npm).args(arguments).arg(&home).stdin(Stdio::null()).output();
    let advice = "these tests read from a Kinesis server that runs on Node.js, and need node (20 or newer) and npm with a \
                  package registry that it reaches: apt install nodejs npm";
    match outcome {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(format!("npm cannot install kinesis-local; {advice}\n{}", said(&output))),
        Err(error) => return Err(format!("npm cannot be started: {error}; {advice}")),
    }
    fs::write(&ready, LOCK).map_err(unusable)?;
    Ok(program)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().chars().take(8_000).collect()
}

#[test]
fn a_machine_without_node_is_told_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure = install(folder.path(), "npm-that-is-not-there").expect_err("no npm");
    assert!(failure.contains("apt install nodejs npm"), "{failure}");
}

#[test]
fn an_installation_that_failed_half_way_is_made_anew_and_none_is_made_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure = install(folder.path(), "false").expect_err("false installs nothing");
    assert!(failure.contains("npm cannot install kinesis-local"), "{failure}");
    let home = folder.path().join(format!("kinesis-local-{:016x}", fingerprint(&[PACKAGE, LOCK])));
    fs::write(home.join("half"), "").expect("a file");
    install(folder.path(), "false").expect_err("false installs nothing");
    assert!(!home.join("half").exists(), "the half was removed");
    fs::write(home.join("ready"), "").expect("the mark");
    assert_eq!(install(folder.path(), "false"), Ok(home.join("node_modules/kinesis-local/main.js")));
}

#[test]
fn the_lock_holds_the_version_and_no_registry() {
    assert!(PACKAGE.contains("\"kinesis-local\": \"0.6.2\""), "{PACKAGE}");
    assert!(LOCK.contains("\"integrity\": \"sha512-") && !LOCK.contains("://"), "{LOCK}");
}
