//! Running work in sight of a person: progress on a terminal, none in a pipe; Ctrl-C drains, a second one ends.

use std::future::Future;
use std::io::IsTerminal;
use std::process;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::output::note;
use crate::error::{Error, Result};
use crate::runtime::Context;
use crate::terminal::visible;

/// What shells expect of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// How often the line is drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// A line of progress on standard error.
pub(super) struct Line(ProgressBar);

impl Line {
    /// A line for work of this many steps, or of no known end.
    pub(super) fn new(steps: Option<u64>) -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(steps, target);
        let template = match steps {
            Some(_) => "{elapsed} [{bar:30}] {msg}",
            None => "{elapsed} {spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    pub(super) fn show(&self, steps: u64, message: String) {
        self.0.set_position(steps);
        self.0.set_message(visible(&message).into_owned());
        self.0.tick();
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// How work is told to stop, and what the person who does so is told.
pub(super) struct Stop<'a> {
    pub(super) token: &'a CancellationToken,
    /// What goes on until the end, and what a second Ctrl-C does.
    pub(super) words: &'static str,
}

impl<'a> Stop<'a> {
    /// Of a job that reads and loads.
    pub(super) fn draining(token: &'a CancellationToken) -> Self {
        let words = "draining: what is read will be committed and loaded; once more to end at once (nothing is lost)";
        Self { token, words }
    }
}

/// Does `work` to its end, calling `tick` now and then. The first Ctrl-C (or SIGTERM) stops it; a second one ends the
/// process at once.
///
/// # Errors
/// The work's; Internal where signals cannot be listened to.
pub(super) async fn watched<T>(
    context: &Context,
    stop: &Stop<'_>,
    mut tick: impl FnMut(),
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    use tokio::signal::unix::{SignalKind, signal};
    let refused = |error: std::io::Error| Error::internal("cannot listen to signals").with_source(error);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(refused)?;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            _ = interrupts.recv() => interrupted(stop),
            _ = terminations.recv() => interrupted(stop),
            () = context.clock.sleep(TICK) => tick(),
        }
    }
}

fn interrupted(stop: &Stop<'_>) {
    if stop.token.is_cancelled() {
        process::exit(INTERRUPTED);
    }
    note(stop.words);
    stop.token.cancel();
}
