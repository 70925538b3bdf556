//! Encryption of a connection: the certificate must be good for the host's name.
//!
//! Owns which authorities are trusted: the system's, or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::read_certificates;
use crate::error::{Error, Result};
use crate::runtime::blocking;

/// What encrypts connections, with these authorities or the system's; they are read anew, for they change.
///
/// # Errors
/// Invalid where no authority can be read.
pub(super) async fn connector(authorities: Option<PathBuf>) -> Result<MakeRustlsConnect> {
    blocking(move || {
        let roots = match authorities {
            Some(file) => from_file(&file)?,
            None => from_system()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let versions =
            versions.map_err(|error| Error::internal("TLS has no version in common with itself").with_source(error))?;
        Ok(MakeRustlsConnect::new(versions.with_root_certificates(roots).with_no_client_auth()))
    })
    .await
}

fn from_file(file: &Path) -> Result<RootCertStore> {
    let place = || format!("authorities = {}", file.display());
    let unreadable = |error| {
        Error::invalid(format!("{}: the file cannot be read as certificates (PEM)", place())).with_source(error)
    };
    let bytes = read_certificates(file).map_err(|why| Error::invalid(format!("{}: the file {why}", place())))?;
    let certificates = CertificateDer::pem_slice_iter(&bytes);
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|error| {
            Error::invalid(format!("{}: a certificate of the file is damaged", place())).with_source(error)
        })?;
    }
    match roots.is_empty() {
        true => Err(Error::invalid(format!("{}: the file holds no certificate", place()))),
        false => Ok(roots),
    }
}

fn from_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store may hold a certificate that is of no use, beside a hundred that are.
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good > 0 {
        return Ok(roots);
    }
    let none = Error::invalid(
        "this machine has no certificates to verify the warehouse's by: install the package ca-certificates, or name a \
         file of them: tls = { authorities = \"….pem\" }",
    );
    Err(match found.errors.into_iter().next() {
        Some(error) => none.with_source(error),
        None => none,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn authorities_come_from_a_file_that_holds_some() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("authorities.pem");
        let good = rcgen::generate_simple_self_signed(vec!["db".to_owned()]).expect("a certificate").cert.pem();
        let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let cases: [(Option<&str>, Option<&str>); 5] = [
            (None, Some("the file does not exist")),
            (Some(""), Some("the file holds no certificate")),
            (Some(damaged), Some("a certificate of the file is damaged")),
            (Some("-----BEGIN CERTIFICATE-----\n!"), Some("the file cannot be read")),
            (Some(&good), None),
        ];
        for (content, expected) in cases {
            if let Some(content) = content {
                fs::write(&file, content).expect("written");
            }
            let outcome = connector(Some(file.clone())).await.err();
            let told = outcome.as_ref().map(ToString::to_string).unwrap_or_default();
            assert_eq!(outcome.is_some(), expected.is_some(), "{content:?}: {told}");
            if let (Some(error), Some(expected)) = (outcome, expected) {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(told.contains(expected) && told.contains("authorities.pem"), "{told}");
            }
        }
    }
}
