//! A server that speaks the PostgreSQL wire protocol: where it listens, how to log in, whether the connection is
//! encrypted.
//!
//! Owns these keys of a warehouse and their defaults. No secret is read here: a `password` is refused, and what might
//! be one by mistake is never repeated in a message.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::files::no_special_file;
use super::model::{Login, RedshiftPlace, ServerSettings, Tls};
use super::values::{filled_text, one_of, text, whole};

/// Where PostgreSQL listens.
pub(super) const POSTGRES_PORT: u16 = 5432;

/// The variable of PostgreSQL's own tools.
pub(super) const POSTGRES_PASSWORD: &str = "PGPASSWORD";

/// Where Redshift listens.
pub(super) const REDSHIFT_PORT: u16 = 5439;

/// The variable of a Redshift password.
pub(super) const REDSHIFT_PASSWORD: &str = "REDSHIFT_PASSWORD";

/// How to log in, as the keys say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Environment,
    Secret,
    Iam,
}

/// `tls`: whether the connection is encrypted and verified.
const TLS: [(&str, bool); 2] = [("verify", true), ("off", false)];

/// Refuses `password`: pipeline.toml stands in version control.
pub(super) fn refuse_password(warehouse: &mut Section<'_>) {
    if has(warehouse, "password")
        && let Some(node) = warehouse.find("password")
    {
        let words = "no secret stands in a file: put it into an environment variable and name that (password_env = \
                     \"…\"), or keep it in Secrets Manager (secret = \"…\")";
        warehouse.refuse("password", node, words);
    }
}

/// Refuses those of the keys that are there.
pub(super) fn refuse_keys(warehouse: &mut Section<'_>, keys: &[&'static str], why: &str) {
    for key in keys {
        // Only what is there is asked for, so that no suggestion names the others.
        if has(warehouse, key)
            && let Some(node) = warehouse.find(key)
        {
            warehouse.refuse(key, node, &format!("{why} has no use for it: take it out"));
        }
    }
}

/// Lets these keys pass, where a fault elsewhere leaves open whether they may be there.
pub(super) fn pass_over(warehouse: &mut Section<'_>, keys: &[&'static str]) {
    for key in keys {
        let _node = warehouse.find(key);
    }
}

fn has(warehouse: &Section<'_>, key: &str) -> bool {
    warehouse.entries().any(|(name, _)| name.get_ref() == key)
}

/// PostgreSQL's keys: `host`, `port`, `user` with `password_env`, or `secret`; `tls`, `authorities`.
pub(super) fn read_postgres_server(warehouse: &mut Section<'_>, folder: &Path) -> Option<ServerSettings> {
    let host = warehouse.or("host", "localhost".to_owned(), host);
    let port = read_port(warehouse, POSTGRES_PORT);
    let tls = read_tls(warehouse, &host, folder);
    let Some(way) = read_way(warehouse, &["password_env", "secret"]) else {
        pass_over(warehouse, &["user"]);
        return None;
    };
    let login = match way {
        Way::Secret => read_secret(warehouse),
        Way::Environment | Way::Iam => read_environment(warehouse, POSTGRES_PASSWORD),
    };
    Some(ServerSettings { host, port, login: login?, tls })
}

/// Redshift's keys of the wire: as PostgreSQL's, the host being required, and `login = "iam"` with `cluster` or
/// `workgroup`.
pub(super) fn read_redshift_server(warehouse: &mut Section<'_>, folder: &Path) -> Option<ServerSettings> {
    let host = warehouse.required("host", host).map(Spanned::into_inner);
    let port = read_port(warehouse, REDSHIFT_PORT);
    let tls = read_tls(warehouse, host.as_deref().unwrap_or_default(), folder);
    let Some(way) = read_way(warehouse, &["password_env", "secret", "login"]) else {
        pass_over(warehouse, &["user", "cluster", "workgroup"]);
        return None;
    };
    if way != Way::Iam {
        refuse_keys(warehouse, &["cluster", "workgroup"], "a login that is not \"iam\"");
    }
    let login = match way {
        Way::Secret => read_secret(warehouse),
        Way::Environment => {
            refuse_keys(warehouse, &["endpoint"], "a login by password_env");
            read_environment(warehouse, REDSHIFT_PASSWORD)
        }
        Way::Iam => read_iam(warehouse),
    };
    Some(ServerSettings { host: host?, port, login: login?, tls })
}

/// Which of the keys says how to log in: at most one, an environment variable where none does.
fn read_way(warehouse: &mut Section<'_>, keys: &[&'static str]) -> Option<Way> {
    let mut ways = Vec::new();
    for key in keys {
        if let Some(node) = warehouse.find(key) {
            ways.push((*key, node.span().start));
        }
    }
    if let [(first, _), .., (second, offset)] = ways.as_slice() {
        warehouse.refuse_at(second, *offset, &format!("{first:?} says already how to log in: keep one of them"));
        return None;
    }
    match ways.first() {
        Some(("secret", _)) => Some(Way::Secret),
        Some(("login", _)) => warehouse.optional("login", one_of(&[("iam", Way::Iam)])).map(Spanned::into_inner),
        _ => Some(Way::Environment),
    }
}

fn read_environment(warehouse: &mut Section<'_>, default: &str) -> Option<Login> {
    let user = warehouse.required("user", filled_text).map(Spanned::into_inner);
    let variable = warehouse.or("password_env", default.to_owned(), variable);
    Some(Login::Environment { user: user?, variable })
}

fn read_secret(warehouse: &mut Section<'_>) -> Option<Login> {
    refuse_keys(warehouse, &["user"], "a login by a secret, which holds the user,");
    warehouse.optional("secret", filled_text).map(|secret| Login::Secret(secret.into_inner()))
}

fn read_iam(warehouse: &mut Section<'_>) -> Option<Login> {
    let Some(place) = read_place(warehouse) else {
        pass_over(warehouse, &["user"]);
        return None;
    };
    let user = read_user_of(warehouse, &place);
    Some(Login::Iam { place, user })
}

/// The database's user where temporary credentials are asked for: a cluster's; a workgroup knows the AWS identity's.
pub(super) fn read_user_of(warehouse: &mut Section<'_>, place: &RedshiftPlace) -> Option<String> {
    match place {
        RedshiftPlace::Cluster(_) => warehouse.optional("user", filled_text).map(Spanned::into_inner),
        RedshiftPlace::Workgroup(_) => {
            refuse_keys(warehouse, &["user"], "a workgroup, whose user is the AWS identity's,");
            None
        }
    }
}

/// `cluster` or `workgroup`: exactly one.
pub(super) fn read_place(warehouse: &mut Section<'_>) -> Option<RedshiftPlace> {
    let both = warehouse.find("cluster").is_some().then(|| warehouse.find("workgroup")).flatten();
    if let Some(node) = both {
        warehouse.refuse("workgroup", node, "\"cluster\" says already which Redshift: keep one of them");
        return None;
    }
    if warehouse.find("workgroup").is_some() {
        return warehouse.optional("workgroup", filled_text).map(|name| RedshiftPlace::Workgroup(name.into_inner()));
    }
    if warehouse.find("cluster").is_none() {
        let words = "missing key \"cluster\" or \"workgroup\" in warehouse = { … }: which Redshift is it?";
        warehouse.document.fault(warehouse.offset, words);
        return None;
    }
    warehouse.optional("cluster", filled_text).map(|name| RedshiftPlace::Cluster(name.into_inner()))
}

fn read_port(warehouse: &mut Section<'_>, default: u16) -> u16 {
    let port = warehouse.or("port", default.into(), whole(1..=65_535));
    u16::try_from(port).unwrap_or(default)
}

/// `tls` and `authorities`, a path from the pipeline's folder.
fn read_tls(warehouse: &mut Section<'_>, host: &str, folder: &Path) -> Tls {
    let authorities = warehouse.optional("authorities", filled_text);
    let said = warehouse.optional("tls", one_of(&TLS)).map(Spanned::into_inner);
    if let (Some(false), Some(file)) = (said, &authorities) {
        let words = "tls = \"off\" has no use for it: take it out";
        warehouse.refuse_at("authorities", file.span().start, words);
    }
    let path = authorities.as_ref().map(|file| folder.join(file.get_ref()));
    if let (Some(file), Some(Err(message))) = (&authorities, path.as_deref().map(no_special_file)) {
        warehouse.refuse_at("authorities", file.span().start, &message);
    }
    tls(said, path, host)
}

/// Verified unless said otherwise; off on this machine, unless authorities are named.
pub(super) fn tls(said: Option<bool>, authorities: Option<PathBuf>, host: &str) -> Tls {
    let verified = said.unwrap_or_else(|| authorities.is_some() || !is_here(host));
    if verified { Tls::Verify { authorities } } else { Tls::Off }
}

/// Whether the host is this machine for sure.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A host's name or address.
fn host(value: &DeValue<'_>) -> Result<String, String> {
    host_of(&filled_text(value)?)
}

/// A host's name or address, without a port. What is none is not repeated: it may be an address with a password.
pub(super) fn host_of(text: &str) -> Result<String, String> {
    let letters = |letter: char| letter.is_alphanumeric() || "._-:[]".contains(letter);
    let is_address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if is_address || (!text.is_empty() && text.chars().all(letters) && !text.contains(['[', ']', ':'])) {
        return Ok(text.trim_start_matches('[').trim_end_matches(']').to_owned());
    }
    Err("this is no host: write its name or address alone, the port under \"port\"".to_owned())
}

/// The name of an environment variable. What is none is not repeated: it may be the password itself.
fn variable(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.chars().all(allowed) {
        return Ok(name);
    }
    Err("this is no variable's name: the password stands in an environment variable, and only its name here".to_owned())
}
