//! What S3's errors mean, and how they are told.
//!
//! Owns the cut: what a server answers (it repeats signed headers, session tokens among them) never gets further than
//! its code and its message's first line. Variants of object_store's errors that readers look at (not found, already exists) stay.

use std::error::Error as StdError;
use std::fmt;

use object_store::Error as StoreError;

use crate::error::{Error, ErrorKind, first_line};

pub(super) const STORE: &str = "S3";

/// Why S3 refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    NoBucket,
    Denied,
    WrongRegion,
    ClockOff,
    /// Credentials that were good once; their provider may have new ones by now.
    Expired,
    /// Another writer was at the same object at the same time: the same again tells who won.
    Race,
    /// A throttled call, a time-out, a reset, a 5xx.
    Passing,
}

impl Reason {
    fn meaning(self) -> (ErrorKind, &'static str) {
        let (invalid, transient) = (ErrorKind::Invalid, ErrorKind::Transient);
        match self {
            Self::NoBucket => (invalid, "there is no such bucket: make it, or correct the store's address"),
            Self::Denied => (
                invalid,
                "the credentials do not allow it: they need s3:ListBucket on the bucket, and s3:GetObject, \
                 s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects",
            ),
            Self::WrongRegion => (invalid, "the bucket is in another region: set the target's region to it"),
            Self::ClockOff => (invalid, "this machine's clock is wrong, so its signatures are: set it"),
            Self::Expired => (
                transient,
                "the credentials have expired: log in again (aws sso login), or set new ones where they come from",
            ),
            Self::Race => (transient, "another writer was at it at the same time: the same again tells who won"),
            Self::Passing => (transient, "the store does not answer as it should for now"),
        }
    }
}

/// A refusal of S3's, without what the server repeated of the request.
#[derive(Debug)]
struct Refusal {
    told: String,
    reason: Reason,
    /// Whether it is the credentials that it does not take, whatever they ask for.
    is_of_credentials: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.told)
    }
}

impl StdError for Refusal {}

type Cause = Box<dyn StdError + Send + Sync>;

impl Refusal {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let whole = whole(error);
        let code = between(&whole, "<Code>", "</Code>").or_else(|| between(&whole, "(code: ", ")"));
        let reason = reason(code.unwrap_or_default(), &whole);
        // A server's answer is XML, or a proxy's HTML.
        let mut told = whole.split('<').next().unwrap_or_default().trim_end_matches([' ', ':']).to_owned();
        if whole.contains("<Code>") {
            let message = between(&whole, "<Message>", "</Message>").unwrap_or_default();
            told = format!("{told}: {}: {}", code.unwrap_or_default(), first_line(message));
        }
        let is_of_credentials = is_of_credentials(code.unwrap_or_default());
        Self { told, reason, is_of_credentials }
    }

    fn with(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }
}

/// The sentences of an error and of what caused it.
fn whole(error: &(dyn StdError + 'static)) -> String {
    let mut whole = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !whole.contains(&text) {
            // Before the server's answer, which is cut away.
            whole = match whole.split_once('<') {
                Some((head, answer)) => format!("{head}: {text} <{answer}"),
                None => format!("{whole}: {text}"),
            };
        }
        cause = error.source();
    }
    whole
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

fn reason(code: &str, whole: &str) -> Reason {
    match code {
        "NoSuchBucket" => Reason::NoBucket,
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "AllAccessDisabled"
        | "AccountProblem" => Reason::Denied,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            Reason::WrongRegion
        }
        "RequestTimeTooSkewed" => Reason::ClockOff,
        "ExpiredToken" | "TokenRefreshRequired" => Reason::Expired,
        _ if whole.contains("redirect without LOCATION") || whole.contains("status code: 301") => Reason::WrongRegion,
        _ => Reason::Passing,
    }
}

/// Others may be had by now where these came from.
fn is_of_credentials(code: &str) -> bool {
    let codes = ["ExpiredToken", "TokenRefreshRequired", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"];
    codes.contains(&code)
}

/// Whether S3 refuses the credentials themselves.
pub(super) fn refuses_credentials(error: &StoreError) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<Refusal>()).any(|refusal| refusal.is_of_credentials)
}

/// The same error without what the server repeated of the request.
pub(super) fn told(error: StoreError) -> StoreError {
    let refusal = |source: &Cause| Box::new(Refusal::of(source.as_ref()));
    match error {
        StoreError::NotFound { path, source } => match refusal(&source) {
            found if found.reason == Reason::NoBucket => StoreError::Generic { store: STORE, source: found },
            found => StoreError::NotFound { path, source: found },
        },
        StoreError::AlreadyExists { path, source } => match source.downcast_ref::<StoreError>() {
            Some(_) => StoreError::AlreadyExists { path, source: refusal(&source) },
            // A 409, which says nothing of who won.
            None => StoreError::Generic { store: STORE, source: Box::new(refusal(&source).with(Reason::Race)) },
        },
        StoreError::Precondition { path, source } => StoreError::Precondition { path, source: refusal(&source) },
        StoreError::NotModified { path, source } => StoreError::NotModified { path, source: refusal(&source) },
        StoreError::PermissionDenied { path, source } => {
            StoreError::PermissionDenied { path, source: denied(*refusal(&source)) }
        }
        StoreError::Unauthenticated { path, source } => {
            StoreError::Unauthenticated { path, source: denied(*refusal(&source)) }
        }
        StoreError::Generic { source, .. } if own(source.as_ref()).is_none() => {
            StoreError::Generic { store: STORE, source: refusal(&source) }
        }
        other => other,
    }
}

/// A 403 is a denial, whatever else its body says or does not say.
fn denied(refusal: Refusal) -> Box<Refusal> {
    Box::new(match refusal.reason {
        Reason::Passing => refusal.with(Reason::Denied),
        _ => refusal,
    })
}

/// What an error of S3's means for the person; none where the kind is the caller's to say.
pub(in crate::store) fn meaning(verb: &str, path: &str, error: &StoreError) -> Option<Error> {
    if let Some(own) = own(error) {
        return Some(Error::new(own.kind(), format!("cannot {verb} {path} in the object store: {own}")));
    }
    let refusal = causes(error).find_map(|cause| cause.downcast_ref::<Refusal>())?;
    let (kind, advice) = refusal.reason.meaning();
    Some(Error::new(kind, format!("cannot {verb} {path} in the object store: {advice}: {refusal}")))
}

/// What to do about this cause of an error, where it is S3's refusal.
pub(in crate::store) fn kind(cause: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    cause.downcast_ref::<Refusal>().map(|refusal| refusal.reason.meaning().0)
}

/// An error of Millstream's own (the credentials') that came through object_store.
fn own<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<Error>())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fault;

    /// What stands in for object_store's RetryError, which nobody outside can make.
    fn answered(status: &str, body: &str) -> Cause {
        format!("Error performing PUT http://127.0.0.1/lake/a in 3ms - Server returned non-2xx status code: {status}: {body}")
            .into()
    }

    fn body(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>It is\nSESSION</Message><Token-0>SESSION</Token-0>\
             <CanonicalRequest>x-amz-security-token:SESSION</CanonicalRequest></Error>"
        )
    }

    fn generic(status: &str, code: &str) -> StoreError {
        StoreError::Generic { store: STORE, source: answered(status, &body(code)) }
    }

    fn path() -> String {
        "lake/a".to_owned()
    }

    #[test]
    fn each_refusal_has_the_kind_that_says_what_to_do_and_no_secret() {
        let at = |status: &str, code: &str| (path(), answered(status, &body(code)));
        let not_found = |(path, source)| StoreError::NotFound { path, source };
        let denied = |(path, source)| StoreError::PermissionDenied { path, source };
        let cases = [
            (not_found(at("404", "NoSuchBucket")), ErrorKind::Invalid, "no such bucket"),
            (denied(at("403", "AccessDenied")), ErrorKind::Invalid, "s3:AbortMultipartUpload"),
            (denied(at("403", "SignatureDoesNotMatch")), ErrorKind::Invalid, "do not allow it"),
            (denied((path(), answered("403", ""))), ErrorKind::Invalid, "do not allow it"),
            (denied(at("403", "RequestTimeTooSkewed")), ErrorKind::Invalid, "clock"),
            (generic("400", "InvalidToken"), ErrorKind::Invalid, "do not allow it"),
            (generic("400", "AuthorizationHeaderMalformed"), ErrorKind::Invalid, "another region"),
            (generic("301", ""), ErrorKind::Invalid, "another region"),
            (generic("503", "SlowDown"), ErrorKind::Transient, "SlowDown: It is"),
            (generic("400", "ExpiredToken"), ErrorKind::Transient, "log in again"),
            (generic("500", "InternalError"), ErrorKind::Transient, "InternalError"),
        ];
        for (error, kind, words) in cases {
            let error = fault("write", "a", told(error));
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.to_string().starts_with("cannot write a in the object store"), "{error}");
            assert!(!format!("{error} {error:?}").contains("SESSION"), "{error}");
        }
    }

    #[test]
    fn what_readers_look_at_keeps_its_variant() {
        let missing = told(StoreError::NotFound { path: path(), source: answered("404", &body("NoSuchKey")) });
        assert!(matches!(missing, StoreError::NotFound { .. }));
        assert!(crate::store::is_missing(&missing));
        let changed = StoreError::Precondition { path: path(), source: answered("412", &body("PreconditionFailed")) };
        let exists = told(StoreError::AlreadyExists { path: path(), source: Box::new(changed) });
        assert!(matches!(exists, StoreError::AlreadyExists { .. }));
        assert!(!exists.to_string().contains("SESSION"), "{exists}");
    }

    #[test]
    fn a_conflict_is_tried_again_and_not_taken_for_a_loss() {
        let conflict = answered("409", &body("ConditionalRequestConflict"));
        let race = told(StoreError::AlreadyExists { path: path(), source: conflict });
        assert!(!matches!(race, StoreError::AlreadyExists { .. }), "{race}");
        let error = fault("write", "a", race);
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("tells who won"), "{error}");
    }

    #[test]
    fn only_a_refusal_of_the_credentials_themselves_says_so() {
        let codes = [
            ("ExpiredToken", true),
            ("InvalidAccessKeyId", true),
            ("InvalidToken", true),
            ("SignatureDoesNotMatch", true),
            ("AccessDenied", false),
            ("SlowDown", false),
            ("", false),
        ];
        for (code, expected) in codes {
            let denied = StoreError::PermissionDenied { path: path(), source: answered("403", &body(code)) };
            assert_eq!(refuses_credentials(&told(denied)), expected, "{code}");
            assert_eq!(refuses_credentials(&told(generic("400", code))), expected, "{code}");
        }
    }

    #[test]
    fn other_stores_errors_are_left_alone() {
        let error = StoreError::Generic { store: "memory", source: "away".into() };
        assert!(meaning("read", "a", &error).is_none());
    }
}
