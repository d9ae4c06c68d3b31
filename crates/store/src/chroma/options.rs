//! Where a Chroma server is and how to be let in.

use std::{fmt, time::Duration};

use reqwest::Url;

use super::{error::Error, retry};

/// A server on another continent takes well under a second; a wrong address should be noticed soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first read of a large collection makes Chroma load its index, which takes many seconds on a small machine.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// A Chroma server and the part of it that is meant. [`new`](Self::new) gives the usual values.
#[derive(Clone)]
pub struct ServerOptions {
    /// `http://host:8000`, `https://api.trychroma.com`, with a path if a proxy puts the server below one. May hold
    /// `user:password@` for HTTP basic authentication.
    pub url: String,
    /// The tenant; `None` for the token's own, which is `default_tenant` on servers without accounts.
    pub tenant: Option<String>,
    /// The database; `None` for every database of the tenant that the server lists.
    pub database: Option<String>,
    /// The secret that the server asks for.
    pub token: Option<Token>,
    /// The header that carries the token.
    pub token_header: TokenHeader,
    /// How long a connection may take to be made. Too short fails on slow networks, too long hides a wrong address.
    pub connect_timeout: Duration,
    /// How long the server may say nothing while it answers. Too short shrinks the pages of a slow server for
    /// nothing; too long waits for one that is stuck.
    pub silence_timeout: Duration,
    /// How often a request is made before its failure counts, at least once, with waits that double from 250 ms.
    /// Few give up on a server that restarts; many keep who waits for the answer waiting.
    pub attempts: u32,
    /// Most records to ask for at once, at least 2. Pages become smaller by themselves where records are large or
    /// the server allows less.
    pub page_records: u32,
}

/// A secret. It is never printed: `Debug` hides it and there is no `Display`.
#[derive(Clone)]
pub struct Token(String);

/// The header in which a server expects the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenHeader {
    /// `Authorization: Bearer <token>`, what Chroma servers expect by default.
    #[default]
    Authorization,
    /// `X-Chroma-Token: <token>`, for Chroma Cloud and servers configured so.
    XChromaToken,
}

impl ServerOptions {
    /// Of 100,000 records with 384 dimensions Chroma 1.5.9 gives 7,000 to 8,800 a second in pages of 1,000 to
    /// 10,000 records, 3,800 in pages of 300 and 2,100 in pages of 100, with other work on the machine.
    pub const PAGE_RECORDS: u32 = 1000;

    /// The server at `url`: all databases of the default tenant, no token.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tenant: None,
            database: None,
            token: None,
            token_header: TokenHeader::default(),
            connect_timeout: CONNECT_TIMEOUT,
            silence_timeout: SILENCE_TIMEOUT,
            attempts: retry::ATTEMPTS,
            page_records: Self::PAGE_RECORDS,
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL itself, which may hold a password.
        let address = parse_url(&self.url).map(|url| address_of(&url));
        f.debug_struct("ServerOptions")
            .field("address", &address.unwrap_or_default())
            .field("tenant", &self.tenant)
            .field("database", &self.database)
            .field("token_header", &self.token_header)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Hides `secret`.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the header and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The URL of a server, without what belongs to one request.
pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    let mut url = Url::parse(text.trim()).map_err(|source| Error::Url { source: Some(Box::new(source)) })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::Url { source: None });
    }
    url.set_query(None);
    url.set_fragment(None);
    // People paste the URL of the API instead of the server's.
    let path = url.path().trim_end_matches('/').to_owned();
    let path = ["/api/v1", "/api/v2"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(&path);
    url.set_path(path);
    Ok(url)
}

/// The address without the password, for people to read.
pub(crate) fn address_of(url: &Url) -> String {
    // The scheme's own port is not written.
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_no_credentials_and_no_api_path() {
        let check = |url: &str, expected: &str| {
            assert_eq!(address_of(&parse_url(url).expect(url)), expected, "{url}");
        };
        check("http://localhost:8000", "http://localhost:8000");
        check("https://u:secret@chroma.example/below/api/v2/?x=1#y", "https://chroma.example/below");
        check("http://[::1]:8000/api/v1", "http://[::1]:8000");
    }

    #[test]
    fn url_of_another_kind_is_refused_without_repeating_it() {
        for url in ["", "localhost:8000", "postgresql://u:secret@h/d", "/secret", "http://"] {
            let error = parse_url(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
