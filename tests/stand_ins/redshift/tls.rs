//! The server's certificate: made for itself, trusted by who reads its file.

use std::path::PathBuf;
use std::sync::Arc;

use pgwire::tokio::TlsAcceptor;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;

/// A certificate for `localhost` and 127.0.0.1, signed by an authority of its own.
pub(super) struct Certificate {
    file: NamedTempFile,
    signed: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Certificate {
    pub(super) fn make() -> Self {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let root = authority.self_signed(&authority_key).expect("a root");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let signed = rcgen::CertificateParams::new(names).and_then(|wanted| wanted.signed_by(&key, &issuer));
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), root.pem()).expect("the root's file");
        Self { file, signed: signed.expect("a certificate"), key }
    }

    /// The authority's certificate.
    pub(super) fn file(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.signed.der().clone()], key)
            .expect("a certificate and its key");
        TlsAcceptor::from(Arc::new(config))
    }
}
