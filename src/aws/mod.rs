//! The AWS chain: which region, and whose credentials.
//!
//! Owns where they are looked for: environment, profile (with SSO, assumed roles and credential processes), web identity,
//! container, instance metadata, in this order. It holds no secret of its own, prints none, and speaks to no service: what
//! signs requests takes [`AwsChain::credentials`], keeps what it gets for as long as it lasts, and asks again before it
//! expires (the SDK's clients do by themselves, `store` does for S3). A machine without instance metadata costs a few
//! seconds, never more.

mod found_anew;

use std::fmt;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::{Region, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures::FutureExt;

use self::found_anew::FoundAnew;
use crate::error::{Error, Result};

/// How long the instance metadata may take to connect, and to answer: it is one hop away, or not there.
const METADATA_PATIENCE: Duration = Duration::from_secs(1);

/// How long it may take in all, tries included. Longer than both of the above together: where this ran out first, a
/// machine without metadata would be taken for one whose metadata fails.
const METADATA_LONGEST: Duration = Duration::from_secs(5);

/// Tries for each answer of the instance metadata.
const METADATA_TRIES: u32 = 2;

/// The places, in the order in which they are asked.
const PLACES: &str = "the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), the profile (AWS_PROFILE in \
                      ~/.aws/config and ~/.aws/credentials, SSO included), the web identity \
                      (AWS_WEB_IDENTITY_TOKEN_FILE), the container (AWS_CONTAINER_CREDENTIALS_*) and the instance's metadata";

/// A region and a source of credentials; clones share it.
#[derive(Clone)]
pub struct AwsChain {
    region: String,
    provider: SharedCredentialsProvider,
}

impl AwsChain {
    /// The chain as this process finds it, in `region` or, where none is given, in the one that the environment, the
    /// profile or the instance names. Credentials are not asked for yet: see [`AwsChain::verify`].
    ///
    /// # Errors
    /// Invalid where nobody names a region, or what is named can be none.
    pub async fn load(region: Option<&str>) -> Result<Self> {
        let found = match region {
            Some(region) => Some(region.to_owned()),
            None => DefaultRegionChain::builder().build().region().await.map(|region| region.to_string()),
        };
        let region = checked(found.ok_or_else(no_region)?)?;
        let metadata = imds::Client::builder()
            .connect_timeout(METADATA_PATIENCE)
            .read_timeout(METADATA_PATIENCE)
            .operation_attempt_timeout(METADATA_LONGEST)
            .operation_timeout(METADATA_LONGEST)
            .max_attempts(METADATA_TRIES)
            .build();
        let place = Region::new(region.clone());
        let build = move || {
            let chain = DefaultCredentialsChain::builder().region(place.clone()).imds_client(metadata.clone());
            async { SharedCredentialsProvider::new(chain.build().await) }.boxed()
        };
        Ok(Self { region, provider: SharedCredentialsProvider::new(FoundAnew::new(Box::new(build))) })
    }

    /// These credentials for good: for the local target and for stand-in servers, which look at none.
    pub fn fixed(region: &str, access_key: &str, secret_key: &str) -> Self {
        Self::from_provider(region, Credentials::new(access_key, secret_key, None, None, "fixed"))
    }

    /// Credentials from a place of the caller's.
    pub fn from_provider(region: &str, provider: impl ProvideCredentials + 'static) -> Self {
        Self { region: region.to_owned(), provider: SharedCredentialsProvider::new(provider) }
    }

    /// The region, as in `eu-central-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The source of credentials, for an SDK's configuration. It keeps none: whoever signs with them does.
    pub fn credentials(&self) -> SharedCredentialsProvider {
        self.provider.clone()
    }

    /// The credentials as they are now.
    ///
    /// # Errors
    /// Invalid where no place has any, or a place is badly configured; Transient where a place that should have them
    /// fails.
    pub async fn resolve(&self) -> Result<Credentials> {
        self.provider.provide_credentials().await.map_err(refusal)
    }

    /// Asks for credentials once, so that a run without any ends before it starts.
    ///
    /// # Errors
    /// As [`AwsChain::resolve`].
    pub async fn verify(&self) -> Result<()> {
        self.resolve().await.map(|_| ())
    }
}

impl fmt::Debug for AwsChain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AwsChain({})", self.region)
    }
}

/// A region becomes part of a host's name: nothing else may hide in it.
fn checked(region: String) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !region.is_empty() && region.bytes().all(plain) {
        return Ok(region);
    }
    Err(Error::invalid(format!(
        "{region:?} is no AWS region; they look like eu-central-1: correct it where it is named"
    )))
}

fn no_region() -> Error {
    Error::invalid(
        "no AWS region is named: not by the target, the environment (AWS_REGION, AWS_DEFAULT_REGION), the profile or the \
         instance; set region = \"…\" in the target, or AWS_REGION",
    )
}

fn refusal(error: CredentialsError) -> Error {
    let told = match &error {
        // Its cause is the same list once more, a line for each place.
        CredentialsError::CredentialsNotLoaded(_) => {
            return Error::invalid(format!(
                "no AWS credentials were found; looked at: {PLACES}; give this machine a role, or run aws sso login or \
                 aws configure for the profile that AWS_PROFILE names"
            ));
        }
        CredentialsError::InvalidConfiguration(_) => Error::invalid(
            "AWS credentials are configured, but not so that they can be used; correct the profile (~/.aws/config, \
             ~/.aws/credentials) or the environment's AWS_ variables",
        ),
        _ => Error::transient(
            "AWS credentials are configured, but the place that should give them fails; an SSO session that has ended \
             wants aws sso login, all else the same again later",
        ),
    };
    told.with_source(error)
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::future;

    use super::*;
    use crate::error::ErrorKind;

    /// A place that fails so.
    #[derive(Debug)]
    struct Failing(fn() -> CredentialsError);

    impl ProvideCredentials for Failing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(self.0()))
        }
    }

    #[tokio::test]
    async fn each_failure_has_the_kind_that_says_what_to_do() {
        type Fail = fn() -> CredentialsError;
        let cases: [(Fail, ErrorKind, &str); 4] = [
            (|| CredentialsError::not_loaded("nothing there"), ErrorKind::Invalid, "the instance's metadata"),
            (|| CredentialsError::invalid_configuration("a loop"), ErrorKind::Invalid, "correct the profile"),
            (|| CredentialsError::provider_error("503"), ErrorKind::Transient, "aws sso login"),
            (|| CredentialsError::provider_timed_out(METADATA_PATIENCE), ErrorKind::Transient, "timed out"),
        ];
        for (fail, kind, words) in cases {
            let chain = AwsChain::from_provider("eu-central-1", Failing(fail));
            let error = chain.verify().await.expect_err("no credentials");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn fixed_credentials_are_given_and_never_shown() {
        let chain = AwsChain::fixed("us-east-1", "AKIDFIXED", "very-secret");
        let credentials = chain.resolve().await.expect("fixed");
        assert_eq!((credentials.access_key_id(), credentials.secret_access_key()), ("AKIDFIXED", "very-secret"));
        assert_eq!(credentials.expiry(), None);
        assert_eq!(format!("{chain:?}"), "AwsChain(us-east-1)");
    }

    #[tokio::test]
    async fn a_region_that_can_be_none_is_refused() {
        for region in ["", "eu central", "eu-central-1.evil.example", "EU", "eu/1"] {
            let error = AwsChain::load(Some(region)).await.expect_err("no region");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(&format!("{region:?}")), "{error}");
        }
        assert_eq!(AwsChain::load(Some("eu-central-1")).await.expect("a region").region(), "eu-central-1");
    }
}
