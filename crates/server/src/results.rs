//! Aggregation of results. They are read as a stream and kept without their texts; statistics are computed off the
//! serving threads.

use std::{collections::HashSet, sync::Arc};

use ::records::Service;
use judge::results::{DriftGathering, Gathering, Judgements, query_keys, stored_judgement};
use store::{
    postgres::{Database, ResultSelection, StoredJudgement},
    storage::MAX_ANSWER_BYTES,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{answer::ApiError, process::Process};

/// Maximum concurrent computations. Each takes a core, which searches also need.
const COMPUTATIONS: usize = 2;

/// The results of the judge.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    pub(crate) database: Database,
    pub(crate) process: Arc<Process>,
    computations: Arc<Semaphore>,
}

impl Results {
    pub(crate) fn new(database: Database, process: Arc<Process>) -> Self {
        Self { database, process, computations: Arc::new(Semaphore::new(COMPUTATIONS)) }
    }

    /// The selected results, and the number of results without a query.
    pub(crate) async fn gather(&self, selection: &ResultSelection) -> Result<(Gathering, u64), ApiError> {
        let add = |(gathering, without_query): &mut (Gathering, u64), stored: StoredJudgement<'_>| {
            match query_keys(&stored) {
                // Beyond the limit checked below, nothing is kept.
                _ if gathering.label_bytes() > MAX_ANSWER_BYTES => {}
                [Some(key), _] | [None, Some(key)] => {
                    gathering.add(&stored_judgement(&stored, &key.to_string()));
                }
                [None, None] => *without_query += 1,
            }
        };
        let (gathering, without_query) = self.gathered(selection, add).await?;
        check_size(gathering.label_bytes())?;
        Ok((gathering, without_query))
    }

    /// The same, with the verdicts by day, and those whose query has one of the keys `wanted`.
    pub(crate) async fn gather_with_days(
        &self,
        selection: &ResultSelection,
        wanted: &HashSet<String>,
    ) -> Result<Gathered, ApiError> {
        let add = |gathered: &mut Gathered, stored: StoredJudgement<'_>| {
            let Gathered { all, wanted: of_wanted, drift, without_query } = gathered;
            // Beyond the limit checked below, nothing is kept.
            if all.label_bytes() > MAX_ANSWER_BYTES {
                return;
            }
            let keys = query_keys(&stored).map(|key| key.map(|key| key.to_string()));
            match &keys {
                [Some(key), _] | [None, Some(key)] => {
                    let judgement = stored_judgement(&stored, key);
                    all.add(&judgement);
                    drift.add(&judgement, stored.at);
                }
                [None, None] => *without_query += 1,
            }
            for key in keys.iter().flatten().filter(|key| wanted.contains(*key)) {
                of_wanted.add(&stored_judgement(&stored, key));
            }
        };
        let gathered = self.gathered(selection, add).await?;
        check_size(gathered.all.label_bytes())?;
        Ok(gathered)
    }

    /// Those of the selected results whose query has one of the keys `wanted`.
    pub(crate) async fn gather_of(
        &self,
        selection: &ResultSelection,
        wanted: &HashSet<String>,
    ) -> Result<Gathering, ApiError> {
        let add = |gathering: &mut Gathering, stored: StoredJudgement<'_>| {
            for key in query_keys(&stored).into_iter().flatten().map(|key| key.to_string()) {
                // Beyond the limit checked below, nothing is kept.
                if gathering.label_bytes() <= MAX_ANSWER_BYTES && wanted.contains(&key) {
                    gathering.add(&stored_judgement(&stored, &key));
                }
            }
        };
        let gathering = self.gathered(selection, add).await?;
        check_size(gathering.label_bytes())?;
        Ok(gathering)
    }

    async fn gathered<T: Default>(
        &self,
        selection: &ResultSelection,
        add: impl Fn(&mut T, StoredJudgement<'_>),
    ) -> Result<T, ApiError> {
        let gathered = self.database.gather_judgements(selection, add);
        Ok(self.process.measured(Service::Judge, "read_judgements", gathered).await?)
    }

    /// Runs a computation on gathered results.
    pub(crate) async fn compute<const N: usize, T: Send + 'static>(
        &self,
        gatherings: [Gathering; N],
        work: impl FnOnce([Judgements; N]) -> T + Send + 'static,
    ) -> T {
        self.computed(move || work(gatherings.map(Gathering::finish))).await
    }

    /// The same for any number of them.
    pub(crate) async fn compute_all<T: Send + 'static>(
        &self,
        gatherings: Vec<Gathering>,
        work: impl FnOnce(Vec<Judgements>) -> T + Send + 'static,
    ) -> T {
        self.computed(move || work(gatherings.into_iter().map(Gathering::finish).collect())).await
    }

    async fn computed<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.computations).acquire_owned().await.expect(
            "the semaphore is never \
            closed",
        );
        let computed = spawn_blocking(move || {
            // Held by the computation, which continues when the request is aborted.
            let _permit = permit;
            work()
        });
        computed.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// Results that were read in one pass.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) all: Gathering,
    /// Those whose query was asked for.
    pub(crate) wanted: Gathering,
    pub(crate) drift: DriftGathering,
    /// Number of results without a query.
    pub(crate) without_query: u64,
}

/// Rejects a summary that would exceed the maximum size of a response.
pub(crate) fn check_size(bytes: usize) -> Result<(), ApiError> {
    if bytes <= MAX_ANSWER_BYTES {
        return Ok(());
    }
    let reason = format!(
        "the themes, models and metrics of the selected results would make a response of more than \
            {MAX_ANSWER_BYTES} bytes: narrow them by `theme`, `model_id`, `evaluation_prompt_id` or `run_id`"
    );
    Err(ApiError::invalid("theme", reason))
}
