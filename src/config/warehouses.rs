//! `warehouse = { kind = … }` of a target: Delta tables, PostgreSQL or Redshift.
//!
//! Owns the keys of each kind and what one of them demands of the rest of the target. A key that says nothing in the
//! chosen mode is refused: it must not look as if it did.
//!
//! | kind         | keys                                                                                   |
//! |--------------|----------------------------------------------------------------------------------------|
//! | `"delta"`    | none                                                                                   |
//! | `"postgres"` | `host` (localhost), `port` (5432), `database`, `schema`; `user` with `password_env` (`"PGPASSWORD"`), or `secret`; `tls`, `authorities` |
//! | `"redshift"` | `access` (`"wire"`), `database`, `schema`, `iam_role`, `fixed_length_decimals`, `endpoint`, and those of the access |
//! | … `"wire"`   | `host`, `port` (5439); `user` with `password_env` (`"REDSHIFT_PASSWORD"`), or `secret`, or `login = "iam"` with `cluster` (and `user`) or `workgroup`; `tls`, `authorities` |
//! | … `"data_api"` | `cluster` or `workgroup`; `secret`, or the AWS identity's own access (with a cluster's `user`) |
//!
//! `schema` is the pipeline's name unless said; `tls` is `"verify"` unless said, but off where the host is this machine
//! and no `authorities` (a PEM file, from the pipeline's folder) are named.

use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::model::{PostgresSettings, RedshiftAccess, RedshiftSettings, WarehouseSettings};
use super::servers::{
    pass_over, read_place, read_postgres_server, read_redshift_server, read_user_of, refuse_keys, refuse_password,
};
use super::values::{boolean, endpoint, filled_text, name_fault, one_of, text};

const WAREHOUSE: &str = "warehouse = { … }";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Delta,
    Postgres,
    Redshift,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Wire,
    DataApi,
}

const KINDS: [(&str, Kind); 3] = [("delta", Kind::Delta), ("postgres", Kind::Postgres), ("redshift", Kind::Redshift)];

const ACCESSES: [(&str, Access); 2] = [("wire", Access::Wire), ("data_api", Access::DataApi)];

/// The keys of a connection over the wire that PostgreSQL and Redshift share.
const OF_SERVERS: [&str; 5] = ["host", "port", "password_env", "tls", "authorities"];

/// The keys of PostgreSQL and Redshift.
const OF_DATABASES: [&str; 4] = ["database", "schema", "user", "secret"];

/// The keys that only Redshift has.
const OF_REDSHIFT: [&str; 7] =
    ["access", "iam_role", "fixed_length_decimals", "endpoint", "login", "cluster", "workgroup"];

/// Reads a target's warehouse; none where it is absent or faulty. `folder` is the pipeline's.
pub(super) fn read_warehouse(target: &mut Section<'_>, folder: &Path) -> Option<WarehouseSettings> {
    let mut warehouse = target.section("warehouse", WAREHOUSE)?;
    let kind = warehouse.required("kind", one_of(&KINDS)).map(Spanned::into_inner);
    refuse_password(&mut warehouse);
    let settings = match kind {
        Some(Kind::Delta) => {
            let keys = [&OF_DATABASES[..], &OF_SERVERS, &OF_REDSHIFT].concat();
            refuse_keys(&mut warehouse, &keys, "kind = \"delta\"");
            Some(WarehouseSettings::Delta)
        }
        Some(Kind::Postgres) => {
            refuse_keys(&mut warehouse, &OF_REDSHIFT, "kind = \"postgres\"");
            read_postgres(&mut warehouse, folder).map(WarehouseSettings::Postgres)
        }
        Some(Kind::Redshift) => read_redshift(&mut warehouse, folder).map(WarehouseSettings::Redshift),
        None => {
            pass_over(&mut warehouse, &[&OF_DATABASES[..], &OF_SERVERS, &OF_REDSHIFT].concat());
            None
        }
    };
    warehouse.finish();
    settings
}

fn read_postgres(warehouse: &mut Section<'_>, folder: &Path) -> Option<PostgresSettings> {
    let (database, schema) = read_names(warehouse);
    let server = read_postgres_server(warehouse, folder);
    Some(PostgresSettings { server: server?, database: database?, schema })
}

fn read_redshift(warehouse: &mut Section<'_>, folder: &Path) -> Option<RedshiftSettings> {
    let (database, schema) = read_names(warehouse);
    let iam_role = warehouse.required("iam_role", iam_role).map(Spanned::into_inner);
    let fixed_length_decimals = warehouse.or("fixed_length_decimals", false, boolean);
    let endpoint = warehouse.optional("endpoint", endpoint).map(Spanned::into_inner);
    let said = warehouse.find("access").is_some();
    let access = match warehouse.optional("access", one_of(&ACCESSES)).map(Spanned::into_inner) {
        Some(Access::DataApi) => read_data_api(warehouse),
        None if said => {
            pass_over(warehouse, &[&OF_DATABASES[..], &OF_SERVERS, &OF_REDSHIFT].concat());
            None
        }
        Some(Access::Wire) | None => read_redshift_server(warehouse, folder).map(RedshiftAccess::Wire),
    };
    let (access, database, iam_role) = (access?, database?, iam_role?);
    Some(RedshiftSettings { access, database, schema, iam_role, fixed_length_decimals, endpoint })
}

fn read_data_api(warehouse: &mut Section<'_>) -> Option<RedshiftAccess> {
    refuse_keys(warehouse, &OF_SERVERS, "access = \"data_api\"");
    refuse_keys(warehouse, &["login"], "access = \"data_api\"");
    let place = read_place(warehouse);
    let has_secret = warehouse.find("secret").is_some();
    let secret = warehouse.optional("secret", filled_text).map(Spanned::into_inner);
    let user = match &place {
        _ if has_secret => {
            refuse_keys(warehouse, &["user"], "a login by a secret, which holds the user,");
            None
        }
        Some(place) => read_user_of(warehouse, place),
        None => {
            pass_over(warehouse, &["user"]);
            None
        }
    };
    let place = place?;
    (secret.is_some() == has_secret).then_some(RedshiftAccess::DataApi { place, user, secret })
}

/// `database` and `schema`.
fn read_names(warehouse: &mut Section<'_>) -> (Option<String>, Option<String>) {
    let database = warehouse.required("database", filled_text).map(Spanned::into_inner);
    let schema = warehouse.optional("schema", |value| schema_of(&text(value)?)).map(Spanned::into_inner);
    (database, schema)
}

/// A schema's name, by the rule of all names.
pub(super) fn schema_of(name: &str) -> Result<String, String> {
    name_fault(name).map_or_else(|| Ok(name.to_owned()), Err)
}

/// `default`, or one ARN or several with commas between them: the first is assumed, and assumes the next.
fn iam_role(value: &DeValue<'_>) -> Result<String, String> {
    let text = filled_text(value)?;
    // As IAM names accounts, paths and roles; the role stands between quotes in the COPY's text.
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "+=.@_/:-".contains(letter);
    let is_role = |arn: &str| {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [start, _, service, _, account, resource] = parts.as_slice() else { return false };
        let named = resource.strip_prefix("role/").is_some_and(|name| !name.is_empty());
        *start == "arn" && *service == "iam" && !account.is_empty() && named && arn.chars().all(allowed)
    };
    if text == "default" || text.split(',').all(is_role) {
        return Ok(text);
    }
    let spelling = "\"arn:aws:iam::123456789012:role/NAME\", several with commas between them, or \"default\"";
    Err(format!("{text:?} is no role: write {spelling}"))
}
