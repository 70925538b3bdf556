//! The client for one stream: its settings, its calls with backoff, its counters, its sentences.
//!
//! Owns how a call is repeated and what is said when it is given up. The SDK's own retries are off, so that a call is
//! repeated in one place only and waits on the `Context`'s clock.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{self, BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::describe_stream_summary::{DescribeStreamSummaryError, DescribeStreamSummaryOutput};
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
    /// While answers are empty the interval doubles up to this one; no longer than `poll_interval`: it stays.
    pub idle_interval: Duration,
    /// The interval while the reader is behind.
    pub catch_up_interval: Duration,
    /// What a shard gives its readers at most: the interval is never shorter than they allow. None for no limits.
    pub limits: Option<ReadLimits>,
    /// How often a call that may pass is tried, and how long between.
    pub backoff: Backoff,
}

/// What a shard gives to all who poll it, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// GetRecords calls.
    pub calls_per_second: u32,
    /// Bytes of payloads and partition keys; a larger answer is paid for by the time after it.
    pub bytes_per_second: u64,
}

impl ReadLimits {
    /// The quotas of Kinesis Data Streams for GetRecords: 5 calls/s and 2 MiB/s a shard.
    pub const KINESIS: Self = Self { calls_per_second: 5, bytes_per_second: 2 * 1024 * 1024 };
}

/// Who asks.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// Whatever this provider finds: environment, profile, SSO, container or instance role. It renews them.
    Chain(config::SharedCredentialsProvider),
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
        match self {
            Self::Chain(_) => formatter.write_str("Chain"),
            Self::Static { access_key, .. } => write!(formatter, "Static({access_key}, secret)"),
        }
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
            idle_interval: Duration::from_millis(200),
            catch_up_interval: Duration::ZERO,
            limits: None,
            backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5), attempts: 10 },
        }
    }
}

impl KinesisSettings {
    /// A stream in AWS, or of another server at `endpoint` that is to be treated like it: within the limits of its
    /// shards, idle shards asked once a second, and a call given up after some minutes.
    pub fn aws(
        endpoint: Option<String>,
        region: impl Into<String>,
        stream: impl Into<String>,
        credentials: config::SharedCredentialsProvider,
    ) -> Self {
        Self {
            endpoint,
            region: region.into(),
            stream: stream.into(),
            credentials: Credentials::Chain(credentials),
            // Of the 5 calls/s, others may need one.
            poll_interval: Duration::from_millis(250),
            idle_interval: Duration::from_secs(1),
            catch_up_interval: Duration::ZERO,
            limits: Some(ReadLimits::KINESIS),
            backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(10), attempts: 20 },
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
    /// Calls refused because the credentials had expired and their renewal was still to come.
    pub expired_credentials: u64,
    /// Subscriptions to a shard that were granted, renewals included.
    pub subscriptions: u64,
    /// Subscriptions that were refused, reset or silent.
    pub broken_subscriptions: u64,
    /// How often a shard was polled for a while because subscribing failed again and again.
    pub fallbacks: u64,
}

impl CallCounts {
    /// These and those together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            throttled: self.throttled + other.throttled,
            failed: self.failed + other.failed,
            expired_iterators: self.expired_iterators + other.expired_iterators,
            expired_credentials: self.expired_credentials + other.expired_credentials,
            subscriptions: self.subscriptions + other.subscriptions,
            broken_subscriptions: self.broken_subscriptions + other.broken_subscriptions,
            fallbacks: self.fallbacks + other.fallbacks,
        }
    }
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    throttled: AtomicU64,
    failed: AtomicU64,
    expired_iterators: AtomicU64,
    expired_credentials: AtomicU64,
    /// In hours; 0 while it is not known.
    retention: AtomicU64,
    /// Whether a call has succeeded: the credentials were good then.
    has_succeeded: AtomicBool,
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
        let outcome = match call.await.map_err(Fault::of) {
            // Credentials that were known before and are not now have been renewed, and not everywhere yet.
            Err(Fault::UnknownCredentials(words)) if self.counters.has_succeeded.load(Ordering::Relaxed) => {
                Err(Fault::ExpiredCredentials(words))
            }
            outcome => outcome,
        };
        if outcome.is_ok() {
            self.counters.has_succeeded.store(true, Ordering::Relaxed);
        }
        let counter = match &outcome {
            Err(Fault::Throttled(_)) => &self.counters.throttled,
            Err(Fault::Unreachable(_) | Fault::Service(_)) => &self.counters.failed,
            Err(Fault::ExpiredIterator) => &self.counters.expired_iterators,
            Err(Fault::ExpiredCredentials(_)) => &self.counters.expired_credentials,
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
            Fault::ShardGone(_) => {
                let message = format!("cannot {doing}: the stream {stream} at {place} has no such shard any more");
                let advice = "it has passed retention: start again, and what of it was not read is told as lost";
                (ErrorKind::Transient, format!("{message} ({fault}): {advice}"))
            }
            Fault::ExpiredCredentials(_) => {
                let message = format!("the credentials to {doing} of the stream {stream} at {place} have expired");
                let advice = "log in again (`aws sso login`) or look why they are not renewed, and check this \
                              machine's clock";
                (ErrorKind::Transient, format!("{message} ({fault}; {tries} tries): {advice}; {stakes}"))
            }
            Fault::NoCredentials(_) => {
                let message = format!("there are no AWS credentials to {doing} of the stream {stream} at {place}");
                let advice = "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, log in (`aws sso login`), \
                              or run where a role gives them";
                (ErrorKind::Invalid, format!("{message} ({fault}): {advice}; {stakes}"))
            }
            _ if fault.passes() => {
                let message = format!("the stream {stream} at {place} does not let us {doing}");
                (ErrorKind::Transient, format!("{message} ({fault}; {tries} tries): try again later; {stakes}"))
            }
            Fault::NotFound(_) => {
                let message = format!("cannot {doing}: the stream {stream} at {place} is not there ({fault})");
                let advice = match self.settings.credentials {
                    Credentials::Static { .. } => "check its name, or make it with `millstream stream`",
                    Credentials::Chain(_) => "check its name, the region and the account, or make it there",
                };
                (ErrorKind::Invalid, format!("{message}: {advice}; {stakes}"))
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
            expired_credentials: read(&self.counters.expired_credentials),
            subscriptions: read(&self.counters.subscriptions),
            broken_subscriptions: read(&self.counters.broken_subscriptions),
            fallbacks: read(&self.counters.fallbacks),
        }
    }

    /// How long the stream keeps a record, asked for once; a fault counts as that of any call.
    pub(super) async fn retention(&self) -> Result<Option<Duration>, Fault> {
        if self.counters.retention.load(Ordering::Relaxed) == 0 {
            self.once(self.summary()).await?;
        }
        Ok(self.known_retention())
    }

    /// How long the stream keeps a record, as far as a summary has told.
    pub(super) fn known_retention(&self) -> Option<Duration> {
        let hours = self.counters.retention.load(Ordering::Relaxed);
        (hours > 0).then(|| Duration::from_secs(hours * 3600))
    }

    /// The call for what the stream says of itself; its retention is kept.
    pub(super) async fn summary(
        &self,
    ) -> Result<DescribeStreamSummaryOutput, SdkError<DescribeStreamSummaryError, HttpResponse>> {
        let answer = self.client.describe_stream_summary().stream_name(&self.settings.stream).send().await?;
        let hours = answer.stream_description_summary.as_ref().map_or(0, |summary| summary.retention_period_hours);
        self.counters.retention.store(u64::try_from(hours).unwrap_or(0), Ordering::Relaxed);
        Ok(answer)
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
        match (&self.settings.credentials, &self.settings.endpoint) {
            (Credentials::Static { .. }, Some(_)) => "is `millstream stream` running?",
            (Credentials::Chain(_), Some(_)) => "is the server running, and is stream_endpoint its address?",
            (_, None) => "is the network up?",
        }
    }
}

fn sdk_config(settings: &KinesisSettings) -> Config {
    let provider = match &settings.credentials {
        Credentials::Chain(provider) => provider.clone(),
        Credentials::Static { access_key, secret_key } => config::SharedCredentialsProvider::new(
            config::Credentials::new(access_key, secret_key, None, None, "settings"),
        ),
    };
    // The read timeout ends with an answer's head; only the last one bounds its body too.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .read_timeout(Duration::from_secs(30))
        .operation_timeout(Duration::from_secs(60))
        .build();
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(provider)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    builder.set_endpoint_url(settings.endpoint.clone());
    builder.build()
}
