//! Addresses of buckets, prefixes and endpoints: parsed and checked, nothing asked.

use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};

/// The bucket and the prefix (without slashes at its ends) of `s3://bucket/prefix`.
///
/// # Errors
/// Invalid where it is no such address.
pub fn parse_s3(url: &str) -> Result<(String, String)> {
    let refused = |reason: &str| {
        Error::invalid(format!("{url:?} is no store on S3: {reason}; an address looks like s3://bucket/prefix"))
    };
    let rest = url.strip_prefix("s3://").ok_or_else(|| refused("it does not begin with s3://"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    address(bucket, prefix).map_err(|error| refused(&error.to_string()))?;
    Ok((bucket.to_owned(), prefix.to_owned()))
}

/// The address `s3://bucket/prefix/` of a store, and its prefix as a path.
pub(super) fn address(bucket: &str, prefix: &str) -> Result<(Url, Path)> {
    check_bucket(bucket)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()/=".contains(&byte);
    let refused = |reason: &str| Error::invalid(format!("the prefix {prefix:?} cannot be used: {reason}"));
    if !prefix.bytes().all(plain) {
        return Err(refused("it may hold letters, digits, and any of ! - _ . * ' ( ) = with / between"));
    }
    let broken = |part: &str| part.is_empty() || part == "." || part == "..";
    if !prefix.is_empty() && prefix.split('/').any(broken) {
        return Err(refused("a part of it is empty, . or .."));
    }
    let path = Path::parse(prefix).map_err(|error| refused("it is no path").with_source(error))?;
    let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let url = Url::parse(&format!("s3://{bucket}/{folder}"));
    Ok((url.map_err(|error| refused("it is no part of an address").with_source(error))?, path))
}

/// S3's rules for names of buckets, as far as they keep an address whole.
fn check_bucket(bucket: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = bucket.as_bytes();
    let fits = (3..=63).contains(&bytes.len()) && bytes.iter().all(|byte| plain(*byte)) && !bucket.contains("..");
    if fits && ends(bytes.first()) && ends(bytes.last()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{bucket:?} can be no bucket: a name has 3 to 63 lower-case letters, digits, dots and hyphens"
    )))
}

/// The endpoint as object_store wants it: with the bucket in the host's name where it does not stand in the path.
pub(super) fn endpoint(endpoint: &str, bucket: &str, path_style: bool) -> Result<String> {
    // What was given may hold a password: it is not shown.
    let refused = |reason: &str| {
        Error::invalid(format!("the store's endpoint cannot be used: {reason}; it looks like https://host:port"))
    };
    let mut url = Url::parse(endpoint).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("it begins with neither https:// nor http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("credentials do not belong in it, the AWS chain gives them"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has more than a host and a port"));
    }
    if !path_style {
        let host = url.host_str().ok_or_else(|| refused("it names no host"))?.to_owned();
        if url.set_host(Some(&format!("{bucket}.{host}"))).is_err() || url.domain().is_none() {
            return Err(refused("the bucket cannot stand in this host's name: set path style"));
        }
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn addresses_are_taken_apart() {
        let cases = [
            ("s3://orders-lake", "orders-lake", ""),
            ("s3://orders-lake/", "orders-lake", ""),
            ("s3://orders-lake/food_delivery", "orders-lake", "food_delivery"),
            ("s3://orders.lake/a/b=c/", "orders.lake", "a/b=c"),
        ];
        for (url, bucket, prefix) in cases {
            assert_eq!(parse_s3(url).expect("an address"), (bucket.to_owned(), prefix.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let cases = [
            ("orders-lake", "does not begin with s3://"),
            ("s3a://orders-lake", "does not begin with s3://"),
            ("s3://", "can be no bucket"),
            ("s3://Orders", "can be no bucket"),
            ("s3://or_ders", "can be no bucket"),
            ("s3://-orders", "can be no bucket"),
            ("s3://or..ders", "can be no bucket"),
            ("s3://key:secret@orders", "can be no bucket"),
            ("s3://orders//a", "empty"),
            ("s3://orders/a//", "empty"),
            ("s3://orders/../b", "empty, . or .."),
            ("s3://orders/a?b", "it may hold"),
            ("s3://orders/a b", "it may hold"),
            ("s3://orders/ä", "it may hold"),
        ];
        for (url, words) in cases {
            let error = parse_s3(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(words), "{url}: {error}");
        }
    }

    #[test]
    fn an_endpoint_takes_the_bucket_into_its_host_or_leaves_it_to_the_path() {
        let cases = [
            ("http://127.0.0.1:9000", true, "http://127.0.0.1:9000"),
            ("https://s3.example.com/", true, "https://s3.example.com"),
            ("https://s3.example.com:8443", false, "https://lake.s3.example.com:8443"),
        ];
        for (given, path_style, expected) in cases {
            assert_eq!(endpoint(given, "lake", path_style).expect("an endpoint"), expected);
        }
        for given in ["127.0.0.1:9000", "ftp://a", "https://key:pass-word@a", "https://a/b", "https://a?b"] {
            let error = endpoint(given, "lake", true).expect_err(given);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.to_string().contains("pass-word"), "{error}");
        }
        endpoint("http://127.0.0.1:9000", "lake", false).expect_err("no host of that name");
    }
}
