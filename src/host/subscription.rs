//! The body of a fan-out subscription: it looks into the streams only while the gate lets readers look.
//!
//! Owns when the engine's own body is asked for more. Each time it holds the gate as any reader does, so it tells of
//! nothing that is not on disk; while the engine sleeps between two messages it holds nothing, so it holds up no put.
//! It knows the engine's habit: a message, then a sleep; before it sleeps it waits for nothing but its own locks, and
//! those it may not be left with, for a put that has the gate would wait for them. A host that ends ends it at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use axum::Error;
use axum::body::{Body, BodyDataStream, Bytes};
use futures::Stream;
use futures::future::{BoxFuture, Future, FutureExt};
use futures::stream::StreamExt;
use futures::task::AtomicWaker;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use super::durable::{Durable, Refusal};

/// Asks for the gate as a reader.
pub(super) type Look = Box<dyn Fn() -> BoxFuture<'static, Result<Reading, Refusal>> + Send>;
/// The gate, held by a reader: everything is on disk.
pub(super) type Reading = OwnedRwLockReadGuard<Durable>;

/// The engine's body behind the gate.
pub(super) struct Subscription {
    engine: BodyDataStream,
    look: Look,
    stopped: BoxFuture<'static, ()>,
    bell: Arc<Bell>,
    hold: Hold,
    /// The engine gave a message and was not asked since.
    has_spoken: bool,
    /// Messages so far: the first only says that all is well, and no sleep follows it.
    messages: u64,
}

enum Hold {
    Nothing,
    Asked(BoxFuture<'static, Result<Reading, Refusal>>),
    Held { _reading: Reading },
}

/// Whether the engine is to be asked: a connection asks its body for more whenever anything happens to it.
struct Bell {
    has_rung: AtomicBool,
    connection: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.connection.wake();
    }
}

impl Subscription {
    /// The engine's answer `body`, let through by `look` until `stop`.
    pub(super) fn new(body: Body, look: Look, stop: CancellationToken) -> Self {
        let bell = Bell { has_rung: AtomicBool::new(true), connection: AtomicWaker::new() };
        let (engine, stopped) = (body.into_data_stream(), stop.cancelled_owned().boxed());
        Self { engine, look, stopped, bell: Arc::new(bell), hold: Hold::Nothing, has_spoken: false, messages: 0 }
    }

    /// With the gate held.
    fn ask_engine(&mut self) -> Poll<Option<Result<Bytes, Error>>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        // Without the scheduler's budget, so that waiting means either sleep or a lock.
        let mut next = unconstrained(self.engine.next());
        let answer = Pin::new(&mut next).poll(&mut Context::from_waker(&waker));
        match &answer {
            Poll::Ready(_) => {
                self.messages += 1;
                self.has_spoken = self.messages > 1;
                self.bell.has_rung.store(true, Ordering::Release);
                self.hold = Hold::Nothing;
            }
            Poll::Pending if std::mem::take(&mut self.has_spoken) => self.hold = Hold::Nothing,
            Poll::Pending => {}
        }
        answer
    }
}

impl Stream for Subscription {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.stopped.poll_unpin(context).is_ready() {
            this.hold = Hold::Nothing;
            return Poll::Ready(None);
        }
        this.bell.connection.register(context.waker());
        loop {
            match &mut this.hold {
                Hold::Nothing if !this.bell.has_rung.swap(false, Ordering::Acquire) => return Poll::Pending,
                Hold::Nothing => this.hold = Hold::Asked((this.look)()),
                Hold::Asked(asked) => match ready!(asked.poll_unpin(context)) {
                    Ok(reading) => this.hold = Hold::Held { _reading: reading },
                    Err(refusal) => {
                        this.hold = Hold::Nothing;
                        return Poll::Ready(Some(Err(Error::new(refusal))));
                    }
                },
                Hold::Held { .. } => return this.ask_engine(),
            }
        }
    }
}
