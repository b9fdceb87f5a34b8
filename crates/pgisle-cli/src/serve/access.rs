//! Who gets an answer: whoever knows the token; without one, whoever is on this machine and means it.

use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgisle_core::secret::Secret;

/// What it is judged by.
pub(crate) struct Access {
    /// What clients must know; none when only this machine reaches the address.
    pub(crate) token: Option<Secret>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets its answer.
    Allowed,
    /// It must say the token.
    Unknown,
    /// It meant another host: a page from elsewhere has led a browser here.
    Elsewhere,
}

impl Access {
    pub(super) fn judge(&self, headers: &HeaderMap) -> Verdict {
        let Some(token) = &self.token else {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            return if host.is_none_or(|host| self.is_here(host)) { Verdict::Allowed } else { Verdict::Elsewhere };
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(presented);
        match given {
            Some(given) if is_same(given.as_bytes(), token.expose().as_bytes()) => Verdict::Allowed,
            _ => Verdict::Unknown,
        }
    }

    fn is_here(&self, host: &str) -> bool {
        let port = format!(":{}", self.address.port());
        let name = host.strip_suffix(&port).unwrap_or(host);
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// The token of a header: a bearer's, or the password of whatever user, which is what a browser asks for.
fn presented(header: &str) -> Option<String> {
    let (scheme, content) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(content.trim().to_owned());
    }
    let decoded = STANDARD.decode(content.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(decoded).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

/// Takes as long wherever they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(token: Option<&str>, headers: &[(axum::http::HeaderName, &str)]) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap_or_else(|error| panic!("{error}")));
        }
        let access = Access { token: token.map(|token| Secret::new(token.to_owned())), address: ([127, 0, 0, 1], 7654).into() };
        access.judge(&map)
    }

    #[test]
    fn a_token_is_taken_as_bearer_and_as_password() {
        let basic = format!("Basic {}", STANDARD.encode("anyone:correct-horse-battery"));
        for right in ["Bearer correct-horse-battery", "bearer  correct-horse-battery", &basic] {
            assert_eq!(judged(Some("correct-horse-battery"), &[(AUTHORIZATION, right)]), Verdict::Allowed, "{right}");
        }
        for wrong in
            ["Bearer correct-horse-batterx", "Bearer ", "correct-horse-battery", "Basic xxx", "Digest correct-horse-battery"]
        {
            assert_eq!(judged(Some("correct-horse-battery"), &[(AUTHORIZATION, wrong)]), Verdict::Unknown, "{wrong}");
        }
        assert_eq!(judged(Some("correct-horse-battery"), &[]), Verdict::Unknown);
    }

    #[test]
    fn a_page_from_elsewhere_gets_nothing() {
        for host in ["localhost:7654", "127.0.0.1:7654", "[::1]:7654", "127.0.0.1"] {
            assert_eq!(judged(None, &[(HOST, host)]), Verdict::Allowed, "{host}");
        }
        for host in ["evil.example:7654", "evil.example", "127.0.0.1.evil.example:7654", "10.0.0.1:7654"] {
            assert_eq!(judged(None, &[(HOST, host)]), Verdict::Elsewhere, "{host}");
        }
    }
}
