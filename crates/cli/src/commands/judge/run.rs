//! `panopticon judge run`: a run from its beginning, or from where it was left, to its end.

use std::{fmt::Write as _, io::IsTerminal as _, time::Duration};

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use server::{RunError, Runs, Shutdown};
use uuid::Uuid;

use crate::{
    arguments::RunArguments,
    commands::serve::OpenRuns,
    configuration::Configuration,
    exit::{ExitCode, Failure},
    interrupt::Signals,
    output::{grouped, print, print_exactly},
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
    let ended = Box::pin(begin_and_work(&open.runs, &arguments, signals)).await;
    open.close().await?;
    ended
}

async fn begin_and_work(
    runs: &Runs,
    arguments: &RunArguments,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let id = match &arguments.resume {
        Some(run) => resume(runs, run, arguments).await?,
        None => {
            let id = Uuid::new_v4();
            Box::pin(runs.begin(id, &request(arguments)?)).await.map_err(failure)?;
            id
        }
    };
    eprintln!("run {id}");
    let was_interrupted = work(runs, id, signals).await?;
    let run = runs.show(id).await.map_err(failure)?;
    if arguments.json {
        print_exactly(&run.to_string())?;
    } else {
        print(&summary(&run))?;
    }
    if was_interrupted {
        eprintln!("interrupted; go on with: panopticon judge run --resume {id}");
        return Ok(ExitCode::Interrupted);
    }
    match run["state"].as_str() {
        Some("completed") => Ok(if left_out(&run) == 0 { ExitCode::Complete } else { ExitCode::Rejected }),
        _ => {
            eprintln!("go on with: panopticon judge run --resume {id}");
            Ok(ExitCode::Failed)
        }
    }
}

/// Lets a run go on; one that is running already is simply worked on, beside others.
async fn resume(runs: &Runs, run: &str, arguments: &RunArguments) -> Result<Uuid, Failure> {
    let id = Uuid::try_parse(run)
        .with_context(|| format!("expected the id of a run, found `{run}`"))
        .map_err(Failure::usage)?;
    let state = runs.show(id).await.map_err(failure)?["state"].clone();
    if state == "running" {
        eprintln!("it is running already; helping");
        return Ok(id);
    }
    let mut request = json!({"retry_failed": arguments.retry_failed});
    if let Some(budget) = budget(arguments) {
        request["budget"] = budget;
    }
    runs.go_on(id, &request).await.map_err(failure)?;
    Ok(id)
}

/// Works until the run ends, or a signal comes and what is under way is finished: whether one came.
async fn work(runs: &Runs, id: Uuid, signals: &mut Signals) -> Result<bool, Failure> {
    let shutdown = Shutdown::default();
    let mut working = Box::pin(runs.work_on(id, &shutdown));
    let mut shown = Shown::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let mut was_interrupted = false;
    let ended = loop {
        tokio::select! {
            ended = &mut working => break ended,
            _ = ticks.tick() => shown.show(&runs.show(id).await.map_err(failure)?),
            () = signals.next() => {
                if was_interrupted {
                    // A second signal is from somebody who does not want to wait: a call under way is made again later.
                    shown.finish();
                    return Ok(true);
                }
                was_interrupted = true;
                shown.say("finishing the calls that are under way; press Ctrl-C again to leave them");
                // Nobody else begins any more either.
                runs.end(id).await.map_err(failure)?;
                shutdown.begin();
            }
        }
    };
    shown.finish();
    ended.map_err(failure)?;
    Ok(was_interrupted)
}

/// Progress on standard error: a bar on a terminal, elsewhere a line now and then.
struct Shown {
    bar: Option<ProgressBar>,
    /// Tenths of the units that the last line told of.
    tenths: u64,
}

impl Shown {
    fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(|| progress::bar("judging", "units")), tenths: 0 }
    }

    fn show(&mut self, run: &Value) {
        let number = |kind: &str, name: &str| run[kind][name].as_u64().expect("a run shows its counts");
        let (done, total) = (number("units", "done"), number("units", "total"));
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if total > 0 && done * 10 / total > self.tenths => {
                self.tenths = done * 10 / total;
                eprintln!("{done} of {total} units, {} answers", number("answers", "done"));
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

fn failure(error: RunError) -> Failure {
    if error.is_the_callers() { Failure::usage(error) } else { anyhow::Error::from(error).into() }
}

/// The request, as the service takes it.
fn request(arguments: &RunArguments) -> Result<Value, Failure> {
    let mut request = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            request.insert(name.to_owned(), value);
        }
    };
    let list = |texts: &[String]| (!texts.is_empty()).then(|| json!(texts));
    let filter = arguments.filter.as_deref().map(serde_json::from_str::<Value>).transpose();
    let filter = filter.context("expected JSON after --where").map_err(Failure::usage)?;
    let models: Vec<(String, Option<String>)> = arguments.models.iter().map(|model| named(model)).collect();
    let judges: Vec<(String, Option<String>)> = arguments.judges.iter().map(|judge| named(judge)).collect();
    let ids = |named: &[(String, Option<String>)]| named.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let providers: Map<String, Value> = models
        .iter()
        .chain(&judges)
        .filter_map(|(id, provider)| Some((id.clone(), provider.clone()?.into())))
        .collect();
    put("name", arguments.name.clone().map(Value::from));
    put("theme", arguments.theme.clone().map(Value::from));
    put("query_ids", list(&arguments.query_ids));
    put("where", filter);
    put("limit", arguments.limit.map(Value::from));
    put("models", list(&ids(&models)));
    put("judge_models", list(&ids(&judges)));
    put("providers", (!providers.is_empty()).then(|| providers.into()));
    put("evaluation_prompt_ids", list(&arguments.metrics));
    put("mode", arguments.pairwise.then(|| json!("pairwise")));
    put("repeats", arguments.repeats.map(Value::from));
    put("temperature", arguments.temperature.map(Value::from));
    put("use_cache", arguments.no_cache.then_some(json!(false)));
    put("budget", budget(arguments));
    Ok(request.into())
}

/// A model, and its provider if that is given: `MODEL=PROVIDER`.
fn named(text: &str) -> (String, Option<String>) {
    match text.rsplit_once('=') {
        Some((id, provider)) => (id.to_owned(), Some(provider.to_owned())),
        None => (text.to_owned(), None),
    }
}

fn budget(arguments: &RunArguments) -> Option<Value> {
    let limits = [
        ("requests", arguments.max_requests.map(Value::from)),
        ("tokens", arguments.max_tokens.map(Value::from)),
        ("cost_usd", arguments.max_cost.map(Value::from)),
        ("wall_time_s", arguments.max_time.map(Value::from)),
    ];
    let given: Map<String, Value> =
        limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?))).collect();
    (!given.is_empty()).then(|| given.into())
}

/// Units without a measurement.
fn left_out(run: &Value) -> u64 {
    let units = ["unparsed", "refused", "failed", "unanswered"];
    units.into_iter().map(|kind| run["units"][kind].as_u64().expect("a run shows its counts")).sum()
}

fn summary(run: &Value) -> String {
    let counts = |kind: &str, names: &[&str]| {
        let number = |name: &str| run[kind][name].as_u64().expect("a run shows its counts");
        let parts = names.iter().filter(|name| number(name) > 0 || **name == names[0]);
        let parts = parts.map(|name| format!("{} {name}", grouped(number(name)))).collect::<Vec<_>>();
        format!("{} of {}: {}", grouped(number("done")), grouped(number("total")), parts.join(", "))
    };
    let mut text = format!("{}\n", run["state"].as_str().expect("a run shows its state"));
    let mut line =
        |name: &str, value: String| writeln!(text, "  {name:9}{value}").expect("writing to a string");
    if let Some(reason) = run["stop_reason"].as_str() {
        line("because", reason.to_owned());
    }
    line("answers", counts("answers", &["answered", "refused", "failed"]));
    line("units", counts("units", &["scored", "unparsed", "refused", "failed", "unanswered"]));
    let used = &run["used"];
    let number = |name: &str| used[name].as_u64().expect("a run shows what it used");
    let mut cost = format!("{} calls, {} tokens", grouped(number("requests")), grouped(number("tokens")));
    match (used["cost_usd"].as_f64(), number("without_cost")) {
        (Some(usd), 0) => write!(cost, ", {usd:.4} USD"),
        (Some(usd), unknown) => write!(cost, ", {usd:.4} USD and {unknown} calls of unknown cost"),
        (None, _) => Ok(()),
    }
    .expect("writing to a string");
    line("used", cost);
    text.trim_end().to_owned()
}
