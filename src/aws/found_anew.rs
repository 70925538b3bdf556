//! A source of credentials that is looked for anew where what it gave may have been replaced.
//!
//! The SDK's chain reads the profile's files once. What it finds there without an expiry (keys that are rotated, or
//! session keys that some tool writes there) would be given for ever: so the chain that gave it, or nothing, is built
//! anew when it is asked again. One that gave credentials with an expiry renews them itself and stays.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use futures::future::BoxFuture;

/// How the source is had.
type Build = Box<dyn Fn() -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync>;

pub(super) struct FoundAnew {
    build: Build,
    held: Mutex<Option<SharedCredentialsProvider>>,
}

impl FoundAnew {
    pub(super) fn new(build: Build) -> Self {
        Self { build, held: Mutex::new(None) }
    }

    async fn find(&self) -> Result<Credentials, CredentialsError> {
        let provider = match self.held() {
            Some(provider) => provider,
            None => (self.build)().await,
        };
        let outcome = provider.provide_credentials().await;
        let lasts = outcome.as_ref().is_ok_and(|credentials| credentials.expiry().is_some());
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = lasts.then_some(provider);
        outcome
    }

    fn held(&self) -> Option<SharedCredentialsProvider> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ProvideCredentials for FoundAnew {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.held()?.fallback_on_interrupt()
    }
}

impl fmt::Debug for FoundAnew {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FoundAnew")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Gives what it was built with, or fails where that is nothing.
    #[derive(Debug)]
    struct Built(Option<Credentials>);

    impl ProvideCredentials for Built {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(self.0.clone().ok_or_else(|| CredentialsError::not_loaded("nothing")))
        }
    }

    #[tokio::test]
    async fn only_what_has_an_expiry_is_not_looked_for_anew() {
        let expiry = UNIX_EPOCH + Duration::from_secs(1_795_176_000);
        let built = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&built);
        let found = FoundAnew::new(Box::new(move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let given = match number {
                0 => None,
                1 | 2 => Some(None),
                _ => Some(Some(expiry)),
            };
            let given = given.map(|expiry| Credentials::new(format!("KEY{number}"), "s", None, expiry, "test"));
            Box::pin(async { SharedCredentialsProvider::new(Built(given)) })
        }));
        assert!(found.provide_credentials().await.is_err());
        for key in ["KEY1", "KEY2", "KEY3", "KEY3", "KEY3"] {
            assert_eq!(found.provide_credentials().await.expect("credentials").access_key_id(), key);
        }
        assert_eq!(built.load(Ordering::SeqCst), 4);
        assert_eq!(format!("{found:?}"), "FoundAnew");
    }
}
