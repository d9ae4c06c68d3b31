//! `panopticon judge run`: starts or resumes a run, and works on it to its end.

use std::{collections::BTreeMap, fmt::Write as _, io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use judge::{
    engine::RunError,
    runs::{
        DEFAULT_JUDGE, DEFAULT_LIMIT, NamedModel, Retry, RunBudget, RunMode, RunProgress, RunQueries,
        RunRequest, Runs, Shutdown,
    },
};
use serde_json::Value;
use store::{
    postgres::runs::{RunState, RunUsage},
    storage::{Filter, Selection},
};
use uuid::Uuid;

use crate::{
    arguments::RunArguments,
    commands::serve::OpenRuns,
    configuration::Configuration,
    exit::{ExitCode, Failure},
    interrupt::Signals,
    output::{grouped, print, print_json},
    progress,
};

pub(super) async fn run(
    configuration: &Configuration,
    arguments: RunArguments,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let open = tokio::select! {
        open = OpenRuns::open(configuration) => open?,
        () = signals.next() => return Ok(ExitCode::Interrupted),
    };
    let ended = Box::pin(start_and_work(&open.runs, &arguments, signals)).await;
    open.close().await?;
    ended
}

async fn start_and_work(
    runs: &Runs,
    arguments: &RunArguments,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let id = match &arguments.resume {
        Some(run) => resume(runs, run, arguments).await?,
        None => {
            let id = Uuid::new_v4();
            Box::pin(runs.create(request(id, arguments)?)).await.map_err(failure)?;
            id
        }
    };
    eprintln!("run {id}");
    let was_interrupted = work(runs, id, signals).await?;
    let run = runs.progress(id).await.map_err(failure)?;
    if arguments.json {
        let json: Value = serde_json::to_value(&run).context("failed to write the run as JSON")?;
        print_json(&json)?;
    } else {
        print(&summary(&run))?;
    }
    if was_interrupted {
        eprintln!("interrupted; resume with: panopticon judge run --resume {id}");
        return Ok(ExitCode::Interrupted);
    }
    match run.state {
        RunState::Completed if run.units.left_out() == 0 => Ok(ExitCode::Complete),
        RunState::Completed => Ok(ExitCode::Rejected),
        RunState::Running | RunState::Cancelled | RunState::Stopped => {
            eprintln!("resume with: panopticon judge run --resume {id}");
            Ok(ExitCode::Failed)
        }
    }
}

/// Resumes a run; one that other processes are working on is joined.
async fn resume(runs: &Runs, run: &str, arguments: &RunArguments) -> Result<Uuid, Failure> {
    let id = Uuid::try_parse(run)
        .with_context(|| format!("expected the id of a run, found `{run}`"))
        .map_err(Failure::usage)?;
    if runs.progress(id).await.map_err(failure)?.is_running() {
        eprintln!("already running; joining it");
        return Ok(id);
    }
    let retry = if arguments.retry_failed { Retry::Failed } else { Retry::Nothing };
    let budget = budget(arguments);
    runs.resume(id, (budget != RunBudget::default()).then_some(budget), retry).await.map_err(failure)?;
    Ok(id)
}

/// Works until the run ends, or finishes the calls in progress after a signal. Returns whether a signal arrived.
async fn work(runs: &Runs, id: Uuid, signals: &mut Signals) -> Result<bool, Failure> {
    let shutdown = Shutdown::default();
    let mut working = Box::pin(runs.work_on(id, &shutdown));
    let mut bar = RunBar::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let mut was_interrupted = false;
    let ended = loop {
        tokio::select! {
            ended = &mut working => break ended,
            _ = ticks.tick() => bar.show(&runs.progress(id).await.map_err(failure)?),
            () = signals.next() => {
                if was_interrupted {
                    // A second signal asks for an immediate end: calls in progress are made again later.
                    bar.finish();
                    return Ok(true);
                }
                was_interrupted = true;
                bar.say("finishing the calls in progress; press Ctrl-C again to abandon them");
                // Other processes start no more calls either.
                runs.cancel(id).await.map_err(failure)?;
                shutdown.begin();
            }
        }
    };
    bar.finish();
    ended.map_err(failure)?;
    Ok(was_interrupted)
}

/// Progress on standard error: a bar on a terminal, otherwise a line for each tenth of the units.
struct RunBar {
    bar: Option<ProgressBar>,
    /// Tenths of the units that the last line reported.
    tenths: u64,
}

impl RunBar {
    fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(|| progress::bar("judging", "units")), tenths: 0 }
    }

    fn show(&mut self, run: &RunProgress) {
        let (done, total) = (run.units.done, run.units.total);
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if total > 0 && done * 10 / total > self.tenths => {
                self.tenths = done * 10 / total;
                eprintln!("{done} of {total} units, {} answers", run.answers.done);
            }
            None => {}
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A request that cannot be carried out is a usage error.
fn failure(error: RunError) -> Failure {
    match error {
        RunError::NotFound { .. } | RunError::Conflict { .. } | RunError::Refused { .. } => {
            Failure::usage(error)
        }
        RunError::Unavailable(_) | RunError::Failed(_) => anyhow::Error::from(error).into(),
    }
}

fn request(id: Uuid, arguments: &RunArguments) -> Result<RunRequest, Failure> {
    let selection = Selection {
        category: arguments.theme.clone(),
        filter: arguments.filter.as_deref().map(filter).transpose()?,
        ..Selection::default()
    };
    let ids = (!arguments.query_ids.is_empty()).then(|| arguments.query_ids.clone());
    let queries =
        RunQueries::new(ids, selection, arguments.limit.unwrap_or(DEFAULT_LIMIT)).map_err(failure)?;
    let mut judges = arguments.judges.clone();
    if judges.is_empty() {
        judges.push(DEFAULT_JUDGE.to_owned());
    }
    // A provider that is named once applies to each mention of the model.
    let mut providers = BTreeMap::new();
    let mut ids = |models: &[String]| -> Vec<String> {
        models.iter().map(|model| named(model, &mut providers)).collect()
    };
    let (models, judges) = (ids(&arguments.models), ids(&judges));
    Ok(RunRequest {
        id,
        name: arguments.name.clone(),
        queries,
        mode: if arguments.pairwise { RunMode::Pairwise } else { RunMode::Pointwise },
        models: NamedModel::all(models, &providers),
        judges: NamedModel::all(judges, &providers),
        evaluation_prompt_ids: arguments.metrics.clone(),
        repeats: arguments.repeats.unwrap_or(1),
        uses_cache: !arguments.no_cache,
        temperature: arguments.temperature,
        metadata: serde_json::Map::new(),
        budget: budget(arguments),
    })
}

/// A filter in the syntax of ChromaDB's `where`.
fn filter(text: &str) -> Result<Filter, Failure> {
    let json: Value =
        serde_json::from_str(text).context("expected JSON after --where").map_err(Failure::usage)?;
    Filter::from_json(&json).map_err(|error| Failure::usage(anyhow!("`{}`: {}", error.place, error.reason)))
}

/// The id of a model that is given as `MODEL` or `MODEL=PROVIDER`.
fn named(text: &str, providers: &mut BTreeMap<String, String>) -> String {
    match text.rsplit_once('=') {
        Some((id, provider)) => {
            providers.insert(id.to_owned(), provider.to_owned());
            id.to_owned()
        }
        None => text.to_owned(),
    }
}

fn budget(arguments: &RunArguments) -> RunBudget {
    RunBudget {
        requests: arguments.max_requests,
        tokens: arguments.max_tokens,
        cost_usd: arguments.max_cost,
        wall_time_s: arguments.max_time,
    }
}

fn summary(run: &RunProgress) -> String {
    let counts = |done: u64, total: u64, parts: &[(u64, &str)]| {
        let shown = parts.iter().enumerate().filter(|(place, (count, _))| *place == 0 || *count > 0);
        let parts = shown.map(|(_, (count, name))| format!("{} {name}", grouped(*count))).collect::<Vec<_>>();
        format!("{} of {}: {}", grouped(done), grouped(total), parts.join(", "))
    };
    let RunProgress { answers, units, used, .. } = run;
    let mut text = format!("{}\n", run.state.as_str());
    let mut line =
        |name: &str, value: String| writeln!(text, "  {name:9}{value}").expect("writing to a string");
    if let Some(reason) = &run.stop_reason {
        line("reason", reason.clone());
    }
    for problem in &run.problems {
        line("problem", problem.clone());
    }
    let parts = [(answers.answered, "answered"), (answers.refused, "refused"), (answers.failed, "failed")];
    line("answers", counts(answers.done, answers.total, &parts));
    let parts = [
        (units.scored, "scored"),
        (units.unparsed, "unparsed"),
        (units.refused, "refused"),
        (units.failed, "failed"),
        (units.unanswered, "unanswered"),
    ];
    line("units", counts(units.done, units.total, &parts));
    let RunUsage { requests, tokens, cost_usd, without_usage: _, without_cost } = *used;
    let unknown = match without_cost {
        0 => String::new(),
        unknown => format!(" and {unknown} calls of unknown cost"),
    };
    let (requests, tokens) = (grouped(requests), grouped(tokens));
    line("used", format!("{requests} calls, {tokens} tokens, {cost_usd:.4} USD{unknown}"));
    text.trim_end().to_owned()
}
