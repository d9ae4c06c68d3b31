//! HTTP client for one server: headers, time-outs, retries and error responses. Independent of paths and of other
//! JSON.

use std::{net::IpAddr, sync::Arc, time::Duration};

use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::{
    error::Error,
    options::{ServerOptions, TokenHeader, address_of, parse_url},
    retry,
};
use crate::tls;

/// Maximum characters of a server's error message, which may be an HTML page.
const MESSAGE_CHARS: usize = 300;

/// Maximum bytes of a response without records.
const SMALL_ANSWER_BYTES: usize = 64 << 20;

/// Minimum rate of a response, below the slowest modem: at this rate, 64 MiB take most of a day.
const MIN_BYTES_PER_SECOND: u32 = 1 << 10;
/// Time limit of a small response, as a multiple of the silence time-out: one to compute it, and one to send it.
const SMALL_ANSWER_SILENCES: u32 = 2;

/// A client of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Including user and password, if any.
    base: Url,
    /// Without user and password.
    address: Arc<str>,
    silence_timeout: Duration,
    attempts: u32,
}

/// A request. Each may be sent twice: writes are idempotent (see [`requests`](super::requests)).
#[derive(Debug)]
pub(crate) struct Request<'r> {
    /// The operation, as a verb phrase that names the subject.
    pub(crate) operation: &'r str,
    pub(crate) method: Method,
    /// The path below the server's URL, not encoded.
    pub(crate) path: Vec<&'r str>,
    pub(crate) query: Vec<(&'static str, String)>,
    /// JSON.
    pub(crate) body: Option<Vec<u8>>,
    /// A longer response is an error.
    pub(crate) limit_bytes: usize,
}

impl<'r> Request<'r> {
    /// A GET of `path`.
    pub(crate) fn get(operation: &'r str, path: Vec<&'r str>) -> Self {
        let (query, body) = (Vec::new(), None);
        Self { operation, method: Method::GET, path, query, body, limit_bytes: SMALL_ANSWER_BYTES }
    }
}

impl Client {
    pub(crate) fn new(options: &ServerOptions) -> Result<Self, Error> {
        let base = parse_url(&options.url)?;
        let address = address_of(&base);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("panopticon/", env!("CARGO_PKG_VERSION")))
            .default_headers(token_header(options)?)
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.silence_timeout)
            // Following a redirect would send the token to another server.
            .redirect(Policy::none())
            .tls_backend_preconfigured(trusted(&base, &address)?);
        if is_loopback(&base) {
            // A proxy cannot reach this machine's loopback address.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|source| Error::Setup { address: address.clone(), source: Box::new(source) })?;
        Ok(Self {
            http,
            base,
            address: address.into(),
            silence_timeout: options.silence_timeout,
            attempts: options.attempts,
        })
    }

    /// Scheme, host, port and path, without credentials.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request until it succeeds, fails permanently, or the attempts are exhausted.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        let mut attempt = 0;
        loop {
            match self.send_once(request).await {
                Err(error) if error.is_transient() && attempt + 1 < self.attempts => {
                    let wait = retry::wait(attempt, error.retry_after(), retry::random());
                    log::debug!("{error}; trying again in {} ms", wait.as_millis());
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// When the connection fails, or the response is missing, too long, or has a status other than 200 to 299.
    pub(crate) async fn send_once(&self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        let failed = |source| self.transport_error(request, source);
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&request.path);
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut builder = self.http.request(request.method.clone(), url);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let began = Instant::now();
        let slow = |_| Error::TooSlow {
            operation: request.operation.to_owned(),
            address: self.address.to_string(),
            after: began.elapsed(),
        };
        let sent = timeout_at(began + self.time_for(request, 0), builder.send());
        let mut response = sent.await.map_err(slow)?.map_err(failed)?;
        let status = response.status();
        let too_large = || Error::TooLarge {
            operation: request.operation.to_owned(),
            address: self.address.to_string(),
            limit_bytes: request.limit_bytes,
        };
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > request.limit_bytes {
            return Err(too_large());
        }
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::with_capacity(announced.min(1 << 20));
        loop {
            let chunk = timeout_at(began + self.time_for(request, body.len()), response.chunk());
            let Some(chunk) = chunk.await.map_err(slow)?.map_err(failed)? else { break };
            if body.len() + chunk.len() > request.limit_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        Err(self.status_error(request, status.as_u16(), &headers, &body))
    }

    /// Time limit until more than `received` bytes of the response to `request` have arrived.
    fn time_for(&self, request: &Request<'_>, received: usize) -> Duration {
        let received = u64::try_from(received).unwrap_or(u64::MAX);
        let for_bytes = Duration::from_secs(received / u64::from(MIN_BYTES_PER_SECOND));
        let for_all = self.silence_timeout * SMALL_ANSWER_SILENCES;
        // The response to a request with a body may contain records.
        if request.body.is_none() { for_all } else { for_all + for_bytes }
    }

    fn transport_error(&self, request: &Request<'_>, source: reqwest::Error) -> Error {
        let (operation, address) = (request.operation.to_owned(), self.address.to_string());
        // The URL may contain a password.
        let source = source.without_url();
        if source.is_connect() {
            Error::Connect { address, source }
        } else if source.is_timeout() {
            Error::Timeout { operation, address, after: self.silence_timeout }
        } else {
            Error::Transport { operation, address, source }
        }
    }

    fn status_error(&self, request: &Request<'_>, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        let (operation, address) = (request.operation.to_owned(), self.address.to_string());
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let message = match header(LOCATION) {
            Some(location) => format!("redirects to {location}, which is not followed"),
            None => message(body),
        };
        if matches!(status, 401 | 403) {
            return Error::Refused { operation, address, status, message };
        }
        // The other form, a date, is not parsed: no Chroma sends it, and the exponential backoff suffices.
        let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        Error::Status { operation, address, status, message, retry_after }
    }
}

/// The message of an error: `{"error", "message"}` of Chroma ≥ 0.5.23, `{"error"}` before, `{"detail"}` of its web
/// framework, or the text of a proxy.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let named = json.as_ref().and_then(|json| {
        ["message", "error", "detail"].iter().find_map(|key| json.get(key)).map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    });
    let message = named.unwrap_or_else(|| text.split_whitespace().collect::<Vec<_>>().join(" "));
    if message.is_empty() {
        return "no explanation".to_owned();
    }
    message.chars().take(MESSAGE_CHARS).collect()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn token_header(options: &ServerOptions) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &options.token {
        let (name, value) = match options.token_header {
            TokenHeader::Authorization => (AUTHORIZATION, format!("Bearer {}", token.expose())),
            TokenHeader::XChromaToken => {
                (HeaderName::from_static("x-chroma-token"), token.expose().to_owned())
            }
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| Error::Token)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// TLS with the system's root certificates or those of `SSL_CERT_FILE`, which are not loaded for plain HTTP.
fn trusted(url: &Url, address: &str) -> Result<ClientConfig, Error> {
    let setup = |source| Error::Setup { address: address.to_owned(), source };
    let mut certificates = Vec::new();
    if url.scheme() == "https" {
        certificates = tls::certificates().map_err(|error| setup(error.into()))?;
        if certificates.is_empty() {
            return Err(setup(
                "the system has no root certificates (on Debian: apt install ca-certificates)".into(),
            ));
        }
    }
    tls::client_config(certificates).map_err(setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_print_no_token() {
        let mut options = ServerOptions::new("http://localhost");
        options.token = Some(super::super::Token::new("secret"));
        assert!(!format!("{options:?}").contains("secret"));
        options.token = Some(super::super::Token::new("secret\n"));
        assert!(matches!(token_header(&options), Err(Error::Token)));
    }

    #[test]
    fn message_of_an_error_is_found_in_every_form() {
        assert_eq!(
            message(br#"{"error":"NotFoundError","message":"Tenant [x] not found"}"#),
            "Tenant [x] not found"
        );
        assert_eq!(message(br#"{"error":"IndexError('x')"}"#), "IndexError('x')");
        assert_eq!(message(br#"{"detail":[1]}"#), "[1]");
        assert_eq!(message(b"<html>\n Bad\tGateway"), "<html> Bad Gateway");
        assert_eq!(message(b""), "no explanation");
    }
}
