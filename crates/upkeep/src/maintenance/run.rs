//! Executes maintenance plans: one process at a time, actions sequentially, each recorded.

use std::{
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use store::postgres::{Database, Table, maintenance::ActionRecord};
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{
    limits::Limits,
    observe::{Observed, migrating, observe},
    plan::{Action, Plan, Planned, plan},
};
use crate::{apply::Error, plan::at_target, policy::Policy};

/// How often to check whether a migration has started on the current table.
const MIGRATION_CHECK: Duration = Duration::from_secs(2);

/// Parameters of a maintenance round.
#[derive(Clone, Copy)]
pub struct Maintenance<'a> {
    /// The database.
    pub database: &'a Database,
    /// The policy for vector indexes.
    pub policy: &'a Policy,
    /// Time limits and retention.
    pub limits: &'a Limits,
    /// The only table to maintain; `None` for all tables and ledgers.
    pub only: Option<&'a str>,
    /// Receives progress events.
    pub observer: &'a Observer<'a>,
}

/// A progress event.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The database was observed.
    Observed(&'a Observed),
    /// An action starts.
    Begins(&'a Planned),
    /// Progress on the table's vector indexes.
    Index(crate::Event<'a>),
    /// An action has ended.
    Ended(&'a Done),
}

/// Receives progress events.
pub type Observer<'a> = dyn Fn(Event<'_>) + Sync + 'a;

/// The outcome of a round.
#[derive(Clone, Debug)]
pub enum Round {
    /// Another process is maintaining the database.
    Busy,
    /// A plan was made and executed, as far as `ending` says.
    Made {
        /// The plan.
        plan: Plan,
        /// The started actions.
        done: Vec<Done>,
        /// Why the round ended.
        ending: Ending,
    },
}

/// Why a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All actions were executed.
    All,
    /// The budget was exhausted or the quiet hours ended. The next round does the rest.
    TimeUp,
    /// It was stopped.
    Stopped,
}

/// A started action.
#[derive(Clone, Debug)]
pub struct Done {
    /// The action.
    pub planned: Planned,
    /// Its duration.
    pub took: Duration,
    /// Its outcome.
    pub outcome: Outcome,
    /// Measurements of the table before the action.
    pub before: Value,
    /// Measurements after the action.
    pub after: Value,
}

/// The outcome of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// It failed. Completed changes stay; the next round detects what is left.
    Failed {
        /// The error with its causes.
        error: String,
    },
    /// It was interrupted. The next round resumes.
    Interrupted(Interruption),
}

/// Why an action was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Maintenance is stopping.
    Stop,
    /// A migration has started to write into the table.
    Migration,
}

impl Interruption {
    /// The recorded text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "maintenance was stopped",
            Self::Migration => "a migration into the table has begun",
        }
    }
}

impl Outcome {
    /// Its name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

/// Plans and executes the maintenance of the database, until `stop`. The next round detects and completes the work of
/// a killed process.
///
/// # Errors
/// When the database cannot be observed, or an action cannot be recorded. A failing action is not an error: the
/// others continue.
pub async fn maintain(
    maintenance: Maintenance<'_>,
    stop: impl Future<Output = ()>,
) -> Result<Round, store::Error> {
    let Some(lock) = maintenance.database.lock_maintenance().await? else { return Ok(Round::Busy) };
    let round = Box::pin(maintenance.round(pin!(stop))).await?;
    lock.release().await?;
    Ok(round)
}

impl Maintenance<'_> {
    async fn round(&self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<Round, store::Error> {
        let began = Instant::now();
        let observed = tokio::select! {
            biased;
            () = stop.as_mut() => {
                return Ok(Round::Made { plan: Plan::default(), done: Vec::new(), ending: Ending::Stopped });
            }
            observed = self.observe() => observed?,
        };
        (self.observer)(Event::Observed(&observed));
        let plan = plan(&observed, self.policy, self.limits);
        let (mut done, mut ending) = (Vec::new(), Ending::All);
        for planned in &plan.actions {
            if began.elapsed() >= self.limits.budget || !planned.action.may_begin(self.limits, now()) {
                ending = Ending::TimeUp;
                break;
            }
            let ended = self.carry_out(&observed, planned, stop.as_mut()).await?;
            (self.observer)(Event::Ended(&ended));
            let is_stopped = ended.outcome == Outcome::Interrupted(Interruption::Stop);
            done.push(ended);
            if is_stopped {
                ending = Ending::Stopped;
                break;
            }
        }
        Ok(Round::Made { plan, done, ending })
    }

    async fn observe(&self) -> Result<Observed, store::Error> {
        // Databases of older versions lack the tables in which actions are recorded.
        self.database.prepare_bookkeeping().await?;
        observe(self.database, self.limits, self.only).await
    }

    /// Executes and records an action.
    async fn carry_out(
        &self,
        observed: &Observed,
        planned: &Planned,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Done, store::Error> {
        let began = Instant::now();
        let table = observed.tables.iter().find(|table| table.health.name == planned.table);
        let table = table.and_then(|table| table.vectors.as_ref()).map(|vectors| &vectors.observation.table);
        let before = self.measured(&planned.table, table).await?;
        let record = ActionRecord {
            table: Some(&planned.table),
            action: planned.action.as_str(),
            reason: &planned.reason,
            before: before.clone(),
        };
        let id = self.database.begin_action(&record).await?;
        (self.observer)(Event::Begins(planned));
        // Before the action starts: an interrupted statement continues in the server until it detects that the client
        // is gone.
        let outcome = if self.is_migrated(&planned.table).await? {
            Outcome::Interrupted(Interruption::Migration)
        } else {
            tokio::select! {
                biased;
                () = stop => Outcome::Interrupted(Interruption::Stop),
                begun = self.migration_begun(&planned.table) => {
                    begun?;
                    Outcome::Interrupted(Interruption::Migration)
                }
                acted = self.act(planned, table) => match acted {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Failed { error: with_causes(&error) },
                },
            }
        };
        let after = self.measured(&planned.table, table).await?;
        let ended = match &outcome {
            Outcome::Done => Ok(&after),
            Outcome::Failed { error } => Err(error.as_str()),
            Outcome::Interrupted(by) => Err(by.as_str()),
        };
        self.database.end_action(id, ended).await?;
        Ok(Done { planned: planned.clone(), took: began.elapsed(), outcome, before, after })
    }

    async fn act(&self, planned: &Planned, table: Option<&Table>) -> Result<(), Error> {
        let (database, name) = (self.database, planned.table.as_str());
        let operation = match &planned.action {
            Action::Expire(_) => "delete expired rows of",
            Action::Reindex { .. } => "rebuild an index of",
            Action::Vacuum => "vacuum",
            Action::Statistics(_) => "refresh statistics of",
            Action::Index(_) => {
                let table = table.expect("only tables with vectors have an index planned");
                let observer = |event: crate::Event<'_>| (self.observer)(Event::Index(event));
                return crate::apply(database, table, self.policy, &observer).await.map(drop);
            }
        };
        let work = async {
            // The lock for index builds also excludes all of these actions, and vice versa.
            let lock = database.lock_indexes(name).await?;
            match &planned.action {
                Action::Expire(expired) => database.expire(expired.ledger, expired.before).await.map(drop)?,
                Action::Reindex { index, definition } => {
                    let table = table.expect("only tables with vectors have vector indexes");
                    database.end_orphaned_builds(table, index).await?;
                    let rows = database.observe_indexes(table).await?.rows;
                    let progress =
                        |done, total| (self.observer)(Event::Index(crate::Event::Building { done, total }));
                    database.rebuild_index(table, rows, (index, *definition), &progress).await?;
                }
                Action::Vacuum => database.vacuum(name).await?,
                Action::Statistics(columns) => database.gather_statistics(name, columns).await?,
                Action::Index(_) => unreachable!("it was done above"),
            }
            lock.release().await
        };
        work.await.map_err(|source| Error::Store {
            operation,
            table: name.to_owned(),
            source: Box::new(source),
        })
    }

    /// Returns when a migration writes into `table`.
    async fn migration_begun(&self, table: &str) -> Result<(), store::Error> {
        while !self.is_migrated(table).await? {
            tokio::time::sleep(MIGRATION_CHECK).await;
        }
        Ok(())
    }

    /// Whether a migration writes into `table`.
    async fn is_migrated(&self, table: &str) -> Result<bool, store::Error> {
        Ok(migrating(self.database).await?.iter().any(|name| name == table))
    }

    /// Rows, sizes and recall of a table, as far as known.
    async fn measured(&self, name: &str, table: Option<&Table>) -> Result<Value, store::Error> {
        let Some(health) = self.database.table_health(&[name.to_owned()]).await?.pop() else {
            return Ok(json!({}));
        };
        let mut measured = json!({
            "rows": health.rows,
            "dead_rows": health.dead_rows,
            "heap_bytes": health.heap_bytes,
            "index_bytes": health.index_bytes,
        });
        if let Some(table) = table {
            let indexes = self.database.observe_indexes(table).await?.indexes;
            let index = indexes.iter().find(|index| index.is_searched());
            let setting = index.and_then(at_target);
            measured["vector_index"] = json!(index.map(|index| index.definition.to_string()));
            measured["vector_index_bytes"] = json!(index.map(|index| index.size_bytes));
            measured["candidates"] = json!(setting.map(|setting| setting.candidates));
            measured["recall"] = json!(setting.map(|setting| setting.recall));
            measured["latency_ms"] = json!(setting.map(|setting| setting.latency_ms));
        }
        Ok(measured)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn now() -> PrimitiveDateTime {
    let now = OffsetDateTime::now_utc();
    PrimitiveDateTime::new(now.date(), now.time())
}
