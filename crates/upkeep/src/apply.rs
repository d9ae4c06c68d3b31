//! Carries plans out.

use store::postgres::{
    Build, Database, Table,
    vector_index::{IndexChange, IndexUse, MeasuredSetting, Observation, PlanRecord, Precision, VectorIndex},
};
use uuid::Uuid;

use crate::{
    json::{observation_to_json, plan_to_json},
    names::temporary_name,
    observe::observe,
    plan::{Plan, Tuning, Wanted, plan},
    policy::{Haste, Policy},
    progress::{Event, Observer},
    tune::tune,
};

/// The upkeep of a table's indexes went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused something. What was done before stays, and the next call goes on.
    #[error("failed to {operation} table `{table}`")]
    Store {
        /// What was tried, ending before `table`.
        operation: &'static str,
        /// The table.
        table: String,
        /// Why not.
        source: Box<store::Error>,
    },
}

impl Error {
    fn store(operation: &'static str, table: &Table) -> impl Fn(store::Error) -> Self {
        let table = table.name.clone();
        move |source| Self::Store { operation, table: table.clone(), source: Box::new(source) }
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The plan that was carried out.
    pub plan: Plan,
    /// The search settings that were measured.
    pub measured: Vec<MeasuredSetting>,
}

/// Plans the vector index of `table` and carries the plan out, while the table is in use.
///
/// A process that is killed on the way leaves an index that is not valid, or two of which one is too many. The next call
/// sees that and goes on.
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
    lock.release().await.map_err(&failed)?;
    Ok(applied)
}

/// Measures the search settings of the index that `table` has, whatever was measured before; none where searches are
/// exact.
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
        let tuning = Tuning { index: index.name.clone(), reason: "somebody asked for it".to_owned() };
        observer(Event::Tuning(&tuning));
        measured = tune(database, &observation, index, policy, observer).await.map_err(&failed)?;
    }
    lock.release().await.map_err(&failed)?;
    Ok(measured)
}

/// The same as [`apply`] after a migration's `run` has copied rows into `table`, and with the indexes for other queries of a
/// service: alone where nobody else can be using the table, which is quicker. Whoever builds indexes now is waited for.
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
    let policy = Policy { haste: Haste::Migration, ..*policy };
    let applied = carry_out(database, table, &policy, build, observer).await?;
    let rows = applied.plan.rows;
    database
        .build_service_indexes(table, rows, build, &|done, total| observer(Event::Building { done, total }))
        .await?;
    lock.release().await?;
    database.analyze(table).await?;
    Ok(applied)
}

/// Drops the indexes of half precision that searches of `table` use, before rows come that such an index cannot hold.
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

/// Observes, plans, and does it; the caller holds the table's indexes.
async fn carry_out(
    database: &Database,
    table: &Table,
    policy: &Policy,
    build: Build,
    observer: &Observer<'_>,
) -> Result<Applied, store::Error> {
    // Of a process that was killed while the server was building for it.
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
        // One transaction: none of the changes is seen before all are.
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
    if matches!(plan.wanted, Wanted::Index(_)) && !plan.changes.is_empty() {
        // What is known of the table's size decides whether the index is used.
        database.analyze(table).await?;
    }
    Ok(())
}
