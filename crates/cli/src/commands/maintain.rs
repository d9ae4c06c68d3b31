//! `panopticon maintain`: table maintenance, once or at intervals.

use anyhow::anyhow;
use serde_json::{Value, json};
use store::postgres::Database;
use upkeep::{
    Policy,
    maintenance::{
        Done, Ending, Event, Maintenance, Outcome, Plan, Round, action_to_json, maintain, observe, plan,
        plan_to_json, watched_tables,
    },
};

use super::{index::IndexProgress, migrate::names::without_schema};
use crate::{
    arguments::MaintainArguments,
    configuration::{Configuration, MaintenanceSettings},
    connection::Connection,
    exit::{ExitCode, Failure},
    interrupt::Signals,
    output::{grouped, print, print_json, size_text, visible},
};

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &MaintainArguments,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let (settings, policy) = (configuration.maintenance()?, configuration.index_policy()?);
    let connection = tokio::select! {
        connection = Connection::open(configuration) => connection?,
        () = signals.next() => return Ok(ExitCode::Interrupted),
    };
    let carried_out = carry_out(&connection.database, &policy, &settings, (arguments, signals));
    let done = Box::pin(carried_out).await;
    connection.close().await?;
    done
}

async fn carry_out(
    database: &Database,
    policy: &Policy,
    settings: &MaintenanceSettings,
    (arguments, signals): (&MaintainArguments, &mut Signals),
) -> Result<ExitCode, Failure> {
    let only = arguments.table.as_deref();
    if let Some(name) = only {
        let known = watched_tables(database).await?;
        if !known.iter().any(|table| table == name) {
            let known = known.join(", ");
            return Err(Failure::usage(anyhow!(
                "table `{name}` is not maintained: expected one of {known}{}",
                without_schema(name)
            )));
        }
    }
    if arguments.dry_run {
        let observed = observe(database, &settings.limits, only).await?;
        print_plan(&plan(&observed, policy, &settings.limits), arguments.json)?;
        return Ok(ExitCode::Complete);
    }
    loop {
        let progress = IndexProgress::new();
        let observer = |event: Event<'_>| match event {
            Event::Observed(_) | Event::Ended(_) => {}
            Event::Begins(planned) => eprintln!("{}", visible(&planned.to_string())),
            Event::Index(event) => progress.show(event),
        };
        let limits = &settings.limits;
        let maintenance = Maintenance { database, policy, limits, only, observer: &observer };
        let round = Box::pin(maintain(maintenance, signals.next())).await;
        progress.finish();
        match round? {
            Round::Busy if arguments.once => {
                return Err(Failure::refused(anyhow!(
                    "another process is maintaining this database: wait until it ends, then run again"
                )));
            }
            Round::Busy => eprintln!("another process is maintaining this database"),
            Round::Made { plan, done, ending } => {
                print_round(&plan, &done, arguments.json)?;
                match ending {
                    Ending::Stopped if arguments.once => return Ok(ExitCode::Interrupted),
                    Ending::Stopped => return Ok(ExitCode::Complete),
                    Ending::TimeUp => {
                        eprintln!("the round's time budget is exhausted: the next round does the rest")
                    }
                    Ending::All => {}
                }
                let has_failed = done.iter().any(|done| matches!(done.outcome, Outcome::Failed { .. }));
                if arguments.once {
                    return Ok(if has_failed { ExitCode::Failed } else { ExitCode::Complete });
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(settings.interval) => {}
            () = signals.next() => return Ok(ExitCode::Complete),
        }
    }
}

fn print_plan(plan: &Plan, is_json: bool) -> anyhow::Result<()> {
    if is_json { print_json(&plan_to_json(plan)) } else { print_lines(&plan.to_string()) }
}

/// A round: one object on a line, or a line for each action and each skipped table.
fn print_round(plan: &Plan, done: &[Done], is_json: bool) -> anyhow::Result<()> {
    if is_json {
        let done: Vec<Value> = done.iter().map(action_to_json).collect();
        return print_json(&json!({"plan": plan_to_json(plan), "done": done}));
    }
    for done in done {
        print(&visible(&of_action(done)))?;
    }
    for left in &plan.left_alone {
        print(&visible(&format!("{}: skipped: {}", left.table, left.reason)))?;
    }
    if plan.is_empty() { print("nothing to do") } else { Ok(()) }
}

fn print_lines(text: &str) -> anyhow::Result<()> {
    text.lines().try_for_each(|line| print(&visible(line)))
}

fn of_action(done: &Done) -> String {
    let Done { planned, took, outcome, before, after } = done;
    let seconds = took.as_secs_f64();
    let head = format!("{}: {}", planned.table, planned.action);
    match outcome {
        Outcome::Failed { error } => return format!("{head}: failed after {seconds:.1} s: {error}"),
        Outcome::Interrupted(by) => {
            return format!("{head}: interrupted after {seconds:.1} s: {}", by.as_str());
        }
        Outcome::Done => {}
    }
    let mut changes = Vec::new();
    for (key, called) in [("rows", "rows"), ("dead_rows", "dead rows"), ("candidates", "candidates")] {
        changes.extend(change(before, after, key, called, |value| value.as_u64().map(grouped)));
    }
    for (key, called) in [("heap_bytes", "table"), ("index_bytes", "indexes")] {
        changes.extend(change(before, after, key, called, |value| value.as_u64().map(size_text)));
    }
    let recall = |value: &Value| value.as_f64().map(|recall| format!("{recall:.3}"));
    changes.extend(change(before, after, "recall", "recall", recall));
    let changes = if changes.is_empty() { String::new() } else { format!(": {}", changes.join(", ")) };
    format!("{head}: done in {seconds:.1} s{changes}")
}

/// `called 1 → 2`, if the value has changed.
fn change(
    before: &Value,
    after: &Value,
    key: &str,
    called: &str,
    text: impl Fn(&Value) -> Option<String>,
) -> Option<String> {
    let (before, after) = (text(&before[key]), text(&after[key]));
    let none = || "none".to_owned();
    (before != after)
        .then(|| format!("{called} {} → {}", before.unwrap_or_else(none), after.unwrap_or_else(none)))
}
