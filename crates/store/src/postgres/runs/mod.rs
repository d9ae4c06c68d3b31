//! Runs of the judge: their tasks, workers and results. They are in PostgreSQL even if the outputs are in ChromaDB.
//!
//! Entry points: [`Database::create_run`](super::Database::create_run) creates a run,
//! [`Database::claim_run_tasks`](super::Database::claim_run_tasks) gives tasks to a worker, and
//! [`Database::record_run`](super::Database::record_run) stores their results. Each is one transaction that first
//! locks the row of the run, so the transactions of several workers are serialized. Only
//! [`Database::begin_attempts`](super::Database::begin_attempts) does not lock the row.

mod begin;
mod lifecycle;
mod record;
mod report;
mod work;

use records::Service;
use time::PrimitiveDateTime;
use uuid::Uuid;

pub use begin::AttemptBegun;
pub use lifecycle::RetryFailed;
pub use record::{AttemptEnded, COMPLETED, PendingAnswer, Recorded, RunRecords, TaskDone};
pub use report::{NamedRun, ReasonCount, RunReasons, RunSpending, UsageInterval};
pub use work::{ClaimedTask, Claims, ModelAnswer, TaskWork};

use super::{counted::whole, failure::Failing, result_selection::ResultStatus};

const FAILING: Failing = Failing(Service::Judge);

/// Maximum size of a plan in bytes: many times the largest real one, and small enough to read many runs at once.
pub const MAX_PLAN_BYTES: usize = 2 << 20;
/// Maximum size in bytes of a task's texts that are read when it is claimed; larger ones are read when it is started.
const CLAIMED_BYTES: i64 = 8 << 10;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: Option<String>,
    /// Whether the name is truncated because the stored one is longer than any that Panopticon writes.
    pub is_name_cut: bool,
    /// The plan: JSON that this crate does not parse. Empty if it is too large to be read.
    pub plan: String,
    /// The limits at which it has to stop: JSON that this crate does not parse.
    pub allowance: String,
    /// Its state.
    pub state: RunState,
    /// The reason for [`RunState::Stopped`].
    pub stop_reason: Option<String>,
    /// When it was made, UTC.
    pub created_at: PrimitiveDateTime,
    /// When it was last started or resumed, UTC.
    pub began_at: PrimitiveDateTime,
    /// When it reached its state, unless it is running.
    pub ended_at: Option<PrimitiveDateTime>,
    /// The total usage of all calls.
    pub used: RunUsage,
    /// Descriptions of stored values that are impossible. They are replaced by 0 or by the nearest possible time.
    pub problems: Vec<String>,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Workers may claim its tasks. Set when it is created or resumed.
    Running,
    /// A user cancelled it before it was complete.
    Cancelled,
    /// It cannot continue; a worker recorded the reason.
    Stopped,
    /// Every task is done.
    Completed,
}

/// Usage of calls, including those of earlier processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunUsage {
    /// Calls that were started.
    pub requests: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// USD, of calls whose price is known.
    pub cost_usd: f64,
    /// Answers without a number of tokens.
    pub without_usage: u64,
    /// Answers whose cost is not known.
    pub without_cost: u64,
}

/// A query of a run, as it was when the run was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Its id, if it is a stored query.
    pub id: Option<String>,
    /// The prompt for the models.
    pub text: String,
    /// Its theme.
    pub theme: String,
    /// A reference answer.
    pub reference: Option<String>,
}

/// What is judged: a model's answer, or two models' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The model, by its position in the plan.
    pub model: u16,
    /// The model that it is compared with, by its position in the plan.
    pub opponent: Option<u16>,
    /// Whether the model's answer is shown second.
    pub swapped: bool,
}

/// The number of a run's tasks and what they are: every model answers every query, and every subject is judged with
/// every metric by every judge, as often as the plan repeats it.
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
    /// Number of repeats for each judge.
    pub repeats: u16,
}

/// The tasks of a run that are in the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTasks {
    /// Their kind, if it is known.
    pub kind: Option<TaskKind>,
    /// Their outcome, if it is known; none for those that are not done.
    pub outcome: Option<TaskOutcome>,
    /// Whether they are done.
    pub is_done: bool,
    /// How many there are.
    pub count: u64,
    /// Descriptions of impossible values, which another program wrote.
    pub problem: Option<String>,
}

/// The kind of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A model answers a query.
    Answer,
    /// A judge judges an answer, or compares two.
    Judgement,
}

/// The outcome of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// The model's answer is stored as an output.
    Answered,
    /// The judge gave a verdict.
    Scored,
    /// The judge's answer cannot be parsed.
    Unparsed,
    /// The model or the judge declined.
    Refused,
    /// There is no answer.
    Failed,
    /// There is no answer to judge.
    Unanswered,
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

    /// Parses a stored name.
    ///
    /// # Errors
    /// A description, for a name that no version of Panopticon writes: such a run is not processed.
    fn stored(name: Option<&str>) -> Result<Self, String> {
        let name = name.ok_or("`state` is missing")?;
        let all = [Self::Running, Self::Cancelled, Self::Stopped, Self::Completed];
        all.into_iter().find(|state| state.as_str() == name).ok_or_else(|| format!("`state` is `{name}`"))
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

    fn stored(name: &str) -> Option<Self> {
        [Self::Answer, Self::Judgement].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl TaskOutcome {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Scored => "scored",
            Self::Unparsed => "unparsed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }

    fn stored(name: &str) -> Option<Self> {
        let all =
            [Self::Answered, Self::Scored, Self::Unparsed, Self::Refused, Self::Failed, Self::Unanswered];
        all.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

impl From<ResultStatus> for TaskOutcome {
    fn from(status: ResultStatus) -> Self {
        match status {
            ResultStatus::Scored => Self::Scored,
            ResultStatus::Unparsed => Self::Unparsed,
            ResultStatus::Refused => Self::Refused,
            ResultStatus::Failed => Self::Failed,
            ResultStatus::Unanswered => Self::Unanswered,
        }
    }
}

impl RunShape {
    /// The number of tasks of a run of `queries`, and how many of them are judgements.
    pub fn tasks(&self, queries: usize) -> (u64, u64) {
        let of_query = [self.subjects.len(), self.metrics.into(), self.judges.into(), self.repeats.into()];
        let judgements =
            of_query.iter().fold(queries as u64, |product, factor| product.saturating_mul(*factor as u64));
        let answers = queries as u64 * u64::from(self.models);
        (answers.saturating_add(judgements), judgements)
    }
}

/// Usage of calls, as stored.
struct StoredUsage {
    requests: Option<i64>,
    /// The sum of all workers, `None` if there are none; negative if the value of one is negative or missing.
    worker_requests: Option<i64>,
    tokens: Option<i64>,
    cost_usd: Option<f64>,
    without_usage: Option<i64>,
    without_cost: Option<i64>,
}

impl StoredUsage {
    /// The numbers. Impossible ones are added to `problems` and replaced by 0 or the greatest number, so that one run
    /// does not make the list of runs fail.
    fn read(self, problems: &mut Vec<String>) -> RunUsage {
        let mut count = |name: &str, stored: Option<i64>| match stored.map(u64::try_from) {
            Some(Ok(count)) => count,
            Some(Err(_)) => {
                problems.push(format!("`{name}` is {}, and 0 stands for it", stored.unwrap_or_default()));
                0
            }
            None => {
                problems.push(format!("`{name}` is missing, and 0 stands for it"));
                0
            }
        };
        let (own, tokens) = (count("requests", self.requests), count("tokens", self.tokens));
        let without_usage = count("without_usage", self.without_usage);
        let without_cost = count("without_cost", self.without_cost);
        let workers = u64::try_from(self.worker_requests.unwrap_or(0)).unwrap_or_else(|_| {
            problems.push("`requests` of a worker is negative or missing, and 0 stands for it".to_owned());
            0
        });
        let mut requests = own.saturating_add(workers);
        if requests >= MOST_REQUESTS {
            problems
                .push(format!("`requests` is more than can be counted, and {MOST_REQUESTS} stands for it"));
            requests = MOST_REQUESTS;
        }
        let cost_usd = self.cost_usd.filter(|cost| cost.is_finite() && *cost >= 0.0).unwrap_or_else(|| {
            let found = self.cost_usd.map_or("missing".to_owned(), |cost| cost.to_string());
            problems.push(format!("`cost_usd` is {found}, and 0 stands for it"));
            0.0
        });
        RunUsage { requests, tokens, cost_usd, without_usage, without_cost }
    }
}

/// As PostgreSQL counts; no run makes this many calls.
const MOST_REQUESTS: u64 = i64::MAX as u64;
