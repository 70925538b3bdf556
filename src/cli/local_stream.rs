//! The local target's stream: hosted by this process, or by another that came first.
//!
//! Owns who hosts, and that the pipeline's stream is made. When the host goes, the next call hosts it here.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::arguments::Common;
use super::data_folder::DataFolder;
use super::open::Plan;
use crate::error::Result;
use crate::host::{Host, HostSettings, Hosting, StreamEndpoint, host_or_connect};
use crate::runtime::Context;
use crate::source::{KinesisSettings, StreamAdmin};

/// Tries of a call to the local stream: some 2 s.
const LOCAL_ATTEMPTS: u32 = 5;

/// The local stream: hosted by this process, or by another that came first.
#[derive(Clone)]
pub(super) struct LocalStream {
    settings: HostSettings,
    stream: String,
    shards: u32,
    context: Context,
    hosting: Arc<Mutex<Option<Host>>>,
}

impl LocalStream {
    /// Hosts or connects, with the pipeline's stream made.
    ///
    /// # Errors
    /// Invalid where the data folder is another's or the port is in use, with nothing written; the stream's own.
    pub(super) async fn open(common: &Common, plan: &Plan, context: &Context) -> Result<Self> {
        DataFolder::could_be_claimed(&common.data, &plan.pipeline)?;
        if !common.reset_stream {
            DataFolder::has_its_stream(&common.data)?;
        }
        let stream = Self {
            settings: HostSettings { folder: common.data.clone(), port: common.port, reset: false },
            stream: plan.pipeline.source.stream.clone(),
            shards: plan.pipeline.source.shards,
            context: context.clone(),
            hosting: Arc::default(),
        };
        // Once, and not again where this process hosts it anew later.
        stream.host(HostSettings { reset: common.reset_stream, ..stream.settings.clone() }).await?;
        stream.settings().await?;
        Ok(stream)
    }

    /// Where the stream is now; hosts it where whoever hosted it has gone.
    pub(super) async fn endpoint(&self) -> Result<StreamEndpoint> {
        self.host(self.settings.clone()).await
    }

    async fn host(&self, settings: HostSettings) -> Result<StreamEndpoint> {
        let mut hosting = self.hosting.lock().await;
        if let Some(host) = hosting.as_ref().filter(|host| !host.has_ended()) {
            return Ok(host.endpoint());
        }
        *hosting = None;
        match host_or_connect(&settings).await? {
            Hosting::Connected(endpoint) => Ok(endpoint),
            Hosting::Hosting(host) => {
                let endpoint = host.endpoint();
                *hosting = Some(host);
                Ok(endpoint)
            }
        }
    }

    /// Whether this process hosts it.
    pub(super) async fn is_host(&self) -> bool {
        self.hosting.lock().await.is_some()
    }

    /// What a client needs, with the stream made where it was missing.
    pub(super) async fn settings(&self) -> Result<KinesisSettings> {
        let endpoint = self.endpoint().await?;
        let mut settings = KinesisSettings::local(&endpoint.url, &self.stream);
        // On this machine a server that does not answer is gone, and another may host the stream by now.
        settings.backoff.attempts = LOCAL_ATTEMPTS;
        StreamAdmin::new(settings.clone(), self.context.clone()).ensure_stream(self.shards).await?;
        Ok(settings)
    }

    /// Resolves when the server that this process hosts has ended by itself; never where it hosts none.
    pub(super) async fn ended(&self) {
        let hosting = self.hosting.lock().await;
        match hosting.as_ref() {
            Some(host) => host.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Ends hosting, where this process does.
    ///
    /// # Errors
    /// Where the stream's state could not be synced.
    pub(super) async fn close(&self) -> Result<()> {
        match self.hosting.lock().await.take() {
            Some(host) => host.shutdown().await,
            None => Ok(()),
        }
    }
}
