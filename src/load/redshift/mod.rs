//! The star schema in Redshift.
//!
//! Owns what is Redshift's alone: COPY by manifests (`manifest`, `copy`, `lake`), its errors looked up (`load_error`,
//! `refusal`), two ways to it (`session` over the wire, `data_api`), and the logins that AWS gives (`credentials`). The
//! load's order is `upsert`'s, its SQL `script`'s.

mod aws_call;
mod copy;
mod credentials;
mod data_api;
#[cfg(test)]
mod examples;
mod lake;
mod load_error;
mod manifest;
mod read_only;
mod refusal;
mod session;
#[cfg(test)]
mod stand_in;

use std::sync::Arc;

use self::aws_call::Apis;
use self::credentials::{IamLogin, SecretLogin};
use self::data_api::{DataApiSession, Identity, Statements};
use self::lake::Lake;
use self::session::WireSession;
use super::session::Session;
use super::wire::{EnvironmentLogin, Logins, Wire};
use crate::config::{Login, RedshiftAccess, RedshiftSettings, ServerSettings};
use crate::error::Result;
use crate::store::Store;

/// The session that the settings name, for the tables of this schema, whose staged files are in this store.
fn session(settings: &RedshiftSettings, schema: &str, store: Store, apis: Apis) -> Result<Arc<dyn Session>> {
    let lake = Lake::new(store, &settings.iam_role)?;
    Ok(match &settings.access {
        RedshiftAccess::Wire(server) => {
            let logins = logins(server, &settings.database, &apis)?;
            let told = session::settings(schema);
            let wire = Wire::new(server, &settings.database, logins, &told.each_ref().map(String::as_str));
            Arc::new(WireSession::new(wire, lake))
        }
        RedshiftAccess::DataApi { place, user, secret } => {
            let identity = Identity {
                place: place.clone(),
                user: user.clone(),
                secret: secret.clone(),
                database: settings.database.clone(),
            };
            Arc::new(DataApiSession::new(Statements::new(identity, apis), lake, schema))
        }
    })
}

fn logins(server: &ServerSettings, database: &str, apis: &Apis) -> Result<Arc<dyn Logins>> {
    Ok(match &server.login {
        Login::Environment { user, variable } => {
            Arc::new(EnvironmentLogin { user: user.clone(), variable: variable.clone() })
        }
        Login::Secret(secret) => Arc::new(SecretLogin::new(secret, apis)),
        Login::Iam { place, user } => Arc::new(IamLogin::new(place, user.as_deref(), database, apis)?),
    })
}
