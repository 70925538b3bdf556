//! Panics that are an outcome: of code that is not ours, over data that is not ours.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tracing::dispatcher::{Dispatch, with_default};

/// Does work that may panic. Nothing is logged of a panic: whoever catches it tells it once, however often it is tried.
///
/// What the work had in its hands is dropped, so it must be nothing that others go on with.
///
/// # Errors
/// The panic's words.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    with_default(&Dispatch::none(), || catch_unwind(AssertUnwindSafe(work))).map_err(|panic| words(&*panic))
}

/// As [`caught`], for a future.
///
/// # Errors
/// The panic's words.
pub async fn caught_in<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| match caught(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(words) => Poll::Ready(Err(words)),
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_outcome_with_its_words() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u8 { panic!("torn {}", 1) }), Err("torn 1".to_owned()));
        assert_eq!(caught(|| -> u8 { std::panic::panic_any(5) }), Err("without words".to_owned()));
        assert_eq!(caught_in(async { 8 }).await, Ok(8));
        let late = async {
            tokio::task::yield_now().await;
            panic!("late");
        };
        assert_eq!(
            caught_in::<_>(async {
                let _: () = late.await;
            })
            .await,
            Err("late".to_owned())
        );
    }
}
