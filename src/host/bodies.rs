//! The bodies of requests on their way in: so many bytes at a time, each in a bounded time.
//!
//! Owns how much of what clients send is in memory before it is answered. A body's room is taken before it is read, as
//! large as it is announced, in the order of asking: so bodies never wait for each other half-way, and one that never
//! ends gives its room back soon.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime::{Clock, SystemClock};

/// The largest request: 10 MiB of records (the service's own limit) in base64, with their keys.
pub(super) const LARGEST_REQUEST: usize = 16 << 20;

/// What all bodies may hold together.
const ROOM: usize = 3 * LARGEST_REQUEST;

/// A unit of the semaphore, whose count has 32 bits only.
const UNIT: usize = 1 << 10;

/// How long a body waits for its room, how long it may stand still, and how long it may take in all.
const WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(30);

/// Room for bodies; clones share it.
#[derive(Clone)]
pub(super) struct Bodies(Arc<Semaphore>);

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
    #[error("the request's body did not come in time")]
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
        Self(Arc::new(Semaphore::new(ROOM / UNIT)))
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
        let room = within(WAIT, Arc::clone(&self.0).acquire_many_owned(units)).await;
        // It is never closed.
        let room = room.and_then(Result::ok).ok_or(Unread::Busy)?;
        let bytes = within(LONGEST, read(body, announced)).await.ok_or(Unread::Late)??;
        Ok(Received { bytes, room })
    }
}

async fn read(body: Body, most: usize) -> Result<Bytes, Unread> {
    let mut pieces = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = within(PAUSE, pieces.next()).await.ok_or(Unread::Late)? {
        let piece = piece.map_err(|_| Unread::TooLarge)?;
        if bytes.len() + piece.len() > most {
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// What comes within the time; none where nothing does.
async fn within<T>(time: Duration, answer: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(answer), std::pin::pin!(SystemClock.sleep(time))).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}
