//! Clients that take their time: they hold up no other one, and are let go.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::command::{Millstream, until};
use crate::metrics::Served;

/// More than the places of the metrics' server.
const CLIENTS: usize = 300;

/// Clients that send a byte of their request a second.
struct SlowClients {
    thread: JoinHandle<()>,
    /// Dropped, it ends them.
    _end: Sender<()>,
}

impl SlowClients {
    /// Connects them all, and goes on sending until the server has left each of them.
    fn start(address: &str) -> Self {
        let mut clients: Vec<TcpStream> =
            (0..CLIENTS).map(|_| TcpStream::connect(address).expect("connected")).collect();
        for client in &clients {
            client.set_nonblocking(true).expect("it waits for nobody");
        }
        let (_end, ended) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            for byte in b"GET /metrics HTTP/1.1\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x')) {
                clients.retain_mut(|client| !is_left(client) && client.write(&[*byte]).is_ok());
                let is_over = ended.recv_timeout(Duration::from_secs(1)) != Err(mpsc::RecvTimeoutError::Timeout);
                if clients.is_empty() || is_over {
                    return;
                }
            }
        });
        Self { thread, _end }
    }
}

/// Whether the server has closed the connection, with or without a word.
fn is_left(client: &TcpStream) -> bool {
    match client.peek(&mut [0]) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// What is answered to a client that takes no time of its own, and how long that takes.
fn ask(address: &str, path: &str) -> (String, Duration) {
    let asked = Instant::now();
    let mut connection = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    connection.write_all(request.as_bytes()).and_then(|()| connection.read_to_string(&mut answer)).expect("an answer");
    (answer, asked.elapsed())
}

/// Asks these paths again and again until all slow clients are gone; no answer may take a second.
fn others_are_answered(address: &str, paths: &[&str]) {
    let slow = SlowClients::start(address);
    let mut asked = 0;
    until("the slow clients being let go", || {
        for path in paths {
            let (answer, took) = ask(address, path);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
            assert!(took < Duration::from_secs(1), "{path} took {took:?} behind {CLIENTS} slow clients");
            asked += 1;
        }
        slow.thread.is_finished().then_some(())
    });
    assert!(asked > 10, "{asked} answers are no proof");
}

#[test]
fn health_and_metrics_are_answered_within_a_second_behind_slow_clients() {
    let millstream = Millstream::new();
    let (_host, _) = millstream.host_stream();
    let served = Served::start(&millstream);
    others_are_answered(served.address(), &["/health", "/metrics"]);
}

#[test]
fn the_local_stream_answers_within_a_second_behind_slow_clients() {
    let millstream = Millstream::new();
    let (_host, port) = millstream.host_stream();
    others_are_answered(&format!("127.0.0.1:{port}"), &["/_health/live"]);
}
