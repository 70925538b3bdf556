//! The command line: the composition root, where a pipeline's parts are built and joined.
//!
//! Owns arguments, answers, exit codes and the order in which things are opened. Nothing below knows that there is a
//! terminal. Arguments become a plan in `open`, a plan becomes a `engine::Job` in `site`, its stream is found in `reach`, and each command is a
//! file of its own.

mod achieved;
mod arguments;
mod audit;
mod check;
mod data_folder;
mod ddl;
mod demo;
mod dims;
mod generate;
mod local_stream;
mod open;
mod orders;
mod output;
mod owner;
mod prompt;
mod query;
mod reach;
mod rejects;
mod run;
mod shard_status;
mod site;
mod status;
mod stream;
mod summary;
mod warehouse;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

use crate::error::{Error, Result};
use crate::telemetry::{self, LogFormat};

/// Reads the arguments, does the command, and says how it went.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) if refused.use_stderr() => {
            output::error(refused.to_string().trim_start_matches("error: ").trim_end());
            return ExitCode::from(2);
        }
        // Help and version, for which somebody has asked.
        Err(asked) => asked.exit(),
    };
    let format = if arguments.common.json { LogFormat::Json } else { LogFormat::Text };
    // A person at a demo, a question or a prompt wants the answer; the stream job's log is its answer.
    let quiet = !matches!(arguments.command, Command::Run(_) | Command::Stream(_));
    telemetry::start(format, quiet);
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Each thread keeps freed memory of its own in the allocator: the 512 that are usual would keep a gigabyte after a
/// large load. More than a disk and a few cores can use at once they are all the same.
const BLOCKING_THREADS: usize = 4;

fn execute(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the system gives no threads").with_source(error))?;
    let outcome = runtime.block_on(dispatch(arguments));
    // What still waits on a blocked thread (a prompt, a dying disk) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode> {
    let common = arguments.common;
    match arguments.command {
        Command::Demo(demo) => demo::demo(&common, &demo).await,
        Command::Run(run) => run::run(&common, &run).await,
        Command::Stream(folder) => stream::stream(&common, &folder.pipeline).await,
        Command::Generate(generate) => generate::generate(&common, &generate).await,
        Command::Query(query) => query::query(&common, &query).await,
        Command::Check(check) => check::check(&common, &check).await,
        Command::Dims(dims) => dims::dims(&common, &dims).await,
        Command::Status(folder) => status::status(&common, &folder.pipeline).await,
        Command::Audit(folder) => audit::audit(&common, &folder.pipeline).await,
        Command::Rejects(folder) => rejects::rejects(&common, &folder.pipeline).await,
        Command::Ddl(ddl) => ddl::ddl(&common, &ddl).await,
    }
}
