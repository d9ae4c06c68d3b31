//! What an operator decides about the services.

use std::{fmt, time::Duration};

use axum::http::{HeaderValue, uri::Authority};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Limits and doors of the services of a process.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What clients have to send as `X-API-Key`; `None` lets everybody in.
    pub api_key: Option<ApiKey>,
    /// Origins whose pages may call the services.
    pub cors_origins: Origins,
    /// Hosts that requests without a key may name. Default this machine's own names. With fewer than clients use, they
    /// are refused; with any, a page whose name points to this machine reads and changes everything.
    pub allowed_hosts: AllowedHosts,
    /// Bytes of a body. Default 16 MiB, which is a batch of 1,000 texts of 16 KB. Larger bodies take that much memory
    /// each, several times over.
    pub max_body_bytes: usize,
    /// How long a request may take until its answer begins. Default 60 s. Shorter cuts off large batches; longer lets
    /// requests pile up behind a store that hangs.
    pub request_timeout: Duration,
    /// The same for evaluations, which wait for models. Default 600 s. Shorter cuts off what has been paid for; longer
    /// than whatever stands before the server waits is of no use.
    pub evaluation_timeout: Duration,
    /// Requests that are worked on at once. Default 256. More than the store has connections wait there, up to the
    /// time-out; fewer turn clients away that could be served.
    pub max_requests: usize,
    /// Streams of events at once, which wait most of the time and count as no requests. Default 128, half the
    /// connections of an address: each has one, and more would leave none to requests.
    pub max_streams: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_key: None,
            cors_origins: Origins::default(),
            allowed_hosts: AllowedHosts::Local(Hosts::default()),
            max_body_bytes: 16 << 20,
            request_timeout: Duration::from_secs(60),
            evaluation_timeout: Duration::from_secs(600),
            max_requests: 256,
            max_streams: 128,
        }
    }
}

/// The key that clients have to know; only its digest is kept.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// A key.
    pub fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether `given` is the key. Takes as long whatever they have in common: digests are compared, so that not even
    /// the length shows.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Origins, as browsers send them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub(crate) Vec<HeaderValue>);

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no origin: expected scheme and host, such as https://example.org")]
pub struct InvalidOrigin(pub String);

impl Origins {
    /// Reads origins that are parted by commas.
    ///
    /// # Errors
    /// When one is none. `*` is none: it would let every page in the world call the services.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let origins = text.split(',').map(str::trim).map(|origin| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_origin =
                host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@']));
            let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin);
            value.ok_or_else(|| InvalidOrigin(origin.to_owned()))
        });
        origins.collect::<Result<_, _>>().map(Self)
    }
}

/// Hosts that requests may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// All: of an address that others reach by names that are not known here.
    Any,
    /// localhost, 127.0.0.1, `[::1]` and these.
    Local(Hosts),
}

/// Names of hosts, without ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// A text that is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a host: expected one without scheme and port, such as evals.example.org")]
pub struct InvalidHost(pub String);

impl Hosts {
    /// Reads names that are parted by commas.
    ///
    /// # Errors
    /// When one is none.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let names = text.split(',').map(str::trim).map(|name| {
            let authority: Result<Authority, _> = name.parse();
            let is_name = authority.is_ok_and(|authority| authority.host() == name);
            if is_name { Ok(name.to_owned()) } else { Err(InvalidHost(name.to_owned())) }
        });
        names.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `host` is a name of this machine or one of these.
    pub(crate) fn have(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut names =
            ["localhost", "127.0.0.1", "[::1]"].into_iter().chain(self.0.iter().map(String::as_str));
        names.any(|name| name.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_compared_whole_and_never_shown() {
        let key = ApiKey::new("secret");
        assert!(key.is(b"secret"));
        for other in ["", "secre", "secret ", "Secret"] {
            assert!(!key.is(other.as_bytes()), "{other}");
        }
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn origins_are_scheme_and_host() {
        let origins = Origins::parse("https://a.example, http://localhost:3000").expect("they are origins");
        assert_eq!(origins.0.len(), 2);
        for text in ["*", "a.example", "https://", "https://a.example/", "https://*.example", ""] {
            assert_eq!(Origins::parse(text), Err(InvalidOrigin(text.to_owned())));
        }
    }

    #[test]
    fn hosts_are_names_without_scheme_and_port() {
        let hosts = Hosts::parse("evals.example.org, [fe80::1]").expect("they are names");
        assert!(hosts.have("EVALS.example.org.") && hosts.have("[fe80::1]") && hosts.have("localhost"));
        assert!(!hosts.have("example.org"));
        for text in ["", "http://a", "a:80", "a/b", "a b", "u@a", "a,,b"] {
            assert!(Hosts::parse(text).is_err(), "{text}");
        }
    }
}
