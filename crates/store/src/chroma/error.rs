//! What can go wrong between us and a Chroma server, each with its remedy in the text. No text holds the token, nor
//! the user and password of the URL.

use std::time::Duration;

use crate::tls;

/// An operation on a Chroma server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not one of a server. The text never repeats the URL: it may hold a password.
    #[error("the Chroma URL cannot be used: expected http://host:port or https://host")]
    Url {
        /// What the parser objected to, when it got that far.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The token cannot be sent in a header.
    #[error(
        "the Chroma token has characters that no header can carry: check for a line break or a quote in it"
    )]
    Token,
    /// TLS or the HTTP client cannot be set up, for want of root certificates for instance.
    #[error("failed to set up the connection to {address}")]
    Setup {
        /// The server.
        address: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection.
    #[error("failed to reach a Chroma server at {address}: check the URL and that the server runs")]
    Connect {
        /// The server.
        address: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// Something answers that is no Chroma server.
    #[error("expected a Chroma server at {address}, found {found}: check host, port and path of the URL")]
    NotChroma {
        /// The server.
        address: String,
        /// What answered.
        found: String,
    },
    /// The server does not let us in.
    #[error(
        "failed to {operation}: {address} refused with status {status} ({message}): check the token, the header it is \
         sent in, and that it may read this tenant and database"
    )]
    Refused {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// 401 or 403.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// A tenant or database that was asked for does not exist. Chroma itself would show an empty one.
    #[error("{address} has no {subject}: check its name")]
    Missing {
        /// The server.
        address: String,
        /// `tenant `x`` or `database `x` of tenant `y``.
        subject: String,
    },
    /// The server answered that it cannot do it.
    #[error("failed to {operation}: {address} answered with status {status}: {message}")]
    Status {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The connection broke, and did so again.
    #[error("failed to {operation}: the connection to {address} broke")]
    Transport {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// How it broke.
        source: reqwest::Error,
    },
    /// The server went silent.
    #[error("failed to {operation}: {address} said nothing for {} s; it may be overloaded", after.as_secs())]
    Timeout {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// How long we waited.
        after: Duration,
    },
    /// The server's answer does not come to an end.
    #[error("failed to {operation}: {address} has not sent its whole answer in {:.1} s; it may be overloaded", after.as_secs_f64())]
    TooSlow {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// How long we waited.
        after: Duration,
    },
    /// An answer is larger than we are ready to hold in memory.
    #[error("failed to {operation}: the answer of {address} has more than {limit_bytes} bytes")]
    TooLarge {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// What we would have held.
        limit_bytes: usize,
    },
    /// A listing has more than any server's, or no end.
    #[error(
        "failed to {operation}: {address} lists more than {limit}, which no server has: check the URL, or name the database"
    )]
    Endless {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// What would have been enough.
        limit: String,
    },
    /// An answer is not what the API promises.
    #[error("failed to {operation}: the answer of {address} cannot be read")]
    Decode {
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// Answers contradict each other: as many values as ids were expected.
    #[error("failed to {operation}: {address} answered with other numbers of ids and of their values")]
    Misaligned {
        /// What was tried.
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
        /// What was tried.
        operation: String,
        /// The server.
        address: String,
        /// How often the place was lost.
        attempts: u32,
    },
}

/// What Chroma 1.x says, for some 30 ms, of a vector index that another request is just making: the first record of
/// the collection is written, and its index is not.
const INDEX_IN_THE_MAKING: &str = "hnsw segment reader: Nothing found on disk";

/// What may help against an error of a request for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Ask for fewer records, at most as many as the server names.
    Shrink(Option<u32>),
    /// The server fails on one of the records: find it.
    Isolate,
    /// None.
    Fail,
}

impl Error {
    /// Whether the server took too long.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::TooSlow { .. })
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status: 429 | 502..=504, .. } => true,
            Self::Status { status: 500, message, .. } => message.contains(INDEX_IN_THE_MAKING),
            Self::Connect { .. } | Self::Transport { .. } => true,
            _ => false,
        }
    }

    /// What to do, where the text does not say it: about certificates, which the TLS library refuses in its own words.
    pub fn hint(&self) -> Option<String> {
        let (Self::Connect { source, .. } | Self::Transport { source, .. }) = self else { return None };
        let rejected = causes(source).find_map(|cause| match cause.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(rejected) => Some(rejected),
            _ => None,
        });
        if rejected.is_some_and(tls::is_nameless) {
            // The error says it itself.
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
                "the certificate is not valid today: renew it, or set the clock right".to_owned()
            }
            Rejected::NotValidForName | Rejected::NotValidForNameContext { .. } => {
                "the certificate is for another name: use the name that it has (subjectAltName), or make one with `-addext subjectAltName=DNS:HOST`".to_owned()
            }
            _ => "trust the certificate, or the CA that signed it: SSL_CERT_FILE=cert.pem (PEM, the file may hold several); \
                  or reach the server through a tunnel: `ssh -L 8000:localhost:8000 HOST`, then http://localhost:8000"
                .to_owned(),
        })
    }

    /// How long the server asks us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to try next when a request for several records ended in this error.
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

/// An error and all that it wraps. `io::Error` hides what it wraps from `source`.
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
    fn quota_errors_shrink_to_the_limit_they_name() {
        let quota = "Quota exceeded: 'Limit value' exceeded quota limit for action 'Get': current usage of 1000 \
                     exceeds limit of 300. Request an increase";
        assert_eq!(status(422, quota).remedy(), Remedy::Shrink(Some(300)));
        assert_eq!(status(400, "limit too high").remedy(), Remedy::Shrink(None));
        assert_eq!(status(413, "").remedy(), Remedy::Shrink(None));
        assert_eq!(status(422, "include[3]: unexpected value").remedy(), Remedy::Fail);
    }

    #[test]
    fn what_the_caller_got_wrong_is_never_tried_again() {
        for code in [400, 401, 403, 404, 409, 422] {
            assert!(!status(code, "x").is_passing(), "{code}");
            assert_eq!(status(code, "x").remedy(), Remedy::Fail, "{code}");
        }
        assert!(status(429, "").is_passing());
        assert!(!status(500, "disk full").is_passing());
        assert_eq!(status(500, "IndexError").remedy(), Remedy::Isolate);
    }
}
