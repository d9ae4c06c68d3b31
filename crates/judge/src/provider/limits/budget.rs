//! Budgets of runs.

use std::{sync::MutexGuard, time::Duration};

use records::lock::Mutex;
use tokio::time::Instant;

use crate::{provider::Usage, registry::Model};

/// Limits on what a run may use; `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowance {
    /// Attempts, including failed ones.
    pub requests: Option<u64>,
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// USD.
    pub cost_usd: Option<f64>,
    /// Time.
    pub wall_time: Option<Duration>,
}

/// What a run has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Attempts, including failed ones.
    pub requests: u64,
    /// Tokens, read and written, of completions that report them.
    pub tokens: u64,
    /// USD, of completions whose tokens and prices are known.
    pub cost_usd: f64,
    /// Completions that do not report their tokens.
    pub without_usage: u64,
    /// Completions of unknown cost, including those without tokens.
    pub without_cost: u64,
    /// Time.
    pub wall_time: Duration,
}

/// Why a run must stop.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Exceeded {
    /// The budget of requests is exhausted.
    #[error("budget of {limit} requests exhausted; raise it to resume")]
    Requests {
        /// The budget.
        limit: u64,
    },
    /// The budget of tokens is exhausted.
    #[error("budget of {limit} tokens exhausted, {spent} used; raise it to resume")]
    Tokens {
        /// The budget.
        limit: u64,
        /// What was used.
        spent: u64,
    },
    /// The budget of money is exhausted.
    #[error("budget of {limit_usd} USD exhausted, {spent_usd} USD used; raise it to resume")]
    Cost {
        /// The budget.
        limit_usd: f64,
        /// What was used.
        spent_usd: f64,
    },
    /// The cost of calls is unknown, so that a budget of money cannot be enforced.
    #[error(
        "budget of {limit_usd} USD cannot be enforced: register the model's prices, or remove the budget"
    )]
    CostUnknown {
        /// The budget.
        limit_usd: f64,
    },
    /// A provider does not report tokens, so that the budget cannot be enforced.
    #[error("budget of tokens or USD cannot be enforced: the provider does not report the tokens of a call")]
    UsageUnknown,
    /// The time limit is exceeded.
    #[error("time limit of {limit:?} exceeded; raise it to resume")]
    WallTime {
        /// The budget.
        limit: Duration,
    },
}

/// A run's budget, shared by its workers. Checked before each attempt, so that calls in progress may exceed it.
#[derive(Debug)]
pub struct Budget {
    allowance: Allowance,
    begin: Instant,
    /// Shared by all workers; never locked across an await.
    account: Mutex<Spent>,
}

impl Budget {
    /// A budget from now on, of which the earlier part of a resumed run has used `spent`.
    pub fn new(allowance: Allowance, spent: Spent) -> Self {
        Self { allowance, begin: Instant::now(), account: Mutex::new(spent) }
    }

    /// No limits.
    pub fn unlimited() -> Self {
        Self::new(Allowance::default(), Spent::default())
    }

    /// What has been used, including earlier parts of the run.
    pub fn spent(&self) -> Spent {
        let spent = *self.account();
        Spent { wall_time: spent.wall_time + self.begin.elapsed(), ..spent }
    }

    /// Counts an attempt to call `model`, before it is made.
    ///
    /// # Errors
    /// When a budget is exhausted, or cannot be enforced; then the attempt is not counted.
    pub fn begin(&self, model: &Model) -> Result<(), Exceeded> {
        let wall_time = self.spent().wall_time;
        let Allowance { requests, tokens, cost_usd, wall_time: time } = self.allowance;
        let mut spent = self.account();
        if let Some(limit) = time.filter(|limit| wall_time >= *limit) {
            return Err(Exceeded::WallTime { limit });
        }
        if let Some(limit) = requests.filter(|limit| spent.requests >= *limit) {
            return Err(Exceeded::Requests { limit });
        }
        if let Some(limit) = tokens.filter(|limit| spent.tokens >= *limit) {
            return Err(Exceeded::Tokens { limit, spent: spent.tokens });
        }
        if let Some(limit_usd) = cost_usd {
            if model.prices.is_none() {
                return Err(Exceeded::CostUnknown { limit_usd });
            }
            if spent.cost_usd >= limit_usd {
                return Err(Exceeded::Cost { limit_usd, spent_usd: spent.cost_usd });
            }
        }
        if spent.without_usage > 0 && (tokens.is_some() || cost_usd.is_some()) {
            return Err(Exceeded::UsageUnknown);
        }
        spent.requests += 1;
        Ok(())
    }

    /// Adds the usage of a completion of `model`.
    pub fn spend(&self, model: &Model, usage: Option<Usage>) {
        let cost_usd = model.cost_usd(usage);
        let mut spent = self.account();
        match usage {
            Some(usage) => {
                let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
                spent.tokens = spent.tokens.saturating_add(tokens);
            }
            None => spent.without_usage += 1,
        }
        match cost_usd {
            Some(cost_usd) => spent.cost_usd += cost_usd,
            None => spent.without_cost += 1,
        }
    }

    /// Includes the usage of other processes: `spent` is the known usage of all, including this one. Its time does not
    /// count.
    pub fn observe(&self, spent: Spent) {
        let mut account = self.account();
        account.requests = account.requests.max(spent.requests);
        account.tokens = account.tokens.max(spent.tokens);
        account.cost_usd = account.cost_usd.max(spent.cost_usd);
        account.without_usage = account.without_usage.max(spent.without_usage);
        account.without_cost = account.without_cost.max(spent.without_cost);
    }

    /// Awaits `waiting` within the time limit.
    ///
    /// # Errors
    /// [`Exceeded::WallTime`] when the time limit is exceeded first.
    pub async fn within_time<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Exceeded> {
        let Some(limit) = self.allowance.wall_time else { return Ok(waiting.await) };
        let left = limit.saturating_sub(self.spent().wall_time);
        tokio::time::timeout(left, waiting).await.map_err(|_| Exceeded::WallTime { limit })
    }

    fn account(&self) -> MutexGuard<'_, Spent> {
        // Each change is one step, so the value is valid even after a panic.
        self.account.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn usage(tokens: u64) -> Option<Usage> {
        Some(Usage { input_tokens: tokens / 2, output_tokens: tokens - tokens / 2 })
    }

    fn budget(change: impl FnOnce(&mut Allowance)) -> Budget {
        let mut allowance = Allowance::default();
        change(&mut allowance);
        Budget::new(allowance, Spent::default())
    }

    #[tokio::test(start_paused = true)]
    async fn each_budget_ends_a_run() {
        let model = registry::find("gpt-4").expect("30 and 60 USD a million");
        let requests = budget(|allowance| allowance.requests = Some(2));
        assert_eq!((requests.begin(model), requests.begin(model)), (Ok(()), Ok(())));
        assert_eq!(requests.begin(model), Err(Exceeded::Requests { limit: 2 }));
        assert_eq!(requests.spent().requests, 2);

        let tokens = budget(|allowance| allowance.tokens = Some(100));
        tokens.spend(model, usage(99));
        assert_eq!(tokens.begin(model), Ok(()));
        tokens.spend(model, usage(7));
        assert_eq!(tokens.begin(model), Err(Exceeded::Tokens { limit: 100, spent: 106 }));

        let cost = budget(|allowance| allowance.cost_usd = Some(0.08));
        cost.spend(model, usage(2000));
        let spent_usd = cost.spent().cost_usd;
        assert!((spent_usd - 0.09).abs() < 1e-12, "{spent_usd}");
        assert_eq!(cost.begin(model), Err(Exceeded::Cost { limit_usd: 0.08, spent_usd }));

        let limit = Duration::from_secs(60);
        let time = budget(|allowance| allowance.wall_time = Some(limit));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(time.begin(model), Ok(()));
        let sleep = tokio::time::sleep(Duration::from_secs(5));
        assert_eq!(time.within_time(sleep).await, Err(Exceeded::WallTime { limit }));
        assert_eq!(time.spent().wall_time, limit, "it did not wait longer");
        assert_eq!(time.begin(model), Err(Exceeded::WallTime { limit }));
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_usage_does_not_count_as_zero() {
        let local = registry::Model::unknown("llama", "local");
        let limit_usd = 1.0;
        let cost = budget(|allowance| allowance.cost_usd = Some(limit_usd));
        assert_eq!(cost.begin(&local), Err(Exceeded::CostUnknown { limit_usd }));
        let tokens = budget(|allowance| allowance.tokens = Some(100));
        tokens.spend(&local, None);
        assert_eq!(tokens.begin(&local), Err(Exceeded::UsageUnknown));
        let resumed = Budget::new(tokens.allowance, tokens.spent());
        assert_eq!(resumed.begin(&local), Err(Exceeded::UsageUnknown));
        let none = Budget::unlimited();
        none.spend(&local, usage(10));
        assert_eq!(none.begin(&local), Ok(()));
        assert_eq!(none.spent().without_cost, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn usage_of_other_processes_counts() {
        let model = registry::find("gpt-4").expect("it is known");
        let budget = budget(|allowance| allowance.requests = Some(10));
        assert_eq!(budget.begin(model), Ok(()));
        budget.observe(Spent { requests: 10, ..Spent::default() });
        assert_eq!(budget.begin(model), Err(Exceeded::Requests { limit: 10 }));
        budget.observe(Spent { requests: 3, ..Spent::default() });
        assert_eq!(budget.spent().requests, 10, "news that came late");
    }

    #[tokio::test(start_paused = true)]
    async fn resumed_run_continues_its_counts() {
        let model = registry::find("gpt-4").expect("it is known");
        let allowance = Allowance { requests: Some(10), ..Allowance::default() };
        let budget = Budget::new(allowance, Spent { requests: 9, ..Spent::default() });
        assert_eq!(budget.begin(model), Ok(()));
        assert_eq!(budget.begin(model), Err(Exceeded::Requests { limit: 10 }));
    }
}
