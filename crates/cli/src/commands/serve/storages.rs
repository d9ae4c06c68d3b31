//! The stores of the services that run in this process.

use std::sync::Arc;

use records::Service;
use store::{
    postgres::{Database, PostgresStorage},
    storage::Storage,
};

use super::embedded::Watched;
use crate::{configuration::Configuration, connection::Connection, exit::Failure};

/// Stores that answer and fit.
pub(super) struct Opened {
    storages: Vec<Arc<dyn Storage>>,
    pub(super) database: Database,
    embedded: Option<Watched>,
}

impl Opened {
    /// Opens the stores of `services`, and makes their schema current.
    pub(super) async fn open(configuration: &Configuration, services: &[Service]) -> Result<Self, Failure> {
        let (database, server) = Connection::open(configuration).await?.into_parts();
        database.prepare_schema().await?;
        for service in services {
            database.ensure_service_indexes(*service).await?;
        }
        let storages = services
            .iter()
            .map(|service| -> Arc<dyn Storage> { Arc::new(PostgresStorage::new(database.clone(), *service)) })
            .collect();
        let opened = Self { storages, database, embedded: server.map(Watched::begin) };
        for storage in &opened.storages {
            storage.check().await?;
        }
        Ok(opened)
    }

    /// The stores of `services`, which were opened.
    pub(super) fn of(&self, services: &[Service]) -> Vec<Arc<dyn Storage>> {
        self.storages.iter().filter(|storage| services.contains(&storage.service())).cloned().collect()
    }

    /// Where the judge's results are, if it is one of `services`.
    pub(super) fn results_of(&self, services: &[Service]) -> Option<&Database> {
        services.contains(&Service::Judge).then_some(&self.database)
    }

    /// Closes the connections and lets go of the embedded server.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let Self { storages, database, embedded } = self;
        drop(storages);
        database.close().await;
        match embedded {
            Some(watched) => watched.release().await,
            None => Ok(()),
        }
    }
}
