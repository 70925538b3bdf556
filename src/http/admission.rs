//! Who may ask a server on loopback: the programs of this machine, and no web page that a browser shows there.
//!
//! A browser lets any page send requests to 127.0.0.1. It says so in `Origin` and `Sec-Fetch-Site`, which programs do not
//! send. A page whose own name was made to mean 127.0.0.1 (DNS rebinding) is same-origin to the browser, but still asks
//! for its own name: so the name that is asked for must be loopback's. No CORS header is ever sent.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Request, header};

/// What a browser says where it was a person who asked, in its address bar.
const TYPED_BY_A_PERSON: &str = "none";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A browser asks in the name of a page.
    #[error("refused: a web page asks (header {0}), and this server answers the programs of this machine only")]
    WebPage(&'static str),
    /// A name that is not this machine's own.
    #[error(
        "refused: {0:?} is asked for, and this server is 127.0.0.1, localhost and [::1] only; use one of these in the \
         address"
    )]
    Name(String),
}

/// Lets a request to a server on loopback in.
///
/// # Errors
/// Where it comes from a web page, or names another host than loopback, or none.
pub fn admit<B>(request: &Request<B>) -> Result<(), Refused> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return Err(Refused::WebPage("Origin"));
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site != TYPED_BY_A_PERSON) {
        return Err(Refused::WebPage("Sec-Fetch-Site"));
    }
    let mut names = names(headers);
    // HTTP/2 has it here, and HTTP/1 where a proxy is meant.
    names.extend(request.uri().authority().map(|authority| authority.as_str().to_owned()));
    match names.iter().find(|name| !is_loopback(name)) {
        Some(other) => Err(Refused::Name(other.clone())),
        None if names.is_empty() => Err(Refused::Name(String::new())),
        None => Ok(()),
    }
}

fn names(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(header::HOST).iter().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).collect()
}

/// Whether `HOST` or `HOST:PORT` is loopback by its name or its number.
fn is_loopback(name: &str) -> bool {
    let Ok(authority) = name.parse::<Authority>() else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    !name.contains('@')
        && (host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
            || bare.is_some_and(|host| host.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(uri: &str, headers: &[(&'static str, &str)]) -> Result<(), Refused> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admit(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_the_names_of_loopback_are_let_in() {
        let inside = [
            "localhost",
            "LocalHost:4567",
            "127.0.0.1",
            "127.0.0.1:4567",
            "127.9.8.7:1",
            "[::1]",
            "[::1]:4567",
            "[0:0:0:0:0:0:0:1]:1",
        ];
        for name in inside {
            assert_eq!(outcome("/", &[("host", name)]), Ok(()), "{name}");
        }
        let outside = [
            "",
            "evil.test",
            "evil.test:4567",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1:4567",
            "0.0.0.0:4567",
            "[::]:4567",
            "[::2]",
            "::1",
            "1",
            "2130706433",
            "localhost@evil.test",
            "a@localhost",
            "local host",
            "localhost:4567:1",
            "127.0.0.1/evil",
        ];
        for name in outside {
            assert_eq!(outcome("/", &[("host", name)]), Err(Refused::Name(name.to_owned())), "{name}");
        }
        assert_eq!(outcome("/", &[]), Err(Refused::Name(String::new())));
    }

    #[test]
    fn each_name_that_a_request_holds_must_be_loopbacks() {
        assert_eq!(outcome("http://127.0.0.1:4567/", &[]), Ok(()), "HTTP/2 has no header");
        let evil = Err(Refused::Name("evil.test".to_owned()));
        assert_eq!(outcome("http://evil.test/", &[]), evil);
        assert_eq!(outcome("http://evil.test/", &[("host", "localhost")]), evil);
        assert_eq!(outcome("http://localhost/", &[("host", "evil.test")]), evil);
        assert_eq!(outcome("/", &[("host", "localhost"), ("host", "evil.test")]), evil);
    }

    #[test]
    fn no_page_is_let_in_and_a_person_is() {
        let host = ("host", "127.0.0.1:4567");
        for origin in ["null", "", "http://127.0.0.1:4567", "https://evil.test"] {
            assert_eq!(outcome("/", &[host, ("origin", origin)]), Err(Refused::WebPage("Origin")), "{origin}");
        }
        for site in ["cross-site", "same-site", "same-origin", ""] {
            let refused = Err(Refused::WebPage("Sec-Fetch-Site"));
            assert_eq!(outcome("/", &[host, ("sec-fetch-site", site)]), refused, "{site}");
        }
        assert_eq!(outcome("/", &[host, ("sec-fetch-site", "none")]), Ok(()));
    }
}
