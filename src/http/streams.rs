//! The streams of one HTTP/2 connection, each of which is a task: they end with it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::rt::Executor;

use crate::runtime::Tasks;

/// The streams of a connection. Dropped, they are ended.
#[derive(Default)]
pub(super) struct Streams(Arc<Mutex<Tasks>>);

impl Streams {
    /// Through which a connection starts them.
    pub(super) fn starter(&self) -> Starter {
        Starter(Arc::downgrade(&self.0))
    }

    /// Whether none is under way.
    pub(super) fn are_over(&self) -> bool {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.forget_ended();
        tasks.is_empty()
    }
}

/// Starts streams and does not own them: each has one of these in its hands, and would keep itself alive.
#[derive(Clone)]
pub(super) struct Starter(Weak<Mutex<Tasks>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Starter {
    fn execute(&self, stream: F) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.forget_ended();
        tasks.spawn("a stream", async {
            stream.await;
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn streams_end_with_their_connection() {
        let streams = Streams::default();
        let starter = streams.starter();
        let (alive, gone) = oneshot::channel::<()>();
        let inside = starter.clone();
        starter.execute(async move {
            let _held = (alive, inside);
            pending::<()>().await;
        });
        assert!(!streams.are_over());
        drop(streams);
        gone.await.expect_err("it is dropped and says nothing");
        starter.execute(async { panic!("nobody owns it") });
    }

    #[tokio::test]
    async fn a_stream_that_has_ended_is_forgotten() {
        let streams = Streams::default();
        let (done, ended) = oneshot::channel();
        streams.starter().execute(async { done.send(()).expect("somebody waits") });
        ended.await.expect("it runs");
        let forgotten = async {
            while !streams.are_over() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), forgotten).await.expect("the stream that has ended is forgotten");
    }
}
