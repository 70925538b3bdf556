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

/// After this much silence a test fails, and does not wait for ever.
const SILENCE: Duration = Duration::from_secs(60);

fn connect(address: &str) -> TcpStream {
    let connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(SILENCE)).expect("a time-out");
    connection.set_write_timeout(Some(SILENCE)).expect("a time-out");
    connection
}

/// Clients that send a byte of their request a second.
struct SlowClients {
    thread: JoinHandle<()>,
    /// Dropped, it ends them.
    _end: Sender<()>,
}

impl SlowClients {
    /// Connects them all, and goes on sending until the server has left each of them.
    fn start(address: &str) -> Self {
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
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
    let mut connection = connect(address);
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

/// A request to the local stream, up to its body.
fn head(operation: &str, length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-amz-target: Kinesis_20131202.{operation}\r\nconnection: close\r\n\
         content-type: application/x-amz-json-1.1\r\nx-amz-date: 20261120T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The answer to a request of this length that is sent in one go, and how long it takes.
fn send(address: &str, length: usize) -> (String, Duration) {
    let asked = Instant::now();
    let mut connection = connect(address);
    let body = format!("{{{}}}", " ".repeat(length - 2));
    let mut answer = String::new();
    connection.write_all((head("ListStreams", length) + &body).as_bytes()).expect("sent");
    connection.read_to_string(&mut answer).expect("an answer");
    (answer, asked.elapsed())
}

/// How long small requests take in all, each asked at two servers one after the other: with slow clients, and without.
#[derive(Debug, Default)]
struct Small {
    asked: u32,
    beside_slow: Duration,
    alone: Duration,
}

impl Small {
    fn ask(&mut self, beside_slow: &str, alone: &str) {
        self.asked += 1;
        for (address, time) in [(beside_slow, &mut self.beside_slow), (alone, &mut self.alone)] {
            let (answer, took) = send(address, 1 << 10);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            *time += took;
        }
    }
}

/// How busy the machine is shows in the times of a second server, which nobody holds up.
#[test]
fn bodies_that_come_slowly_hold_up_no_small_one_and_no_large_one_for_long() {
    let (millstream, other) = (Millstream::new(), Millstream::new());
    let ((_host, port), (_other_host, other_port)) = (millstream.host_stream(), other.host_stream());
    let (address, alone) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{other_port}"));
    let began = Instant::now();
    // More than there is room for, each a byte at a time.
    let mut slow: Vec<TcpStream> = (0..4).map(|_| connect(&address)).collect();
    for client in &mut slow {
        client.write_all(head("ListStreams", 16 << 20).as_bytes()).expect("sent");
        client.set_nonblocking(true).expect("it waits for nobody");
    }
    let large = thread::spawn({
        let address = address.clone();
        move || send(&address, 12 << 20)
    });
    let mut small = Small::default();
    until("the slow bodies being refused", || {
        small.ask(&address, &alone);
        slow.retain_mut(|client| !is_left(client) && client.write(b" ").is_ok());
        slow.is_empty().then_some(())
    });
    // One of them that waits for slow bodies waits for seconds.
    let refused = began.elapsed();
    assert!(small.asked > 1, "one answer is no proof");
    assert!(small.beside_slow < small.alone * 3 + Duration::from_secs(1), "{small:?} behind slow bodies");
    let (answer, took) = large.join().expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, alone) = send(&alone, 12 << 20);
    let longest = refused + alone * 3 + Duration::from_secs(4);
    assert!(took < longest, "a large request took {took:?} behind slow bodies that were refused after {refused:?}");
}
