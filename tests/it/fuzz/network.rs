//! What comes over a network: a PostgreSQL server's answers to us, and requests to the servers that we are.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::TryStreamExt;
use millstream::config::parse_warehouse_url;
use millstream::engine::Progress;
use millstream::host::{HostSettings, host_or_connect};
use millstream::load::{PostgresWarehouse, SqlPlace, SqlWarehouse, UpsertWarehouse};
use millstream::runtime::Context;
use millstream::serve::MetricsServer;
use millstream::store::Store;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::engine::Target;
use crate::databases::postgres::{USER, database, postgres};

/// Stands between what the server says at once and what it says after the client has spoken again.
const TURN: &[u8] = b"\x00\xff<turn>\xff\x00";

/// The most of them.
const TURNS: usize = 20;

/// How long a side may be silent before the other goes on.
const SILENCE: Duration = Duration::from_millis(30);

/// How long an answer may take, and how long a client may take to end after its server has.
const PATIENCE: Duration = Duration::from_secs(5);

fn warehouse(port: u16, database: &str) -> UpsertWarehouse {
    let settings = parse_warehouse_url(&format!("postgres://{USER}@127.0.0.1:{port}/{database}")).expect("an address");
    let place = SqlPlace { store: Store::memory("lake").expect("a store"), pipeline: "food_delivery".to_owned() };
    PostgresWarehouse::new(&settings, None, place, (&[], Context::system())).expect("a warehouse")
}

/// What is asked of a server: a question with values of many types.
async fn ask(warehouse: &UpsertWarehouse) -> Result<usize, String> {
    let sql = "select n, n::smallint as s, n::bigint as b, n * 1.5::float8 as f, (n / 4.0)::numeric(12,3) as d, date '2024-02-29' + n as day, \
               timestamptz '2024-02-29T12:00:00Z' + n * interval '1 s' as t, n % 2 = 0 as even, repeat('x', n) as text, null::text as nothing \
               from generate_series(1, 20) as g(n)";
    let answer = warehouse.query(sql).await.map_err(|error| error.to_string())?;
    let batches: Vec<_> =
        answer.batches.try_collect().await.map_err(|error: millstream::error::Error| error.to_string())?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

/// What a real server says to [`ask`], turn by turn.
fn recorded(runtime: &Runtime) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(("127.0.0.1", postgres().port)).expect("the server");
        let (mut to_server, mut from_client) =
            (server.try_clone().expect("a copy"), client.try_clone().expect("a copy"));
        let (spoke, speaks) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count) = from_client.read(&mut bytes) {
                let _ = spoke.send(());
                if count == 0 || to_server.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let (mut said, mut bytes) = (Vec::new(), [0; 8192]);
        while let Ok(count) = server.read(&mut bytes) {
            if count == 0 {
                break;
            }
            if speaks.try_iter().count() > 0 && !said.is_empty() {
                said.extend_from_slice(TURN);
            }
            said.extend_from_slice(&bytes[..count]);
            if client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = told.send(said);
    });
    let database = database();
    let warehouse = warehouse(port, &database);
    assert_eq!(runtime.block_on(ask(&warehouse)), Ok(20));
    drop(warehouse);
    heard.recv_timeout(PATIENCE).expect("the recording")
}

/// What a server is to say to one client.
struct Saying {
    bytes: Vec<u8>,
    /// How long the client may be silent before the next turn is said all the same.
    silence: Duration,
    /// Dropped when everything is said.
    over: oneshot::Sender<()>,
}

/// A server that says what it is given, a turn each time the client has spoken, then closes. One connection at a time.
struct Parrot {
    port: u16,
    say: mpsc::Sender<Saying>,
}

impl Parrot {
    /// Asks a server that says this. An `Err` where there is no end, though the server has said everything and closed:
    /// how long the server takes for that does not count.
    fn ask(&self, runtime: &Runtime, bytes: &[u8], silence: Duration) -> Result<Result<usize, String>, String> {
        let (over, closed) = oneshot::channel();
        self.say.send(Saying { bytes: bytes.to_vec(), silence, over }).expect("the parrot lives");
        let warehouse = warehouse(self.port, "dwh");
        runtime.block_on(async {
            let too_long = async {
                let _ = closed.await;
                tokio::time::sleep(PATIENCE).await;
            };
            tokio::select! {
                answer = ask(&warehouse) => Ok(answer),
                () = too_long => Err(format!("no end after {PATIENCE:?}, though the server has closed")),
            }
        })
    }
}

fn parrot() -> Parrot {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (say, sayings) = mpsc::channel::<Saying>();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // Of a further connection nothing is known: it is closed.
            let Ok(Saying { bytes: saying, silence, over }) = sayings.try_recv() else { continue };
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(silence));
            for turn in split(&saying) {
                let mut bytes = [0; 8192];
                if matches!(stream.read(&mut bytes), Ok(0)) || stream.write_all(turn).is_err() {
                    break;
                }
            }
            let _ = stream.shutdown(Shutdown::Write);
            drop(over);
            // What the client still says is read, so that it gets the answer and no reset.
            let mut rest = [0; 8192];
            while matches!(stream.read(&mut rest), Ok(count) if count > 0) {}
        }
    });
    Parrot { port, say }
}

/// At most [`TURNS`]: for each the client is waited for.
fn split(saying: &[u8]) -> Vec<&[u8]> {
    let (mut turns, mut start) = (Vec::new(), 0);
    while let Some(at) = saying[start..].windows(TURN.len()).position(|part| part == TURN)
        && turns.len() < TURNS
    {
        turns.push(&saying[start..start + at]);
        start += at + TURN.len();
    }
    turns.push(&saying[start..]);
    turns
}

#[test]
fn a_postgresql_servers_answers_are_an_answer_or_an_error_in_time() {
    let runtime = Runtime::new().expect("threads");
    let parrot = parrot();
    // Two turns of the client may have run into one while it was recorded, and are two when it is said: then once more.
    let is_answered = |saying: &Vec<u8>| parrot.ask(&runtime, saying, PATIENCE) == Ok(Ok(20));
    let seed = (0..50).map(|_| recorded(&runtime)).find(is_answered).expect("the recording itself is answered");
    assert!(split(&seed).len() > 3, "it was recorded turn by turn");
    let turn = String::from_utf8_lossy(TURN).into_owned();
    let words = [
        turn.as_str(),
        "Z\0\0\0\u{5}I",
        "Z\0\0\0\u{5}E",
        "D\0\0\0",
        "T\0\0\0",
        "C\0\0\0\rSELECT 1\0",
        "E\0\0\0\u{10}SERROR\0C40001\0\0",
        "N\0\0\0\u{5}\0",
        "A\0\0\0\n",
        "R\0\0\0\u{8}\0\0\0\0",
        "\0\0\0\u{17}",
        "1\0\0\0\u{4}",
    ];
    let target = Target { name: "postgres", seeds: vec![seed], dictionary: &words, longest: 32_768 };
    target.run(|input| parrot.ask(&runtime, input, SILENCE).map(drop));
}

/// Sends bytes and gives the answer. A server that is silent so long, or keeps the connection, is told that nothing more
/// comes: then it has to end it in time.
fn exchange(address: SocketAddr, request: &[u8], silence: Duration) -> Result<Vec<u8>, String> {
    let connected = TcpStream::connect_timeout(&address, PATIENCE);
    let mut stream = connected.map_err(|error| format!("it takes no connection: {error}"))?;
    stream.set_read_timeout(Some(silence)).expect("set");
    // The server may have answered and closed before it has read everything.
    let _ = stream.write_all(request);
    let (mut answer, mut bytes, mut told) = (Vec::new(), [0; 8192], false);
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if is_silence(&error) && !told => {
                let _ = stream.shutdown(Shutdown::Write);
                stream.set_read_timeout(Some(PATIENCE)).expect("set");
                told = true;
            }
            Err(error) if is_silence(&error) => {
                return Err(format!("it neither ends nor goes on for {PATIENCE:?}, after {} bytes", answer.len()));
            }
            Err(_) => return Ok(answer),
        }
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn is_ok(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200")
}

const HTTP_WORDS: [&str; 30] = [
    "\r\n",
    "\r\n\r\n",
    "GET ",
    "POST ",
    " HTTP/1.1",
    " HTTP/1.0",
    "Host: ",
    "Content-Length: ",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: -1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "Connection: close\r\n",
    "Connection: upgrade\r\n",
    "Upgrade: h2c\r\n",
    "Expect: 100-continue\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "Accept-Encoding: gzip\r\n",
    "Origin: http://a\r\n",
    "/metrics",
    "/health",
    "X-Amz-Target: Kinesis_20131202.",
    "PutRecords",
    "GetRecords",
    "\"ShardIteratorType\":",
    "\"Data\":",
    "null",
    "{",
    "}",
];

/// Judges a server by its answers, and now and then by what it says to a good request.
fn serve_and_fuzz(name: &'static str, address: SocketAddr, (seeds, good): (Vec<Vec<u8>>, Vec<u8>)) {
    assert!(is_ok(&exchange(address, &good, PATIENCE).expect("an answer")), "the good request is answered");
    let mut executions = 0_u32;
    Target { name, seeds, dictionary: &HTTP_WORDS, longest: 16_384 }.run(|request| {
        exchange(address, request, SILENCE)?;
        executions += 1;
        if executions.is_multiple_of(20) && !is_ok(&exchange(address, &good, PATIENCE)?) {
            return Err("a good request after this one is not answered with 200".to_owned());
        }
        Ok(())
    });
    assert!(
        is_ok(&exchange(address, &good, PATIENCE).expect("an answer")),
        "the good request is answered at the end, too"
    );
}

#[test]
fn requests_to_the_metrics_leave_the_server_to_others() {
    let runtime = Runtime::new().expect("threads");
    let server = runtime.block_on(MetricsServer::bind("127.0.0.1:0")).expect("a port");
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(server.beside((Progress::default(), Context::system()), async move {
        let _ = stopped.await;
        Ok(())
    }));
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let seeds = vec![get("/metrics"), get("/health"), get("/"), [get("/health"), get("/metrics")].concat()];
    serve_and_fuzz("metrics", address, (seeds, get("/health")));
    drop(stop);
    runtime.block_on(serving).expect("no panic").expect("served to the end");
}

#[test]
fn requests_to_the_local_stream_leave_the_server_to_others() {
    let runtime = Runtime::new().expect("threads");
    let folder = tempfile::tempdir().expect("a folder");
    let settings = HostSettings { folder: folder.path().to_owned(), port: 0, reset: false };
    let hosting = runtime.block_on(host_or_connect(&settings)).expect("hosted");
    let address = SocketAddr::from(([127, 0, 0, 1], hosting.endpoint().port));
    let call = |operation: &str, body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
             X-Amz-Date: 20260301T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKID/20260301/us-east-1/kinesis/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let create = call("CreateStream", r#"{"StreamName":"s","ShardCount":1}"#);
    assert!(is_ok(&exchange(address, &create, PATIENCE).expect("an answer")), "a stream is made");
    let seeds = vec![
        create,
        call("ListStreams", "{}"),
        call("DescribeStreamSummary", r#"{"StreamName":"s"}"#),
        call("ListShards", r#"{"StreamName":"s","MaxResults":10}"#),
        call("PutRecord", r#"{"StreamName":"s","PartitionKey":"k","Data":"eyJuIjoxfQ=="}"#),
        call(
            "PutRecords",
            r#"{"StreamName":"s","Records":[{"PartitionKey":"a","Data":"YQ=="},{"PartitionKey":"b","ExplicitHashKey":"7","Data":"Yg=="}]}"#,
        ),
        call(
            "GetShardIterator",
            r#"{"StreamName":"s","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}"#,
        ),
        call("GetRecords", r#"{"ShardIterator":"AAAAAAAAAAE=","Limit":10}"#),
    ];
    serve_and_fuzz("stream", address, (seeds, call("ListStreams", "{}")));
}
