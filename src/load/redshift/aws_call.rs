//! Calls of the AWS APIs beside Redshift: their clients, their repeats, and what their refusals mean.
//!
//! Owns how often a call is tried, and whether one that is given up may have been carried out all the same. The SDK's own
//! retries are off: a call is repeated here only, and waits on the `Context`'s clock. Of what a service says (it repeats
//! signed headers, session tokens among them) only the first line gets further.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use aws_sdk_redshiftdata::config::http::HttpResponse;
use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};

use crate::aws::AwsChain;
use crate::error::{Error, first_line, root_cause};
use crate::runtime::{Backoff, Context};

/// A call that may pass is given up after about a minute.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10), attempts: 10 };

/// How long a connection, an answer's head and the whole of a call may take.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
pub(super) const READ: Duration = Duration::from_secs(30);
pub(super) const WHOLE: Duration = Duration::from_secs(60);

/// How the APIs are reached.
#[derive(Clone)]
pub(super) struct Apis {
    /// Where, and whose credentials.
    pub(super) chain: AwsChain,
    /// Another server's address; none for AWS.
    pub(super) endpoint: Option<String>,
    pub(super) context: Context,
}

/// A client of one of the SDK's crates: they share their types' names and nothing else.
macro_rules! client {
    ($sdk:ident, $apis:expr) => {{
        use $crate::load::redshift::aws_call::{CONNECT, READ, WHOLE};
        use $sdk::config::retry::RetryConfig;
        use $sdk::config::timeout::TimeoutConfig;
        use $sdk::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ).operation_timeout(WHOLE).build();
        let mut builder = $sdk::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new($apis.chain.region().to_owned()))
            .credentials_provider($apis.chain.credentials())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        builder.set_endpoint_url($apis.endpoint.clone());
        $sdk::Client::from_conf(builder.build())
    }};
}
pub(super) use client;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Over a limit of the service.
    #[error("throttled: {0}")]
    Throttled(String),
    /// No answer came, or none that makes sense.
    #[error("{0}")]
    Unreachable(String),
    /// The service failed inside.
    #[error("the service failed: {0}")]
    Service(String),
    /// The credentials have expired; their provider renews them.
    #[error("{0}")]
    ExpiredCredentials(String),
    /// The identity may not do this.
    #[error("{0}")]
    Denied(String),
    /// What is asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Anything else that will be refused again.
    #[error("{0}")]
    Refused(String),
}

/// A call that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// Why the last try failed.
    pub(super) fault: Fault,
    /// Whether one of the tries may have been carried out.
    pub(super) may_be_done: bool,
}

/// Makes a call until it succeeds, will be refused again, or the tries are used up.
pub(super) async fn repeat<T, E, F>(context: &Context, mut call: impl FnMut() -> F) -> Result<T, GivenUp>
where
    E: ProvideErrorMetadata + StdError + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let (mut attempt, mut may_be_done) = (1, false);
    loop {
        let fault = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => Fault::of(&error),
        };
        may_be_done |= matches!(fault, Fault::Unreachable(_) | Fault::Service(_));
        if !fault.passes() || attempt >= BACKOFF.attempts {
            return Err(GivenUp { fault, may_be_done });
        }
        let pause = BACKOFF.pause(attempt, context);
        tracing::debug!(%fault, attempt, ?pause, "the service gave no answer, trying again");
        context.clock.sleep(pause).await;
        attempt += 1;
    }
}

impl Fault {
    /// Reads the SDK's error.
    fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                Self::answered(answer.raw().status().as_u16(), error.code(), error.message())
            }
            SdkError::ConstructionFailure(_) => Self::Refused(root_cause(error)),
            _ => Self::Unreachable(root_cause(error)),
        }
    }

    /// Reads a refusal.
    fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let name = code.unwrap_or("no reason given");
        let text = message.map_or_else(|| name.to_owned(), |message| format!("{name}: {}", first_line(message)));
        match name {
            "ActiveStatementsExceededException"
            | "ActiveSessionsExceededException"
            | "ActiveWaitingRequestsExceededException"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "LimitExceededException" => Self::Throttled(text),
            "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => Self::ExpiredCredentials(text),
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Self::Denied(text),
            "ResourceNotFoundException" | "ClusterNotFound" | "ClusterNotFoundFault" => Self::NotFound(text),
            _ if status == 429 => Self::Throttled(text),
            _ if status >= 500 => Self::Service(text),
            _ => Self::Refused(text),
        }
    }

    /// Whether the same call may succeed later.
    fn passes(&self) -> bool {
        !matches!(self, Self::Denied(_) | Self::NotFound(_) | Self::Refused(_))
    }

    /// The public error for a call that is given up. `doing` says what it was for (`run a load`), `action` is the right
    /// that it takes (`redshift-data:BatchExecuteStatement`).
    pub(super) fn told(&self, doing: &str, action: &str) -> Error {
        const SAFE: &str = "staged files wait and nothing is lost";
        match self {
            Self::Denied(words) => Error::invalid(format!(
                "the aws identity may not {doing}: it lacks {action} ({words}); add it to the identity's policy; {SAFE}"
            )),
            Self::NotFound(words) => Error::invalid(format!(
                "cannot {doing}: what {action} asks for is not there ({words}); check its name, the region and the \
                 account; {SAFE}"
            )),
            Self::Refused(words) => Error::invalid(format!(
                "cannot {doing}: {action} is refused ({words}); check what the target names, and the aws credentials; \
                 {SAFE}"
            )),
            Self::ExpiredCredentials(words) => Error::transient(format!(
                "cannot {doing}: the aws credentials have expired ({words}); log in again (`aws sso login`) or look why \
                 they are not renewed; {SAFE}"
            )),
            fault => Error::transient(format!("cannot {doing}: {action} gives no answer ({fault}); {SAFE}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_refusal_is_read_by_its_code_then_by_its_status() {
        let cases = [
            (400, Some("ActiveStatementsExceededException"), true, ErrorKind::Transient, "throttled"),
            (400, Some("ThrottlingException"), true, ErrorKind::Transient, "throttled"),
            (429, None, true, ErrorKind::Transient, "throttled"),
            (500, Some("BatchExecuteStatementException"), true, ErrorKind::Transient, "the service failed"),
            (503, None, true, ErrorKind::Transient, "the service failed"),
            (400, Some("ExpiredTokenException"), true, ErrorKind::Transient, "aws sso login"),
            (400, Some("AccessDeniedException"), false, ErrorKind::Invalid, "it lacks redshift-data:X"),
            (404, Some("ClusterNotFound"), false, ErrorKind::Invalid, "is not there"),
            (400, Some("ValidationException"), false, ErrorKind::Invalid, "check what the target names"),
        ];
        for (status, code, passes, kind, words) in cases {
            let fault = Fault::answered(status, code, Some("said\nx-amz-security-token:SESSION"));
            assert_eq!(fault.passes(), passes, "{fault:?}");
            let error = fault.told("run a load", "redshift-data:X");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.to_string().contains("SESSION"), "{error}");
        }
    }
}
