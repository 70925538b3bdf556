//! Logs: structured, on stderr, quiet about what is not ours.
//!
//! Owns the subscriber. Standard output belongs to the commands' answers; nothing is logged there.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

use crate::terminal::{visible, visible_json};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text each, coloured on a terminal.
    Text,
    /// One JSON object each.
    Json,
}

/// What is shown where `MILLSTREAM_LOG` says nothing: our own from INFO on, of others only what is wrong. A Delta commit
/// that another loader overtook is nothing wrong: the load says what it does about it. What the Delta kernel logs it also
/// returns, and there it is said once and in words.
const DEFAULT_FILTER: &str = "warn,millstream=info,deltalake_core=error,deltalake_core::kernel::transaction=off,\
                              buoyant_kernel=off,buoyant_kernel_engine=off,ferrokinesis=error,aws_config=error";

/// Starts logging to stderr; a panic is a line of the log too. `quiet` shows only warnings of ours. `MILLSTREAM_LOG` (the syntax of `RUST_LOG`)
/// overrides both. A second call changes nothing.
pub fn start(format: LogFormat, quiet: bool) {
    let default =
        if quiet { DEFAULT_FILTER.replace("millstream=info", "millstream=warn") } else { DEFAULT_FILTER.into() };
    let filter = EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(target: "millstream", "a task panicked, what it did counts as failed: {panic}");
    }));
    // Fails only where a subscriber stands already, as in tests.
    let _ = match format {
        LogFormat::Text => lines.fmt_fields(VisibleFields).try_init(),
        LogFormat::Json => lines.json().with_writer(|| VisibleJson(io::stderr())).try_init(),
    };
}

/// An event's fields on one line, in which nothing steers a terminal.
struct VisibleFields;

impl<'w> FormatFields<'w> for VisibleFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&visible(&text))
    }
}

/// Takes a line of JSON at a time.
struct VisibleJson<W>(W);

impl<W: Write> Write for VisibleJson<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(visible_json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
