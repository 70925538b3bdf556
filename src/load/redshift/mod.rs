//! The star schema in Redshift.
//!
//! Owns what is Redshift's alone: COPY by manifests (`manifest`, `copy`, `lake`), its errors looked up (`load_error`),
//! two ways to it (`session` over the wire, `data_api`), and the logins that AWS gives (`credentials`). The load's order
//! is `upsert`'s, its SQL `script`'s.

mod aws_call;
mod copy;
mod credentials;
mod data_api;
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod examples;
mod lake;
mod load_error;
mod manifest;
mod session;
mod staged_value;
#[cfg(test)]
mod stand_in;

use std::sync::Arc;

use self::aws_call::Apis;
use self::credentials::{IamLogin, SecretLogin};
use self::data_api::{DataApiSession, Identity, Statements};
use self::lake::Lake;
use self::session::WireSession;
use super::script::{Dialect, SqlTarget};
use super::session::Session;
use super::upsert::{SqlPlace, UpsertWarehouse};
use super::wire::{EnvironmentLogin, Logins, Wire};
use crate::aws::AwsChain;
use crate::config::{Login, RedshiftAccess, RedshiftPlace, RedshiftSettings, ServerSettings};
use crate::error::Result;
use crate::runtime::Context;
use crate::schema::TableSpec;
use crate::store::Store;

/// A Redshift database as a warehouse.
pub enum RedshiftWarehouse {}

impl RedshiftWarehouse {
    /// The tables of a pipeline in a schema of the database, reached as the settings say. Nothing is connected yet.
    ///
    /// # Errors
    /// Invalid where the store is no bucket, a table cannot be loaded as it is declared, or the login lacks its user.
    #[expect(
        clippy::new_ret_no_self,
        reason = "what is loaded, and in which order, is the same for all SQL warehouses"
    )]
    pub fn new(
        settings: &RedshiftSettings,
        chain: AwsChain,
        place: SqlPlace,
        (specs, context): (&[TableSpec], Context),
    ) -> Result<UpsertWarehouse> {
        let schema = settings.schema.clone().unwrap_or_else(|| place.pipeline.clone());
        let address = format!("{}, schema {schema}", address(settings));
        let apis = Apis { chain, endpoint: settings.endpoint.clone(), context: context.clone() };
        let session = session(settings, &schema, place.store.clone(), apis)?;
        let target = SqlTarget { dialect: Dialect::Redshift, schema };
        UpsertWarehouse::new((session, target, address), place, specs, context)
    }
}

/// The login that a secret of Secrets Manager holds, for a server of whichever kind.
pub(super) fn secret_login(secret: &str, chain: AwsChain, context: Context) -> Arc<dyn Logins> {
    Arc::new(SecretLogin::new(secret, &Apis { chain, endpoint: None, context }))
}

/// Where the database is, for a person.
fn address(settings: &RedshiftSettings) -> String {
    let database = &settings.database;
    match &settings.access {
        RedshiftAccess::Wire(server) => format!("redshift://{}:{}/{database}", server.host, server.port),
        RedshiftAccess::DataApi { place: RedshiftPlace::Cluster(name), .. } => {
            format!("redshift cluster {name}, database {database}")
        }
        RedshiftAccess::DataApi { place: RedshiftPlace::Workgroup(name), .. } => {
            format!("redshift workgroup {name}, database {database}")
        }
    }
}

/// The session that the settings name, for the tables of this schema, whose staged files are in this store.
fn session(settings: &RedshiftSettings, schema: &str, store: Store, apis: Apis) -> Result<Arc<dyn Session>> {
    let lake = Lake::new(store, &settings.iam_role, Arc::clone(&apis.context.clock))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tls;
    use crate::error::ErrorKind;
    use crate::load::Warehouse;

    fn settings(access: RedshiftAccess) -> RedshiftSettings {
        RedshiftSettings {
            access,
            database: "dev".to_owned(),
            schema: None,
            iam_role: "default".to_owned(),
            fixed_length_decimals: false,
            endpoint: None,
        }
    }

    fn data_api(place: RedshiftPlace) -> RedshiftAccess {
        RedshiftAccess::DataApi { place, user: None, secret: None }
    }

    fn wire(login: Login) -> RedshiftAccess {
        RedshiftAccess::Wire(ServerSettings { host: "127.0.0.1".to_owned(), port: 1, login, tls: Tls::Off })
    }

    fn warehouse(settings: &RedshiftSettings, store: Store) -> Result<UpsertWarehouse> {
        let chain = AwsChain::fixed("eu-central-1", "AKIDFIXED", "very-secret");
        let place = SqlPlace { store, pipeline: "food".to_owned() };
        RedshiftWarehouse::new(settings, chain, place, (&[], Context::system()))
    }

    #[test]
    fn a_warehouse_has_an_address_however_it_is_reached() {
        let environment = Login::Environment { user: "etl".to_owned(), variable: "PGPASSWORD".to_owned() };
        let cases = [
            (wire(environment), "redshift://127.0.0.1:1/dev, schema food"),
            (wire(Login::Secret("warehouse/etl".to_owned())), "redshift://127.0.0.1:1/dev, schema food"),
            (data_api(RedshiftPlace::Cluster("c".to_owned())), "redshift cluster c, database dev, schema food"),
            (data_api(RedshiftPlace::Workgroup("w".to_owned())), "redshift workgroup w, database dev, schema food"),
        ];
        for (access, expected) in cases {
            let warehouse = warehouse(&settings(access), examples::lake()).expect("a warehouse");
            assert_eq!(warehouse.address(), expected);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_is_asked() {
        let access = data_api(RedshiftPlace::Cluster("c".to_owned()));
        let store = Store::memory("lake").expect("a store");
        let error = warehouse(&settings(access), store).err().expect("no bucket");
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("s3:// only"), "{error}");
        let login = Login::Iam { place: RedshiftPlace::Cluster("c".to_owned()), user: None };
        let error = warehouse(&settings(wire(login)), examples::lake()).err().expect("no user");
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("database's user"), "{error}");
    }

    #[tokio::test]
    async fn the_ledger_is_read_through_the_way_that_the_settings_name() {
        let answers = |operation: &str, asked: &serde_json::Value| {
            let answer = match operation {
                "BatchExecuteStatement" => serde_json::json!({ "Id": "1" }),
                "DescribeStatement" => serde_json::json!({
                    "Id": asked["Id"],
                    "Status": "FINISHED",
                    "SubStatements": [{ "Id": "1:1", "Status": "FINISHED" }, { "Id": "1:2", "Status": "FINISHED" }]
                }),
                _ => {
                    let columns = ["loaded_after", "loaded_through", "loaded_at", "loads"]
                        .map(|name| serde_json::json!({ "label": name, "typeName": "int8" }));
                    let texts = ["copied", "pipeline", "attempt"]
                        .map(|name| serde_json::json!({ "label": name, "typeName": "varchar" }));
                    let numbers = [41, 42, 7, 9].map(|number| serde_json::json!({ "longValue": number }));
                    let values =
                        ["{\"fact_orders\":3}", "food", "a-1"].map(|text| serde_json::json!({ "stringValue": text }));
                    serde_json::json!({
                        "ColumnMetadata": columns.iter().chain(&texts).collect::<Vec<_>>(),
                        "Records": [numbers.iter().chain(&values).collect::<Vec<_>>()]
                    })
                }
            };
            (200, answer.to_string())
        };
        let server = stand_in::StandIn::start(answers).await;
        let access = data_api(RedshiftPlace::Workgroup("w".to_owned()));
        let settings = RedshiftSettings { endpoint: server.apis().endpoint, ..settings(access) };
        let ledger = warehouse(&settings, examples::lake()).expect("a warehouse").ledger().await.expect("a ledger");
        let attempt = ledger.last.as_ref().and_then(|last| last.attempt.as_deref());
        assert_eq!((ledger.loaded_through, ledger.loads, attempt), (42, 9, Some("a-1")));
        let asked = &server.requests("BatchExecuteStatement")[0];
        assert_eq!((&asked["WorkgroupName"], &asked["Sqls"][0]), (&"w".into(), &"SET search_path TO \"food\"".into()));
    }
}
