//! Who logs in: asked anew for each connection, because some passwords expire.
//!
//! Owns the wrapper that keeps a password out of every text, and the login from the environment. Others (a secret, the
//! AWS identity) are their warehouse's.

use std::env;
use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, Result};

/// A text that no log line, error or Debug shows.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::load) struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub(in crate::load) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the server and nobody else.
    pub(in crate::load) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// A user and a password that are good now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::load) struct LoginNow {
    /// The database's user.
    pub(in crate::load) user: String,
    /// None where the server asks for none.
    pub(in crate::load) password: Option<Secret>,
}

/// Where user and password come from.
#[async_trait]
pub(in crate::load) trait Logins: Send + Sync {
    /// What to log in with now.
    ///
    /// # Errors
    /// Invalid where there is none and the user must change something; Transient.
    async fn login(&self) -> Result<LoginNow>;

    /// Where the password comes from, for a person whose login was refused: `the environment variable PGPASSWORD`.
    fn origin(&self) -> String;
}

/// A user, and a password from an environment variable.
#[derive(Debug, Clone)]
pub(in crate::load) struct EnvironmentLogin {
    /// The database's user.
    pub(in crate::load) user: String,
    /// The variable; where it is not set there is no password.
    pub(in crate::load) variable: String,
}

#[async_trait]
impl Logins for EnvironmentLogin {
    async fn login(&self) -> Result<LoginNow> {
        let password = match env::var(&self.variable) {
            Ok(password) => Some(Secret::new(password)),
            Err(env::VarError::NotPresent) => None,
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Error::invalid(format!("the environment variable {} is no text", self.variable)));
            }
        };
        Ok(LoginNow { user: self.user.clone(), password })
    }

    fn origin(&self) -> String {
        format!("the environment variable {}", self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_variable_that_is_not_set_is_no_password() {
        let login = EnvironmentLogin { user: "etl".to_owned(), variable: "MILLSTREAM_NOBODY_SETS_THIS".to_owned() };
        assert_eq!(login.login().await.expect("a login"), LoginNow { user: "etl".to_owned(), password: None });
        assert_eq!(login.origin(), "the environment variable MILLSTREAM_NOBODY_SETS_THIS");
        // Every process has a PATH.
        let login = EnvironmentLogin { variable: "PATH".to_owned(), ..login };
        let password = login.login().await.expect("a login").password.expect("a password");
        assert_eq!(password.expose(), env::var("PATH").expect("a path"));
    }

    #[test]
    fn a_secret_shows_nowhere() {
        let login = LoginNow { user: "etl".to_owned(), password: Some(Secret::new("hunter2")) };
        let told = format!("{login:?} {:#?} {}", login, Secret::new("hunter2"));
        assert!(told.contains("etl") && !told.contains("hunter2"), "{told}");
    }
}
