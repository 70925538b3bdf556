//! Servers that stand in for AWS's: started once for all tests of a run, on loopback, on a port of their own.
//!
//! Owns their start and their end. Each lives as long as a pipe to this process: when the tests are over, however they
//! end, the pipe closes, and the server ends by itself.

use std::io::{Read, Seek};
use std::net::{TcpListener, TcpStream};
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
        let mut said = String::new();
        // Another program may take the port before the server does.
        for _ in 0..5 {
            match Self::try_start(name, &command) {
                Ok(server) => return server,
                Err(log) => said = log,
            }
        }
        panic!("{name} does not start; it said: {said}")
    }

    /// The server, or what it said before it ended.
    fn try_start(name: &'static str, command: impl Fn(u16) -> Command) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let mut log = tempfile::tempfile().expect("a log");
        let sink = || Stdio::from(log.try_clone().expect("a log"));
        let mut child = command(port).stdin(Stdio::piped()).stdout(sink()).stderr(sink()).spawn().expect("it starts");
        let listens = until(&format!("{name} on port {port}"), || {
            if child.try_wait().expect("its state").is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        });
        if listens {
            return Ok(Self { name, port, _child: child });
        }
        let mut said = Vec::new();
        log.rewind().and_then(|()| log.read_to_end(&mut said)).expect("its log");
        Err(String::from_utf8_lossy(&said[said.len().saturating_sub(4_000)..]).into_owned())
    }
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

#[test]
#[should_panic(expected = "nobody does not start; it said:")]
fn a_server_that_ends_at_once_is_told_with_what_it_said() {
    Server::start("nobody", |_| server("no_such_module", &[]));
}
