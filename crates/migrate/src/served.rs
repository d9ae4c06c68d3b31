//! What Chroma clients see of migrated collections: registers them as their sources describe them, and compares.

use chroma::Collection;
use records::Service;
use store::{
    collection_schema::described,
    postgres::{
        Database, Table,
        collections::{ChangedHere, Registered, Registration},
    },
};
use uuid::Uuid;

use crate::{Error, options::EditedRows, report::CollectionReport};

/// The registration of `collection` before it has a table, which would be `table`.
///
/// The collections of services are not registered.
pub(crate) fn registration(collection: &Collection, table: &Table) -> Option<Registration> {
    let is_service = Service::ALL.into_iter().any(|service| service.collection() == table.name);
    if is_service {
        return None;
    }
    let schema = collection
        .configured
        .as_ref()
        .and_then(|configured| described(configured.configuration.as_deref(), configured.schema.as_deref()));
    let Collection { id, tenant, database, name, metadata, .. } = collection;
    Some(Registration {
        id: *id,
        tenant: tenant.clone(),
        database: database.clone(),
        name: name.clone(),
        space: table.space,
        dimension: collection.dimension.and_then(|dimension| u32::try_from(dimension).ok()),
        metadata: (!metadata.is_empty()).then(|| store::metadata_to_json(metadata)),
        schema: schema.map(|schema| schema.to_string()),
        table: None,
    })
}

/// Registers collections, each for the report with its number.
#[derive(Default)]
pub(crate) struct Registrations {
    numbers: Vec<usize>,
    registrations: Vec<Registration>,
}

impl Registrations {
    pub(crate) fn add(&mut self, number: usize, registration: Option<Registration>) {
        if let Some(registration) = registration {
            self.numbers.push(number);
            self.registrations.push(registration);
        }
    }

    /// Registers all of them, and returns what became of each.
    pub(crate) async fn register(
        &self,
        database: &Database,
        run: Uuid,
        edited_rows: EditedRows,
    ) -> Result<Vec<(usize, Registered)>, Error> {
        let changed = match edited_rows {
            EditedRows::Keep => ChangedHere::Keep,
            EditedRows::Overwrite => ChangedHere::Overwrite,
        };
        let registered = database.register_collections(&self.registrations, run, changed).await?;
        Ok(self.numbers.iter().copied().zip(registered).collect())
    }

    /// Adds to `reports` in which parts clients see something else.
    pub(crate) async fn compare(
        &self,
        database: &Database,
        reports: &mut [CollectionReport],
    ) -> Result<(), Error> {
        if self.registrations.is_empty() {
            return Ok(());
        }
        let differences = database.registered_differences(&self.registrations).await?;
        for (number, differences) in self.numbers.iter().zip(differences) {
            reports[*number].served_differences = differences;
        }
        Ok(())
    }
}
