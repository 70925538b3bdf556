//! `postgres://user@host:port/database?schema=…&tls=…&authorities=…`: a PostgreSQL warehouse in one argument.
//!
//! Owns the form of such a URL. Nothing of it is repeated in a message but the names of its options: where it is wrong
//! it may hold a password.

use std::path::PathBuf;

use super::fault::suggestion;
use super::model::{Login, PostgresSettings, ServerSettings};
use super::servers::{POSTGRES_PASSWORD, POSTGRES_PORT, host_of, tls};
use super::warehouses::schema_of;

const OPTIONS: [&str; 3] = ["schema", "tls", "authorities"];

const NO_PASSWORD: &str = "a password in the URL would be seen by everyone who sees the process: put it in PGPASSWORD";

/// Reads a warehouse's URL. `authorities` is a path from the current folder; the password comes from PGPASSWORD; what is
/// not said is as in pipeline.toml.
///
/// # Errors
/// The sentence that refuses it, without a password that it may hold.
pub fn parse_warehouse_url(url: &str) -> Result<PostgresSettings, String> {
    let form = "the warehouse is written postgres://user@host:port/database";
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| format!("this is no URL of PostgreSQL: {form}"))?;
    let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') {
        return Err(NO_PASSWORD.to_owned());
    }
    let (host, port) = host_and_port(place).ok_or_else(|| format!("the URL's port is no number: {form}"))?;
    let host = if host.is_empty() { "localhost".to_owned() } else { host_of(&decoded(host)?)? };
    let user = Some(decoded(user)?).filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| format!("the URL names no user: {form}"))?;
    let database = Some(decoded(database)?).filter(|database| !database.is_empty() && !database.contains('/'));
    let database = database.ok_or_else(|| format!("the URL names no database: {form}"))?;
    let Options { schema, verify, authorities } = read_options(options)?;
    let login = Login::Environment { user, variable: POSTGRES_PASSWORD.to_owned() };
    let tls = tls(verify, authorities, &host);
    Ok(PostgresSettings { server: ServerSettings { host, port, login, tls }, database, schema })
}

#[derive(Default)]
struct Options {
    schema: Option<String>,
    verify: Option<bool>,
    authorities: Option<PathBuf>,
}

fn read_options(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    let mut seen = Vec::new();
    for option in text.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        match name.as_str() {
            "schema" => options.schema = Some(schema_of(&value)?),
            "tls" if value == "verify" => options.verify = Some(true),
            "tls" if value == "off" => options.verify = Some(false),
            "tls" => return Err("tls in the URL is \"verify\" or \"off\"".to_owned()),
            "authorities" if value.is_empty() => return Err("authorities in the URL names no file".to_owned()),
            "authorities" => options.authorities = Some(PathBuf::from(value)),
            "password" => return Err(NO_PASSWORD.to_owned()),
            other => return Err(format!("unknown option {other:?} in the URL{}", suggestion(other, OPTIONS))),
        }
        if seen.contains(&name) {
            return Err(format!("{name:?} stands twice in the URL"));
        }
        seen.push(name);
    }
    if options.verify == Some(false) && options.authorities.is_some() {
        return Err("tls=off has no use for authorities: take one of them out of the URL".to_owned());
    }
    Ok(options)
}

/// Splits `host:port`; an IPv6 address stands in brackets.
fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let after_address = place.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = place.get(after_address..)?.find(':').map(|at| after_address + at) else {
        return Some((place, POSTGRES_PORT));
    };
    let port = place.get(colon + 1..)?.parse().ok().filter(|port| *port > 0)?;
    Some((place.get(..colon)?, port))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, String> {
    let refused =
        || "the URL holds a \"%\" that begins no UTF-8 character: write \"%25\" for the sign itself".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(refused)?;
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(byte);
        rest = after.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::model::Tls;
    use super::*;

    fn settings(user: &str, host: &str, port: u16, database: &str) -> PostgresSettings {
        let login = Login::Environment { user: user.to_owned(), variable: "PGPASSWORD".to_owned() };
        let server = ServerSettings { host: host.to_owned(), port, login, tls: Tls::Off };
        PostgresSettings { server, database: database.to_owned(), schema: None }
    }

    fn verified(mut settings: PostgresSettings, authorities: Option<&str>) -> PostgresSettings {
        settings.server.tls = Tls::Verify { authorities: authorities.map(PathBuf::from) };
        settings
    }

    #[test]
    fn a_url_says_what_pipeline_toml_would() {
        let named = |settings: PostgresSettings| PostgresSettings { schema: Some("orders".to_owned()), ..settings };
        let remote = settings("me", "db.example", 6000, "shop");
        let cases = [
            ("postgres://me@localhost/shop", settings("me", "localhost", 5432, "shop")),
            ("postgresql://me@127.0.0.1:6000/shop", settings("me", "127.0.0.1", 6000, "shop")),
            ("postgres://me@/shop", settings("me", "localhost", 5432, "shop")),
            ("postgres://me@[::1]:6000/shop", settings("me", "::1", 6000, "shop")),
            ("postgres://me@[::1]/shop", settings("me", "::1", 5432, "shop")),
            ("postgres://me@db.example:6000/shop", verified(remote.clone(), None)),
            ("postgres://me@db.example:6000/shop?tls=off", remote.clone()),
            ("postgres://me@db.example:6000/shop?tls=off&schema=orders", named(remote.clone())),
            ("postgres://me@db.example:6000/shop?schema=orders&authorities=a%20b%2Bc+d.pem&", {
                named(verified(remote, Some("a b+c+d.pem")))
            }),
            ("postgres://me@localhost/shop?tls=verify", verified(settings("me", "localhost", 5432, "shop"), None)),
            (
                "postgres://me@localhost/shop?authorities=ca.pem",
                verified(settings("me", "localhost", 5432, "shop"), Some("ca.pem")),
            ),
            ("postgres://j%C3%BCrg%40x%3Ay@localhost/my%20shop", settings("jürg@x:y", "localhost", 5432, "my shop")),
        ];
        for (url, expected) in cases {
            assert_eq!(parse_warehouse_url(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_a_password_never_repeated() {
        let cases = [
            ("mysql://me@h/db", "no URL of PostgreSQL"),
            ("me@h/db", "no URL of PostgreSQL"),
            ("postgres://me:hush@h/db", "put it in PGPASSWORD"),
            ("postgres://me:hush@x@h/db", "put it in PGPASSWORD"),
            ("postgres://me:@h/db", "put it in PGPASSWORD"),
            ("postgres://me@h/db?password=hush", "put it in PGPASSWORD"),
            ("postgres://me:hush/more@h/db", "the URL's port is no number"),
            ("postgres://h/db", "names no user"),
            ("postgres://me@h", "names no database"),
            ("postgres://me@h/", "names no database"),
            ("postgres://me@h/db/hush", "names no database"),
            ("postgres://me@h:x/db", "port is no number"),
            ("postgres://me@h:0/db", "port is no number"),
            ("postgres://me@h:65536/db", "port is no number"),
            ("postgres://me@h hush/db", "no host"),
            ("postgres://me@[h/db", "no host"),
            ("postgres://me@h/d%2", "write \"%25\""),
            ("postgres://me@h/d%ff", "write \"%25\""),
            ("postgres://me@h/d%+1", "write \"%25\""),
            ("postgres://me@h/db?schema=Shop", "\"Shop\" is not a name"),
            ("postgres://me@h/db?schema=_shop", "are kept for the columns"),
            ("postgres://me@h/db?tls=maybe", "\"verify\" or \"off\""),
            ("postgres://me@h/db?authorities=", "names no file"),
            ("postgres://me@h/db?tls=off&authorities=a.pem", "has no use for authorities"),
            ("postgres://me@h/db?tls=off&tls=off", "\"tls\" stands twice"),
            ("postgres://me@h/db?shema=a", "unknown option \"shema\" in the URL; did you mean \"schema\"?"),
            ("postgres://me@h/db?x=hush", "unknown option \"x\" in the URL; known are schema, tls, authorities"),
        ];
        for (url, words) in cases {
            let refused = parse_warehouse_url(url).expect_err(url);
            assert!(refused.contains(words) && !refused.contains("hush"), "{url}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn no_url_panics(rest in "[a-z0-9:/@?&=%é\\[\\]. ]{0,24}") {
            let _outcome = parse_warehouse_url(&format!("postgres://{rest}"));
        }
    }
}
