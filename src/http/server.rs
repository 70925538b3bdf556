//! Serving many clients at once, none of whom can hold up another.
//!
//! Owns the connections: their number, how long each may take to say what it wants, how long it may ask for nothing, and
//! their end. A client that has a place and has asked for nothing yet loses it to one that comes later. How long an answer
//! may take is not decided here, but for servers whose connections have a fixed life.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Version;
use axum::middleware::map_request_with_state;
use axum::serve::Listener;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::streams::Streams;
use crate::error::Result;
use crate::runtime::{Clock, Tasks};

/// What a client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Until a new connection's first request is known, headers and all.
    pub first_request: Duration,
    /// The same for each later one: so long an idle connection is kept.
    pub next_request: Duration,
    /// From a connection's beginning to its end, whatever it does; none for as long as it likes.
    pub life: Option<Duration>,
    /// Bytes of a connection's buffer, which its headers must fit into. At least 8,192.
    pub buffer: usize,
    /// How long requests under way may take once the server is to end.
    pub drain: Duration,
}

/// A connection's place.
#[derive(Default)]
struct Seat {
    /// How often it has asked.
    requests: AtomicU64,
    /// Whether it speaks HTTP/2.
    is_second_version: AtomicBool,
    /// Gives the place away.
    leave: CancellationToken,
}

/// Answers HTTP/1.1 and HTTP/2 (prior knowledge) until told to stop, then lets requests under way finish.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    (limits, clock): (Limits, Arc<dyn Clock>),
    stop: CancellationToken,
) {
    let (limits, mut seats, mut connections) = (Arc::new(limits), Vec::new(), Tasks::new());
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.next() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                continue;
            }
            (stream, _) = Listener::accept(&mut listener) => stream,
        };
        if !make_place(&mut seats, limits.connections) {
            // It is told so where its socket takes it at once, and left in any case.
            let _ =
                stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            continue;
        }
        let seat = Arc::new(Seat::default());
        seats.push(Arc::clone(&seat));
        let router = router.clone().layer(map_request_with_state(Arc::clone(&seat), asked));
        let connection = Connection { stream, seat, limits: Arc::clone(&limits), clock: Arc::clone(&clock) };
        connections.spawn("a client", connection.serve(router, stop.clone()));
    }
    drop(listener);
    tokio::select! {
        _ = connections.join() => {}
        () = clock.sleep(limits.drain) => tracing::debug!("some client did not finish its request in time"),
    }
}

/// Whether there is a place for one more; the oldest connection that has asked for nothing makes one where there is none.
fn make_place(seats: &mut Vec<Arc<Seat>>, places: usize) -> bool {
    if seats.len() < places {
        return true;
    }
    // Whose connection has ended is known here alone.
    seats.retain(|seat| Arc::strong_count(seat) > 1);
    if seats.len() < places {
        return true;
    }
    let silent = seats.iter().position(|seat| seat.requests.load(Ordering::Relaxed) == 0);
    silent.map(|place| seats.remove(place).leave.cancel()).is_some()
}

async fn asked(State(seat): State<Arc<Seat>>, request: Request) -> Request {
    seat.is_second_version.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
    seat.requests.fetch_add(1, Ordering::Relaxed);
    request
}

struct Connection {
    stream: TcpStream,
    seat: Arc<Seat>,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
}

impl Connection {
    async fn serve(self, router: Router, stop: CancellationToken) -> Result<()> {
        let Self { stream, seat, limits, clock } = self;
        // Answers are small and awaited one by one: without this each would wait for the other side's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow");
        }
        let streams = Streams::default();
        let mut builder = Builder::new(streams.starter());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.next_request).max_buf_size(limits.buffer);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
        let served = tokio::select! {
            // A request that has come counts, however late this task is.
            biased;
            served = serving.as_mut() => served,
            () = is_over(&seat, &streams, &limits, &*clock) => Ok(()),
            () = seat.leave.cancelled() => Ok(()),
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        // That a client went away amid a request is its own affair.
        if let Err(error) = served {
            tracing::trace!(error, "a connection broke off");
        }
        Ok(())
    }
}

/// Resolves when a connection has had its time.
async fn is_over(seat: &Seat, streams: &Streams, limits: &Limits, clock: &dyn Clock) {
    clock.sleep(limits.first_request).await;
    if seat.requests.load(Ordering::Relaxed) == 0 {
        return;
    }
    let lived = async {
        match limits.life {
            Some(life) => clock.sleep(life.saturating_sub(limits.first_request)).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = lived => {}
        () = is_idle(seat, streams, (limits.next_request, clock)) => {}
    }
}

/// Resolves when a connection that speaks HTTP/2 has asked for nothing in all that time, and has been answered. One that
/// speaks HTTP/1 has its limit from hyper.
async fn is_idle(seat: &Seat, streams: &Streams, (time, clock): (Duration, &dyn Clock)) {
    loop {
        let asked = seat.requests.load(Ordering::Relaxed);
        clock.sleep(time).await;
        let is_silent = seat.requests.load(Ordering::Relaxed) == asked && streams.are_over();
        if is_silent && seat.is_second_version.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use futures::future::BoxFuture;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, watch};

    use super::*;
    use crate::runtime::SystemClock;

    /// Places taken by connections that have asked, or have not.
    fn seats(asked: &[bool]) -> (Vec<Arc<Seat>>, Vec<Arc<Seat>>) {
        let seat = |asked: &bool| Arc::new(Seat { requests: AtomicU64::new((*asked).into()), ..Seat::default() });
        let seats: Vec<_> = asked.iter().map(seat).collect();
        (seats.clone(), seats)
    }

    /// How long a client may be silent. HTTP/1 has its limit from hyper, by the machine's clock.
    const SILENCE: Duration = Duration::from_millis(500);

    /// No step of a test waits longer.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A clock that the test sets: the time since it began.
    struct SetClock(watch::Sender<Duration>);

    impl Clock for SetClock {
        fn now_micros(&self) -> i64 {
            i64::try_from(self.0.borrow().as_micros()).expect("not that long")
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let mut time = self.0.subscribe();
            let end = *time.borrow() + duration;
            Box::pin(async move {
                time.wait_for(|now| *now >= end).await.expect("the clock outlives who sleeps");
            })
        }
    }

    impl SetClock {
        /// Sets it forward, and lets everybody whom that wakes work.
        async fn pass(&self, duration: Duration) {
            self.0.send_modify(|now| *now += duration);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// A server where `/` says that it is `asked`, and answers when `answer` is given.
    #[derive(Default)]
    struct Waiting {
        asked: Notify,
        answer: Notify,
    }

    impl Waiting {
        async fn serve(self: &Arc<Self>, clock: Arc<SetClock>) -> (SocketAddr, Tasks, CancellationToken) {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
            let waiting = Arc::clone(self);
            let answer = async move || {
                waiting.asked.notify_one();
                waiting.answer.notified().await;
            };
            let limits = Limits {
                connections: 4,
                first_request: SILENCE,
                next_request: SILENCE,
                life: None,
                buffer: 8_192,
                drain: Duration::from_secs(5),
            };
            let (mut tasks, ends) = (Tasks::new(), stop.clone());
            tasks.spawn("a server", async move {
                serve(listener, Router::new().route("/", get(answer)), (limits, clock), ends).await;
                Ok(())
            });
            (address, tasks, stop)
        }
    }

    /// Reads until this has come.
    async fn read_through(client: &mut TcpStream, wanted: &[u8]) {
        let mut read = Vec::new();
        while !read.windows(wanted.len()).any(|part| part == wanted) {
            assert_ne!(client.read_buf(&mut read).await.expect("read"), 0, "closed after {read:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_of_either_version_that_asks_for_nothing_more_is_closed_and_one_that_waits_is_not() {
        let first = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".to_vec();
        // The preface, empty settings, and GET / by its numbers on stream 1, which ends.
        let mut second = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        second.extend([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84]);
        // As text, and as the number of `:status 200` in the headers of stream 1.
        for (request, answered) in [(first, &b"HTTP/1.1 200 OK\r\n"[..]), (second, &[0, 0, 0, 1, 0x88])] {
            let (clock, waiting) = (Arc::new(SetClock(watch::Sender::default())), Arc::<Waiting>::default());
            let (address, tasks, stop) = waiting.serve(Arc::clone(&clock)).await;
            let steps = async {
                let mut client = TcpStream::connect(address).await.expect("connected");
                client.write_all(&request).await.expect("sent");
                waiting.asked.notified().await;
                // By both clocks.
                for _ in 0..3 {
                    SystemClock.sleep(SILENCE).await;
                    clock.pass(SILENCE).await;
                }
                waiting.answer.notify_one();
                // Who waits for an answer is not idle.
                read_through(&mut client, answered).await;
                let mut rest = Vec::new();
                let closed = client.read_to_end(&mut rest);
                let time = async {
                    loop {
                        clock.pass(SILENCE).await;
                        SystemClock.sleep(Duration::from_millis(10)).await;
                    }
                };
                tokio::select! {
                    closed = closed => closed.expect("read"),
                    () = time => unreachable!("it goes on"),
                };
            };
            tokio::time::timeout(PATIENCE, steps).await.expect("it is answered, then closed");
            stop.cancel();
            tasks.join().await.expect("it ends");
        }
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_that_has_asked_for_nothing() {
        let (mut taken, connections) = seats(&[true, false, false, true]);
        assert!(make_place(&mut taken, 4));
        let left: Vec<bool> = connections.iter().map(|seat| seat.leave.is_cancelled()).collect();
        assert_eq!((left, taken.len()), (vec![false, true, false, false], 3));
    }

    #[test]
    fn where_all_have_asked_a_newcomer_waits_for_one_to_end() {
        let (mut taken, mut connections) = seats(&[true, true]);
        assert!(!make_place(&mut taken, 2));
        assert!(make_place(&mut taken, 3));
        connections.pop();
        assert!(make_place(&mut taken, 2));
        assert_eq!(taken.len(), 1);
    }
}
