//! Why a call to Kinesis did not give its answer, and whether the same call may give it later.
//!
//! Owns the reading of the SDK's errors; `connection` turns a fault into the public error with its sentence.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Over a limit of the stream, the account or its key service.
    #[error("throttled: {0}")]
    Throttled(String),
    /// No answer came, or none that makes sense: the call may have been carried out all the same.
    #[error("{0}")]
    Unreachable(String),
    /// The service failed inside: the call may have been carried out all the same.
    #[error("the service failed: {0}")]
    Service(String),
    /// The iterator has grown too old.
    #[error("the iterator has expired")]
    ExpiredIterator,
    /// The stream or the shard does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The stream exists already, or is being changed.
    #[error("{0}")]
    InUse(String),
    /// An argument that the service does not accept.
    #[error("{0}")]
    InvalidArgument(String),
    /// Anything else that will be refused again: rights, credentials, encryption keys.
    #[error("{0}")]
    Refused(String),
}

impl Fault {
    /// Reads the SDK's error.
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match &error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                Self::answered(status, error.code(), error.message())
            }
            SdkError::ConstructionFailure(_) => Self::Refused(root_cause(&error)),
            _ => Self::Unreachable(root_cause(&error)),
        }
    }

    /// Reads what a subscription says instead of an event. The SDK knows its code by its kind alone.
    pub(super) fn of_subscription<R>(error: SdkError<SubscribeToShardEventStreamError, R>) -> Self
    where
        R: fmt::Debug + 'static,
    {
        use SubscribeToShardEventStreamError as Said;
        let SdkError::ServiceError(said) = &error else { return Self::Unreachable(root_cause(&error)) };
        let code = match said.err() {
            Said::InternalFailureException(_) => "InternalFailureException",
            Said::ResourceInUseException(_) => "ResourceInUseException",
            Said::ResourceNotFoundException(_) => "ResourceNotFoundException",
            Said::KmsThrottlingException(_) => "KMSThrottlingException",
            Said::KmsAccessDeniedException(_) => "KMSAccessDeniedException",
            Said::KmsDisabledException(_) => "KMSDisabledException",
            Said::KmsInvalidStateException(_) => "KMSInvalidStateException",
            Said::KmsNotFoundException(_) => "KMSNotFoundException",
            Said::KmsOptInRequired(_) => "KMSOptInRequired",
            // One that came after this program: a new subscription tells more.
            _ => return Self::Service(root_cause(&error)),
        };
        Self::answered(200, Some(code), said.err().message())
    }

    /// Reads a refusal: of a whole call, or (with status 200) of one record of a put.
    pub(super) fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let name = code.unwrap_or("no reason given");
        let text = message.map_or_else(|| name.to_owned(), |message| format!("{name}: {message}"));
        match name {
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException" => Self::Throttled(text),
            "ExpiredIteratorException" => Self::ExpiredIterator,
            "ResourceNotFoundException" => Self::NotFound(text),
            "ResourceInUseException" => Self::InUse(text),
            "InvalidArgumentException" => Self::InvalidArgument(text),
            "InternalFailure" | "InternalFailureException" | "InternalServerError" | "ServiceUnavailable" => {
                Self::Service(text)
            }
            _ if status == 429 => Self::Throttled(text),
            _ if status >= 500 => Self::Service(text),
            _ => Self::Refused(text),
        }
    }

    /// Whether the same call may succeed later.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unreachable(_) | Self::Service(_) | Self::ExpiredIterator)
    }

    /// Whether the call may have been carried out although it failed.
    pub(super) fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Service(_))
    }
}

/// The innermost cause: `Connection refused`, where the SDK says `dispatch failure` first.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_by_its_code_then_by_its_status() {
        let kinds = [
            (400, Some("ProvisionedThroughputExceededException"), "throttled: "),
            (400, Some("LimitExceededException"), "throttled: "),
            (429, None, "throttled: "),
            (200, Some("InternalFailure"), "the service failed: "),
            (503, None, "the service failed: "),
            (400, Some("ExpiredIteratorException"), "the iterator has expired"),
            (400, Some("AccessDeniedException"), "AccessDeniedException"),
        ];
        for (status, code, start) in kinds {
            let fault = Fault::answered(status, code, None);
            assert!(fault.to_string().starts_with(start), "{status} {code:?}: {fault:?}");
            assert_eq!(fault.passes(), !start.starts_with("Access"), "{fault:?}");
        }
    }

    #[test]
    fn only_a_call_without_a_clear_answer_may_have_been_carried_out() {
        assert!(Fault::Unreachable("reset".into()).is_ambiguous());
        assert!(Fault::answered(500, None, None).is_ambiguous());
        assert!(!Fault::answered(400, Some("ProvisionedThroughputExceededException"), None).is_ambiguous());
        assert!(!Fault::answered(400, Some("ResourceNotFoundException"), Some("gone")).passes());
    }
}
