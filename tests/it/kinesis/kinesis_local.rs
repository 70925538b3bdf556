//! kinesis-local, a second Kinesis server from other hands, and the strictest about resharding.
//!
//! Owns its start, once for all tests of a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::node::Package;
use crate::stand_ins::Server;

const PACKAGE: Package = Package {
    name: "kinesis-local",
    manifest: include_str!("../../stand_ins/kinesis_local/package.json"),
    lock: include_str!("../../stand_ins/kinesis_local/package-lock.json"),
};

/// The server's port. Each test takes streams of its own.
pub(super) fn port() -> u16 {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("kinesis-local", command)).port
}

fn command(port: u16) -> Command {
    let mut command = Command::new("node");
    command.arg(repository("tests/stand_ins/serve.js")).arg(PACKAGE.installed().join("main.js"));
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

#[test]
fn the_lock_holds_the_version_and_no_registry() {
    let Package { manifest, lock, .. } = PACKAGE;
    assert!(manifest.contains("\"kinesis-local\": \"0.6.2\""), "{manifest}");
    assert!(lock.contains("\"integrity\": \"sha512-") && !lock.contains("://"), "{lock}");
}
