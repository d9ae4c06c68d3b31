//! Chroma sources: a persist directory, or a server by its URL.
//!
//! All functions block, so commands call them on a separate thread
//! ([`run_interruptibly`](crate::interrupt::run_interruptibly)).

mod failure;
mod hint;
mod place;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use chroma::{Collection, LogOverview, Orphans, Overview};
use store::chroma::{ServerOptions, Source, Token};
use tokio::runtime::Handle;
use url::Url;

pub(crate) use self::hint::{hint, of_directory};
use crate::{
    arguments::{ScopeFlags, TokenHeader},
    configuration::Configuration,
    exit::Failure,
    masking::may_hold_password,
    output::visible,
};

/// Maximum collections that an error lists; more would hide the error itself.
const LISTED_COLLECTIONS: usize = 100;

/// The place of the data.
#[derive(Debug)]
pub(crate) enum Location {
    /// A persist directory.
    Directory(PathBuf),
    /// A running server, by its URL.
    Server(Url, Box<ServerOptions>),
}

impl Location {
    /// The source of the command line, with the token of flag or environment.
    pub(crate) fn new(
        source: &Path,
        scope: &ScopeFlags,
        configuration: &Configuration,
    ) -> anyhow::Result<Self> {
        // A path that is not Unicode is not a URL.
        let text = source.to_str().unwrap_or_default();
        if is_server_url(text) {
            let url =
                Url::parse(text).context("expected a persist directory or the URL of a Chroma server")?;
            let token = configuration.chroma_token(scope.token.as_deref())?.map(token).transpose()?;
            let options = ServerOptions {
                tenant: scope.tenant.clone(),
                database: scope.database.clone(),
                token,
                token_header: scope.token_header.unwrap_or(TokenHeader::Authorization).into(),
                ..ServerOptions::new(text)
            };
            return Ok(Self::Server(url, Box::new(options)));
        }
        if may_hold_password(text) && !source.exists() {
            return Err(anyhow!(
                "the source is neither a path nor an http:// or https:// URL, and is not repeated here since it may hold a password"
            ));
        }
        for (flag, is_given) in
            [("--token", scope.token.is_some()), ("--token-header", scope.token_header.is_some())]
        {
            if is_given {
                let meant = place::server_url(text).filter(|_| !source.exists());
                let meant = meant.map_or(String::new(), |url| format!("; did you mean {url}?"));
                return Err(anyhow!(
                    "{flag} applies to servers only, and the source is not an http:// or https:// URL{meant}"
                ));
            }
        }
        Ok(Self::Directory(source.to_owned()))
    }
}

/// Whether `source` is the URL of a server.
pub(crate) fn is_server_url(source: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| source.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            // Without user, password and query, any of which may be secret.
            Self::Server(url, _) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
        }
    }
}

/// A token that can be sent. Checked here, because errors of HTTP libraries quote the invalid header.
pub(crate) fn token(text: &str) -> anyhow::Result<Token> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(anyhow!("the token cannot be sent: expected visible ASCII characters without spaces"));
    }
    Ok(Token::new(text))
}

/// Opens `location`, on a thread that may block.
///
/// # Errors
/// When it does not exist or cannot be read.
pub(crate) fn open(location: &Location) -> Result<Source, Failure> {
    Ok(match location {
        Location::Directory(path) => Source::open(path)?,
        Location::Server(_, options) => Source::connect(options, Handle::current())?,
    })
}

/// Describes a source.
pub(crate) fn describe(source: &Source) -> Result<Description, Failure> {
    match source {
        Source::Directory { directory, .. } => {
            let Overview { kind, version, size_bytes, log, orphans } = directory
                .overview()
                .map_err(|error| Failure::usage_with_hint(of_directory(&error), error))?;
            Ok(Description {
                kind: kind.as_str(),
                oldest_version: Some(version.min.to_owned()),
                newest_version: version.max.map(str::to_owned),
                size_bytes: Some(size_bytes),
                log: Some(log),
                orphans: Some(orphans),
            })
        }
        Source::Server { server, .. } => Ok(Description {
            kind: "server",
            oldest_version: Some(server.version().to_owned()),
            // Every server of 1.x reports version 1.0.0.
            newest_version: (!server.version().starts_with("1.")).then(|| server.version().to_owned()),
            size_bytes: None,
            log: None,
            orphans: None,
        }),
    }
}

/// The properties of a source. A server reports only its version.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// A stable name.
    pub(crate) kind: &'static str,
    /// The oldest Chroma that can have written it.
    pub(crate) oldest_version: Option<String>,
    /// The newest one; `None` if it is newer than all known versions.
    pub(crate) newest_version: Option<String>,
    /// Size of the files that are read.
    pub(crate) size_bytes: Option<u64>,
    /// The write-ahead log.
    pub(crate) log: Option<LogOverview>,
    /// Leftovers of dropped collections.
    pub(crate) orphans: Option<Orphans>,
}

/// Selects collections of a source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection<'a> {
    /// Of this tenant only.
    pub(crate) tenant: Option<&'a str>,
    /// Of this database only.
    pub(crate) database: Option<&'a str>,
    /// Of this name only.
    pub(crate) name: Option<&'a str>,
}

impl ScopeFlags {
    /// The selection of the flags.
    pub(crate) fn selection(&self) -> Selection<'_> {
        Selection { tenant: self.tenant.as_deref(), database: self.database.as_deref(), name: None }
    }
}

impl Selection<'_> {
    /// The one selected collection.
    ///
    /// # Errors
    /// When no collection or more than one is selected.
    pub(crate) fn only<'c>(&self, collections: &'c [Collection]) -> anyhow::Result<&'c Collection> {
        let meant = self.of(collections)?;
        match meant.as_slice() {
            [collection] => Ok(collection),
            several => {
                let several: Vec<Collection> = several.iter().map(|one| (*one).clone()).collect();
                Err(anyhow!(
                    "several collections match: select one with --tenant and --database; {}",
                    list(&several)
                ))
            }
        }
    }

    /// Whether it covers a database, or a tenant without databases.
    pub(crate) fn covers(&self, tenant: &str, database: Option<&str>) -> bool {
        self.tenant.is_none_or(|wanted| wanted == tenant)
            && self.database.is_none_or(|wanted| database == Some(wanted))
    }

    /// The selected collections; names may repeat among tenants and databases.
    ///
    /// # Errors
    /// When the selection is not empty and matches nothing.
    pub(crate) fn of<'c>(&self, collections: &'c [Collection]) -> anyhow::Result<Vec<&'c Collection>> {
        let is = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
        let is_meant = |collection: &&Collection| {
            is(self.tenant, &collection.tenant)
                && is(self.database, &collection.database)
                && is(self.name, &collection.name)
        };
        let meant: Vec<_> = collections.iter().filter(is_meant).collect();
        let wanted: Vec<String> =
            [("collection", self.name), ("tenant", self.tenant), ("database", self.database)]
                .into_iter()
                .filter_map(|(what, wanted)| Some(format!("{what} `{}`", visible(wanted?))))
                .collect();
        if meant.is_empty() && !wanted.is_empty() {
            return Err(anyhow!("found no {}; {}", wanted.join(" of "), list(collections)));
        }
        Ok(meant)
    }
}

/// The names of collections, for an error.
fn list(collections: &[Collection]) -> String {
    if collections.is_empty() {
        return "the source has no collections".to_owned();
    }
    let mut names: Vec<String> = collections
        .iter()
        .take(LISTED_COLLECTIONS)
        .map(|collection| format!("`{}`", full_name(collection)))
        .collect();
    let more = collections.len() - names.len();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    format!("the source has {}", names.join(", "))
}

/// The name of a collection, qualified by tenant and database unless they are the defaults.
pub(crate) fn full_name(collection: &Collection) -> String {
    let Collection { tenant, database, name, .. } = collection;
    if is_default(collection) { visible(name) } else { visible(&format!("{tenant}/{database}/{name}")) }
}

/// Whether a collection is in the default tenant and database.
pub(crate) fn is_default(collection: &Collection) -> bool {
    collection.tenant == chroma::DEFAULT_TENANT && collection.database == chroma::DEFAULT_DATABASE
}
