//! What a server of the PostgreSQL protocol says, in our words.
//!
//! Owns which failure may pass by itself and which needs a person, and the sentences. Of the server's words the first
//! lines get further; never the statement, whose literals are data, and never a password.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::CertificateError;
use tokio_postgres::error::DbError;

use crate::config::Tls;
use crate::error::{Error, ErrorKind, first_line};
use crate::load::refusal;

/// What becomes of the data, whatever happened.
const SAFE: &str = "staged files wait and nothing is lost";

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::load) struct Place {
    pub(in crate::load) host: String,
    pub(in crate::load) port: u16,
    pub(in crate::load) database: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the warehouse (database {} at {}:{})", self.database, self.host, self.port)
    }
}

/// The error of a statement.
pub(in crate::load) fn fault(place: &Place, error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(refused) => answered(place, refused),
        None => Error::transient(format!(
            "the connection to {place} was lost ({}); what was not committed is rolled back, {SAFE}",
            reason(error)
        )),
    }
}

/// As whom, and how, a connection was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) user: &'a str,
    /// Where the password comes from.
    pub(super) origin: &'a str,
    pub(super) tls: &'a Tls,
}

/// The error of connecting.
pub(super) fn connecting(place: &Place, error: &tokio_postgres::Error, asked: Asked<'_>) -> Error {
    let Asked { user, origin, tls } = asked;
    if let Some(refused) = error.as_db_error() {
        let login = refused.code().code().starts_with("28");
        let hint = login.then(|| format!("; look at the user {user} and its password ({origin})"));
        return with(answered(place, refused), &hint.unwrap_or_default());
    }
    if let Some(refused) = find::<rustls::Error>(error) {
        return untrusted(place, refused, tls);
    }
    let reason = reason(error);
    if reason.contains("password missing") {
        return Error::invalid(format!(
            "{place} asks for a password of the user {user}, and there is none: set {origin}; {SAFE}"
        ));
    }
    if reason.contains("server does not support TLS") {
        return Error::invalid(format!(
            "{place} does not encrypt connections: switch TLS on there, or say tls = \"off\" if the network between is \
             trusted; {SAFE}"
        ));
    }
    Error::transient(format!(
        "cannot reach {place}: {reason}; {SAFE}; if it lasts, look whether the server runs and its port can be reached \
         from here"
    ))
}

/// Whether a transaction that failed so can have been committed all the same, if it was asked to.
pub(super) fn leaves_commit_open(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|refused| {
        let code = refused.code().code();
        !refusal::is_conflict(code, refused.message()) && !code.starts_with("23")
    })
}

/// The server's answer, with its kind.
fn answered(place: &Place, refused: &DbError) -> Error {
    let code = refused.code().code();
    let words = words(refused);
    match kind(refused) {
        ErrorKind::Transient => {
            Error::transient(format!("{place} could not do it now: {words} (SQLSTATE {code}); {SAFE}"))
        }
        // A right, a name, a question: what becomes of data is for whoever asked to say.
        kind => Error::new(kind, format!("{place} refuses: {words} (SQLSTATE {code})")),
    }
}

/// Message, detail and hint, each its first line.
fn words(refused: &DbError) -> String {
    let parts = [Some(refused.message()), refused.detail(), refused.hint()];
    let parts: Vec<String> = parts.into_iter().flatten().map(first_line).filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

fn kind(refused: &DbError) -> ErrorKind {
    // Redshift tells some reasons in the detail only.
    let mut parts = [Some(refused.message()), refused.detail(), refused.hint()].into_iter().flatten();
    match parts.any(|part| refusal::passes(refused.code().code(), part)) {
        true => ErrorKind::Transient,
        false => ErrorKind::Invalid,
    }
}

/// A handshake that failed for what the server's certificate is.
fn untrusted(place: &Place, refused: &rustls::Error, tls: &Tls) -> Error {
    let authorities = match tls {
        Tls::Verify { authorities: Some(file) } => format!("authorities = {}", file.display()),
        _ => "authorities = those of this machine".to_owned(),
    };
    let Place { host, port, .. } = place;
    let told = match refused {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the certificate of {host}:{port} is not good for the name {host}: use the name that it is made for"
        ),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => format!(
            "the certificate of {host}:{port} is signed by nobody who is trusted: name the file of its authorities"
        ),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of {host}:{port} has expired: renew it on the server")
        }
        other => format!("no encrypted connection to {host}:{port} comes about: {}", first_line(&other.to_string())),
    };
    Error::invalid(format!("{told}; {authorities}; {SAFE}"))
}

/// The innermost cause, and what it was to be.
fn reason(error: &tokio_postgres::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    first_line(&cause.to_string())
}

/// The cause of this type, also where an IO error wraps it.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => current.source(),
        };
    }
    None
}

/// The same kind of error, with more at the end of its sentence.
fn with(error: Error, more: &str) -> Error {
    Error::new(error.kind(), format!("{error}{more}"))
}
