//! The storages of the services in this process, as configured. None falls back to another.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use anyhow::anyhow;
use provision::{ChromaError, ChromaProgram, Consent, ManagedChroma, ManagedChromas};
use records::Service;
use server::Supervisor;
use store::{
    StorageConfig,
    chroma::ServerOptions,
    open_storage,
    postgres::{Access, Database, DatabaseOptions, PostgresStorage, Table},
    storage::{Storage, StorageKind},
};
use upkeep::doctor::ServerOrigin;

use super::{embedded::Watched, monitor, settings::MEMORY_LIMIT};
use crate::{
    arguments::ReplicaFlags,
    configuration::Configuration,
    connection::Connection,
    exit::Failure,
    interrupt::to_end,
    masking::may_hold_password,
    settings::table::{
        PANOPTICON_CHROMA_UPGRADE, PANOPTICON_DATABASE_CONNECTIONS, persist_directory, storage_type,
    },
    source::{is_server_url, token},
};

/// Long enough for a statement that is nearly done; a hanging connection is not waited for.
const CLOSING: Duration = Duration::from_secs(3);

/// Whether reads are done on replicas.
#[derive(Clone, Copy)]
pub(super) enum Replicas<'a> {
    /// All are done on the primary.
    Unused,
    /// They are done on those that the flags, or else the settings, name.
    Configured(&'a ReplicaFlags),
}

/// Storages that are reachable and compatible.
#[derive(Default)]
pub(super) struct Opened {
    storages: Vec<Arc<dyn Storage>>,
    /// The same, read on the primary alone.
    current: Vec<Arc<dyn Storage>>,
    /// `None` if neither records nor results are in PostgreSQL.
    pub(super) database: Option<Database>,
    embedded: Option<Watched>,
    /// They stop when dropped.
    chromas: Vec<Arc<ManagedChroma>>,
}

impl Opened {
    /// Opens the storages of `services`, and upgrades their schema.
    pub(super) async fn open(
        configuration: &Configuration,
        services: &[Service],
        replicas: Replicas<'_>,
        supervisor: &Supervisor,
    ) -> Result<Self, Failure> {
        let mut opened = Self::default();
        match opened.open_all(configuration, services, replicas, supervisor).await {
            Ok(()) => Ok(opened),
            Err(failure) => {
                opened.close().await?;
                Err(failure)
            }
        }
    }

    /// Opens the database for Chroma's API, and upgrades its schema.
    pub(super) async fn open_collections(
        configuration: &Configuration,
        replicas: Replicas<'_>,
        supervisor: &Supervisor,
    ) -> Result<Self, Failure> {
        let mut opened = Self::default();
        match opened.open_database(configuration, replicas, supervisor).await {
            Ok(database) => {
                opened.database = Some(database);
                Ok(opened)
            }
            Err(failure) => {
                opened.close().await?;
                Err(failure)
            }
        }
    }

    /// The database for Chroma's API, with its current schema.
    async fn open_database(
        &mut self,
        configuration: &Configuration,
        replicas: Replicas<'_>,
        supervisor: &Supervisor,
    ) -> Result<Database, Failure> {
        let database = self.connect(configuration, replicas, supervisor).await?;
        warn_of_standby(&database);
        database.prepare_bookkeeping().await?;
        database.create_default_tenant().await.map_err(anyhow::Error::from)?;
        database.register_services().await.map_err(anyhow::Error::from)?;
        Ok(database)
    }

    async fn connect(
        &mut self,
        configuration: &Configuration,
        replicas: Replicas<'_>,
        supervisor: &Supervisor,
    ) -> Result<Database, Failure> {
        let limits = limits(configuration)?;
        // They are used later: an invalid value should end the command at once.
        configuration.index_policy()?;
        configuration.maintenance()?;
        let watch = monitor::search_watch(configuration).map_err(Failure::usage)?;
        let mut connection = Connection::open_within(configuration, &limits).await?;
        if let Replicas::Configured(flags) = replicas {
            connection = connection.with_replicas(configuration, flags, &limits).await?;
        }
        let (database, server) = connection.into_parts();
        self.embedded = server.map(|server| Watched::begin(server, supervisor));
        Ok(database.watched_by(Arc::new(watch)))
    }

    async fn open_all(
        &mut self,
        configuration: &Configuration,
        services: &[Service],
        replicas: Replicas<'_>,
        supervisor: &Supervisor,
    ) -> Result<(), Failure> {
        for service in services {
            configuration.refuse_uncertain_default(storage_type(*service))?;
        }
        let kinds: Vec<(Service, StorageKind)> = services
            .iter()
            .map(|service| Ok((*service, configuration.get(storage_type(*service))?)))
            .collect::<anyhow::Result<_>>()
            .map_err(Failure::usage)?;
        let needs_database =
            kinds.iter().any(|(service, kind)| *kind == StorageKind::Postgres || *service == Service::Judge);
        if needs_database {
            self.database = Some(self.connect(configuration, replicas, supervisor).await?);
        }
        let own = Arc::new(ManagedChromas::default());
        for (service, kind) in kinds {
            let config = match (kind, &self.database) {
                (StorageKind::Postgres, Some(database)) => StorageConfig::Postgres(database.clone()),
                _ => {
                    let (options, chroma) = chroma(configuration, service, &own).await?;
                    self.chromas.extend(chroma);
                    StorageConfig::Chroma(options)
                }
            };
            let storage = open_storage(service, &config).await?;
            storage.check().await?;
            let current: Arc<dyn Storage> = match &config {
                StorageConfig::Postgres(database) if !database.read_servers().is_empty() => {
                    Arc::new(PostgresStorage::new(database.reading_on_primary(), service))
                }
                StorageConfig::Postgres(_) | StorageConfig::Chroma(_) => Arc::clone(&storage),
            };
            self.current.push(current);
            self.storages.push(storage);
        }
        if let Some(database) = self.results() {
            database.prepare_service(Service::Judge).await?;
        }
        if let Some(database) = &self.database {
            if let Err(error) = database.create_default_tenant().await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the gateway cannot serve Chroma clients");
            }
            warn_of_hidden_rows(database, services).await?;
            warn_of_standby(database);
        }
        Ok(())
    }

    /// The opened storages of `services`.
    pub(super) fn of(&self, services: &[Service]) -> Vec<Arc<dyn Storage>> {
        self.storages.iter().filter(|storage| services.contains(&storage.service())).cloned().collect()
    }

    /// The opened storage of `service`, which reads what any process has written.
    pub(super) fn current(&self, service: Service) -> Option<&Arc<dyn Storage>> {
        self.current.iter().find(|storage| storage.service() == service)
    }

    /// The database, if replicas answer its reads.
    pub(super) fn replicated(&self) -> Option<Database> {
        self.database.clone().filter(|database| !database.read_servers().is_empty())
    }

    /// The database with the judge's results, if the judge was opened.
    pub(super) fn results(&self) -> Option<&Database> {
        let is_opened = self.storages.iter().any(|storage| storage.service() == Service::Judge);
        self.database.as_ref().filter(|_| is_opened)
    }

    /// Whose the database server is.
    pub(super) fn origin(&self) -> ServerOrigin {
        if self.embedded.is_some() { ServerOrigin::Embedded } else { ServerOrigin::External }
    }

    /// Closes the connections, and releases the servers that this process started.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let Self { storages, current, database, embedded, chromas } = self;
        drop((storages, current, chromas));
        if let Some(database) = database
            && tokio::time::timeout(CLOSING, database.close()).await.is_err()
        {
            // The server ends statements in progress once our connections are gone.
            tracing::warn!("connections to PostgreSQL were still in use and are dropped");
        }
        match embedded {
            Some(watched) => watched.release().await,
            None => Ok(()),
        }
    }
}

/// Limits of the connections to the database.
fn limits(configuration: &Configuration) -> anyhow::Result<DatabaseOptions> {
    // One is reserved for checks.
    let max_connections = configuration.get(&PANOPTICON_DATABASE_CONNECTIONS)? - 1;
    Ok(DatabaseOptions { max_connections, memory: MEMORY_LIMIT, ..DatabaseOptions::default() })
}

/// The Chroma server of `service`: the one at a URL, or one that this process starts on a directory.
async fn chroma(
    configuration: &Configuration,
    service: Service,
    own: &Arc<ManagedChromas>,
) -> Result<(ServerOptions, Option<Arc<ManagedChroma>>), Failure> {
    configuration.refuse_untrusted_storage(service)?;
    let name = persist_directory(service);
    let Some(place) = configuration.trusted(name)? else {
        let storage_type = storage_type(service);
        return Err(Failure::usage(anyhow!(
            "{storage_type} is `chroma`, and {name} is not set: set it to a directory, or to the URL of a Chroma server"
        )));
    };
    if is_server_url(place) {
        let token = configuration.chroma_token(None)?.map(token).transpose().map_err(Failure::usage)?;
        return Ok((ServerOptions { token, ..ServerOptions::new(place) }, None));
    }
    let directory = PathBuf::from(place);
    if may_hold_password(place) && !directory.exists() {
        return Err(Failure::usage(anyhow!(
            "{name} is neither a path nor an http:// or https:// URL, and is not repeated here since it may hold a password"
        )));
    }
    let is_upgrade = configuration.get(&PANOPTICON_CHROMA_UPGRADE).map_err(Failure::usage)?;
    let consent = if is_upgrade { Consent::Given } else { Consent::Refused };
    let chroma = start_own(own, directory, consent).await.map_err(|error| match error {
        ChromaError::NeedsConsent { .. } => {
            Failure::usage(anyhow!("{error}: set {PANOPTICON_CHROMA_UPGRADE}=1"))
        }
        error => error.into(),
    })?;
    Ok((ServerOptions::new(chroma.url()), Some(chroma)))
}

/// This program, even if its file has been replaced. Only Linux needs a launcher.
const OURSELVES: &str = "/proc/self/exe";

/// Starts a server, which blocks, away from the async threads.
async fn start_own(
    own: &Arc<ManagedChromas>,
    directory: PathBuf,
    consent: Consent,
) -> Result<Arc<ManagedChroma>, ChromaError> {
    let own = Arc::clone(own);
    to_end(move || {
        // Without PATH, nothing is found.
        let program = ChromaProgram::find(&env::var_os("PATH").unwrap_or_default(), OURSELVES)?;
        own.start(&program, &directory, consent)
    })
    .await
}

/// Warns that writes are rejected.
fn warn_of_standby(database: &Database) {
    if database.rejects_writes() {
        tracing::warn!(
            "the database server at {} is a standby or read-only: reads are served; writes are answered with status 503, and maintenance, monitoring and runs wait, until it accepts writes",
            database.address()
        );
    }
}

/// Warns of tables whose row-level security hides rows from this role.
async fn warn_of_hidden_rows(database: &Database, services: &[Service]) -> Result<(), Failure> {
    for table in database.tables_with_hidden_rows().await? {
        tracing::warn!(
            "row-level security hides rows of table `{table}` from this role: lists and searches show only the rows that a policy permits; use the role that owns the table or one with BYPASSRLS"
        );
    }
    for table in services.iter().map(|service| Table::of(*service)) {
        match database.check_access(&table, Access::Read).await {
            // Logged above.
            Err(store::Error::HiddenRows { .. }) => {}
            Err(error @ store::Error::TablePrivilege { .. }) => tracing::warn!("{error}"),
            result => result?,
        }
    }
    Ok(())
}
