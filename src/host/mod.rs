//! The local target's stream: a Kinesis server inside this process, on loopback, whose records outlive it.
//!
//! Owns `DIR/kinesis` and `DIR/stream.port`. Whichever command comes first hosts, later ones connect, and any client
//! that speaks Kinesis over HTTP can put and get. The engine (ferrokinesis) keeps its state in memory; its own durable
//! mode writes all records anew for each put, so this module logs each put once, before its client is answered.
//!
//! What lasts: streams, shards, records, sequence numbers, arrival and creation times, consumers; not resource
//! policies, tags of consumers and account settings. A process that is killed loses nothing that a client was told. The
//! log is synced at a graceful end and not per put, so a power cut may cost the last seconds of records. Their sequence
//! numbers are not given again: numbers are reserved ahead, synced, so whoever read to a position that is lost misses
//! nothing that comes after. After a kill numbers skip ahead, after a graceful end they go on without a gap.
//!
//! A start deletes nothing that a client was told is kept: a folder that is not as it was left is refused (`files`).
//!
//! It does not know what records mean and makes no stream. It speaks HTTP/1.1 and HTTP/2 without TLS (prior knowledge);
//! fan-out is served over both.

mod bodies;
mod claim;
mod durable;
mod files;
mod frame;
mod log;
mod restore;
mod saved;
mod serve;
mod subscription;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Result};
use crate::runtime::{Clock, SystemClock, blocking, on_own_threads};
use claim::{Claim, Lock};

/// How often, and how many times, a server that is about to start is looked for: 10 s in all.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: usize = 200;
/// How often a port in use is asked for again where the lock is not made yet: a host binds first, then makes it.
const PORT_LOOKS: usize = 4;

/// Where the stream lives.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The local target's folder, made where it is missing.
    pub folder: PathBuf,
    /// The port on 127.0.0.1; 0 for any free one.
    pub port: u16,
    /// Whether to begin with an empty stream; what is there is moved to `DIR/kinesis/before-reset-TIME`.
    pub reset: bool,
}

/// Where the stream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEndpoint {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

/// How this process takes part.
#[derive(Debug)]
pub enum Hosting {
    /// It hosts the stream.
    Hosting(Host),
    /// Another process does; when that ends, its clients lose their connections: call [`host_or_connect`] again.
    Connected(StreamEndpoint),
}

impl Hosting {
    /// Where the stream is reached.
    pub fn endpoint(&self) -> StreamEndpoint {
        match self {
            Self::Hosting(host) => host.endpoint(),
            Self::Connected(endpoint) => endpoint.clone(),
        }
    }
}

/// A stream hosted by this process, on threads of its own. Dropping it ends the server as [`Host::shutdown`] does, but
/// nobody learns how that went.
#[derive(Debug)]
pub struct Host {
    port: u16,
    stop: DropGuard,
    gone: CancellationToken,
    outcome: oneshot::Receiver<Result<()>>,
}

/// Hosts the folder's stream, or connects to the process that does.
///
/// # Errors
/// Invalid where the port is in use, the folder cannot be written or is not ours; Corrupt where its files contradict
/// themselves; Transient where a host is there that does not answer within 10 s.
pub async fn host_or_connect(settings: &HostSettings) -> Result<Hosting> {
    for look in 0..LOOKS {
        let HostSettings { folder, port, .. } = settings.clone();
        match blocking(move || claim::claim(&folder, port)).await? {
            Claim::Ours(lock, listener) => {
                return start(settings.clone(), lock, listener).await.map(Hosting::Hosting);
            }
            Claim::PortInUse if look + 1 >= PORT_LOOKS => return Err(claim::port_in_use(settings.port)),
            Claim::PortInUse | Claim::Taken => {}
        }
        if let Some(endpoint) = endpoint_of(&settings.folder)
            && claim::answers(endpoint.port).await
        {
            if settings.reset {
                return Err(Error::invalid(format!(
                    "another process hosts the stream in {}: end it, then reset the stream",
                    settings.folder.display()
                )));
            }
            if settings.port != 0 && settings.port != endpoint.port {
                tracing::debug!(asked = settings.port, running = endpoint.port, "the stream runs on another port");
            }
            return Ok(Hosting::Connected(endpoint));
        }
        SystemClock.sleep(LOOK_EVERY).await;
    }
    Err(Error::transient(format!(
        "another process hosts the stream in {} but does not answer: end that process, or try again",
        settings.folder.display()
    )))
}

/// Where the folder's stream was last said to be hosted; none where nobody says so. Whether it still is, [`is_served`]
/// tells: a host that was killed leaves its word behind.
pub fn endpoint_of(folder: &Path) -> Option<StreamEndpoint> {
    claim::read_port(folder).map(StreamEndpoint::new)
}

/// Whether a living process, be it this one, hosts the folder's stream or is about to. False where the folder cannot be
/// read. Asks the file system, and writes nothing.
pub fn is_served(folder: &Path) -> bool {
    claim::is_held(folder)
}

impl StreamEndpoint {
    fn new(port: u16) -> Self {
        Self { port, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Host {
    /// Where the stream is reached.
    pub fn endpoint(&self) -> StreamEndpoint {
        StreamEndpoint::new(self.port)
    }

    /// Whether the server has ended, by itself or by a panic: nobody serves the stream, and [`host_or_connect`] may
    /// host it anew. [`Host::shutdown`] tells why.
    pub fn has_ended(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits until [`Host::has_ended`]. It may be dropped and called again, and by several at a time.
    pub async fn ended(&self) {
        self.gone.cancelled().await;
    }

    /// Lets requests under way finish (5 s at most), syncs everything, and removes `stream.port`.
    ///
    /// # Errors
    /// Invalid where the disk is full; every answered record is in the log all the same.
    pub async fn shutdown(self) -> Result<()> {
        drop(self.stop);
        said(self.outcome).await
    }
}

async fn start(
    HostSettings { folder, reset, .. }: HostSettings,
    lock: Lock,
    listener: std::net::TcpListener,
) -> Result<Host> {
    let unknown = |error| Error::internal("the listener has no address").with_source(error);
    let port = listener.local_addr().map_err(unknown)?.port();
    let stop = CancellationToken::new();
    let (ready, is_ready) = oneshot::channel();
    if reset {
        set_aside(claim::stream_folder(&folder)).await?;
    }
    let server = serve::Server { folder: claim::stream_folder(&folder), listener, stop: stop.clone() };
    let in_folder = folder.clone();
    let gone = CancellationToken::new();
    let at_the_end = gone.clone().drop_guard();
    let outcome = on_own_threads("stream", 1, move || async move {
        // Dropped last, also by a panic: who learns that the server is gone finds its lock free.
        let _at_the_end = at_the_end;
        let lock = lock;
        let served = server.run(ready).await;
        // In this order: who finds the lock free must not find our port.
        let removed = claim::remove_port(&in_folder);
        drop(lock);
        served.and(removed.map_err(|error| Error::invalid("cannot remove stream.port").with_source(error)))
    })?;
    if is_ready.await.is_err() {
        said(outcome).await?;
        return Err(Error::internal("the stream's server ended before it began"));
    }
    let host = Host { port, stop: stop.drop_guard(), gone, outcome };
    let written = blocking(move || {
        claim::write_port(&folder, port).map_err(|error| {
            Error::invalid(format!("cannot write stream.port in {}", folder.display())).with_source(error)
        })
    });
    match written.await {
        Ok(()) => Ok(host),
        Err(error) => {
            host.shutdown().await?;
            Err(error)
        }
    }
}

async fn set_aside(folder: PathBuf) -> Result<()> {
    let moved = blocking(move || {
        files::set_aside(&folder, SystemClock.now_millis() / 1000).map_err(|error| {
            Error::invalid(format!("the stream in {} cannot be set aside", folder.display())).with_source(error)
        })
    });
    if let Some(kept_in) = moved.await? {
        tracing::warn!(kept_in = %kept_in.display(), "the stream was reset: it is empty now, what it held is kept there");
    }
    Ok(())
}

async fn said(outcome: oneshot::Receiver<Result<()>>) -> Result<()> {
    outcome.await.unwrap_or_else(|_| Err(Error::internal("the stream's server panicked")))
}
