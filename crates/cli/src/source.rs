//! Where `inspect` and `dump` find Chroma data: a persist directory, or a server by its URL.
//!
//! Everything here blocks, so commands call it from a thread of their own
//! ([`run_interruptibly`](crate::interrupt::run_interruptibly)).

use std::{fmt, ops::ControlFlow, path::PathBuf};

use anyhow::{Context as _, anyhow};
use chroma::{Collection, LogOverview, Orphans, Overview, PersistDirectory, ReadReport, Record, Warning};
use url::Url;

use crate::{
    arguments::{SourceArguments, TokenHeader},
    configuration::Configuration,
    exit::Failure,
    output::visible,
};

/// Collections that an error lists; more would hide the error itself.
const LISTED_COLLECTIONS: usize = 100;

/// Where the data is.
#[derive(Debug)]
pub(crate) enum Location {
    /// A persist directory.
    Directory(PathBuf),
    /// A running server.
    Server(ServerAddress),
}

/// A server, and how to be let in.
#[derive(Debug)]
pub(crate) struct ServerAddress {
    url: Url,
    #[expect(dead_code, reason = "for the server's client, which is not merged yet")]
    token: Option<Token>,
    #[expect(dead_code, reason = "for the server's client, which is not merged yet")]
    token_header: TokenHeader,
}

/// A secret; nothing prints it.
pub(crate) struct Token(
    #[expect(dead_code, reason = "for the server's client, which is not merged yet")] String,
);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Location {
    /// What the command line names, with the token of flag or environment.
    pub(crate) fn new(arguments: &SourceArguments, configuration: &Configuration) -> anyhow::Result<Self> {
        let text = arguments.source.to_str().unwrap_or_default();
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        if is_url {
            let url =
                Url::parse(text).context("expected a persist directory or the URL of a Chroma server")?;
            let token = configuration.chroma_token(arguments.token.as_deref()).map(Token::new).transpose()?;
            let token_header = arguments.token_header.unwrap_or(TokenHeader::Authorization);
            return Ok(Self::Server(ServerAddress { url, token, token_header }));
        }
        for (flag, is_given) in
            [("--token", arguments.token.is_some()), ("--token-header", arguments.token_header.is_some())]
        {
            if is_given {
                return Err(anyhow!("{flag} is for a server, and the source is no http:// or https:// URL"));
            }
        }
        Ok(Self::Directory(arguments.source.clone()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            // Without user, password and query, any of which may be secret.
            Self::Server(address) => {
                write!(f, "{}{}", address.url.origin().ascii_serialization(), address.url.path())
            }
        }
    }
}

impl Token {
    fn new(token: &str) -> anyhow::Result<Self> {
        // Checked here, since errors of HTTP libraries quote the header that they refuse.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(anyhow!(
                "the token cannot be sent: expected visible ASCII characters without spaces"
            ));
        }
        Ok(Self(token.to_owned()))
    }
}

/// Open Chroma data. A variant for servers follows: it holds its async client and a handle of the runtime, on
/// which [`Source::read`] waits page by page.
pub(crate) enum Source {
    /// A persist directory.
    Directory(Box<PersistDirectory>),
}

impl Source {
    /// Opens `location`.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub(crate) fn open(location: &Location) -> Result<Self, Failure> {
        match location {
            Location::Directory(path) => {
                Ok(Self::Directory(Box::new(PersistDirectory::open(path).map_err(Failure::usage)?)))
            }
            Location::Server(_) => Err(Failure::usage(anyhow!(
                "cannot read from the server at {location}: this version of panopticon reads persist directories only"
            ))),
        }
    }

    /// All collections, ordered by tenant, database, name and id.
    pub(crate) fn collections(&self) -> &[Collection] {
        match self {
            Self::Directory(directory) => directory.collections(),
        }
    }

    /// What is odd about the source as a whole.
    pub(crate) fn warnings(&self) -> &[Warning] {
        match self {
            Self::Directory(directory) => directory.warnings(),
        }
    }

    /// What it says of itself.
    pub(crate) fn describe(&self) -> Result<Description, Failure> {
        match self {
            Self::Directory(directory) => {
                let Overview { kind, version, size_bytes, log, orphans } =
                    directory.overview().map_err(Failure::usage)?;
                Ok(Description {
                    kind: kind.as_str(),
                    oldest_version: Some(version.min.to_owned()),
                    newest_version: version.max.map(str::to_owned),
                    size_bytes: Some(size_bytes),
                    log: Some(log),
                    orphans: Some(orphans),
                })
            }
        }
    }

    /// How many records [`read`](Self::read) will visit.
    pub(crate) fn record_count(&self, collection: &Collection) -> Result<u64, Failure> {
        match self {
            Self::Directory(directory) => directory.record_count(collection).map_err(Failure::usage),
        }
    }

    /// Visits every record of a collection; breaking ends the read.
    pub(crate) fn read(
        &self,
        collection: &Collection,
        visit: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ReadReport, Failure> {
        match self {
            Self::Directory(directory) => directory.read(collection, visit).map_err(Failure::usage),
        }
    }
}

/// What a source is. A server tells its version and nothing of its files.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// A stable name.
    pub(crate) kind: &'static str,
    /// The oldest Chroma that it can be of.
    pub(crate) oldest_version: Option<String>,
    /// The newest one; `None` if it is newer than all that are known.
    pub(crate) newest_version: Option<String>,
    /// Size of what is read.
    pub(crate) size_bytes: Option<u64>,
    /// The write-ahead log.
    pub(crate) log: Option<LogOverview>,
    /// Leftovers of dropped collections.
    pub(crate) orphans: Option<Orphans>,
}

/// Which collections of a source are meant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection<'a> {
    /// Of this tenant only.
    pub(crate) tenant: Option<&'a str>,
    /// Of this database only.
    pub(crate) database: Option<&'a str>,
    /// Of this name only.
    pub(crate) name: Option<&'a str>,
}

impl Selection<'_> {
    /// The collections that are meant; names may repeat among tenants and databases.
    ///
    /// # Errors
    /// When something was asked for and nothing is like it.
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

/// The name of a collection, after its tenant and database unless they are the default ones.
pub(crate) fn full_name(collection: &Collection) -> String {
    let Collection { tenant, database, name, .. } = collection;
    if is_default(collection) { visible(name) } else { visible(&format!("{tenant}/{database}/{name}")) }
}

/// Whether a collection is where all are that nobody put elsewhere.
pub(crate) fn is_default(collection: &Collection) -> bool {
    collection.tenant == chroma::DEFAULT_TENANT && collection.database == chroma::DEFAULT_DATABASE
}
