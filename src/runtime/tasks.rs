//! Owned tasks, blocking work, and runtimes of their own.

use std::future::Future;

use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};

/// A set of tasks that ends together: the first failure is the cause that everyone later sees.
#[derive(Default)]
pub struct Tasks(JoinSet<Result<()>>);

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task; its failure names it.
    pub fn spawn(&mut self, name: impl Into<String>, future: impl Future<Output = Result<()>> + Send + 'static) {
        let name = name.into();
        self.0.spawn(async move { future.await.map_err(|error| error.context(name)) });
    }

    /// The next task that ends, with its outcome; none when all have ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<()>> {
        Some(flatten(self.0.join_next().await?))
    }

    /// Forgets those that have ended, however they did.
    pub fn forget_ended(&mut self) {
        while self.0.try_join_next().is_some() {}
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// The first failure; the others are awaited all the same.
    pub async fn join(mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(outcome) = self.next().await {
            first = first.and(outcome);
        }
        first
    }
}

fn flatten<T>(joined: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "a task panicked").with_source(error)))
}

/// The stack of the program's own threads, for plans as deep as `sql` lets them be. It is reserved, not taken.
pub const STACK: usize = 64 << 20;

/// Does work on a thread whose stack is [`STACK`], which the process's first thread has not, and waits for it.
///
/// # Errors
/// The work's own, or Internal where it panicked or the system gives no thread.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn on_deep_stack<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::Builder::new().name("main".to_owned()).stack_size(STACK).spawn(work);
    let thread = thread.map_err(|error| Error::internal("the system gives no thread").with_source(error))?;
    thread.join().unwrap_or_else(|_| Err(Error::internal("the program panicked")))
}

/// Does work that would hold up an async thread on a thread of its own.
///
/// # Errors
/// The work's own, or Internal where it panicked.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    flatten(tokio::task::spawn_blocking(work).await)
}

/// Runs a future on a runtime with threads of its own, so that its blocking calls hold up nobody else. The thread
/// ends when the future does; its outcome comes through the returned receiver.
///
/// # Errors
/// Internal where the system gives no thread.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn on_own_threads<T, F>(
    name: &str,
    workers: usize,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<tokio::sync::oneshot::Receiver<Result<T>>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let refused = |error: std::io::Error| Error::internal("the system gives no thread").with_source(error);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(refused)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = move || {
        // Nobody may be waiting any more; the outcome is then of no use to anyone.
        let _ = sender.send(runtime.block_on(make()));
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(refused)?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_is_the_cause_and_all_are_joined() {
        let mut tasks = Tasks::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("first", async { Err(Error::corrupt("torn")) });
        tasks.spawn("second", async move {
            // Ends only when the sender is dropped, after the first has failed.
            let _ = receiver.await;
            Err(Error::internal("later"))
        });
        tasks.spawn("third", async move {
            drop(sender);
            Ok(())
        });
        let error = tasks.join().await.expect_err("two fail");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Corrupt, "first: torn"));
    }

    #[tokio::test]
    async fn blocking_work_on_other_threads_answers() {
        assert_eq!(blocking(|| Ok(7)).await.expect("no failure"), 7);
        let receiver = on_own_threads("t", 1, || async { Ok(8) }).expect("a thread");
        assert_eq!(receiver.await.expect("sent").expect("no failure"), 8);
    }
}
