//! As much HTTP/1.1 as a proxy of Kinesis needs: whole messages, their bodies by length or in chunks.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// The largest head, and the largest body, of which nobody is to hold more.
const LARGEST_HEAD: usize = 64 << 10;
const LARGEST_BODY: usize = 64 << 20;

/// A request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The first line, without its end.
    pub(super) start: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// An answer with a JSON body.
    pub(super) fn answer(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/x-amz-json-1.1".to_owned())];
        Self { start: format!("HTTP/1.1 {status} As Told"), headers, body: body.to_string().into_bytes() }
    }

    /// The next message; none where the other side has closed the connection after the one before.
    pub(super) async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let start = line(stream).await?;
        if start.is_empty() {
            return Ok(None);
        }
        let (mut headers, mut size) = (Vec::new(), start.len());
        loop {
            let header = line(stream).await?;
            size += header.len();
            match header.split_once(':') {
                _ if size > LARGEST_HEAD => return Err(invalid("a head without end")),
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None if header.is_empty() => break,
                None => return Err(invalid(&format!("no header: {header:?}"))),
            }
        }
        let mut message = Self { start, headers, body: Vec::new() };
        message.body = message.read_body(stream).await?;
        message.headers.retain(|(name, _)| name != "transfer-encoding" && name != "content-length");
        Ok(Some(message))
    }

    async fn read_body(&self, stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
        if self.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return chunks(stream).await;
        }
        let length = self.header("content-length").map_or(Ok(0), str::parse::<usize>);
        let length = length.map_err(|error| invalid(&error.to_string()))?;
        exactly(stream, length).await
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is the connection's last.
    pub(super) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        [head.as_bytes(), &self.body].concat()
    }
}

/// A line without its end.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    (&mut *stream).take(LARGEST_HEAD as u64).read_line(&mut line).await?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn exactly(stream: &mut BufReader<TcpStream>, length: usize) -> io::Result<Vec<u8>> {
    if length > LARGEST_BODY {
        return Err(invalid("a body without end"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let size = size.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|error| invalid(&error.to_string()))?;
        body.extend(exactly(stream, size).await?);
        // Its end; after the last one, which is empty, the end of all.
        let end = line(stream).await?;
        if size == 0 || body.len() > LARGEST_BODY || !end.is_empty() {
            return if size == 0 { Ok(body) } else { Err(invalid("chunks without end")) };
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of a connection that carries these bytes.
    async fn read(bytes: &[u8]) -> io::Result<Vec<Message>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut sender = TcpStream::connect(listener.local_addr()?).await?;
        let mut receiver = BufReader::new(listener.accept().await?.0);
        sender.write_all(bytes).await?;
        drop(sender);
        let mut messages = Vec::new();
        while let Some(message) = Message::read(&mut receiver).await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn messages_are_read_one_after_the_other_by_length_and_in_chunks() {
        let wire = b"POST / HTTP/1.1\r\nX-Amz-Target: Kinesis.GetRecords\r\nContent-Length: 2\r\n\r\n{}\
                     HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n\
                     HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let messages = read(wire).await.expect("three messages");
        let bodies: Vec<&[u8]> = messages.iter().map(|message| message.body.as_slice()).collect();
        assert_eq!(bodies, [b"{}".as_slice(), b"abc0123456789", b""]);
        assert_eq!(messages[0].header("x-amz-target"), Some("Kinesis.GetRecords"));
        assert_eq!(messages.iter().map(Message::closes).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(
            String::from_utf8(messages[1].bytes()).expect("text"),
            "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nabc0123456789"
        );
        let again: Vec<u8> = messages.iter().flat_map(Message::bytes).collect();
        assert_eq!(read(&again).await.expect("the same"), messages);
    }

    #[tokio::test]
    async fn half_a_message_is_an_error() {
        for wire in [
            "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{}",
            "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        ] {
            read(wire.as_bytes()).await.expect_err(wire);
        }
    }
}
