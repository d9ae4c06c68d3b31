//! Errors of operations on a Chroma server, with their fixes. No message contains the token, or the user and password
//! of the URL.

use std::time::Duration;

use crate::tls;

/// An operation on a Chroma server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is invalid. The message never repeats it: it may contain a password.
    #[error("the Chroma URL cannot be used: expected http://host:port or https://host")]
    Url {
        /// The parser's error, if any.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The token cannot be sent in a header.
    #[error(
        "the Chroma token has characters that are invalid in a header: check it for line breaks and quotes"
    )]
    Token,
    /// TLS or the HTTP client cannot be set up, for instance because there are no root certificates.
    #[error("failed to set up the connection to {address}")]
    Setup {
        /// The server.
        address: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection failed.
    #[error("failed to reach a Chroma server at {address}: check the URL and that the server is running")]
    Connect {
        /// The server.
        address: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The address is not that of a Chroma server.
    #[error("expected a Chroma server at {address}, found {found}: check host, port and path of the URL")]
    NotChroma {
        /// The server.
        address: String,
        /// The response.
        found: String,
    },
    /// The server denied access.
    #[error(
        "failed to {operation}: {address} refused with status {status} ({message}): check the token, the header it is \
         sent in, and that it may read this tenant and database"
    )]
    Refused {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// 401 or 403.
        status: u16,
        /// The server's message.
        message: String,
    },
    /// The requested tenant or database does not exist. Chroma itself would return an empty one.
    #[error("{address} has no {subject}: check its name")]
    Missing {
        /// The server.
        address: String,
        /// `tenant `x`` or `database `x` of tenant `y``.
        subject: String,
    },
    /// The server returned an error status.
    #[error("failed to {operation}: {address} returned status {status}: {message}")]
    Status {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The HTTP status.
        status: u16,
        /// The server's message.
        message: String,
        /// The server's Retry-After.
        retry_after: Option<Duration>,
    },
    /// The connection broke repeatedly.
    #[error("failed to {operation}: the connection to {address} broke")]
    Transport {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The server sent nothing for too long.
    #[error("failed to {operation}: {address} sent nothing for {} s; it may be overloaded", after.as_secs())]
    Timeout {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The time that was waited.
        after: Duration,
    },
    /// The server's response is too slow.
    #[error("failed to {operation}: {address} did not complete its response within {:.1} s; it may be \
        overloaded", after.as_secs_f64())]
    TooSlow {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The time that was waited.
        after: Duration,
    },
    /// A response exceeds the memory limit.
    #[error("failed to {operation}: the response of {address} has more than {limit_bytes} bytes")]
    TooLarge {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// A listing is endless or implausibly long.
    #[error(
        "failed to {operation}: {address} lists more than {limit}, which is implausible: check the URL, or \
            name the database"
    )]
    Endless {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The limit, as text.
        limit: String,
    },
    /// A response does not conform to the API.
    #[error("failed to {operation}: the response of {address} cannot be parsed")]
    Decode {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// The parse error.
        source: serde_json::Error,
    },
    /// A response has different numbers of ids and values.
    #[error("failed to {operation}: {address} returned different numbers of ids and values")]
    Misaligned {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
    },
    /// The collection changes faster than it can be read.
    #[error(
        "failed to {operation}: records are deleted from {address} faster than they can be read ({attempts} attempts): \
         stop the writer and run again"
    )]
    Unstable {
        /// The operation.
        operation: String,
        /// The server.
        address: String,
        /// Number of attempts.
        attempts: u32,
    },
}

/// Chroma 1.x returns this for about 30 ms while another request creates the vector index: the first record of the
/// collection is written, but its index is not.
const INDEX_IN_THE_MAKING: &str = "hnsw segment reader: Nothing found on disk";

/// What to try after a failed request for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Request fewer records, at most as many as the server allows.
    Shrink(Option<u32>),
    /// The server fails on one of the records: find it.
    Isolate,
    /// None.
    Fail,
}

impl Error {
    /// Whether the server timed out.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::TooSlow { .. })
    }

    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status: 429 | 502..=504, .. } => true,
            Self::Status { status: 500, message, .. } => message.contains(INDEX_IN_THE_MAKING),
            Self::Connect { .. } | Self::Transport { .. } => true,
            _ => false,
        }
    }

    /// The fix, where the message does not contain it: for certificates, which the TLS library rejects with its own
    /// messages.
    pub fn hint(&self) -> Option<String> {
        let (Self::Connect { source, .. } | Self::Transport { source, .. }) = self else { return None };
        let rejected = causes(source).find_map(|cause| match cause.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(rejected) => Some(rejected),
            _ => None,
        });
        if rejected.is_some_and(tls::is_nameless) {
            // The message already contains the fix.
            return None;
        }
        let Some(rejected) = rejected else {
            let is_plain = causes(source)
                .any(|cause| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidMessage(_))));
            return is_plain.then(|| {
                "the server does not speak TLS on this port: give http:// instead of https://".to_owned()
            });
        };
        use rustls::CertificateError as Rejected;
        Some(match rejected {
            Rejected::Expired | Rejected::ExpiredContext { .. } | Rejected::NotValidYet | Rejected::NotValidYetContext { .. } => {
                "the certificate is not valid today: renew it, or correct the clock".to_owned()
            }
            Rejected::NotValidForName | Rejected::NotValidForNameContext { .. } => {
                "the certificate is for another name: use the name in its subjectAltName, or create one \
                    with `-addext subjectAltName=DNS:HOST`".to_owned()
            }
            _ => "trust the certificate, or the CA that signed it: SSL_CERT_FILE=cert.pem (PEM, the file may hold several); \
                  or reach the server through a tunnel: `ssh -L 8000:localhost:8000 HOST`, then http://localhost:8000"
                .to_owned(),
        })
    }

    /// The server's Retry-After.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to try next when a request for several records failed with this error.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Timeout { .. }
            | Self::TooSlow { .. }
            | Self::TooLarge { .. }
            | Self::Status { status: 413 | 504, .. } => Remedy::Shrink(None),
            Self::Status { status: 400 | 422, message, .. } if names_a_limit(message) => {
                Remedy::Shrink(limit_in(message))
            }
            Self::Status { status: 500, .. } | Self::Misaligned { .. } => Remedy::Isolate,
            _ => Remedy::Fail,
        }
    }
}

/// An error and its causes. `io::Error::source` skips the wrapped error itself.
fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>() {
        Some(io_error) => io_error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
        None => error.source(),
    })
}

fn names_a_limit(message: &str) -> bool {
    let message = message.to_lowercase();
    ["quota", "limit", "too large", "exceed"].iter().any(|word| message.contains(word))
}

/// The number in Chroma's "current usage of 1000 exceeds limit of 300" (rust/frontend/src/quota/mod.rs).
fn limit_in(message: &str) -> Option<u32> {
    let (_, after) = message.split_once("limit of ")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, message: &str) -> Error {
        let (operation, address, message) = (String::new(), String::new(), message.to_owned());
        Error::Status { operation, address, status, message, retry_after: None }
    }

    #[test]
    fn quota_errors_shrink_pages_to_the_named_limit() {
        let quota = "Quota exceeded: 'Limit value' exceeded quota limit for action 'Get': current usage of 1000 \
                     exceeds limit of 300. Request an increase";
        assert_eq!(status(422, quota).remedy(), Remedy::Shrink(Some(300)));
        assert_eq!(status(400, "limit too high").remedy(), Remedy::Shrink(None));
        assert_eq!(status(413, "").remedy(), Remedy::Shrink(None));
        assert_eq!(status(422, "include[3]: unexpected value").remedy(), Remedy::Fail);
    }

    #[test]
    fn client_errors_are_not_retried() {
        for code in [400, 401, 403, 404, 409, 422] {
            assert!(!status(code, "x").is_transient(), "{code}");
            assert_eq!(status(code, "x").remedy(), Remedy::Fail, "{code}");
        }
        assert!(status(429, "").is_transient());
        assert!(!status(500, "disk full").is_transient());
        assert_eq!(status(500, "IndexError").remedy(), Remedy::Isolate);
    }
}
