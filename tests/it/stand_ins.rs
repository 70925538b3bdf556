//! Servers that stand in for AWS's: started once for all tests of a run, on loopback, on a port of their own.
//!
//! Owns their start and their end. Each lives as long as a pipe to this process: when the tests are over, however they
//! end, the pipe closes, and the server ends by itself.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::command::until;
use crate::python::server;

/// A server of this run.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// Holds the pipe.
    _child: Child,
}

impl Server {
    /// Starts what `command` makes for a port, and waits until it listens there.
    pub(crate) fn start(name: &'static str, command: impl Fn(u16) -> Command) -> Self {
        // Another program may take the port before the server does.
        let started = (0..5).find_map(|_| Self::try_start(name, &command));
        started.unwrap_or_else(|| panic!("{name} does not start; it said: {}", said(name)))
    }

    fn try_start(name: &'static str, command: impl Fn(u16) -> Command) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let log = || Stdio::from(File::options().create(true).append(true).open(log(name)).expect("a log"));
        File::create(self::log(name)).expect("a log");
        let mut child = command(port).stdin(Stdio::piped()).stdout(log()).stderr(log()).spawn().expect("it starts");
        let listens = until(&format!("{name} on port {port}"), || {
            if child.try_wait().expect("its state").is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        });
        listens.then_some(Self { name, port, _child: child })
    }
}

fn log(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.log", std::process::id()))
}

fn said(name: &str) -> String {
    let text = std::fs::read(log(name)).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]).into_owned()
}

/// Two servers that speak S3, from different hands.
pub(crate) fn s3_servers() -> [&'static Server; 2] {
    static SERVERS: OnceLock<[Server; 2]> = OnceLock::new();
    let [ministack, moto] = SERVERS.get_or_init(|| {
        let ministack = |port: u16| {
            let mut command = server("ministack", &[]);
            command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
            command.env("SFTP_ENABLED", "0").env("IOT_MTLS_ENABLED", "0").env("LOG_LEVEL", "WARNING");
            command
        };
        let moto = |port: u16| server("moto.server", &["-H", "127.0.0.1", "-p", &port.to_string()]);
        [Server::start("ministack", ministack), Server::start("moto", moto)]
    });
    [ministack, moto]
}
