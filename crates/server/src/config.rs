//! Configuration of the services.

use std::{fmt, time::Duration};

use axum::http::{HeaderValue, uri::Authority};
use sha2::{Digest as _, Sha256};
use store::memory::MemoryLimit;
use subtle::ConstantTimeEq as _;
use upkeep::{Policy, doctor::ServerOrigin, maintenance::Limits};

use crate::migration_sources::MigrationSources;

/// Limits and access control of the services of a process.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The key that clients must send as `X-API-Key`; `None` requires no key.
    pub api_key: Option<ApiKey>,
    /// Origins whose pages may call the services.
    pub cors_origins: Origins,
    /// Hosts that requests may name where no key is set. Default: this machine's own names. If a name that clients
    /// use is missing, their requests are rejected; with any host allowed, a page whose name resolves to this machine
    /// can read and change everything.
    pub allowed_hosts: AllowedHosts,
    /// Maximum bytes of a body. Default 16 MiB: a batch of 1,000 texts of 16 KB. Each body takes several times its
    /// size in memory.
    pub max_body_bytes: usize,
    /// The same for bodies of Chroma's API. Default 40 MiB, the limit of Chroma's own server, whose clients send batches of
    /// up to 5,461 records.
    pub max_chroma_body_bytes: usize,
    /// Time limit of a request until its response begins. Default 60 s. A shorter one cuts off large batches; with a
    /// longer one, requests pile up behind a store that hangs.
    pub request_timeout: Duration,
    /// The same for evaluations, which wait for models. Default 600 s. A shorter one cuts off calls that are already
    /// paid for; one longer than the time-out of the proxy in front is useless.
    pub evaluation_timeout: Duration,
    /// Maximum concurrent requests. Default 256. Requests beyond the store's number of connections wait for one, up
    /// to the time-out; a lower limit rejects requests that could be served.
    pub max_requests: usize,
    /// Maximum concurrent event streams, which mostly wait and do not count as requests. Default 128, half the
    /// connections of an address: each stream occupies a connection.
    pub max_streams: usize,
    /// Names of settings, for messages.
    pub setting_names: SettingNames,
    /// The resident memory above which no large body is accepted. Unlimited by default.
    pub memory: MemoryLimit,
    /// The sources from which the console may start migrations. None by default: a user of the console can read what Chroma
    /// directories in these folders contain.
    pub migration_sources: MigrationSources,
}

/// What the operator calls the settings that a message names as the remedy.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames {
    /// [`ServerConfig::allowed_hosts`]
    pub allowed_hosts: &'static str,
    /// [`ServerConfig::cors_origins`]
    pub cors_origins: &'static str,
    /// [`ServerConfig::migration_sources`]
    pub migration_sources: &'static str,
}

impl Default for SettingNames {
    fn default() -> Self {
        Self {
            allowed_hosts: "allowed hosts",
            cors_origins: "CORS origins",
            migration_sources: "migration sources",
        }
    }
}

/// How the tables of the database are maintained, as the console needs it.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepConfig {
    /// The policy for vector indexes.
    pub policy: Policy,
    /// Limits of a round of maintenance.
    pub limits: Limits,
    /// Whose the database server is.
    pub origin: ServerOrigin,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_key: None,
            cors_origins: Origins::default(),
            allowed_hosts: AllowedHosts::Local(Hosts::default()),
            max_body_bytes: 16 << 20,
            max_chroma_body_bytes: 40 << 20,
            request_timeout: Duration::from_secs(60),
            evaluation_timeout: Duration::from_secs(600),
            max_requests: 256,
            max_streams: 128,
            setting_names: SettingNames::default(),
            memory: MemoryLimit::default(),
            migration_sources: MigrationSources::default(),
        }
    }
}

/// The API key, of which only the digest is kept.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// A key.
    pub fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The digest, as secret as the key.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `given` is the key. Takes constant time: digests are compared, so the time does not reveal even the
    /// length.
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

/// An invalid origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid origin `{0}`: expected scheme and host, such as https://example.org")]
pub struct InvalidOrigin(pub String);

impl Origins {
    /// Parses comma-separated origins.
    ///
    /// # Errors
    /// When an origin is invalid. `*` is rejected: it would allow every web page to call the services.
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
    /// All hosts, for an address that clients reach by names not known here.
    Any,
    /// localhost, 127.0.0.1, `[::1]` and the given names.
    Local(Hosts),
}

/// Host names, without ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// An invalid host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid host name `{0}`: expected one without scheme and port, such as evals.example.org")]
pub struct InvalidHost(pub String);

impl Hosts {
    /// Parses comma-separated names.
    ///
    /// # Errors
    /// When a name is invalid.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let names = text.split(',').map(str::trim).map(|name| {
            let authority: Result<Authority, _> = name.parse();
            let is_name = authority.is_ok_and(|authority| authority.host() == name);
            if is_name { Ok(name.to_owned()) } else { Err(InvalidHost(name.to_owned())) }
        });
        names.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `host` is a loopback name or one of these names.
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
    fn key_must_match_exactly_and_is_not_printed() {
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
