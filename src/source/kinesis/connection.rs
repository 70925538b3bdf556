//! The client for one stream: its settings, its calls with backoff, its counters, its sentences.
//!
//! Owns how a call is repeated and what is said when it is given up. The SDK's own retries are off, so that a call is
//! repeated in one place only and waits on the `Context`'s clock.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{self, BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::{Client, Config};

use super::fault::Fault;
use crate::error::{Error, ErrorKind};
use crate::runtime::{Backoff, Context};

/// Where a stream is, and how it is polled.
#[derive(Debug, Clone)]
pub struct KinesisSettings {
    /// The server's address, `http://127.0.0.1:4567`; none for AWS itself.
    pub endpoint: Option<String>,
    /// The AWS region.
    pub region: String,
    /// The stream's name.
    pub stream: String,
    /// Who asks.
    pub credentials: Credentials,
    /// From one GetRecords call to the next of the same shard while the reader has all there is. AWS takes at most 5
    /// calls/s and shard, of all its readers together.
    pub poll_interval: Duration,
    /// The same while the reader is behind.
    pub catch_up_interval: Duration,
    /// How often a call that may pass is tried, and how long between.
    pub backoff: Backoff,
}

/// Who asks. AWS's own chain (environment, profile, role) belongs here with the `aws` target.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// A fixed pair of keys.
    Static {
        /// The access key's id.
        access_key: String,
        /// The secret key.
        secret_key: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Static { access_key, .. } = self;
        write!(formatter, "Static({access_key}, secret)")
    }
}

impl KinesisSettings {
    /// A stream of the local target: any credentials do, and a reader that is behind goes at full speed. A call is
    /// given up after about 20 s.
    pub fn local(endpoint: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            region: "us-east-1".to_owned(),
            stream: stream.into(),
            credentials: Credentials::Static { access_key: "test".to_owned(), secret_key: "test".to_owned() },
            poll_interval: Duration::from_millis(200),
            catch_up_interval: Duration::ZERO,
            backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5), attempts: 10 },
        }
    }
}

/// How many calls were made and what became of them, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls in all.
    pub calls: u64,
    /// Calls refused because a limit was reached.
    pub throttled: u64,
    /// Calls without a clear answer: the server could not be reached or failed inside.
    pub failed: u64,
    /// Iterators that had grown too old and were renewed.
    pub expired_iterators: u64,
    /// Subscriptions to a shard that were granted, renewals included.
    pub subscriptions: u64,
    /// Subscriptions that were refused, reset or silent.
    pub broken_subscriptions: u64,
    /// How often a shard was polled for a while because subscribing failed again and again.
    pub fallbacks: u64,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    throttled: AtomicU64,
    failed: AtomicU64,
    expired_iterators: AtomicU64,
    subscriptions: AtomicU64,
    broken_subscriptions: AtomicU64,
    fallbacks: AtomicU64,
}

/// The client with what it needs to go on in spite of trouble.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) settings: KinesisSettings,
    pub(super) context: Context,
    /// What a call that is given up means for the data: the end of its sentence.
    stakes: &'static str,
    counters: Counters,
}

impl Connection {
    /// A client; nothing is asked of the server yet.
    pub(super) fn new(settings: KinesisSettings, context: Context, stakes: &'static str) -> Self {
        let client = Client::from_conf(sdk_config(&settings));
        Self { client, settings, context, stakes, counters: Counters::default() }
    }

    /// Makes a call once and reads and counts its outcome.
    pub(super) async fn once<T, E, F>(&self, call: F) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + StdError + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        let outcome = call.await.map_err(Fault::of);
        let counter = match &outcome {
            Err(Fault::Throttled(_)) => &self.counters.throttled,
            Err(Fault::Unreachable(_) | Fault::Service(_)) => &self.counters.failed,
            Err(Fault::ExpiredIterator) => &self.counters.expired_iterators,
            _ => return outcome,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Makes a call until it succeeds, will be refused again, or the tries are used up; then the last fault.
    pub(super) async fn repeat<T, E, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + StdError + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut attempt = 1;
        loop {
            match self.once(call()).await {
                Err(fault) if fault.passes() && attempt < self.settings.backoff.attempts => {
                    self.context.clock.sleep(self.pause(attempt, &fault)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The pause before the next try, after so many failed ones.
    pub(super) fn pause(&self, attempt: u32, fault: &Fault) -> Duration {
        let pause = self.settings.backoff.pause(attempt, &self.context);
        let stream = &self.settings.stream;
        tracing::debug!(%stream, %fault, attempt, ?pause, "the stream gave no answer, trying again");
        pause
    }

    /// The public error for a call that is given up; `doing` says what it was for: `read shardId-000000000000`.
    pub(super) fn give_up(&self, doing: &str, fault: &Fault) -> Error {
        let KinesisSettings { stream, backoff, .. } = &self.settings;
        let (place, stakes, tries) = (self.place(), self.stakes, backoff.attempts);
        let (kind, sentence) = match fault {
            Fault::Unreachable(_) => {
                let advice = self.unreachable_advice();
                let message = format!("cannot reach the stream {stream} at {place} to {doing}");
                (ErrorKind::Transient, format!("{message} ({fault}; {tries} tries): {advice} {stakes}"))
            }
            _ if fault.passes() => {
                let message = format!("the stream {stream} at {place} does not let us {doing}");
                (ErrorKind::Transient, format!("{message} ({fault}; {tries} tries): try again later; {stakes}"))
            }
            Fault::NotFound(_) => {
                let message = format!("cannot {doing}: the stream {stream} at {place} is not there ({fault})");
                (
                    ErrorKind::Invalid,
                    format!("{message}: check its name, or make it with `millstream stream`; {stakes}"),
                )
            }
            _ => {
                let message = format!("the stream {stream} at {place} refuses to let us {doing} ({fault})");
                let advice = "change what it names, or check the region, the credentials and their rights";
                (ErrorKind::Invalid, format!("{message}: {advice}; {stakes}"))
            }
        };
        Error::new(kind, sentence)
    }

    /// The counters as they stand.
    pub(super) fn counts(&self) -> CallCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CallCounts {
            calls: read(&self.counters.calls),
            throttled: read(&self.counters.throttled),
            failed: read(&self.counters.failed),
            expired_iterators: read(&self.counters.expired_iterators),
            subscriptions: read(&self.counters.subscriptions),
            broken_subscriptions: read(&self.counters.broken_subscriptions),
            fallbacks: read(&self.counters.fallbacks),
        }
    }

    /// A subscription was granted.
    pub(super) fn count_subscription(&self) {
        self.counters.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// A subscription was refused or broke off.
    pub(super) fn count_broken_subscription(&self) {
        self.counters.broken_subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// A shard is polled because subscribing fails.
    pub(super) fn count_fallback(&self) {
        self.counters.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    fn place(&self) -> String {
        let aws = || format!("AWS {}", self.settings.region);
        self.settings.endpoint.clone().unwrap_or_else(aws)
    }

    fn unreachable_advice(&self) -> &'static str {
        match self.settings.endpoint {
            Some(_) => "is `millstream stream` running?",
            None => "is the network up?",
        }
    }
}

fn sdk_config(settings: &KinesisSettings) -> Config {
    let Credentials::Static { access_key, secret_key } = &settings.credentials;
    // The read timeout ends with an answer's head; only the last one bounds its body too.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .read_timeout(Duration::from_secs(30))
        .operation_timeout(Duration::from_secs(60))
        .build();
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(config::Credentials::new(access_key, secret_key, None, None, "settings"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    builder.set_endpoint_url(settings.endpoint.clone());
    builder.build()
}
