//! The AWS chain as object_store wants it: asked for every request, so the answer is kept for as long as it lasts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

use super::refusal::STORE;
use crate::aws::AwsChain;
use crate::runtime::Clock;

/// So long before they expire, new credentials are asked for.
const AHEAD: Duration = Duration::from_secs(300);

/// Credentials without an expiry may be replaced at any time where they come from: so often they are looked at.
const RECHECK: Duration = Duration::from_secs(600);

/// The shortest time between two looks while what is held is still good.
const PATIENCE: Duration = Duration::from_secs(30);

/// The chain's credentials, renewed before they expire, now and then where they do not, and when S3 refuses them. While
/// the held ones are good, a chain that fails is no failure.
pub(super) struct ChainCredentials {
    chain: AwsChain,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
    /// Whether S3 has refused what is held.
    is_refused: AtomicBool,
}

struct Held {
    credential: Arc<AwsCredential>,
    /// ms since 1970; none for those that never expire.
    expires_at: Option<i64>,
    /// ms since 1970.
    look_again_at: i64,
}

impl ChainCredentials {
    pub(super) fn new(chain: AwsChain, clock: Arc<dyn Clock>) -> Self {
        Self { chain, clock, held: Mutex::new(None), is_refused: AtomicBool::new(false) }
    }

    /// S3 does not take what is held: the next request asks the chain.
    pub(super) fn refused(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }
}

impl Held {
    fn new(credentials: &Credentials, now: i64) -> Self {
        let credential = AwsCredential {
            key_id: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().to_owned(),
            token: credentials.session_token().map(str::to_owned),
        };
        let since = credentials.expiry().map(|expiry| expiry.duration_since(UNIX_EPOCH).unwrap_or_default());
        let expires_at = since.map(|since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let look_again_at = match expires_at {
            Some(expires_at) => (expires_at - millis(AHEAD)).max(now + millis(PATIENCE)).min(expires_at),
            None => now + millis(RECHECK),
        };
        Self { credential: Arc::new(credential), expires_at, look_again_at }
    }

    fn is_good(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl CredentialProvider for ChainCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut held = self.held.lock().await;
        let now = self.clock.now_millis();
        if self.is_refused.swap(false, Ordering::Relaxed) {
            *held = None;
        }
        if let Some(held) = held.as_ref().filter(|held| now < held.look_again_at) {
            return Ok(Arc::clone(&held.credential));
        }
        match (self.chain.resolve().await, held.as_mut().filter(|held| held.is_good(now))) {
            (Ok(credentials), _) => {
                let renewed = Held::new(&credentials, now);
                Ok(Arc::clone(&held.insert(renewed).credential))
            }
            (Err(error), Some(good)) => {
                tracing::warn!(%error, "AWS credentials cannot be renewed yet");
                good.look_again_at = now + millis(PATIENCE);
                if let Some(expires_at) = good.expires_at {
                    good.look_again_at = good.look_again_at.min(expires_at);
                }
                Ok(Arc::clone(&good.credential))
            }
            (Err(error), None) => Err(object_store::Error::Generic { store: STORE, source: Box::new(error) }),
        }
    }
}

impl fmt::Debug for ChainCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChainCredentials({:?})", self.chain)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;
    use crate::runtime::ManualClock;

    const START: i64 = 1_795_176_000_000;

    /// Gives credentials that last for an hour from each time they are asked for, or for good; fails where it is told
    /// to.
    struct Place {
        clock: Arc<ManualClock>,
        asked: AtomicU32,
        away: AtomicBool,
        lasting: bool,
    }

    impl fmt::Debug for Place {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("Place")
        }
    }

    #[derive(Debug, Clone)]
    struct SharedPlace(Arc<Place>);

    impl ProvideCredentials for SharedPlace {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let asked = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if self.0.away.load(Ordering::SeqCst) {
                return future::ProvideCredentials::ready(Err(CredentialsError::provider_error("away")));
            }
            let now = u64::try_from(self.0.clock.now_millis()).expect("after 1970");
            let expiry = UNIX_EPOCH + Duration::from_millis(now) + Duration::from_secs(3600);
            let expiry = (!self.0.lasting).then_some(expiry);
            let credentials = Credentials::new(format!("KEY{asked}"), "s", Some("t".to_owned()), expiry, "test");
            future::ProvideCredentials::ready(Ok(credentials))
        }
    }

    fn held() -> (SharedPlace, Arc<ManualClock>, ChainCredentials) {
        held_from(false)
    }

    fn held_from(lasting: bool) -> (SharedPlace, Arc<ManualClock>, ChainCredentials) {
        let clock = Arc::new(ManualClock::at(START * 1000));
        let place = Place { clock: Arc::clone(&clock), asked: AtomicU32::new(0), away: false.into(), lasting };
        let place = SharedPlace(Arc::new(place));
        let chain = AwsChain::from_provider("eu-central-1", place.clone());
        (place, Arc::clone(&clock), ChainCredentials::new(chain, clock))
    }

    async fn key(credentials: &ChainCredentials) -> String {
        credentials.get_credential().await.expect("credentials").key_id.clone()
    }

    #[tokio::test]
    async fn credentials_are_kept_and_renewed_before_they_expire() {
        let (place, clock, credentials) = held();
        assert_eq!(key(&credentials).await, "KEY1");
        clock.advance(Duration::from_secs(3299));
        assert_eq!(key(&credentials).await, "KEY1");
        clock.advance(Duration::from_secs(1));
        assert_eq!(key(&credentials).await, "KEY2");
        assert_eq!(place.0.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_chain_that_is_away_costs_nothing_while_the_held_ones_are_good() {
        let (place, clock, credentials) = held();
        key(&credentials).await;
        place.0.away.store(true, Ordering::SeqCst);
        clock.advance(Duration::from_secs(3400));
        for _ in 0..5 {
            assert_eq!(key(&credentials).await, "KEY1");
        }
        assert_eq!(place.0.asked.load(Ordering::SeqCst), 2, "not asked for every request");
        clock.advance(Duration::from_secs(200));
        let error = credentials.get_credential().await.expect_err("expired");
        let told = crate::store::fault("read", "journal", error);
        assert_eq!(told.kind(), crate::error::ErrorKind::Transient);
        assert!(told.to_string().contains("aws sso login"), "{told}");
        place.0.away.store(false, Ordering::SeqCst);
        assert_eq!(key(&credentials).await, "KEY4");
    }

    #[tokio::test]
    async fn credentials_without_an_expiry_are_looked_at_now_and_then() {
        let (place, clock, credentials) = held_from(true);
        for (seconds, expected) in [(0, "KEY1"), (599, "KEY1"), (1, "KEY2"), (599, "KEY2")] {
            clock.advance(Duration::from_secs(seconds));
            assert_eq!(key(&credentials).await, expected);
        }
        place.0.away.store(true, Ordering::SeqCst);
        clock.advance(Duration::from_secs(600));
        for _ in 0..3 {
            assert_eq!(key(&credentials).await, "KEY2", "still good");
        }
        assert_eq!(place.0.asked.load(Ordering::SeqCst), 3, "not asked for every request");
    }

    #[tokio::test]
    async fn refused_credentials_are_dropped() {
        for lasting in [true, false] {
            let (place, _, credentials) = held_from(lasting);
            assert_eq!(key(&credentials).await, "KEY1");
            credentials.refused();
            assert_eq!([key(&credentials).await, key(&credentials).await], ["KEY2", "KEY2"]);
            credentials.refused();
            place.0.away.store(true, Ordering::SeqCst);
            credentials.get_credential().await.expect_err("refused, and no others");
        }
    }

    #[tokio::test]
    async fn no_secret_is_shown() {
        let (_, _, credentials) = held();
        let credential = credentials.get_credential().await.expect("credentials");
        assert_eq!((credential.secret_key.as_str(), credential.token.as_deref()), ("s", Some("t")));
        assert_eq!(format!("{credentials:?}"), "ChainCredentials(AwsChain(eu-central-1))");
    }
}
