//! Why a call to Kinesis did not give its answer, and whether the same call may give it later.
//!
//! Owns the reading of the SDK's errors, and the cut: of what a server says (it repeats signed headers, session tokens
//! among them) only the first line gets further. `connection` turns a fault into the public error with its sentence.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;

use crate::error::{first_line, root_cause};

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
    /// The iterator is not accepted; a new one may be.
    #[error("the iterator is refused: {0}")]
    RefusedIterator(String),
    /// The stream or the shard does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The stream is there and the shard is not: closed, and past retention.
    #[error("{0}")]
    ShardGone(String),
    /// The stream exists already, or is being changed.
    #[error("{0}")]
    InUse(String),
    /// An argument that the service does not accept.
    #[error("{0}")]
    InvalidArgument(String),
    /// The credentials have expired; their provider renews them.
    #[error("{0}")]
    ExpiredCredentials(String),
    /// The service does not know the credentials: wrong ones or, right after a renewal, not yet.
    #[error("{0}")]
    UnknownCredentials(String),
    /// No provider has credentials.
    #[error("{0}")]
    NoCredentials(String),
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
            _ if lacks_credentials(&error) => Self::NoCredentials(root_cause(&error)),
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
        let text = message.map_or_else(|| name.to_owned(), |message| format!("{name}: {}", first_line(message)));
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
            "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => Self::ExpiredCredentials(text),
            // Signed by a clock that is off, or with credentials that grew old on the way.
            "InvalidSignatureException" if is_about_time(&text) => Self::ExpiredCredentials(text),
            "UnrecognizedClientException" => Self::UnknownCredentials(text),
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
        let is_without_answer = self.is_ambiguous();
        let is_renewed = matches!(self, Self::ExpiredIterator | Self::RefusedIterator(_) | Self::ExpiredCredentials(_));
        is_without_answer || is_renewed || matches!(self, Self::Throttled(_))
    }

    /// Whether the call may have been carried out although it failed.
    pub(super) fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Service(_))
    }
}

fn is_about_time(words: &str) -> bool {
    ["Signature expired", "Signature not yet current"].iter().any(|words_of_aws| words.contains(words_of_aws))
}

/// Whether there are no credentials to sign with; a provider that did not answer in time may do so later. The SDK
/// re-exports no type to tell these by.
fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let words = current.to_string();
        if words == "the credential provider was not enabled"
            || words == "the credentials provider was not properly configured"
        {
            return true;
        }
        cause = current.source();
    }
    false
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
    fn credentials_that_expired_or_were_signed_by_a_wrong_clock_pass_and_wrong_ones_do_not() {
        let skewed = "Signature expired: 20261120T120000Z is now earlier than 20261120T120500Z";
        let cases = [
            ("ExpiredTokenException", "The security token included in the request is expired", true),
            ("InvalidSignatureException", skewed, true),
            ("InvalidSignatureException", "The request signature we calculated does not match", false),
            ("UnrecognizedClientException", "The security token included in the request is invalid", false),
            ("MissingAuthenticationTokenException", "Missing", false),
        ];
        for (code, message, passes) in cases {
            let fault = Fault::answered(400, Some(code), Some(message));
            assert_eq!(fault.passes(), passes, "{fault:?}");
            assert_eq!(matches!(fault, Fault::ExpiredCredentials(_)), passes, "{fault:?}");
        }
    }

    #[test]
    fn of_what_the_server_repeats_of_a_request_nothing_is_passed_on() {
        let message = "The request signature we calculated does not match the signature you provided.\n\n\
                       The Canonical String for this request should have been\n'POST\n/\n\nhost:kinesis\n\
                       x-amz-security-token:SESSION\n\nhost;x-amz-security-token\n0a1b'\n";
        let fault = Fault::answered(400, Some("InvalidSignatureException"), Some(message));
        let sentence = "The request signature we calculated does not match the signature you provided.";
        assert_eq!(fault, Fault::Refused(format!("InvalidSignatureException: {sentence}")));
    }

    #[test]
    fn only_a_call_without_a_clear_answer_may_have_been_carried_out() {
        assert!(Fault::Unreachable("reset".into()).is_ambiguous());
        assert!(Fault::answered(500, None, None).is_ambiguous());
        assert!(!Fault::answered(400, Some("ProvisionedThroughputExceededException"), None).is_ambiguous());
        assert!(!Fault::answered(400, Some("ResourceNotFoundException"), Some("gone")).passes());
    }
}
