//! Invalid values that another program wrote to the tables of runs affect only that run.

use std::sync::atomic::Ordering;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    evaluations::metric,
    panics::{request, resume, stopping},
    runs::{begin, ended, queries},
    served::Served,
};

/// Statements that damage a run, with `ID` for its id, and whether the run can still be processed.
const DAMAGES: [(&str, bool); 28] = [
    ("update runs set requests = 9223372036854775807 where id = 'ID'", false),
    (
        "update runs set requests = 9223372036854775807 where id = 'ID'; insert into run_workers values ('ID', gen_random_uuid(), now(), 5)",
        false,
    ),
    (
        "update runs set requests = 5 where id = 'ID'; insert into run_workers values ('ID', gen_random_uuid(), now(), 9223372036854775807)",
        false,
    ),
    (
        "insert into run_workers select 'ID', gen_random_uuid(), now(), 9223372036854775807 from generate_series(1, 3)",
        false,
    ),
    (
        "update runs set requests = -9223372036854775808 where id = 'ID'; insert into run_workers select 'ID', gen_random_uuid(), now(), -9223372036854775808 from generate_series(1, 3)",
        false,
    ),
    (
        "insert into run_workers values ('ID', gen_random_uuid(), now(), -1), ('ID', gen_random_uuid(), now(), 7)",
        false,
    ),
    ("insert into run_workers values ('ID', gen_random_uuid(), now(), null)", false),
    ("update runs set requests = null where id = 'ID'", false),
    ("update runs set tokens = -9223372036854775808 where id = 'ID'", false),
    ("update runs set tokens = null where id = 'ID'", false),
    ("update runs set cost_usd = null where id = 'ID'", false),
    ("update runs set cost_usd = '-infinity' where id = 'ID'", false),
    ("update runs set without_usage = -1 where id = 'ID'", false),
    ("update runs set without_cost = null where id = 'ID'", false),
    ("update runs set plan = null where id = 'ID'", false),
    (
        "update runs set plan = replace(plan, '\"scale_max\":10.0', '\"scale_max\":1e400') where id = 'ID'",
        false,
    ),
    ("update runs set plan = replace(plan, '\"scale_max\":10.0', '\"scale_max\":-1') where id = 'ID'", false),
    (
        "update runs set plan = replace(plan, '\"temperature\":', '\"temperature_of\":') where id = 'ID'",
        false,
    ),
    ("update runs set allowance = null where id = 'ID'", false),
    ("update runs set state = 'Bogus' where id = 'ID'", true),
    ("update runs set state = repeat('x', 100000) where id = 'ID'", true),
    ("update runs set state = null where id = 'ID'", true),
    ("update run_tasks set kind = 'zzz' where run_id = 'ID' and task = 0", false),
    ("update run_tasks set kind = null where run_id = 'ID' and task = 1", false),
    ("update run_tasks set state = 'zzz' where run_id = 'ID' and task = 0", false),
    ("update run_tasks set state = null where run_id = 'ID' and task = 1", false),
    ("update run_tasks set state = 'done', outcome = 'zzz' where run_id = 'ID' and task = 1", true),
    ("update run_tasks set state = 'done', outcome = null where run_id = 'ID' and task = 1", true),
];

const UNGUARDED: &str = "
    alter table runs drop constraint runs_state, alter requests drop not null, alter tokens drop not null,
        alter cost_usd drop not null, alter without_usage drop not null, alter without_cost drop not null,
        alter plan drop not null, alter allowance drop not null, alter state drop not null;
    alter table run_workers alter requests drop not null;
    alter table run_tasks drop constraint run_tasks_kind, drop constraint run_tasks_state,
        drop constraint run_tasks_outcome, drop constraint run_tasks_outcome_when_done,
        alter kind drop not null, alter state drop not null, alter query drop not null, alter model drop not null,
        alter swapped drop not null, alter claims drop not null, alter attempts drop not null;";

#[tokio::test]
async fn invalid_values_of_a_run_are_reported_as_its_problems_and_hide_no_others() {
    let (stub, is_paid) = stopping();
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    served.execute(UNGUARDED).await;
    let mut damaged = Vec::new();
    for (damage, can_continue) in DAMAGES {
        let id = begin(&served, request(&metric)).await;
        assert_eq!(ended(&served, &id).await["state"], "stopped");
        served.execute(&damage.replace("ID", &id)).await;
        damaged.push((id, damage, can_continue));
    }
    let good = begin(&served, request(&metric)).await;
    ended(&served, &good).await;

    let listed = served.get("/api/v1/runs?state=stopped&limit=100").await.data();
    let listed = listed["items"].as_array().expect("a list");
    assert_eq!(listed.len(), DAMAGES.len() + 1, "none is hidden");
    for (id, damage, _) in &damaged {
        let path = format!("/api/v1/runs/{id}");
        let run = served.get(&path).await.data();
        let problems: Vec<&str> =
            run["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(
            !problems.is_empty() && problems.iter().all(|problem| problem.len() < 300),
            "{damage}: {problems:?}"
        );
        assert_eq!(run["state"], "stopped", "{damage}");
        assert!(run["used"]["requests"].as_u64().is_some_and(|count| i64::try_from(count).is_ok()), "{run}");
        assert!(listed.contains(&run), "{damage}");
        let events = served.get(&format!("{path}/events")).await.text;
        assert!(events.contains(&json!(problems[0]).to_string()), "{damage}: {events}");
        let cancelled = served.post(&format!("{path}/cancel"), json!({})).await;
        assert_eq!(cancelled.status, StatusCode::CONFLICT, "{damage}");
    }

    is_paid.store(true, Ordering::Relaxed);
    for (id, damage, can_continue) in &damaged {
        if *can_continue {
            resume(&served, id).await;
        } else {
            // Resuming may reject it at once; a worker that finds it running stops it.
            let running = format!(
                "update runs set state = 'running', stop_reason = null, ended_at = null where id = '{id}'"
            );
            served.execute(&running).await;
        }
        let run = ended(&served, id).await;
        let state = if *can_continue { "completed" } else { "stopped" };
        assert_eq!(run["state"], state, "{damage}: {run}");
        let reason = run["stop_reason"].as_str().unwrap_or_default();
        let is_told =
            ["cannot be read", "cannot be done", "cannot be used"].iter().any(|told| reason.contains(told));
        assert_eq!(is_told, !can_continue, "{damage}: {run}");
    }
    resume(&served, &good).await;
    let run = ended(&served, &good).await;
    assert_eq!((&run["state"], run.get("problems")), (&json!("completed"), None), "{run}");
}

#[tokio::test]
async fn tasks_with_missing_numbers_fail_with_a_reason_and_overflowing_counters_stop_the_run() {
    let (stub, is_paid) = stopping();
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one", "two", "three", "four"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    served.execute(UNGUARDED).await;
    let id = begin(&served, request(&metric)).await;
    ended(&served, &id).await;
    // Answers are tasks 0 to 3, and judgements 4 to 7.
    served
        .execute(&format!(
            "update run_tasks set model = null where run_id = '{id}' and task = 0;
             update run_tasks set attempts = null where run_id = '{id}' and task = 1;
             update run_tasks set claims = null where run_id = '{id}' and task = 2;
             update run_tasks set query = null where run_id = '{id}' and task = 3;
             update run_tasks set swapped = null where run_id = '{id}' and task = 6;"
        ))
        .await;
    is_paid.store(true, Ordering::Relaxed);
    resume(&served, &id).await;
    let run = ended(&served, &id).await;
    assert_eq!((&run["state"], &run["answers"]["failed"]), (&json!("completed"), &json!(3)), "{run}");
    let reasons = format!("select reason from run_tasks where run_id = '{id}' and reason is not null");
    let reasons = served.texts(&reasons).await;
    for part in [
        "its `model` is missing",
        "its `attempts` is missing",
        "its `query` is missing",
        "its `swapped` is missing",
    ] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }

    // A counter set by another program while the run is processed: no call is made, and results already paid for are
    // kept.
    served
        .execute(
            "create function spoil() returns trigger language plpgsql as $$
                begin update runs set requests = -5 where id = new.run_id; return null; end $$;
            create trigger spoil after insert on run_attempts for each row execute function spoil();",
        )
        .await;
    let id = begin(&served, request(&metric)).await;
    let run = ended(&served, &id).await;
    assert_eq!(run["state"], "stopped", "{run}");
    let reason = run["stop_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("`requests` is -5"), "{run}");
}
