//! S3 as the object store.
//!
//! Owns how a bucket becomes a [`Store`](super::Store): address, endpoint, retries. `credentials` renews what the AWS
//! chain gives, `objects` is the store itself with errors that hold no secret, `refusal` says what S3's errors mean.
//! A conditional put is `If-None-Match: *`. One whose answer was lost is told as an error, or, where object_store tried
//! it again after a 5xx, as [`Put::Exists`](super::Put): an object that exists may be this writer's own. Whoever must know
//! puts something of its own into the object and reads it back, as the journal does with its attempt ids.

mod address;
mod credentials;
mod objects;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AwsCredentialProvider, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use self::credentials::ChainCredentials;
use self::objects::S3Objects;
use crate::aws::AwsChain;
use crate::error::{Error, Result};
use crate::runtime::SystemClock;

pub use address::parse_s3;
pub(super) use refusal::{kind, meaning};

/// Tries again at most so often, and for no longer than this: then the caller hears of it.
const RETRIES: usize = 6;
const RETRY_TIME: Duration = Duration::from_secs(60);

/// One request, body and all; a part of an upload takes 8 MiB.
const REQUEST_TIME: Duration = Duration::from_secs(60);
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// A bucket, and how to reach it.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// What all paths begin with, without a slash at its ends; empty for the bucket's root.
    pub prefix: String,
    /// Another server than AWS's, `https://host` or `http://host`; plain http only where it is named here.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path instead of the host's name. A name with dots in it always does: no
    /// certificate fits it.
    pub path_style: bool,
    /// The region and the credentials.
    pub chain: AwsChain,
}

/// A bucket, opened: nothing has been asked of it yet.
pub(super) struct Bucket {
    /// From the bucket's root.
    pub(super) root: Arc<dyn ObjectStore>,
    /// From the prefix.
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    /// `s3://bucket/prefix/`.
    pub(super) url: Url,
}

/// Opens a bucket.
pub(super) fn open(settings: S3Settings) -> Result<Bucket> {
    let (url, prefix) = address::address(&settings.bucket, &settings.prefix)?;
    let credentials = Arc::new(ChainCredentials::new(settings.chain.clone(), Arc::new(SystemClock)));
    let path_style = settings.path_style || settings.bucket.contains('.');
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(settings.chain.region())
        .with_virtual_hosted_style_request(!path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_credentials(Arc::clone(&credentials) as AwsCredentialProvider)
        .with_client_options(ClientOptions::new().with_timeout(REQUEST_TIME).with_connect_timeout(CONNECT_TIME))
        .with_retry(retries());
    if let Some(endpoint) = &settings.endpoint {
        let endpoint = address::endpoint(endpoint, &settings.bucket, path_style)?;
        builder = builder.with_allow_http(endpoint.starts_with("http:")).with_endpoint(endpoint);
    }
    let bucket = builder.build().map_err(|error| {
        Error::invalid(format!("the bucket {} cannot be used as a store", settings.bucket)).with_source(error)
    })?;
    let root: Arc<dyn ObjectStore> = Arc::new(S3Objects::new(bucket, credentials));
    let objects: Arc<dyn ObjectStore> = match prefix.as_ref().is_empty() {
        true => Arc::clone(&root),
        false => Arc::new(PrefixStore::new(Arc::clone(&root), prefix.clone())),
    };
    Ok(Bucket { root, objects, prefix, url })
}

/// Pauses double with jitter, within bounds.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIME }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::store::Store;

    fn settings() -> S3Settings {
        S3Settings {
            bucket: "orders-lake".to_owned(),
            prefix: "food/delivery".to_owned(),
            endpoint: None,
            path_style: false,
            chain: AwsChain::fixed("eu-central-1", "AKIDFIXED", "very-secret"),
        }
    }

    #[test]
    fn a_bucket_has_its_address_and_shows_no_secret() {
        let store = Store::s3(settings()).expect("a store");
        assert_eq!(store.url().as_str(), "s3://orders-lake/food/delivery/");
        assert_eq!(store.path_in_root("staged/a.parquet"), "food/delivery/staged/a.parquet");
        assert_eq!(store.address_of("staged/d=1/a.parquet"), "s3://orders-lake/food/delivery/staged/d=1/a.parquet");
        let shown = format!("{:?} {store:?} {:?} {}", settings(), store.objects(), store.objects());
        assert!(!shown.contains("very-secret"), "{shown}");
        let root = Store::s3(S3Settings { prefix: String::new(), ..settings() }).expect("a store");
        assert_eq!((root.url().as_str(), root.path_in_root("a")), ("s3://orders-lake/", "a".to_owned()));
    }

    #[test]
    fn what_can_be_no_bucket_is_refused_before_it_is_asked() {
        let refused = |settings: S3Settings| Store::s3(settings).expect_err("refused");
        for error in [
            refused(S3Settings { bucket: "Orders_Lake".to_owned(), ..settings() }),
            refused(S3Settings { prefix: "a//b".to_owned(), ..settings() }),
            refused(S3Settings { endpoint: Some("localhost:9000".to_owned()), ..settings() }),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }
}
