//! How a pipeline's stream is reached: the local one by its host, one in AWS by its region or endpoint.
//!
//! Owns the way from a target to a source and its producer. The local stream is made where it is missing; one in AWS is
//! the user's, and is never made, changed or deleted, but for the fan-out consumer that `[source] fan_out` names.

use std::sync::Arc;

use super::arguments::Common;
use super::local_stream::LocalStream;
use super::open::Plan;
use crate::aws::AwsChain;
use crate::config::{AwsTarget, Target};
use crate::engine::Connect;
use crate::error::{Error, Result};
use crate::runtime::Context;
use crate::source::{FanOutConsumer, KinesisSettings, KinesisSource, ProducerLimits, Source};

/// Tries of a call to AWS that a person waits for: some 3 s where nobody listens, 15 s where nothing answers.
const SOON: u32 = 6;

/// The way to the stream; clones share it.
#[derive(Clone)]
pub(super) enum Reach {
    /// On this machine.
    Local(LocalStream),
    /// In AWS, or on a server that speaks as it does.
    Aws(Arc<KinesisSettings>),
}

impl Reach {
    /// Opens the target's stream: the local one hosted or connected to, one in AWS not asked yet.
    ///
    /// # Errors
    /// As [`LocalStream::open`]; Invalid where AWS's chain has no region or no credentials.
    pub(super) async fn open(common: &Common, plan: &Plan, context: &Context) -> Result<Self> {
        match &plan.target {
            Target::Local(_) => LocalStream::open(common, plan, context).await.map(Self::Local),
            Target::Aws(target) => Ok(Self::of(plan, target, &chain(target).await?)),
        }
    }

    /// The stream of a target whose chain is loaded.
    pub(super) fn of(plan: &Plan, target: &AwsTarget, chain: &AwsChain) -> Self {
        let (endpoint, stream) = (target.stream_endpoint.clone(), &plan.pipeline.source.stream);
        Self::Aws(Arc::new(KinesisSettings::aws(endpoint, chain.region(), stream, chain.credentials())))
    }

    /// What a client needs whose caller waits for the answer: calls are given up soon.
    ///
    /// # Errors
    /// The local stream's.
    pub(super) async fn settings(&self) -> Result<KinesisSettings> {
        match self {
            Self::Local(stream) => stream.settings().await,
            Self::Aws(settings) => {
                let mut settings = settings.as_ref().clone();
                settings.backoff.attempts = SOON;
                Ok(settings)
            }
        }
    }

    /// What a client needs that works for long: one in AWS that is there outlasts minutes of trouble. That it is there
    /// is asked first, so that one that is not is told soon.
    ///
    /// # Errors
    /// As [`Reach::settings`]; Invalid where the stream is not there or its description is refused; Transient where
    /// nothing answers.
    pub(super) async fn lasting_settings(&self, context: &Context) -> Result<KinesisSettings> {
        match self {
            Self::Local(stream) => stream.settings().await,
            Self::Aws(settings) => {
                self.must_be_there(context).await?;
                Ok(settings.as_ref().clone())
            }
        }
    }

    /// Asks the stream for its description.
    ///
    /// # Errors
    /// As [`Reach::lasting_settings`].
    pub(super) async fn must_be_there(&self, context: &Context) -> Result<()> {
        KinesisSource::new(self.settings().await?, context.clone()).describe().await.map(drop)
    }

    /// What its shards take: the local server enforces nothing.
    pub(super) fn limits(&self) -> Option<ProducerLimits> {
        match self {
            Self::Local(_) => None,
            Self::Aws(_) => Some(ProducerLimits::AWS),
        }
    }

    /// The way for the engine: polling, or through the fan-out consumer of this name, which is registered where it is
    /// missing.
    pub(super) fn connect(&self, context: &Context, fan_out: Option<String>) -> Connect {
        let (reach, context) = (self.clone(), context.clone());
        Arc::new(move || {
            let (reach, context, fan_out) = (reach.clone(), context.clone(), fan_out.clone());
            Box::pin(async move {
                let settings = reach.lasting_settings(&context).await?;
                let source = KinesisSource::new(settings.clone(), context.clone());
                let source = match fan_out {
                    Some(name) => source.with_fan_out(FanOutConsumer::register(settings, context, &name).await?),
                    None => source,
                };
                Ok(Arc::new(source) as Arc<dyn Source>)
            })
        })
    }

    /// Takes the fan-out consumer of this name away: one that is left costs money.
    ///
    /// # Errors
    /// The stream's.
    pub(super) async fn deregister(&self, context: &Context, name: &str) -> Result<()> {
        if FanOutConsumer::deregister(self.settings().await?, context.clone(), name).await? {
            tracing::info!(consumer = name, "deregistered");
        }
        Ok(())
    }

    /// Where it is, for a person: `port 4567, hosted here`.
    ///
    /// # Errors
    /// The local stream's.
    pub(super) async fn place(&self) -> Result<String> {
        match self {
            Self::Local(stream) => {
                let hosted = if stream.is_host().await { "hosted here" } else { "hosted by another process" };
                Ok(format!("port {}, {hosted}", stream.endpoint().await?.port))
            }
            Self::Aws(settings) => Ok(settings.endpoint.clone().unwrap_or_else(|| format!("AWS {}", settings.region))),
        }
    }

    /// Ends hosting, where this process does.
    ///
    /// # Errors
    /// Where the stream's state could not be synced.
    pub(super) async fn close(&self) -> Result<()> {
        match self {
            Self::Local(stream) => stream.close().await,
            Self::Aws(_) => Ok(()),
        }
    }
}

/// Refuses every target but the local one, for a command that is only about that.
///
/// # Errors
/// Invalid where the target is another.
pub(super) fn must_be_local(common: &Common, what: &str) -> Result<()> {
    match common.target.as_str() {
        "local" => Ok(()),
        target => {
            Err(Error::invalid(format!("{what} is for the local target only, not for {target}: leave --target out")))
        }
    }
}

/// The chain of a target, with credentials in it.
///
/// # Errors
/// Invalid where there is no region, or there are no credentials.
pub(super) async fn chain(target: &AwsTarget) -> Result<AwsChain> {
    let chain = AwsChain::load(target.region.as_deref()).await?;
    chain.verify().await?;
    Ok(chain)
}
