//! Logins that AWS gives: from a secret, or as temporary credentials of the AWS identity.
//!
//! Owns where user and password come from and for how long temporary ones are kept. No password is shown, nor any part
//! of a secret that cannot be read.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_redshiftserverless::primitives::DateTime;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::aws_call::{Apis, client, repeat};
use crate::config::RedshiftPlace;
use crate::error::{Error, Result};
use crate::load::wire::{LoginNow, Logins, Secret};
use crate::runtime::Context;

/// Temporary credentials are not used for longer than to this much before their end.
const MARGIN: Duration = Duration::from_secs(60);

/// The right that reading a secret takes.
const READ_SECRET: &str = "secretsmanager:GetSecretValue (and kms:Decrypt, where the secret has a key of its own)";

/// User and password from a secret, read anew for each connection: it may have been rotated.
pub(super) struct SecretLogin {
    client: aws_sdk_secretsmanager::Client,
    secret: String,
    context: Context,
}

/// What Redshift's own secrets hold, among other things.
#[derive(Deserialize)]
struct Content {
    username: String,
    password: String,
}

impl SecretLogin {
    /// Nothing is asked yet.
    pub(super) fn new(secret: &str, apis: &Apis) -> Self {
        let client = client!(aws_sdk_secretsmanager, apis);
        Self { client, secret: secret.to_owned(), context: apis.context.clone() }
    }
}

#[async_trait]
impl Logins for SecretLogin {
    async fn login(&self) -> Result<LoginNow> {
        let call = || self.client.get_secret_value().secret_id(&self.secret).send();
        let doing = format!("read the secret {} for the login", self.secret);
        let answer = repeat(&self.context, call).await.map_err(|given_up| given_up.fault.told(&doing, READ_SECRET))?;
        // The parser's own words repeat what it read.
        let content = answer.secret_string().and_then(|text| serde_json::from_str::<Content>(text).ok());
        let Content { username, password } = content.ok_or_else(|| {
            Error::invalid(format!(
                "the secret {} is no login: it must be JSON with username and password, as Secrets Manager makes it for a \
                 Redshift database",
                self.secret
            ))
        })?;
        Ok(LoginNow { user: username, password: Some(Secret::new(password)) })
    }

    fn origin(&self) -> String {
        format!("the secret {}", self.secret)
    }
}

/// Temporary credentials that Redshift gives to the AWS identity.
pub(super) struct IamLogin {
    source: Source,
    database: String,
    context: Context,
    held: Mutex<Option<Held>>,
}

enum Source {
    Cluster { client: aws_sdk_redshift::Client, name: String, user: String },
    Workgroup { client: aws_sdk_redshiftserverless::Client, name: String },
}

struct Held {
    login: LoginNow,
    /// µs since 1970 UTC.
    until: i64,
}

impl IamLogin {
    /// Credentials for a cluster's user, or for a workgroup. Nothing is asked yet.
    ///
    /// # Errors
    /// Invalid where a cluster's user is missing.
    pub(super) fn new(place: &RedshiftPlace, user: Option<&str>, database: &str, apis: &Apis) -> Result<Self> {
        let source = match (place, user) {
            (RedshiftPlace::Cluster(name), Some(user)) => {
                Source::Cluster { client: client!(aws_sdk_redshift, apis), name: name.clone(), user: user.to_owned() }
            }
            (RedshiftPlace::Cluster(name), None) => {
                return Err(Error::invalid(format!(
                    "the login by IAM to the cluster {name} needs the database's user: add user = \"…\" to the warehouse"
                )));
            }
            (RedshiftPlace::Workgroup(name), _) => {
                Source::Workgroup { client: client!(aws_sdk_redshiftserverless, apis), name: name.clone() }
            }
        };
        Ok(Self { source, database: database.to_owned(), context: apis.context.clone(), held: Mutex::new(None) })
    }

    async fn ask(&self) -> Result<Held> {
        let (user, password, end) = match &self.source {
            Source::Cluster { client, name, user } => {
                let call = || {
                    let call = client.get_cluster_credentials().cluster_identifier(name).db_user(user);
                    call.db_name(&self.database).auto_create(false).send()
                };
                let answer = repeat(&self.context, call).await.map_err(|given_up| {
                    let doing = format!("log in to the cluster {name} as {user}");
                    given_up.fault.told(&doing, "redshift:GetClusterCredentials")
                })?;
                (answer.db_user, answer.db_password, answer.expiration)
            }
            Source::Workgroup { client, name } => {
                let call = || client.get_credentials().workgroup_name(name).db_name(&self.database).send();
                let answer = repeat(&self.context, call).await.map_err(|given_up| {
                    let doing = format!("log in to the workgroup {name}");
                    given_up.fault.told(&doing, "redshift-serverless:GetCredentials")
                })?;
                (answer.db_user, answer.db_password, answer.expiration)
            }
        };
        let (Some(user), Some(password)) = (user, password) else {
            return Err(Error::transient(format!("{} came without user or password", self.origin())));
        };
        let until = end.map_or(0, |end: DateTime| end.secs().saturating_mul(1_000_000));
        Ok(Held { login: LoginNow { user, password: Some(Secret::new(password)) }, until })
    }
}

#[async_trait]
impl Logins for IamLogin {
    async fn login(&self) -> Result<LoginNow> {
        let mut held = self.held.lock().await;
        let margin = i64::try_from(MARGIN.as_micros()).unwrap_or(i64::MAX);
        let soon = self.context.clock.now_micros().saturating_add(margin);
        if let Some(held) = held.as_ref().filter(|held| held.until > soon) {
            return Ok(held.login.clone());
        }
        let asked = self.ask().await?;
        let login = asked.login.clone();
        *held = Some(asked);
        Ok(login)
    }

    fn origin(&self) -> String {
        match &self.source {
            Source::Cluster { name, .. } => format!("temporary credentials for the cluster {name}"),
            Source::Workgroup { name, .. } => format!("temporary credentials for the workgroup {name}"),
        }
    }
}

#[cfg(test)]
mod tests;
