//! The bodies of requests on their way in: so many bytes at a time, each in a bounded time.
//!
//! Owns how much of what clients send is in memory before it is answered. A body's room is taken before it is read, as
//! large as it is announced, in the order of asking: so bodies never wait for each other half-way. One that comes slowly
//! gives its room back before those that wait for it give up, and small ones have a room of their own: so no large one,
//! however slow, holds up a small one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime::{Clock, SystemClock};

/// The largest request: 10 MiB of records (the service's own limit) in base64, with their keys.
pub(super) const LARGEST_REQUEST: usize = 16 << 20;

/// What is a small request.
const SMALL: usize = 1 << 20;

/// What all small bodies may hold together, and all larger ones.
const ROOM_FOR_SMALL: usize = LARGEST_REQUEST;
const ROOM_FOR_LARGE: usize = 2 * LARGEST_REQUEST;

/// A unit of the semaphore, whose count has 32 bits only.
const UNIT: usize = 1 << 10;

/// How long a body waits for its room: longer than the slowest may take, which is some 6 s for the largest.
const WAIT: Duration = Duration::from_secs(8);

/// What each stretch of time must bring of a body, or its rest. Programs of this machine send it in milliseconds.
const STRETCH: Duration = Duration::from_secs(2);
const PACE: usize = 8 << 20;

/// Room for bodies.
pub(super) struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A whole body, and the room that it takes until it is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    pub(super) room: OwnedSemaphorePermit,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("the request is larger than {LARGEST_REQUEST} bytes or broke off")]
    TooLarge,
    #[error("too many requests are on their way in: try again")]
    Busy,
    #[error("the request's body came too slowly: send it in one go")]
    Late,
}

impl Unread {
    /// The status, and the name of the error: a client tries again what is not its own fault.
    pub(super) fn kind(self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "SerializationException"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
        }
    }
}

impl Default for Bodies {
    fn default() -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self { small: room(ROOM_FOR_SMALL), large: room(ROOM_FOR_LARGE) }
    }
}

impl Bodies {
    /// Reads a body once there is room for it.
    ///
    /// # Errors
    /// As [`Unread`] says; the connection is of no more use then.
    pub(super) async fn receive(&self, body: Body) -> Result<Received, Unread> {
        let size = body.size_hint();
        let announced = size.upper().map_or(LARGEST_REQUEST, |most| usize::try_from(most).unwrap_or(usize::MAX));
        if size.lower() > LARGEST_REQUEST as u64 || announced > LARGEST_REQUEST {
            return Err(Unread::TooLarge);
        }
        let units = u32::try_from(announced.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let of_its_size = if announced > SMALL { &self.large } else { &self.small };
        let room = within(WAIT, Arc::clone(of_its_size).acquire_many_owned(units)).await;
        // It is never closed.
        let room = room.and_then(Result::ok).ok_or(Unread::Busy)?;
        let bytes = Reading { pieces: body.into_data_stream(), bytes: BytesMut::new(), most: announced }.read().await?;
        Ok(Received { bytes, room })
    }
}

/// A body on its way.
struct Reading {
    pieces: BodyDataStream,
    bytes: BytesMut,
    most: usize,
}

impl Reading {
    async fn read(mut self) -> Result<Bytes, Unread> {
        loop {
            let goal = self.bytes.len() + PACE;
            if within(STRETCH, self.read_on(goal)).await.ok_or(Unread::Late)?? {
                return Ok(self.bytes.freeze());
            }
        }
    }

    /// Reads on until so many bytes are there, or to the end; whether that is reached.
    async fn read_on(&mut self, goal: usize) -> Result<bool, Unread> {
        while self.bytes.len() < goal {
            let Some(piece) = self.pieces.next().await else { return Ok(true) };
            let piece = piece.map_err(|_| Unread::TooLarge)?;
            if self.bytes.len() + piece.len() > self.most {
                return Err(Unread::TooLarge);
            }
            self.bytes.extend_from_slice(&piece);
        }
        Ok(false)
    }
}

/// What comes within the time; none where nothing does.
async fn within<T>(time: Duration, answer: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(answer), std::pin::pin!(SystemClock.sleep(time))).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}
