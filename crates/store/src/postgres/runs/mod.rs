//! Runs of the judge: what is to be done, who does it, and what has become of it. In PostgreSQL whatever keeps outputs.
//!
//! Entry points: [`Database::create_run`](super::Database::create_run);
//! [`Database::claim_run_tasks`](super::Database::claim_run_tasks) gives a worker something to do, and
//! [`Database::record_run`](super::Database::record_run) takes what it did. Everything that belongs together is one
//! transaction, and each begins by locking the run's row: so workers of several processes follow one another, and none
//! misses what the other did. Only [`Database::begin_attempts`](super::Database::begin_attempts) waits for none of them.

mod begin;
mod lifecycle;
mod record;
mod work;

use records::Service;
use time::PrimitiveDateTime;
use uuid::Uuid;

pub use begin::AttemptBegun;
pub use lifecycle::RetryFailed;
pub use record::{AttemptEnded, COMPLETED, KeptAnswer, Recorded, RunRecords, TaskDone, TaskOutcome};
pub use work::{ClaimedTask, Claims, ModelAnswer, TaskWork};

use super::{counted::whole, failure::Failing};

const FAILING: Failing = Failing(Service::Judge);

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: Option<String>,
    /// What is asked and how: JSON, which this crate does not read.
    pub plan: String,
    /// What it may use until it has to stop: JSON, which this crate does not read.
    pub allowance: String,
    /// How far it is.
    pub state: RunState,
    /// Why it is [`RunState::Stopped`].
    pub stop_reason: Option<String>,
    /// When it was made, UTC.
    pub created_at: PrimitiveDateTime,
    /// When it was begun or resumed last, UTC.
    pub began_at: PrimitiveDateTime,
    /// When it came to its state, unless it is running.
    pub ended_at: Option<PrimitiveDateTime>,
    /// What all calls have used.
    pub used: RunUsage,
    /// Stored values that cannot be, each in words; what stands for them is 0, or the nearest time that can be.
    pub problems: Vec<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It is worked on by whoever claims its tasks. Set when it is made or resumed.
    Running,
    /// Somebody asked for its end before it was complete.
    Cancelled,
    /// It cannot go on; a worker said why.
    Stopped,
    /// Every task is done.
    Completed,
}

/// What calls have used, those of earlier processes too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunUsage {
    /// Calls that were begun.
    pub requests: u64,
    /// Tokens, read and written.
    pub tokens: u64,
    /// USD, of calls whose price is known.
    pub cost_usd: f64,
    /// Answers that do not say how many tokens they took.
    pub without_usage: u64,
    /// Answers whose cost is not known.
    pub without_cost: u64,
}

/// A query of a run, as it was when the run was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Its id, if it is a stored one.
    pub id: Option<String>,
    /// What models are asked.
    pub text: String,
    /// Its theme.
    pub theme: String,
    /// An answer known to be good.
    pub reference: Option<String>,
}

/// What is judged: a model's answer, or two models' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The model, by its place in the plan.
    pub model: u16,
    /// The model that it is compared with, by its place in the plan.
    pub opponent: Option<u16>,
    /// Whether the model's answer is shown second.
    pub swapped: bool,
}

/// How many tasks a run has, and what they are about: every model answers every query, and every subject is judged by
/// every metric, judge and repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunShape {
    /// Models in the plan.
    pub models: u16,
    /// What is judged of each query.
    pub subjects: Vec<Subject>,
    /// Metrics in the plan.
    pub metrics: u16,
    /// Judges in the plan.
    pub judges: u16,
    /// Times that each judge is asked.
    pub repeats: u16,
}

/// A run's tasks that are in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTasks {
    /// What they are.
    pub kind: TaskKind,
    /// What came of them; none of those that are not done.
    pub outcome: Option<TaskOutcome>,
    /// How many there are.
    pub count: u64,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A model answers a query.
    Answer,
    /// A judge judges an answer, or compares two.
    Judgement,
}

impl RunState {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
        }
    }

    fn stored(name: &str) -> sqlx::Result<Self> {
        let all = [Self::Running, Self::Cancelled, Self::Stopped, Self::Completed];
        all.into_iter().find(|state| state.as_str() == name).ok_or_else(|| unknown("state", name))
    }
}

impl TaskKind {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Judgement => "judgement",
        }
    }

    fn stored(name: &str) -> sqlx::Result<Self> {
        let all = [Self::Answer, Self::Judgement];
        all.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| unknown("kind", name))
    }
}

impl RunShape {
    /// Tasks of a run of `queries`, and how many of them are judgements.
    pub fn tasks(&self, queries: usize) -> (u64, u64) {
        let of_query = [self.subjects.len(), self.metrics.into(), self.judges.into(), self.repeats.into()];
        let judgements =
            of_query.iter().fold(queries as u64, |product, factor| product.saturating_mul(*factor as u64));
        let answers = queries as u64 * u64::from(self.models);
        (answers.saturating_add(judgements), judgements)
    }
}

impl RunUsage {
    /// Of numbers as they are stored. The names of those that are negative are added to `problems`, and 0 stands for them:
    /// one run's numbers are no reason to show none.
    fn stored(
        [requests, tokens, without_usage, without_cost]: [i64; 4],
        cost_usd: f64,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut count = |name: &str, stored: i64| {
            u64::try_from(stored).unwrap_or_else(|_| {
                problems.push(format!("`{name}` is {stored}, and 0 stands for it"));
                0
            })
        };
        Self {
            requests: count("requests", requests),
            tokens: count("tokens", tokens),
            without_usage: count("without_usage", without_usage),
            without_cost: count("without_cost", without_cost),
            cost_usd: if cost_usd.is_finite() && cost_usd >= 0.0 {
                cost_usd
            } else {
                problems.push(format!("`cost_usd` is {cost_usd}, and 0 stands for it"));
                0.0
            },
        }
    }
}

/// A name that no version of ours has written.
fn unknown(column: &str, name: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("expected a known {column}, found `{name}`").into())
}
