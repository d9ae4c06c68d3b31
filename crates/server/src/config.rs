//! What an operator decides about the services.

use std::{fmt, time::Duration};

use axum::http::HeaderValue;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Limits and doors of the services of a process.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What clients have to send as `X-API-Key`; `None` lets everybody in.
    pub api_key: Option<ApiKey>,
    /// Origins whose pages may call the services.
    pub cors_origins: Origins,
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
    /// Streams of events at once, which wait most of the time and count as no requests. Default 1024. Each takes a
    /// connection, and some tens of kilobytes.
    pub max_streams: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_key: None,
            cors_origins: Origins::default(),
            max_body_bytes: 16 << 20,
            request_timeout: Duration::from_secs(60),
            evaluation_timeout: Duration::from_secs(600),
            max_requests: 256,
            max_streams: 1024,
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
}
