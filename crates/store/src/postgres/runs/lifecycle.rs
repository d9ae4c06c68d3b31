//! Creates and lists runs and changes their state.

use records::{shortened, without_nul};
use sqlx::PgConnection;
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    FAILING, MAX_PLAN_BYTES, Run, RunQuery, RunShape, RunState, RunTasks, StoredUsage, TaskKind, TaskOutcome,
    whole,
};
use crate::{
    postgres::{Database, counted::counted, unnamed::on},
    storage::{StorageError, check_text},
};

/// A row of `runs`, as selected by the statements here.
struct Row {
    id: Uuid,
    name: Option<String>,
    is_name_cut: bool,
    plan: Option<String>,
    plan_bytes: i64,
    allowance: Option<String>,
    state: Option<String>,
    stop_reason: Option<String>,
    created_at: PrimitiveDateTime,
    began_at: PrimitiveDateTime,
    ended_at: Option<PrimitiveDateTime>,
    has_odd_time: bool,
    requests: Option<i64>,
    worker_requests: Option<i64>,
    tokens: Option<i64>,
    cost_usd: Option<f64>,
    without_usage: Option<i64>,
    without_cost: Option<i64>,
}

const FIND: &str = "find a run";

impl Database {
    /// Creates `run` with all its tasks, in the state running.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a text with the character NUL; when a statement fails.
    pub async fn create_run(
        &self,
        run: &Run,
        queries: &[RunQuery],
        shape: &RunShape,
    ) -> Result<(), StorageError> {
        run.name.as_deref().map_or(Ok(()), |name| check_text("name", name))?;
        queries.iter().try_for_each(RunQuery::check)?;
        self.in_service(FAILING, "store a run", async |connection| {
            insert_run(connection, run).await?;
            insert_queries(connection, run.id, queries).await?;
            insert_tasks(connection, run.id, queries.len(), shape).await
        })
        .await
    }

    /// The run `id`, if it exists. A plan larger than [`MAX_PLAN_BYTES`] is returned empty and reported as a problem.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn run(&self, id: Uuid) -> Result<Option<Run>, StorageError> {
        /// Plans up to this size are read at once; the number of larger ones at a time is limited.
        const SMALL: usize = 64 << 10;
        let mut row = self.run_with_plan(id, SMALL).await?;
        if row.as_ref().is_some_and(|row| row.plan.is_none() && row.plan_bytes > whole(SMALL as u64)) {
            let _turn = self.begin_large().await?;
            row = self.run_with_plan(id, MAX_PLAN_BYTES).await?;
        }
        Ok(row.map(Row::run))
    }

    /// As [`Database::run`], with a plan of at most `most` bytes.
    async fn run_with_plan(&self, id: Uuid, most: usize) -> Result<Option<Row>, StorageError> {
        self.in_service(FAILING, FIND, async |connection| {
            sqlx::query_as!(
                Row,
                r#"
            select id,
                -- Names longer than any that Panopticon writes are truncated before they are read.
                case when octet_length(name) > 4096 then left(name, 200) || '…' else name end as "name?",
                coalesce(octet_length(name) > 4096, false) as "is_name_cut!",
                case when octet_length(plan) <= $2::bigint then plan end as "plan?",
                coalesce(octet_length(plan), 0)::bigint as "plan_bytes!",
                case when octet_length(allowance) <= 4096 then allowance end as "allowance?",
                left(state, 100) as "state?", left(stop_reason, 4096) as "stop_reason?",
                -- Times beyond the range of Rust's types become the nearest in the range.
                least(greatest(created_at, '0001-01-01'), '9999-12-31 23:59:59.999999') as "created_at!",
                least(greatest(began_at, '0001-01-01'), '9999-12-31 23:59:59.999999') as "began_at!",
                case when ended_at is not null then least(greatest(ended_at, '0001-01-01'), '9999-12-31 23:59:59.999999') end as "ended_at?",
                (num_nulls(created_at, began_at) > 0 or least(created_at, began_at, ended_at) < '0001-01-01' or greatest(created_at, began_at, ended_at) > '9999-12-31 23:59:59.999999') as "has_odd_time!",
                requests as "requests?",
                (
                    -- Negative if the count of one worker is negative or missing.
                    select case
                        when min(coalesce(workers.requests, -1)) < 0 then -1
                        else least(coalesce(sum(workers.requests), 0), 9223372036854775807)::bigint
                    end
                    from run_workers as workers
                    where workers.run_id = runs.id
                ) as worker_requests,
                tokens as "tokens?", cost_usd as "cost_usd?", without_usage as "without_usage?",
                without_cost as "without_cost?"
            from runs
            where id = $1
            "#,
                id,
                whole(most as u64)
            )
            .fetch_optional(on(connection))
            .await
        })
        .await
    }

    /// Up to `limit` runs after `after`, newest first, each with its time; only those in `state` if it is given.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn runs(
        &self,
        state: Option<RunState>,
        after: Option<(PrimitiveDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(PrimitiveDateTime, Uuid)>, StorageError> {
        const OPERATION: &str = "list runs";
        let (created_at, id) = after.unzip();
        self.in_service(FAILING, OPERATION, async |connection| {
            let rows = sqlx::query!(
                r#"
            select id,
                -- Times beyond the range of Rust's types become the nearest in the range.
                least(greatest(created_at, '0001-01-01'), '9999-12-31 23:59:59.999999') as "created_at!"
            from runs
            where ($1::text is null
                    or $1 = case when state in ('running', 'cancelled', 'completed') then state else 'stopped' end)
                and ($2::timestamp is null or (least(greatest(created_at, '0001-01-01'), '9999-12-31 23:59:59.999999'), id) < ($2, $3::uuid))
            order by least(greatest(created_at, '0001-01-01'), '9999-12-31 23:59:59.999999') desc, id desc
            limit $4
            "#,
                state.map(RunState::as_str),
                created_at,
                id,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await?;
            Ok(rows.into_iter().map(|row| (row.created_at, row.id)).collect())
        })
        .await
    }

    /// Up to `limit` running runs, newest first, without those in `but`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn running_runs(&self, but: &[Uuid], limit: u32) -> Result<Vec<Uuid>, StorageError> {
        self.in_service(FAILING, "look for runs", async |connection| {
            let ids = sqlx::query_scalar!(
                r#"
            select id
            from runs
            where state = 'running' and id <> all($1)
            order by created_at desc, id desc
            limit $2
            "#,
                but,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await?;
            Ok(ids)
        })
        .await
    }

    /// How many tasks of each kind and outcome the run has.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn run_tasks(&self, id: Uuid) -> Result<Vec<RunTasks>, StorageError> {
        const OPERATION: &str = "count a run's tasks";
        self.in_service(FAILING, OPERATION, async |connection| {
            let rows = sqlx::query!(
                r#"
            select
                -- Unknown states count as one, with an example: another program may have written many different ones.
                case when kind in ('answer', 'judgement') then kind end as kind,
                case
                    when outcome in ('answered', 'scored', 'unparsed', 'refused', 'failed', 'unanswered') then outcome
                end as outcome,
                case when state in ('waiting', 'ready', 'done') then state end as state,
                left(min(kind), 40) as kind_found,
                left(min(outcome), 40) as outcome_found,
                left(min(state), 40) as state_found,
                count(*) as "tasks!"
            from run_tasks
            where run_id = $1
            group by 1, 2, 3, outcome is null
            "#,
                id
            )
            .fetch_all(on(connection))
            .await?;
            rows.into_iter()
                .map(|row| {
                    let kind = row.kind.as_deref().and_then(TaskKind::stored);
                    let outcome = row.outcome.as_deref().and_then(TaskOutcome::stored);
                    let (is_done, count) = (row.state.as_deref() == Some("done"), counted(row.tasks)?);
                    let is_odd = kind.is_none()
                        || row.state.is_none()
                        || (outcome.is_none() && (is_done || row.outcome_found.is_some()));
                    let shown = |found: Option<String>| found.map_or("null".to_owned(), |found| format!("`{found}`"));
                    let problem = is_odd.then(|| {
                        format!(
                            "{count} of its tasks have an unknown kind, state or outcome, such as kind {}, \
                                state {}, outcome {}",
                            shown(row.kind_found),
                            shown(row.state_found),
                            shown(row.outcome_found)
                        )
                    });
                    Ok(RunTasks { kind, outcome, is_done, count, problem })
                })
                .collect::<sqlx::Result<_>>()
        })
        .await
    }

    /// Ends a running run as `state`, for `reason`; returns whether it was running.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn end_run(
        &self,
        id: Uuid,
        state: RunState,
        reason: Option<&str>,
    ) -> Result<bool, StorageError> {
        /// It may contain text from a provider.
        const CHARACTERS: usize = 1000;
        let reason = reason.map(|reason| shortened(&without_nul(reason), CHARACTERS).into_owned());
        self.in_service(FAILING, "end a run", async |connection| {
            let ended = sqlx::query!(
                r#"
            update runs
            set state = $2, stop_reason = $3, ended_at = clock_timestamp() at time zone 'utc'
            where id = $1 and state = 'running'
            "#,
                id,
                state.as_str(),
                reason
            )
            .execute(on(connection))
            .await?;
            Ok(ended.rows_affected() == 1)
        })
        .await
    }

    /// Completes a running run of `models` models if every task is done; returns its new state, `None` if it does not
    /// exist. Judgements that wait although no task is in progress wait for answers that do not exist: they become
    /// ready, so that the worker that claims them ends them. If all remaining tasks have an unknown kind or state, so
    /// that no worker claims them, the run is stopped.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn complete_run(&self, id: Uuid, models: u16) -> Result<Option<RunState>, StorageError> {
        const OPERATION: &str = "complete a run";
        self.in_service(FAILING, OPERATION, async |connection| {
            let state = locked_state(connection, id).await?;
            let is_stuck = sqlx::query_scalar!(
                r#"
            select exists (select 1 from run_tasks where run_id = $1 and state = 'waiting')
                and not exists (select 1 from run_tasks where run_id = $1 and state = 'ready')
                as "is_stuck!"
            "#,
                id
            )
            .fetch_one(on(connection))
            .await?;
            if is_stuck {
                release_judgements(connection, id, None, models).await?;
            }
            let completed = sqlx::query!(
                r#"
            update runs
            set state = 'completed', stop_reason = null, ended_at = clock_timestamp() at time zone 'utc'
            where id = $1
                and state = 'running'
                and not exists (select 1 from run_tasks where run_id = $1 and state is distinct from 'done')
            "#,
                id
            )
            .execute(on(connection))
            .await?;
            if completed.rows_affected() == 1 {
                return Ok(Some(RunState::Completed));
            }
            let is_stopped = state == Some(RunState::Running) && stop_if_blocked(connection, id).await?;
            Ok(if is_stopped { Some(RunState::Stopped) } else { state })
        })
        .await
    }

    /// Resumes a run that is not running, with a new `allowance` if one is given. With `retry`, tasks that failed or
    /// had no answer are repeated, and their records are deleted. Returns the state before, `None` if the run does
    /// not exist.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn resume_run(
        &self,
        id: Uuid,
        allowance: Option<&str>,
        retry: Option<RetryFailed>,
    ) -> Result<Option<RunState>, StorageError> {
        const OPERATION: &str = "resume a run";
        self.in_service(FAILING, OPERATION, async |connection| {
            let before = locked_state(connection, id).await?;
            if before.is_some_and(|state| state != RunState::Running) {
                if let Some(RetryFailed { models }) = retry {
                    retry_failed(connection, id, models).await?;
                }
                sqlx::query!(
                    r#"
                update runs
                set state = 'running', stop_reason = null, ended_at = null,
                    began_at = clock_timestamp() at time zone 'utc', allowance = coalesce($2, allowance)
                where id = $1
                "#,
                    id,
                    allowance
                )
                .execute(on(connection))
                .await?;
            }
            Ok(before)
        })
        .await
    }

    /// Deletes a run that is not running, and its results, but not its outputs, which may be in ChromaDB. Returns its
    /// former state, `None` if it does not exist.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn delete_run(&self, id: Uuid) -> Result<Option<RunState>, StorageError> {
        const OPERATION: &str = "delete a run";
        self.in_service(FAILING, OPERATION, async |connection| {
            let state = locked_state(connection, id).await?;
            if state.is_some_and(|state| state != RunState::Running) {
                sqlx::query!(
                    r#"
                delete from evaluation_results
                where id in (select result_id from run_tasks where run_id = $1 and result_id is not null)
                "#,
                    id
                )
                .execute(on(connection))
                .await?;
                sqlx::query!("delete from runs where id = $1", id).execute(on(connection)).await?;
            }
            Ok(state)
        })
        .await
    }
}

/// Repeat the failed calls of a run of this many models, and the judgements that depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryFailed {
    /// Models in the plan.
    pub models: u16,
}

/// Locks the run's row until the transaction ends and returns its state.
pub(super) async fn locked_state(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<RunState>> {
    let row =
        sqlx::query!(r#"select left(state, 100) as state from runs where id = $1 for no key update"#, id)
            .fetch_optional(on(connection))
            .await?;
    Ok(row.map(|row| RunState::stored(row.state.as_deref()).unwrap_or(RunState::Stopped)))
}

/// Stops a running run if all its remaining tasks are ones that no worker claims; returns whether there are such
/// tasks.
async fn stop_if_blocked(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let stopped = sqlx::query!(
        r#"
        update runs
        set state = 'stopped',
            stop_reason = blocked.tasks || ' of its tasks cannot be done, since their kind or state is not known, such as kind '
                || coalesce('`' || left(blocked.kind, 40) || '`', 'null') || ', state '
                || coalesce('`' || left(blocked.state, 40) || '`', 'null'),
            ended_at = clock_timestamp() at time zone 'utc'
        from (
            select count(*) as tasks, min(kind) as kind, min(state) as state
            from run_tasks
            where run_id = $1
                and state is distinct from 'done'
                and (
                    coalesce(kind not in ('answer', 'judgement'), true)
                    or coalesce(state not in ('waiting', 'ready'), true)
                )
        ) as blocked
        where runs.id = $1
            and blocked.tasks > 0
            and not exists (
                select 1
                from run_tasks
                where run_id = $1 and state = 'ready' and kind in ('answer', 'judgement')
            )
        "#,
        id
    )
    .execute(on(connection))
    .await?;
    Ok(stopped.rows_affected() == 1)
}

async fn retry_failed(connection: &mut PgConnection, id: Uuid, models: u16) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        delete from evaluation_results
        where id in (
            select result_id
            from run_tasks
            where run_id = $1 and outcome in ('failed', 'unanswered') and result_id is not null
        )
        "#,
        id
    )
    .execute(on(connection))
    .await?;
    sqlx::query!(
        r#"
        update run_tasks
        set state = case when outcome = 'unanswered' then 'waiting' else 'ready' end,
            outcome = null, reason = null, result_id = null, claims = 0
        where run_id = $1 and outcome in ('failed', 'unanswered')
        "#,
        id
    )
    .execute(on(connection))
    .await?;
    // A model that refused is not asked again, and judgements of refusals do not wait.
    release_judgements(connection, id, None, models).await
}

/// Makes judgements ready if their answers are all done; of these queries, or of all.
pub(super) async fn release_judgements(
    connection: &mut PgConnection,
    run: Uuid,
    queries: Option<&[i32]>,
    models: u16,
) -> sqlx::Result<()> {
    sqlx::query_file!("src/postgres/runs/release_judgements.sql", run, queries, i64::from(models))
        .execute(on(connection))
        .await?;
    Ok(())
}

async fn insert_run(connection: &mut PgConnection, run: &Run) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into runs (id, name, plan, allowance, state, created_at, began_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        "#,
        run.id,
        run.name,
        run.plan,
        run.allowance,
        run.state.as_str(),
        run.created_at,
        run.began_at
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

async fn insert_queries(connection: &mut PgConnection, run: Uuid, queries: &[RunQuery]) -> sqlx::Result<()> {
    let ids: Vec<Option<String>> = queries.iter().map(|query| query.id.clone()).collect();
    let texts: Vec<String> = queries.iter().map(|query| query.text.clone()).collect();
    let themes: Vec<String> = queries.iter().map(|query| query.theme.clone()).collect();
    let references: Vec<Option<String>> = queries.iter().map(|query| query.reference.clone()).collect();
    sqlx::query!(
        r#"
        insert into run_queries (run_id, query, query_id, query_text, theme, reference)
        select $1, number - 1, query_id, query_text, theme, reference
        from unnest($2::text[], $3::text[], $4::text[], $5::text[])
            with ordinality as given (query_id, query_text, theme, reference, number)
        "#,
        run,
        &ids as &[Option<String>],
        &texts,
        &themes,
        &references as &[Option<String>]
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

async fn insert_tasks(
    connection: &mut PgConnection,
    run: Uuid,
    queries: usize,
    shape: &RunShape,
) -> sqlx::Result<()> {
    let (queries, models) = (whole(queries as u64), i64::from(shape.models));
    // Answers are numbered by query and model, judgements after them.
    sqlx::query!(
        r#"
        insert into run_tasks (run_id, task, kind, state, query, model)
        select $1, query::bigint * $3::bigint + model, 'answer', 'ready', query, model
        from generate_series(0, $2::bigint - 1) as query
        cross join generate_series(0, $3::bigint - 1) as model
        "#,
        run,
        queries,
        models
    )
    .execute(on(connection))
    .await?;
    let place = |model: u16| i16::try_from(model).expect("a plan has fewer models");
    let subjects = &shape.subjects;
    sqlx::query_file!(
        "src/postgres/runs/insert_judgements.sql",
        run,
        queries,
        models,
        &subjects.iter().map(|subject| place(subject.model)).collect::<Vec<_>>(),
        &subjects.iter().map(|subject| subject.opponent.map(place)).collect::<Vec<_>>() as &[Option<i16>],
        &subjects.iter().map(|subject| subject.swapped).collect::<Vec<_>>(),
        i64::from(shape.metrics),
        i64::from(shape.judges),
        i64::from(shape.repeats)
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

impl RunQuery {
    fn check(&self) -> Result<(), StorageError> {
        let texts = [
            ("query_id", self.id.as_deref()),
            ("query", Some(self.text.as_str())),
            ("theme", Some(self.theme.as_str())),
            ("reference", self.reference.as_deref()),
        ];
        texts.into_iter().try_for_each(|(field, text)| text.map_or(Ok(()), |text| check_text(field, text)))
    }
}

impl Row {
    fn run(self) -> Run {
        let mut problems = Vec::new();
        if self.has_odd_time {
            problems.push("a time is missing, infinite, before the year 1 or after 9999".to_owned());
        }
        if self.plan.is_none() && self.plan_bytes > 0 {
            problems
                .push(format!("its plan has {} bytes, and up to {MAX_PLAN_BYTES} are read", self.plan_bytes));
        }
        let state = RunState::stored(self.state.as_deref()).unwrap_or_else(|problem| {
            problems.push(format!("{problem}, and `stopped` stands for it"));
            RunState::Stopped
        });
        let used = StoredUsage {
            requests: self.requests,
            worker_requests: self.worker_requests,
            tokens: self.tokens,
            cost_usd: self.cost_usd,
            without_usage: self.without_usage,
            without_cost: self.without_cost,
        };
        Run {
            id: self.id,
            name: self.name,
            is_name_cut: self.is_name_cut,
            // An empty text is not a plan, and reading it reports that.
            plan: self.plan.unwrap_or_default(),
            allowance: self.allowance.unwrap_or_default(),
            state,
            stop_reason: self.stop_reason,
            created_at: self.created_at,
            began_at: self.began_at,
            ended_at: self.ended_at,
            used: used.read(&mut problems),
            problems,
        }
    }
}
