//! A proxy before a Kinesis server that does what none does by itself: it throttles, fails, resets connections, loses
//! answers, takes half of a put, calls iterators too old and forgets records; and it counts what it did.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::faults::{Fault, Plan};
use super::http::Message;

/// The proxy; it ends with the test's runtime.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

/// A call of GetRecords.
#[derive(Debug, Clone)]
pub(crate) struct ReadCall {
    pub(crate) shard: String,
    pub(crate) at: Instant,
    /// Of the payloads and partition keys in its answer.
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) faults: BTreeMap<Fault, u64>,
}

struct State {
    server: u16,
    plan: Mutex<Plan>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    /// The shard of each iterator that was given out.
    iterators: HashMap<String, String>,
    reads: Vec<ReadCall>,
    /// The sequence numbers of records that retention has taken.
    forgotten: BTreeSet<String>,
}

/// What the client gets.
enum Outcome {
    Answered(Message),
    Torn(Message),
    Reset,
}

impl Proxy {
    /// A proxy before the server at this port.
    pub(crate) async fn before(server: u16, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State { server, plan: Mutex::new(plan), seen: Mutex::default() });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                // A client that goes away in the middle is what these tests are about.
                tokio::spawn(async move { state.serve(client).await.unwrap_or_default() });
            }
        });
        Self { port, state }
    }

    /// What it has done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.state.seen().counts.clone()
    }

    /// The calls of GetRecords so far, in their order.
    pub(crate) fn reads(&self) -> Vec<ReadCall> {
        self.state.seen().reads.clone()
    }

    /// From now on the records of these sequence numbers are past retention.
    pub(crate) fn forget(&self, sequences: impl IntoIterator<Item = String>) {
        self.state.seen().forgotten.extend(sequences);
    }
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no panic")
    }

    /// Answers a client's requests one after the other, over one connection to the server.
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (mut client, mut server) = (BufReader::new(client), None);
        while let Some(request) = Message::read(&mut client).await? {
            let closes = request.closes();
            match self.exchange(request, &mut server).await? {
                Outcome::Answered(answer) => client.get_mut().write_all(&answer.bytes()).await?,
                Outcome::Torn(answer) => {
                    let bytes = answer.bytes();
                    client.get_mut().write_all(&bytes[..bytes.len() - answer.body.len().div_ceil(2)]).await?;
                    return client.get_mut().shutdown().await;
                }
                Outcome::Reset => return client.get_ref().set_zero_linger(),
            }
            if closes {
                break;
            }
        }
        Ok(())
    }

    async fn exchange(&self, request: Message, server: &mut Option<BufReader<TcpStream>>) -> io::Result<Outcome> {
        let target = request.header("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let fault = self.plan().next(&operation);
        self.note(&operation, fault, &request);
        let refusal = |status, code| Ok(Outcome::Answered(refusal(status, code)));
        match fault {
            None => Ok(Outcome::Answered(self.pass(&operation, &request, server).await?)),
            Some(Fault::Throttled) => refusal(400, "ProvisionedThroughputExceededException"),
            Some(Fault::Failed) => refusal(500, "InternalFailure"),
            Some(Fault::Unavailable) => refusal(503, "ServiceUnavailable"),
            Some(Fault::ExpiredIterator) => refusal(400, "ExpiredIteratorException"),
            Some(Fault::Reset) => Ok(Outcome::Reset),
            Some(Fault::Unanswered) => self.pass(&operation, &request, server).await.map(|_| Outcome::Reset),
            Some(Fault::AppliedButFailed) => {
                self.pass(&operation, &request, server).await?;
                refusal(500, "InternalFailure")
            }
            Some(Fault::Torn) => self.pass(&operation, &request, server).await.map(Outcome::Torn),
            Some(Fault::Slow) => {
                let delay = self.plan().delay();
                tokio::time::sleep(delay).await;
                self.pass(&operation, &request, server).await.map(Outcome::Answered)
            }
            Some(Fault::Partly) => self.put_partly(request, server).await.map(Outcome::Answered),
        }
    }

    fn note(&self, operation: &str, fault: Option<Fault>, request: &Message) {
        let mut seen = self.seen();
        *seen.counts.requests.entry(operation.to_owned()).or_default() += 1;
        if let Some(fault) = fault {
            *seen.counts.faults.entry(fault).or_default() += 1;
        }
        if operation == "GetRecords" {
            let asked = parsed(&request.body);
            let iterator = asked["ShardIterator"].as_str().unwrap_or_default();
            let shard = seen.iterators.get(iterator).cloned().unwrap_or_default();
            seen.reads.push(ReadCall { shard, at: Instant::now(), bytes: 0 });
        }
    }

    /// The server's answer.
    async fn pass(
        &self,
        operation: &str,
        request: &Message,
        server: &mut Option<BufReader<TcpStream>>,
    ) -> io::Result<Message> {
        let mut connection = match server.take() {
            Some(connection) => connection,
            None => {
                let connection = TcpStream::connect(("127.0.0.1", self.server)).await?;
                connection.set_nodelay(true)?;
                BufReader::new(connection)
            }
        };
        connection.get_mut().write_all(&request.bytes()).await?;
        let answer = Message::read(&mut connection).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        *server = (!answer.closes()).then_some(connection);
        Ok(match operation {
            "GetShardIterator" | "GetRecords" if answer.start.contains(" 200 ") => self.read(request, answer),
            _ => answer,
        })
    }

    /// Remembers whose iterators these are, and takes out what is past retention.
    fn read(&self, request: &Message, mut answer: Message) -> Message {
        let (asked, mut answered) = (parsed(&request.body), parsed(&answer.body));
        let mut seen = self.seen();
        let Seen { iterators, reads, forgotten, .. } = &mut *seen;
        let of_iterator = asked["ShardIterator"].as_str().and_then(|iterator| iterators.get(iterator));
        let shard = asked["ShardId"].as_str().map(str::to_owned).or_else(|| of_iterator.cloned()).unwrap_or_default();
        for key in ["ShardIterator", "NextShardIterator"] {
            if let Some(iterator) = answered[key].as_str() {
                iterators.insert(iterator.to_owned(), shard.clone());
            }
        }
        let Some(records) = answered["Records"].as_array_mut() else { return answer };
        let before = records.len();
        records.retain(|record| record["SequenceNumber"].as_str().is_none_or(|number| !forgotten.contains(number)));
        let bytes = records.iter().map(size).sum();
        if let Some(call) = reads.iter_mut().rev().find(|call| call.shard == shard && call.bytes == 0) {
            call.bytes = bytes;
        }
        if records.len() < before {
            answer.body = answered.to_string().into_bytes();
        }
        answer
    }

    async fn put_partly(&self, mut request: Message, server: &mut Option<BufReader<TcpStream>>) -> io::Result<Message> {
        let mut put = parsed(&request.body);
        let records = put["Records"].as_array().cloned().unwrap_or_default();
        let refused = self.plan().refused(records.len());
        let taken: Vec<Value> =
            records.iter().zip(&refused).filter(|(_, refused)| !**refused).map(|(record, _)| record.clone()).collect();
        let mut answers = Vec::new();
        if !taken.is_empty() {
            put["Records"] = Value::Array(taken);
            request.body = put.to_string().into_bytes();
            let answer = self.pass("PutRecords", &request, server).await?;
            match parsed(&answer.body)["Records"].as_array() {
                Some(answered) => answers.clone_from(answered),
                // The server refuses all of it.
                None => return Ok(answer),
            }
        }
        let mut answers = answers.into_iter();
        let refusal = json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "as told" });
        let told: Vec<Value> = refused
            .into_iter()
            .map(|refused| if refused { refusal.clone() } else { answers.next().unwrap_or_else(|| refusal.clone()) })
            .collect();
        let failed = told.iter().filter(|record| record.get("ErrorCode").is_some()).count();
        Ok(Message::answer(200, &json!({ "FailedRecordCount": failed, "Records": told })))
    }
}

fn refusal(status: u16, code: &str) -> Message {
    Message::answer(status, &json!({ "__type": code, "message": "as told" }))
}

/// Null for what is no JSON.
fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

/// The bytes of a record as the limits count them.
fn size(record: &Value) -> usize {
    let length = |key: &str| record[key].as_str().map_or(0, str::len);
    length("Data") / 4 * 3 + length("PartitionKey")
}
