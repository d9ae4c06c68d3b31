//! `panopticon index`: the vector indexes that searches use.

mod progress;
mod text;

use anyhow::anyhow;
use serde_json::{Value, json};
use store::postgres::{
    Access, Database, Table,
    vector_index::{IndexUse, MeasuredSetting},
};
use upkeep::{Policy, observation_to_json, plan_to_json, setting_to_json};

pub(super) use self::progress::IndexProgress;
use crate::{
    arguments::{IndexArguments, IndexCommand},
    commands::migrate::names::without_schema,
    configuration::Configuration,
    connection::Connection,
    exit::{ExitCode, Failure},
    output::{print, print_json},
};

pub(crate) async fn run(configuration: &Configuration, command: IndexCommand) -> Result<ExitCode, Failure> {
    let policy = configuration.index_policy()?;
    let connection = Connection::open(configuration).await?;
    let done = carry_out(&connection.database, &policy, command).await;
    connection.close().await?;
    done
}

async fn carry_out(database: &Database, policy: &Policy, command: IndexCommand) -> Result<ExitCode, Failure> {
    let arguments = match &command {
        IndexCommand::Status(arguments) | IndexCommand::Plan(arguments) | IndexCommand::Tune(arguments) => {
            arguments
        }
        IndexCommand::Apply { arguments, .. } => arguments,
    };
    let mut answers = Answers { is_json: arguments.json, objects: Vec::new() };
    let mut code = ExitCode::Complete;
    for table in tables(database, arguments).await? {
        match command {
            IndexCommand::Status(_) => {
                let observation = upkeep::observe(database, &table).await?;
                let plan = upkeep::plan(&observation, policy);
                let mut object = observation_to_json(&observation);
                object["plan"] = plan_to_json(&plan);
                answers.add(object, &text::status(&observation, &plan))?;
            }
            IndexCommand::Plan(_) | IndexCommand::Apply { dry_run: true, .. } => {
                let plan = upkeep::plan(&upkeep::observe(database, &table).await?, policy);
                answers.add(plan_to_json(&plan), plan.to_string().trim_end())?;
            }
            IndexCommand::Apply { .. } => {
                let progress = IndexProgress::new();
                let applied = upkeep::apply(database, &table, policy, &|event| progress.show(event)).await;
                progress.finish();
                let applied = applied?;
                let mut object = plan_to_json(&applied.plan);
                object["measured"] = settings_to_json(&applied.measured);
                answers.add(object, &text::applied(&applied))?;
                // Also what an earlier run has measured.
                let observation = database.observe_indexes(&table).await?;
                let used = observation.indexes.iter().filter(|index| index.service == IndexUse::Searches);
                if warn_of_shortfall(&table, used.flat_map(|index| &index.measured)) {
                    code = ExitCode::Unhealthy;
                }
            }
            IndexCommand::Tune(_) => {
                let progress = IndexProgress::new();
                let measured = upkeep::retune(database, &table, policy, &|event| progress.show(event)).await;
                progress.finish();
                let measured = measured?;
                let object = json!({"table": table.name, "measured": settings_to_json(&measured)});
                answers.add(object, &text::tuned(&table, &measured))?;
                if warn_of_shortfall(&table, measured.iter()) {
                    code = ExitCode::Unhealthy;
                }
            }
        }
    }
    answers.end()?;
    Ok(code)
}

/// Whether the recall is below the target, of which it warns.
fn warn_of_shortfall<'m>(table: &Table, measured: impl Iterator<Item = &'m MeasuredSetting>) -> bool {
    let shortfall = text::shortfall(table, measured);
    if let Some(shortfall) = &shortfall {
        eprintln!("warning: {shortfall}");
    }
    shortfall.is_some()
}

/// The tables to process.
async fn tables(database: &Database, arguments: &IndexArguments) -> Result<Vec<Table>, Failure> {
    database.check_bookkeeping_access().await?;
    for job in database.jobs().await? {
        if let Some(problem) = job.problems.first() {
            let run = job.run_id;
            eprintln!(
                "the row of run {run} in migration_jobs cannot be read completely: {problem}; `panopticon doctor` lists such rows"
            );
        }
    }
    let mut tables = upkeep::tables_and(database, arguments.table.as_slice()).await?;
    for table in &tables {
        if arguments.table.as_ref().is_none_or(|name| *name == table.name) {
            database.check_access(table, Access::Read).await?;
        }
    }
    let Some(name) = &arguments.table else { return Ok(tables) };
    let known: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    tables.retain(|table| table.name == *name);
    if tables.is_empty() {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::usage(anyhow!(
            "the database has no Panopticon table `{name}` with vectors: it has {known}{}",
            without_schema(name)
        )));
    }
    Ok(tables)
}

fn settings_to_json(settings: &[MeasuredSetting]) -> Value {
    settings.iter().map(setting_to_json).collect()
}

/// Prints a block for each table as soon as it is done, or one array at the end.
struct Answers {
    is_json: bool,
    objects: Vec<Value>,
}

impl Answers {
    fn add(&mut self, object: Value, text: &str) -> anyhow::Result<()> {
        if self.is_json {
            self.objects.push(object);
            return Ok(());
        }
        print(text)
    }

    fn end(self) -> Result<(), Failure> {
        if self.is_json {
            print_json(&Value::Array(self.objects))?;
        }
        Ok(())
    }
}
