//! Connections that cannot pile up or stay: so many at once, each for so long.
//!
//! Owns both bounds, which the HTTP server has none of: a client that says nothing, or reads nothing, would keep its
//! connection, its memory and its file descriptor for ever. Who comes when all places are taken waits with the system.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::serve::Listener;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime::Context;

/// More than all who scrape one worker.
const PLACES: usize = 16;

/// As long as Prometheus itself waits for an answer, unless told otherwise.
const LIFE: Duration = Duration::from_secs(10);

/// A listener that gives bounded connections.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    context: Context,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, context: Context) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(PLACES)), context }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            // Nobody closes the semaphore.
            return pending().await;
        };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let end = self.context.clock.sleep(LIFE);
        (Connection { stream, end, is_over: false, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when its time is over.
pub(super) struct Connection {
    stream: TcpStream,
    end: BoxFuture<'static, ()>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Polls the stream, or fails.
    fn in_time<T>(
        &mut self,
        task: &mut TaskContext<'_>,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut TaskContext<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.is_over = self.is_over || self.end.as_mut().poll(task).is_ready();
        if self.is_over {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        poll(Pin::new(&mut self.stream), task)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, task: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().in_time(task, |stream, task| stream.poll_read(task, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, task: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().in_time(task, |stream, task| stream.poll_write(task, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.get_mut().in_time(task, |stream, task| stream.poll_flush(task))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.get_mut().in_time(task, |stream, task| stream.poll_shutdown(task))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;

    use super::*;
    use crate::runtime::Clock;

    /// A clock on which every wait is over at once, or never.
    struct Waits {
        end: bool,
    }

    impl Clock for Waits {
        fn now_micros(&self) -> i64 {
            0
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            if self.end { Box::pin(std::future::ready(())) } else { Box::pin(pending()) }
        }
    }

    async fn bounded(end: bool) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("its address");
        let context = Context { clock: Arc::new(Waits { end }), ..Context::system() };
        (Bounded::new(listener, context), address)
    }

    #[tokio::test]
    async fn a_silent_client_is_left_when_its_time_is_over() {
        for (end, outcome) in [(true, Some(io::ErrorKind::TimedOut)), (false, None)] {
            let (mut bounded, address) = bounded(end).await;
            let _client = TcpStream::connect(address).await.expect("connected");
            let (mut connection, _) = bounded.accept().await;
            let mut bytes = [0; 8];
            let read = poll_fn(|task| {
                let mut buffer = ReadBuf::new(&mut bytes);
                let polled = Pin::new(&mut connection).poll_read(task, &mut buffer);
                Poll::Ready(match polled {
                    Poll::Ready(read) => Some(read.expect_err("nothing was sent").kind()),
                    Poll::Pending => None,
                })
            });
            assert_eq!(read.await, outcome);
        }
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_waits_for_one_to_leave() {
        let (mut bounded, address) = bounded(false).await;
        let (mut clients, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..PLACES {
            clients.push(TcpStream::connect(address).await.expect("connected"));
            connections.push(bounded.accept().await);
        }
        clients.push(TcpStream::connect(address).await.expect("the system lets it wait"));
        let mut next = Box::pin(bounded.accept());
        assert!((&mut next).now_or_never().is_none(), "the places are taken");
        connections.pop();
        next.await;
    }
}
