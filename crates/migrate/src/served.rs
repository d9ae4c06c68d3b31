//! What Chroma clients see of migrated collections: registers them as their sources describe them, and compares.

use chroma::Collection;
use records::Service;
use store::{
    collection_schema::described,
    postgres::{
        Database, Table,
        collections::{ChangedHere, DEFAULT_DATABASE, DEFAULT_TENANT, Registered, Registration},
    },
};
use uuid::Uuid;

use crate::{
    Error,
    options::{EditedRows, MigrateOptions, Mode},
    report::CollectionReport,
};

/// The registration of `collection` before it has a table, which would be `table`.
///
/// The collections of services are in the default database, wherever the source has them.
pub(crate) fn registration(collection: &Collection, table: &Table) -> Registration {
    let is_service = Service::ALL.into_iter().any(|service| service.collection() == table.name);
    let schema = collection
        .configured
        .as_ref()
        .and_then(|configured| described(configured.configuration.as_deref(), configured.schema.as_deref()));
    let Collection { id, tenant, database, name, metadata, .. } = collection;
    let (tenant, database, name) = match is_service {
        true => (DEFAULT_TENANT, DEFAULT_DATABASE, table.name.as_str()),
        false => (tenant.as_str(), database.as_str(), name.as_str()),
    };
    Registration {
        id: *id,
        tenant: tenant.to_owned(),
        database: database.to_owned(),
        name: name.to_owned(),
        space: table.space,
        dimension: collection.dimension.and_then(|dimension| u32::try_from(dimension).ok()),
        metadata: (!metadata.is_empty()).then(|| store::metadata_to_json(metadata)),
        schema: schema.map(|schema| schema.to_string()),
        table: None,
    }
}

/// What becomes of descriptions that clients have changed.
pub(crate) fn changed_here(edited_rows: EditedRows) -> ChangedHere {
    match edited_rows {
        EditedRows::Keep => ChangedHere::Keep,
        EditedRows::Overwrite => ChangedHere::Overwrite,
    }
}

/// Whether clients see the collection of the report `number`, of what was `registered`.
pub(crate) fn is_served(registered: &[(usize, Registered)], number: usize) -> bool {
    registered.iter().any(|(place, registered)| *place == number && registered.is_served())
}

/// Registers collections, each for the report with its number.
#[derive(Default)]
pub(crate) struct Registrations {
    numbers: Vec<usize>,
    registrations: Vec<Registration>,
}

impl Registrations {
    pub(crate) fn add(&mut self, number: usize, registration: Registration) {
        self.numbers.push(number);
        self.registrations.push(registration);
    }

    /// That of the report `number`, which has one.
    pub(crate) fn of(&self, number: usize) -> Registration {
        let place = self.numbers.iter().position(|known| *known == number).expect("it was added");
        self.registrations[place].clone()
    }

    /// Registers all of them, and returns what became of each; in a plan, what would become of it.
    pub(crate) async fn register(
        &self,
        database: &Database,
        run: Uuid,
        options: &MigrateOptions,
    ) -> Result<Vec<(usize, Registered)>, Error> {
        let changed = changed_here(options.edited_rows);
        let registered = match options.mode {
            Mode::Run => database.register_collections(&self.registrations, run, changed).await?,
            Mode::DryRun => database.plan_collections(&self.registrations, changed).await?,
        };
        Ok(self.numbers.iter().copied().zip(registered).collect())
    }

    /// Adds to `reports` what clients see.
    pub(crate) async fn compare(
        &self,
        database: &Database,
        reports: &mut [CollectionReport],
    ) -> Result<(), Error> {
        if self.registrations.is_empty() {
            return Ok(());
        }
        let compared = database.compare_collections(&self.registrations).await?;
        for (number, compared) in self.numbers.iter().zip(compared) {
            reports[*number].compared = compared;
        }
        Ok(())
    }
}
