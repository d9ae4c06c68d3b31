//! The database of a command: the one that `DATABASE_URL` names, else the embedded server's.

use anyhow::{Context as _, anyhow};
use provision::{Server, ServerOptions};
use store::postgres::{Database, DatabaseOptions, DatabaseUrl, split_database_urls};

use crate::{
    arguments::ReplicaFlags,
    configuration::Configuration,
    environment::libpq,
    exit::Failure,
    interrupt::to_end,
    progress::setup_line,
    settings::table::{DATABASE_REPLICA_MAX_LAG_SECONDS, DATABASE_REPLICA_URLS, DATABASE_URL},
};

/// The demo's database on the embedded server, separate from the user's data.
pub(crate) const DEMO_DATABASE: &str = "panopticon_demo";

/// The database that `panopticon restore` fills, and what the former one is called until it is dropped.
pub(crate) const RESTORING_DATABASE: &str = "panopticon_restoring";
pub(crate) const FORMER_DATABASE: &str = "panopticon_before_restore";

/// An open database, and the embedded server if the database is on it.
pub(crate) struct Connection {
    pub(crate) database: Database,
    server: Option<Server>,
}

impl Connection {
    /// Connects to `DATABASE_URL`, or starts the embedded server and says so. Refuses an incompatible database.
    pub(crate) async fn open(configuration: &Configuration) -> Result<Self, Failure> {
        Self::open_within(configuration, &DatabaseOptions::default()).await
    }

    /// As [`open`](Self::open), within `limits`.
    pub(crate) async fn open_within(
        configuration: &Configuration,
        limits: &DatabaseOptions,
    ) -> Result<Self, Failure> {
        let connection = Self::connect(configuration, limits).await?;
        match connection.database.check_session() {
            Ok(()) => Ok(connection),
            Err(error) => {
                connection.close().await?;
                Err(error.into())
            }
        }
    }

    /// As [`open`](Self::open), but also opens an incompatible database.
    pub(crate) async fn open_as_it_is(configuration: &Configuration) -> Result<Self, Failure> {
        Self::connect(configuration, &DatabaseOptions::default()).await
    }

    async fn connect(configuration: &Configuration, limits: &DatabaseOptions) -> Result<Self, Failure> {
        if configuration.is_demo() {
            return Self::connect_to_demo(configuration, limits).await;
        }
        match database_url(configuration)? {
            Some(url) => Ok(Self { database: Database::connect_with(&url, limits).await?, server: None }),
            None => {
                let server = start_embedded(configuration).await?;
                let database = Database::connect_with(&server.url(), limits).await?;
                Ok(Self { database, server: Some(server) })
            }
        }
    }

    /// Connects to the demo's database, which `panopticon demo` creates.
    pub(crate) async fn open_demo(configuration: &Configuration) -> Result<Self, Failure> {
        Self::connect_to_demo(configuration, &DatabaseOptions::default()).await
    }

    async fn connect_to_demo(
        configuration: &Configuration,
        limits: &DatabaseOptions,
    ) -> Result<Self, Failure> {
        let server = start_embedded(configuration).await?;
        let url = server.url_of(DEMO_DATABASE);
        let database = Database::connect_with(&url, limits).await;
        let database = database.context("run `panopticon demo` first").map_err(Failure::usage)?;
        Ok(Self { database, server: Some(server) })
    }

    /// Connects to `url`, a database of `server`.
    pub(crate) async fn on(server: Server, url: &str) -> Result<Self, Failure> {
        Ok(Self { database: Database::connect(url).await?, server: Some(server) })
    }

    /// The same with the replicas that the flags, or else `DATABASE_REPLICA_URLS`, name for reads within `limits`.
    pub(crate) async fn with_replicas(
        self,
        configuration: &Configuration,
        flags: &ReplicaFlags,
        limits: &DatabaseOptions,
    ) -> Result<Self, Failure> {
        let prepared = replica_urls(configuration, flags, self.server.is_none());
        let max_lag = configuration.get(&DATABASE_REPLICA_MAX_LAG_SECONDS).map_err(Failure::usage);
        let (urls, max_lag) = match prepared.and_then(|urls| Ok((urls, max_lag?))) {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.close().await?;
                return Err(failure);
            }
        };
        let Self { database, server } = self;
        match database.clone().with_replicas(&urls, max_lag, limits).await {
            Ok(database) => Ok(Self { database, server }),
            Err(error) => {
                Self { database, server }.close().await?;
                Err(Failure::from(error).context(format!("{DATABASE_REPLICA_URLS} cannot be used")))
            }
        }
    }

    /// The embedded server, if the database is on it.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// The database, and the embedded server if the database is on it.
    pub(crate) fn into_parts(self) -> (Database, Option<Server>) {
        (self.database, self.server)
    }

    /// Closes the connections and releases the embedded server.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.database.close().await;
        match self.server {
            Some(server) => blocking(move || server.release()).await,
            None => Ok(()),
        }
    }
}

/// `DATABASE_URL`, completed by libpq's environment variables.
fn database_url(configuration: &Configuration) -> Result<Option<String>, Failure> {
    let Some(url) = configuration.trusted(&DATABASE_URL)? else {
        configuration.refuse_uncertain_default(&DATABASE_URL)?;
        return Ok(None);
    };
    let failed = |error| {
        Failure::usage(error).context(format!("{} cannot be used", configuration.place(&DATABASE_URL)))
    };
    let url = DatabaseUrl::parse(url).map_err(failed)?;
    Ok(Some(url.with_variables(libpq()).map_err(failed)?.to_url()))
}

/// The URLs of the replicas, completed by libpq's environment variables.
fn replica_urls(
    configuration: &Configuration,
    flags: &ReplicaFlags,
    is_external: bool,
) -> Result<Vec<String>, Failure> {
    let urls = match flags.database_replica_urls.as_deref() {
        Some(urls) => Some(urls),
        None => configuration.trusted(&DATABASE_REPLICA_URLS)?,
    };
    // Without the setting, there are no replicas.
    let urls = urls.map(split_database_urls).unwrap_or_default();
    if !urls.is_empty() && !is_external {
        return Err(Failure::usage(anyhow!(
            "{DATABASE_REPLICA_URLS} is set, and the embedded PostgreSQL has no replicas: set {DATABASE_URL} to their primary"
        )));
    }
    let failed = |error| {
        let place = configuration.place(&DATABASE_REPLICA_URLS);
        Failure::usage(error).context(format!("{place} cannot be used"))
    };
    let completed = |url: &str| {
        let url = DatabaseUrl::parse(url).and_then(|url| url.with_variables(libpq()));
        Ok(url.map_err(failed)?.to_url())
    };
    urls.into_iter().map(completed).collect()
}

/// Starts the embedded server, and prints its folder on standard error.
pub(crate) async fn start_embedded(configuration: &Configuration) -> Result<Server, Failure> {
    let options = ServerOptions::in_data_dir(&configuration.data_dir()?);
    eprintln!(
        "using the embedded PostgreSQL in {}; set {DATABASE_URL} to use another",
        options.cluster.display()
    );
    blocking(move || Server::start(&options, &setup_line)).await
}

/// Whether the embedded server exists already, so that using it creates nothing.
pub(crate) fn has_embedded_cluster(configuration: &Configuration) -> Result<bool, Failure> {
    Ok(ServerOptions::in_data_dir(&configuration.data_dir()?).has_cluster())
}

/// Runs setup work, which waits for programs and downloads, away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, provision::Error> + Send + 'static,
) -> Result<T, Failure> {
    to_end(work).await.map_err(Failure::from)
}
