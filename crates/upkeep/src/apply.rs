//! Executes index plans.

use records::Service;
use store::postgres::{
    Build, Database, Table,
    vector_index::{IndexChange, IndexUse, MeasuredSetting, Observation, PlanRecord, Precision, VectorIndex},
};
use uuid::Uuid;

use crate::{
    json::{observation_to_json, plan_to_json},
    names::temporary_name,
    observe::observe,
    plan::{Plan, TargetIndex, Tuning, plan},
    policy::{BuildUrgency, Policy},
    progress::{Event, Observer},
    tune::tune,
};

/// Maintenance of a table's indexes failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database operation failed. Completed changes stay, and the next call resumes.
    #[error("failed to {operation} table `{table}`")]
    Store {
        /// The operation, in words that precede the name of the table.
        operation: &'static str,
        /// The table.
        table: String,
        /// The cause.
        source: Box<store::Error>,
    },
}

impl Error {
    fn store(operation: &'static str, table: &Table) -> impl Fn(store::Error) -> Self {
        let table = table.name.clone();
        move |source| Self::Store { operation, table: table.clone(), source: Box::new(source) }
    }
}

/// What was done by a call.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The executed plan.
    pub plan: Plan,
    /// The measured search parameters.
    pub measured: Vec<MeasuredSetting>,
}

/// Plans the vector index of `table` and executes the plan, while the table is in use.
///
/// A process that is killed midway leaves an invalid or a superfluous index. The next call detects this and resumes.
///
/// # Errors
/// When another process changes the table's indexes, or a statement fails.
pub async fn apply(
    database: &Database,
    table: &Table,
    policy: &Policy,
    observer: &Observer<'_>,
) -> Result<Applied, Error> {
    let failed = Error::store("change the indexes of", table);
    let lock = database.lock_indexes(&table.name).await.map_err(&failed)?;
    let applied = carry_out(database, table, policy, Build::Concurrently, observer).await.map_err(&failed)?;
    if !is_of_service(table) {
        build_others(database, table, (&applied.plan, Build::Concurrently), observer)
            .await
            .map_err(&failed)?;
    }
    lock.release().await.map_err(&failed)?;
    Ok(applied)
}

/// Measures the search parameters of the index of `table` again; none if searches use exact scans.
///
/// # Errors
/// When another process changes the table's indexes, or a statement fails.
pub async fn retune(
    database: &Database,
    table: &Table,
    policy: &Policy,
    observer: &Observer<'_>,
) -> Result<Vec<MeasuredSetting>, Error> {
    let failed = Error::store("measure the index of", table);
    let lock = database.lock_indexes(&table.name).await.map_err(&failed)?;
    database.prepare_bookkeeping().await.map_err(&failed)?;
    let observation = database.observe_indexes(table).await.map_err(&failed)?;
    let mut measured = Vec::new();
    if let Some(index) = observation.indexes.iter().find(|index| index.is_searched()) {
        let tuning = Tuning { index: index.name.clone(), reason: "requested by the user".to_owned() };
        observer(Event::Tuning(&tuning));
        measured = tune(database, &observation, index, policy, observer).await.map_err(&failed)?;
    }
    lock.release().await.map_err(&failed)?;
    Ok(measured)
}

/// [`apply`] after a migration's `run` has copied rows into `table`, including the other indexes of a service. If no
/// one else can be using the table, indexes are built non-concurrently, which is faster. Waits for other index
/// builds.
///
/// # Errors
/// When a statement fails.
pub async fn apply_after_copy(
    database: &Database,
    table: &Table,
    run: Uuid,
    policy: &Policy,
    observer: &Observer<'_>,
) -> Result<Applied, store::Error> {
    let build =
        if database.has_rows_of_others(table, run).await? { Build::Concurrently } else { Build::Alone };
    let lock = database.lock_indexes_in_turn(&table.name).await?;
    let policy = Policy { urgency: BuildUrgency::Migration, ..*policy };
    let applied = carry_out(database, table, &policy, build, observer).await?;
    build_others(database, table, (&applied.plan, build), observer).await?;
    lock.release().await?;
    database.analyze(table).await?;
    Ok(applied)
}

/// Builds the other indexes that the table of a service has, and that of a collection with a vector index.
async fn build_others(
    database: &Database,
    table: &Table,
    (plan, build): (&Plan, Build),
    observer: &Observer<'_>,
) -> Result<(), store::Error> {
    if is_of_service(table) || matches!(plan.wanted, TargetIndex::Index(_)) {
        let progress = |done, total| observer(Event::Building { done, total });
        database.build_other_indexes(table, plan.rows, build, &progress).await?;
    }
    Ok(())
}

fn is_of_service(table: &Table) -> bool {
    Service::ALL.into_iter().any(|service| Table::of(service) == *table)
}

/// Drops the half-precision indexes of `table`, before rows are inserted that they cannot hold.
///
/// # Errors
/// When a statement fails.
pub async fn drop_half_precision(database: &Database, table: &Table) -> Result<(), store::Error> {
    let lock = database.lock_indexes_in_turn(&table.name).await?;
    let observation = database.observe_indexes(table).await?;
    let is_half = |index: &&VectorIndex| {
        index.service == IndexUse::Searches && index.definition.precision == Precision::Half
    };
    for index in observation.indexes.iter().filter(is_half) {
        let change = [IndexChange::Drop { name: index.name.clone() }];
        database.change_indexes(table, observation.rows, &change, Build::Concurrently, &|_, _| {}).await?;
    }
    lock.release().await
}

/// Observes, plans and executes; the caller holds the lock of the table's indexes.
async fn carry_out(
    database: &Database,
    table: &Table,
    policy: &Policy,
    build: Build,
    observer: &Observer<'_>,
) -> Result<Applied, store::Error> {
    // Left by a process that was killed while the server was building its index.
    database.end_orphaned_builds(table, &temporary_name(&table.name)).await?;
    let observation = observe(database, table).await?;
    let plan = plan(&observation, policy);
    if plan.is_empty() {
        return Ok(Applied { plan, measured: Vec::new() });
    }
    let record = PlanRecord {
        observed: observation_to_json(&observation),
        plan: plan_to_json(&plan),
        writes: observation.writes,
    };
    database.prepare_bookkeeping().await?;
    let id = database.begin_plan(table, &record).await?;
    change(database, &observation, &plan, build, observer).await?;
    let mut measured = Vec::new();
    if let Some(tuning) = &plan.tuning {
        observer(Event::Tuning(tuning));
        let observation = database.observe_indexes(table).await?;
        let index = observation.indexes.iter().find(|index| index.name == tuning.index);
        let index = index.expect("the plan has left it in place");
        measured = tune(database, &observation, index, policy, observer).await?;
    }
    database.end_plan(id).await?;
    Ok(Applied { plan, measured })
}

async fn change(
    database: &Database,
    observation: &Observation,
    plan: &Plan,
    build: Build,
    observer: &Observer<'_>,
) -> Result<(), store::Error> {
    let (table, rows) = (&observation.table, observation.rows);
    let progress = |done, total| observer(Event::Building { done, total });
    match build {
        // One transaction, so that the changes become visible together.
        Build::Alone => {
            for change in &plan.changes {
                observer(Event::Change(change));
            }
            database.change_indexes(table, rows, &plan.changes, build, &progress).await?;
        }
        Build::Concurrently => {
            for change in &plan.changes {
                observer(Event::Change(change));
                let change = std::slice::from_ref(change);
                database.change_indexes(table, rows, change, build, &progress).await?;
            }
        }
    }
    if matches!(plan.wanted, TargetIndex::Index(_)) && !plan.changes.is_empty() {
        // The statistics of the table decide whether the planner uses the index.
        database.analyze(table).await?;
    }
    Ok(())
}
