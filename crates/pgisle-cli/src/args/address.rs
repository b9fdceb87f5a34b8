//! Addresses as people write them: `pooler-1`, `10.0.0.7:6432`, `[::1]:6432`.

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    /// None when the usual one is meant.
    pub(crate) port: Option<u16>,
}

/// Reads an address.
pub(crate) fn parse(text: &str) -> Result<Address, String> {
    let unreadable = || "it is written as HOST, HOST:PORT or [ADDRESS]:PORT".to_owned();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or_else(unreadable)?;
            let port = behind.strip_prefix(':');
            if port.is_none() && !behind.is_empty() {
                return Err(unreadable());
            }
            (host, port)
        }
        None => match text.split_once(':') {
            // An address of IPv6 without brackets: where its port would begin is anybody's guess.
            Some((_, behind)) if behind.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '[' | ']' | '/' | '@');
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(unreadable());
    }
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or_else(unreadable)).transpose()?;
    Ok(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, host, port) in [
            ("pooler", "pooler", None),
            ("pooler-1.example.org:6432", "pooler-1.example.org", Some(6432)),
            ("10.0.0.7:1", "10.0.0.7", Some(1)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[fe80::1]:6432", "fe80::1", Some(6432)),
        ] {
            assert_eq!(parse(text), Ok(Address { host: host.to_owned(), port }), "{text}");
        }
        for text in ["", ":", ":6432", "a:", "a:0", "a:70000", "[::1", "[::1]6432", "[]:1", "a b", "u@h", "a/b", "a:x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
