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
pub use record::{AttemptEnded, COMPLETED, KeptAnswer, Recorded, RunRecords, TaskDone};
pub use work::{ClaimedTask, Claims, ModelAnswer, TaskWork};

use super::{counted::whole, failure::Failing, result_selection::ResultStatus};

const FAILING: Failing = Failing(Service::Judge);

/// Bytes of a plan: many times those of the largest that anybody needs, and few enough for many runs at once.
pub const MAX_PLAN_BYTES: usize = 2 << 20;
/// Bytes of a task's texts that are read when it is claimed; others are read when it is begun.
const CLAIMED_BYTES: i64 = 8 << 10;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: Option<String>,
    /// Whether the name is only the beginning of what is stored, which is longer than any of ours.
    pub is_name_cut: bool,
    /// What is asked and how: JSON, which this crate does not read. Empty if it is too large to be read.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTasks {
    /// What they are, if that is known.
    pub kind: Option<TaskKind>,
    /// What came of them, if that is known; none of those that are not done.
    pub outcome: Option<TaskOutcome>,
    /// Whether they are done.
    pub is_done: bool,
    /// How many there are.
    pub count: u64,
    /// What another hand has written into them, in words.
    pub problem: Option<String>,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A model answers a query.
    Answer,
    /// A judge judges an answer, or compares two.
    Judgement,
}

/// What came of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// The model's answer is an output.
    Answered,
    /// The judge gave a verdict.
    Scored,
    /// The judge's answer cannot be read.
    Unparsed,
    /// The model or the judge declined.
    Refused,
    /// There is no answer.
    Failed,
    /// There was nothing to judge.
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

    /// Of a name that is stored.
    ///
    /// # Errors
    /// In words, for a name that no version of ours has written: nobody works on such a run.
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
    /// Tasks of a run of `queries`, and how many of them are judgements.
    pub fn tasks(&self, queries: usize) -> (u64, u64) {
        let of_query = [self.subjects.len(), self.metrics.into(), self.judges.into(), self.repeats.into()];
        let judgements =
            of_query.iter().fold(queries as u64, |product, factor| product.saturating_mul(*factor as u64));
        let answers = queries as u64 * u64::from(self.models);
        (answers.saturating_add(judgements), judgements)
    }
}

/// What calls have used, as it is stored.
struct StoredUsage {
    requests: Option<i64>,
    /// Of all workers together, `None` if there are none; negative if one's is negative or missing.
    worker_requests: Option<i64>,
    tokens: Option<i64>,
    cost_usd: Option<f64>,
    without_usage: Option<i64>,
    without_cost: Option<i64>,
}

impl StoredUsage {
    /// The numbers. What cannot be is added to `problems`, and 0 or the greatest number stands for it: one run's numbers are
    /// no reason to show none.
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

/// As PostgreSQL counts: nobody has made so many calls.
const MOST_REQUESTS: u64 = i64::MAX as u64;
