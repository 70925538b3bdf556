//! Fan-out subscriptions to the hosted stream, over HTTP/1.1 and HTTP/2, by clients that know just enough of both.

use std::sync::Arc;

use ferrokinesis::actions::subscribe_to_shard::execute_streaming;
use futures::StreamExt;
use futures::future::Either;
use tokio::sync::RwLock;

use super::super::serve::gated;
use super::super::subscription::Subscription;
use super::*;

/// One subscription, read message by message.
struct Subscriber {
    connection: TcpStream,
    /// What came and was not read yet: of the connection, and of the body in it.
    raw: Vec<u8>,
    body: Vec<u8>,
    has_ended: bool,
}

impl Client {
    /// A consumer, once it can be used.
    fn consumer(&mut self, name: &str) -> Value {
        let arn = self.summary()["StreamARN"].clone();
        let named = json!({ "StreamARN": arn, "ConsumerName": name });
        self.call("RegisterStreamConsumer", &named);
        loop {
            let mut found = self.call("DescribeStreamConsumer", &named)["ConsumerDescription"].take();
            if found["ConsumerStatus"] == "ACTIVE" {
                return found["ConsumerARN"].take();
            }
        }
    }
}

fn subscription(consumer: &Value) -> Value {
    let position = json!({ "Type": "TRIM_HORIZON" });
    json!({ "ConsumerARN": consumer, "ShardId": "shardId-000000000000", "StartingPosition": position })
}

impl Subscriber {
    fn new(endpoint: &StreamEndpoint, consumer: &Value) -> Self {
        let mut client = Client::new(endpoint);
        client.send("SubscribeToShard", &subscription(consumer));
        let mut subscriber =
            Self { connection: client.connection, raw: Vec::new(), body: Vec::new(), has_ended: false };
        let head = subscriber.until(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"), "{head}");
        assert_eq!(subscriber.message().expect("a first message"), b"", "all is well");
        subscriber
    }

    /// The next event's records' sequence numbers; none at the end.
    fn event(&mut self) -> Option<Vec<String>> {
        let event: Value = serde_json::from_slice(&self.message()?).expect("json");
        Some(sequences_in(&event))
    }

    /// The next message's payload; none at the end.
    fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((payload, length)) = first_message(&self.body) {
                let payload = payload.to_vec();
                self.body.drain(..length);
                return Some(payload);
            }
            if self.has_ended {
                assert!(self.body.is_empty(), "the end comes between two messages");
                return None;
            }
            self.chunk();
        }
    }

    fn chunk(&mut self) {
        let line = self.until(b"\r\n");
        let size = usize::from_str_radix(std::str::from_utf8(&line).expect("text").trim(), 16).expect("a size");
        while self.raw.len() < size + 2 {
            self.receive();
        }
        self.body.extend(self.raw.drain(..size));
        self.raw.drain(..2);
        self.has_ended = size == 0;
    }

    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.raw.windows(end.len()).position(|window| window == end) {
                return self.raw.drain(..at + end.len()).collect();
            }
            self.receive();
        }
    }

    fn receive(&mut self) {
        let mut chunk = [0; 1 << 16];
        let read = self.connection.read(&mut chunk).expect("receive");
        assert!(read > 0, "the server hung up without an end");
        self.raw.extend_from_slice(&chunk[..read]);
    }
}

/// The payload of the first event-stream message in these bytes, and the message's length.
fn first_message(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let (length, headers) = (number(0)?, number(4)?);
    Some((bytes.get(..length)?.get(12 + headers..length - 4)?, length))
}

fn sequences_in(event: &Value) -> Vec<String> {
    let records = event["Records"].as_array().expect("records");
    records.iter().map(|record| record["SequenceNumber"].as_str().expect("a number").to_owned()).collect()
}

#[tokio::test]
async fn a_subscriber_sees_every_record_in_order_and_none_that_is_not_in_the_log() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let endpoint = host.endpoint();
    let mut client = Client::new(&endpoint);
    client.create(1);
    let consumer = client.consumer("fan");
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let endpoint = endpoint.clone();
            blocking(move || {
                let mut client = Client::new(&endpoint);
                (0..100).for_each(|put| client.put(writer * 1000 + put * 2..writer * 1000 + put * 2 + 2));
                Ok(())
            })
        })
        .collect();
    let in_folder = folder.path().join("kinesis");
    let reader = blocking(move || {
        let mut subscriber = Subscriber::new(&endpoint, &consumer);
        let mut seen: Vec<String> = Vec::new();
        while seen.len() < 600 {
            seen.extend(subscriber.event().expect("it goes on"));
            let on_disk = logged(&in_folder);
            assert_eq!(seen[..], on_disk[..seen.len()], "what is sent is what is logged, in its order");
        }
        Ok(())
    });
    futures::future::try_join(futures::future::try_join_all(writers), reader).await.expect("no one fails");
}

/// A subscription's body, read without a connection.
struct Bare {
    durable: Arc<RwLock<Durable>>,
    body: Subscription,
    stop: CancellationToken,
}

impl Bare {
    async fn new(folder: &Path) -> Self {
        let durable = durable(folder).await;
        let store = durable.store.clone();
        let arn = store.get_stream("orders").await.expect("a stream").stream_arn;
        let named = json!({ "StreamARN": arn, "ConsumerName": "fan" });
        dispatch(&store, Operation::RegisterStreamConsumer, named.clone()).await.expect("registered");
        let consumer = loop {
            let found = dispatch(&store, Operation::DescribeStreamConsumer, named.clone()).await;
            let found = found.expect("found").expect("an answer")["ConsumerDescription"].take();
            if found["ConsumerStatus"] == "ACTIVE" {
                break found["ConsumerARN"].clone();
            }
            tokio::task::yield_now().await;
        };
        let body = execute_streaming(&store, subscription(&consumer), "application/x-amz-json-1.1").await;
        let (durable, stop) = (Arc::new(RwLock::new(durable)), CancellationToken::new());
        let mut body = gated(body.expect("a subscription"), &durable, &stop);
        body.next().await.expect("a first message").expect("no error");
        Self { durable, body, stop }
    }

    async fn event(&mut self) -> Vec<String> {
        let message = self.body.next().await.expect("it goes on").expect("no error");
        let (payload, _) = first_message(&message).expect("a whole message");
        sequences_in(&serde_json::from_slice(payload).expect("json"))
    }
}

#[tokio::test]
async fn what_a_vanished_client_left_is_logged_before_a_subscriber_sees_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bare = Bare::new(folder.path()).await;
    assert!(bare.event().await.is_empty());
    {
        let mut durable = bare.durable.write().await;
        durable.begin(false).await.expect("begin");
        put_one(&durable).await;
    }
    assert!(logged(folder.path()).is_empty());
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = bare.event().await;
    }
    assert_eq!(seen, logged(folder.path()));
}

#[tokio::test]
async fn a_subscriber_sees_nothing_while_a_put_is_under_way() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bare = Bare::new(folder.path()).await;
    assert!(bare.event().await.is_empty());
    let gate = bare.durable.clone();
    let mut durable = gate.write().await;
    durable.begin(false).await.expect("begin");
    put_one(&durable).await;
    let patience = SystemClock.sleep(Duration::from_millis(500));
    let outcome = futures::future::select(bare.body.next(), patience).await;
    assert!(matches!(outcome, Either::Right(_)), "it waits for the put, past its time for the next message");
    drop(outcome);
    durable.settle().await.expect("settle");
    drop(durable);
    assert_eq!(bare.event().await.len(), 1, "the next message was held back, not lost");
}

#[tokio::test]
async fn a_subscriber_that_sleeps_or_is_not_read_holds_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bare = Bare::new(folder.path()).await;
    for _ in 0..3 {
        assert!(bare.durable.try_write().is_ok(), "between two messages nobody reads on");
        assert!(bare.event().await.is_empty());
        for _ in 0..3 {
            assert!(bare.body.next().now_or_never().is_none(), "it sleeps");
            assert!(bare.durable.try_write().is_ok(), "however often its connection asks");
        }
    }
}

#[tokio::test]
async fn a_subscriber_whose_records_cannot_be_logged_is_cut_off_and_sees_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bare = Bare::new(folder.path()).await;
    bare.durable.write().await.close().await.expect("closed");
    let error = bare.body.next().await.expect("an error").expect_err("the host has closed");
    assert!(error.to_string().contains("the host of the stream is ending"), "{error}");
    bare.stop.cancel();
    assert!(bare.body.next().await.is_none(), "and it ends with the host");
}

#[tokio::test]
async fn puts_are_not_held_up_by_subscribers() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let mut client = Client::new(&host.endpoint());
    client.create(1);
    let consumer = client.consumer("fan");
    let mut subscribers: Vec<_> = (0..8).map(|_| Subscriber::new(&host.endpoint(), &consumer)).collect();
    for subscriber in &mut subscribers {
        assert!(subscriber.event().expect("an event").is_empty());
    }
    let mut took: Vec<Duration> = (0..40)
        .map(|key| {
            let started = SystemClock.now_micros();
            client.put(key..key + 1);
            Duration::from_micros((SystemClock.now_micros() - started) as u64)
        })
        .collect();
    took.sort_unstable();
    // A subscriber that kept the gate would keep it for the 200 ms of the engine's sleep.
    assert!(took[20] < Duration::from_millis(50), "{took:?}");
    for subscriber in &mut subscribers {
        let mut seen = 0;
        while seen < 40 {
            seen += subscriber.event().expect("it goes on").len();
        }
    }
}

#[tokio::test]
async fn a_host_that_ends_ends_its_subscriptions_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let mut client = Client::new(&host.endpoint());
    client.create(1);
    let consumer = client.consumer("fan");
    let mut subscriber = Subscriber::new(&host.endpoint(), &consumer);
    client.put(0..1);
    let mut seen = 0;
    while seen == 0 {
        seen = subscriber.event().expect("it goes on").len();
    }
    let started = SystemClock.now_micros();
    host.shutdown().await.expect("a graceful end");
    let took = SystemClock.now_micros() - started;
    assert!(took < 3_000_000, "{took} µs");
    while subscriber.event().is_some() {}
}

/// HTTP/2 without TLS, by prior knowledge: one request, its frames written by hand.
struct SecondVersion(TcpStream);

impl SecondVersion {
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).expect("send");
    }

    fn ask(endpoint: &StreamEndpoint, operation: &str, request: &Value) -> Self {
        let connection = TcpStream::connect(("127.0.0.1", endpoint.port)).expect("connect");
        let mut client = Self(connection);
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("send");
        client.frame(4, 0, 0, &[]);
        // `:method: POST`, `:scheme: http`, `:path: /` by their numbers, the rest as literals.
        let mut head = vec![0x83, 0x86, 0x84];
        for (name, value) in [
            (":authority", "127.0.0.1"),
            ("x-amz-target", &format!("Kinesis_20131202.{operation}")),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-date", "20261120T000000Z"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"),
        ] {
            head.push(0);
            for text in [name, value] {
                head.push(u8::try_from(text.len()).expect("short"));
                head.extend(text.as_bytes());
            }
        }
        client.frame(1, 4, 1, &head);
        client.frame(0, 1, 1, request.to_string().as_bytes());
        client
    }

    /// The next piece of the answer's body.
    fn data(&mut self) -> Vec<u8> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).expect("a frame");
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).expect("its payload");
            match (head[3], head[4]) {
                (0, _) => return payload,
                (4, 0) => self.frame(4, 1, 0, &[]),
                (3 | 7, _) => panic!("reset or sent away: {payload:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn subscribers_may_speak_http_2() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path()).await;
    let mut client = Client::new(&host.endpoint());
    client.create(1);
    let consumer = client.consumer("fan");
    client.put(0..3);
    let mut second = SecondVersion::ask(&host.endpoint(), "SubscribeToShard", &subscription(&consumer));
    let mut body = Vec::new();
    let mut messages = Vec::new();
    while messages.len() < 2 {
        body.extend(second.data());
        while let Some((payload, length)) = first_message(&body) {
            messages.push(payload.to_vec());
            body.drain(..length);
        }
    }
    let event: Value = serde_json::from_slice(&messages[1]).expect("json");
    assert_eq!(sequences_in(&event).len(), 3);
}
