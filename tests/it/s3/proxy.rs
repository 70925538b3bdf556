//! A proxy before an S3 server that does what none does by itself: loses answers, throttles, hangs, denies.
//!
//! One request at a time on a connection, bodies by their length: what object_store sends, and no more.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not passed on, answered with 503 SlowDown.
    Busy,
    /// Not passed on, the connection closed.
    Reset,
    /// Not passed on, answered with 403 and what a server repeats of a signed request.
    Denied,
    /// Not passed on, answered with 409.
    Conflict,
    /// Not passed on, never answered.
    Hangs,
    /// Passed on, the connection closed without the answer.
    Unanswered,
    /// Passed on, answered with 500 all the same.
    AppliedButFailed,
}

/// A fault that waits for a request.
#[derive(Debug)]
struct Waiting {
    method: &'static str,
    /// What the request's target holds.
    holds: &'static str,
    fault: Fault,
}

type Script = Arc<Mutex<Vec<Waiting>>>;

/// The proxy; it ends with the test's runtime.
pub(super) struct Proxy {
    pub(super) port: u16,
    script: Script,
}

impl Proxy {
    /// A proxy before the server at this port.
    pub(super) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let script = Script::default();
        let faults = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = Arc::clone(&faults);
                // A client that goes away in the middle is what some of these tests are about.
                tokio::spawn(async move { serve(client, server, &faults).await.unwrap_or_default() });
            }
        });
        Self { port, script }
    }

    /// The next requests of this method whose target holds this text meet these faults, one each.
    pub(super) fn next(&self, method: &'static str, holds: &'static str, faults: &[Fault]) {
        let waiting = faults.iter().map(|&fault| Waiting { method, holds, fault });
        self.script.lock().expect("unpoisoned").extend(waiting);
    }

    /// How many faults no request has met yet.
    pub(super) fn waiting(&self) -> usize {
        self.script.lock().expect("unpoisoned").len()
    }
}

async fn serve(mut client: TcpStream, server: u16, script: &Script) -> std::io::Result<()> {
    let request = request(&mut client).await?;
    let answer = match taken(script, &request) {
        None => pass_on(&request, server).await?,
        Some(Fault::Busy) => told("503 Slow Down", "SlowDown"),
        Some(Fault::Denied) => told("403 Forbidden", "SignatureDoesNotMatch"),
        Some(Fault::Conflict) => told("409 Conflict", "ConditionalRequestConflict"),
        Some(Fault::Reset) => return Ok(()),
        Some(Fault::Hangs) => std::future::pending().await,
        Some(Fault::Unanswered) => {
            pass_on(&request, server).await?;
            return Ok(());
        }
        Some(Fault::AppliedButFailed) => {
            pass_on(&request, server).await?;
            told("500 Internal Server Error", "InternalError")
        }
    };
    client.write_all(&with_close(&answer)).await?;
    client.shutdown().await
}

/// Takes the fault that waits for this request.
fn taken(script: &Script, request: &[u8]) -> Option<Fault> {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let mut script = script.lock().expect("unpoisoned");
    let meets = |waiting: &Waiting| line.starts_with(waiting.method) && line.contains(waiting.holds);
    let place = script.iter().position(meets)?;
    Some(script.remove(place).fault)
}

/// A whole request.
async fn request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let whole = head + length.unwrap_or(0);
    while bytes.len() < whole {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(bytes)
}

/// The server's whole answer.
async fn pass_on(request: &[u8], server: u16) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await?;
    upstream.write_all(&with_close(request)).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The message with a header that makes it the connection's last.
fn with_close(message: &[u8]) -> Vec<u8> {
    let line = message.windows(2).position(|window| window == b"\r\n").map_or(0, |end| end + 2);
    [&message[..line], b"connection: close\r\n", &message[line..]].concat()
}

fn told(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as told</Message>\
         <CanonicalRequest>x-amz-security-token:SESSION-TOKEN</CanonicalRequest></Error>"
    );
    format!("HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}
