//! `panopticon demo`: migrates the sample that ships with the binary, searches it, and adds its verdicts and labels.

mod judged;

use std::{env, fs, path::Path};

use anyhow::Context as _;
use include_dir::{Dir, include_dir};
use migrate::{MigrateOptions, SourceCollection, Transfer};
use provision::{Role, postgres::DATABASE};
use records::Service;
use store::{
    chroma::Source,
    postgres::{Database, Table},
    storage::Effort,
};

use self::judged::Judged;
use super::{
    migrate::{collections_to_text, migrate_with_progress},
    search::{self, Question, find, open_model},
};
use crate::{
    configuration::Configuration,
    connection::{Connection, DEMO_DATABASE, start_embedded},
    exit::{ExitCode, Failure},
    output::print,
    settings::table::DATABASE_URL,
};

/// The sample's directories, embedded in the binary.
static SAMPLES: [(Service, Dir<'static>); 3] = [
    (Service::Query, include_dir!("$CARGO_MANIFEST_DIR/../../sample/query_storage_data")),
    (Service::Evaluation, include_dir!("$CARGO_MANIFEST_DIR/../../sample/evaluation_storage_data")),
    (Service::Judge, include_dir!("$CARGO_MANIFEST_DIR/../../sample/judge_service_data")),
];

const QUESTION: &str = "Can we get electricity from the process that powers the sun?";

/// What follows the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Advice what to try.
    Advise,
    /// Its database is served.
    Serve,
}

pub(crate) async fn run(configuration: &Configuration, then: Then) -> Result<ExitCode, Failure> {
    let model = open_model(configuration).await?;
    let server = start_embedded(configuration).await?;
    let (main_url, demo_url) = (server.url(), server.url_of(DEMO_DATABASE));
    let main = Database::connect(&main_url).await?;
    // Autovacuum, which may work on it, is a superuser.
    let superuser = Database::connect(&server.url_as(Role::Superuser, DATABASE)?).await?;
    superuser.drop_database(DEMO_DATABASE).await?;
    superuser.close().await;
    main.recreate_database(DEMO_DATABASE).await?;
    main.close().await;
    let connection = Connection::on(server, &demo_url).await?;
    connection.database.prepare_schema().await?;

    let folder = configuration.data_dir()?.own_folder("sample")?;
    print(&format!(
        "Three Chroma directories, unpacked into {}, become PostgreSQL tables:",
        folder.display()
    ))?;
    let mut transfers = Vec::new();
    for (service, sample) in &SAMPLES {
        let path = folder.join(service.as_str());
        unpack(sample, &path)?;
        transfers.push(transfer(*service, &path)?);
    }
    let report = migrate_with_progress(&connection.database, transfers, &MigrateOptions::default()).await?;
    print(&format!("  {}", collections_to_text(&report).replace('\n', "\n  ")))?;

    print(&format!("\nThe queries nearest in meaning to “{QUESTION}”, by cosine distance:"))?;
    let question = Question {
        service: Service::Query,
        text: QUESTION,
        limit: 5,
        category: None,
        model_id: None,
        effort: Effort::Fast,
    };
    let (hits, _) = find(&connection.database, model, question).await?;
    print(&format!("  {}", search::to_text(Service::Query, &hits).replace('\n', "\n  ")))?;
    let Judged { verdicts, labels } = judged::store(&connection.database).await?;
    print(&format!(
        "\nAlso stored, drawn by a script as a sample: {verdicts} verdicts of two judges on the answers, and {labels} labels."
    ))?;
    connection.close().await?;
    match then {
        Then::Advise => print(&next_steps(&env::args().next().unwrap_or_else(|| "panopticon".to_owned())))?,
        Then::Serve => print("")?,
    }
    Ok(ExitCode::Complete)
}

fn transfer(service: Service, path: &Path) -> Result<Transfer, Failure> {
    let source = Source::open(path)?;
    let is_meant = |collection: &&chroma::Collection| collection.name == service.collection();
    let collection = source.collections().iter().find(is_meant).context("the sample is incomplete")?.clone();
    Ok(Transfer { source: SourceCollection::new(source, collection), table: Table::of(service) })
}

/// What to try next, with `program` as it was called, so that each line works as printed.
fn next_steps(program: &str) -> String {
    format!(
        "
Next, with the sample:
  {program} serve --demo        the console: which model is better, and how sure that is
  {program} search query \"how do vaccines work\" --demo
  {program} db psql --demo

With your own data; first stop the service that writes to it:
  {program} migrate query --from /path/to/query_storage_data
  {program} search query \"how do vaccines work\"
  {program} --help

Your data is stored in the database that {DATABASE_URL} names, else in the embedded server's database `panopticon`.
The demo uses a separate database, `{DEMO_DATABASE}`, which each run recreates."
    )
}

/// Writes the sample into `folder`, replacing what an earlier version left there.
fn unpack(sample: &Dir<'_>, folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("failed to unpack the sample into `{}`", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(failed)?;
    }
    fs::create_dir_all(folder).with_context(failed)?;
    sample.extract(folder).with_context(failed)
}
