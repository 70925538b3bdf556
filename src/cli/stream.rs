//! `stream`: hosts the local stream and nothing else.

use std::path::Path;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::arguments::Common;
use super::data_folder::DataFolder;
use super::local_stream::LocalStream;
use super::open;
use super::output;
use super::reach::must_be_local;
use super::watch::{Stop, watched};
use crate::error::{Error, Result};
use crate::runtime::Context;

/// Hosts until stopped.
pub(super) async fn stream(common: &Common, folder: &Path) -> Result<ExitCode> {
    must_be_local(common, "`millstream stream`")?;
    let plan = open::plan(common, folder).await?;
    let context = Context::system();
    let stream = LocalStream::open(common, &plan, &context).await?;
    let data = DataFolder::claim(&common.data, &plan.pipeline)?;
    let endpoint = stream.endpoint().await?;
    if !stream.is_host().await {
        return Err(Error::invalid(format!(
            "another process hosts the stream of {} already, on port {}",
            data.root().display(),
            endpoint.port
        )));
    }
    let source = &plan.pipeline.source;
    if common.json {
        output::json(&serde_json::json!({ "stream": source.stream, "endpoint": endpoint.url, "port": endpoint.port }))?;
    } else {
        output::line(format_args!("hosting {} on {} until Ctrl-C", source.stream, endpoint.url))?;
        output::line("any AWS client can use it, with region us-east-1 and any credentials")?;
    }
    let stop = CancellationToken::new();
    let stopped = async {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = stream.ended() => Err(Error::internal("the stream's server has ended; start it again, nothing is lost")),
        }
    };
    let words = "stopping: requests under way are answered; once more to end at once (every record that was answered for is \
                 on disk, and is there at the next start)";
    watched(&context, &Stop { token: &stop, words }, || (), stopped).await?;
    stream.close().await?;
    Ok(ExitCode::SUCCESS)
}
