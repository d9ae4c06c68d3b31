//! `panopticon inspect`: the contents of a Chroma source, as text or as JSON.

mod json;
mod report;
mod text;

use std::ops::ControlFlow;

use chroma::Collection;
use store::chroma::Source;

use self::report::{CollectionReport, Report};
use crate::{
    arguments::InspectArguments,
    configuration::Configuration,
    exit::{ExitCode, Failure},
    interrupt::{Interrupt, run_interruptibly},
    output::{print, print_json},
    progress::ReadProgress,
    screen::width,
    source::{self, Location, full_name},
};

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: InspectArguments,
) -> Result<ExitCode, Failure> {
    let location = Location::new(&arguments.source.source, &arguments.source.scope, configuration)
        .map_err(Failure::usage)?;
    run_interruptibly(move |interrupt| {
        let Some(report) = gather(&location, &arguments, interrupt)? else {
            return Ok(ExitCode::Interrupted);
        };
        match arguments.json {
            true => print_json(&json::to_json(&report))?,
            false => print(&text::to_text(&report, width()))?,
        }
        Ok(if report.is_exact() { ExitCode::Complete } else { ExitCode::Rejected })
    })
    .await
}

/// Reads everything, since only a full read shows which vectors exist; `None` if a signal arrived.
fn gather(
    location: &Location,
    arguments: &InspectArguments,
    interrupt: &Interrupt,
) -> Result<Option<Report>, Failure> {
    let source = source::open(location)?;
    let meant = arguments.source.scope.selection().of(source.collections()).map_err(Failure::usage)?;
    let description = source::describe(&source)?;
    let mut progress = ReadProgress::new("inspecting");
    if progress.is_shown() {
        let counts = meant.iter().map(|collection| source.record_count(collection));
        progress.start(counts.sum::<Result<_, _>>()?);
    }
    let mut records_before = 0;
    let mut collections = Vec::new();
    for collection in meant {
        let read = inspect_collection(&source, collection, |records| {
            progress.show(records_before + records);
            if interrupt.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match read {
            Ok(Some(report)) => {
                records_before += report.counts.records;
                collections.push(report);
            }
            Ok(None) => {
                progress.finish();
                return Ok(None);
            }
            Err(failure) => {
                progress.finish();
                return Err(failure.context(format!("stopped in collection `{}`", full_name(collection))));
            }
        }
    }
    progress.finish();
    let warnings = source.warnings().to_vec();
    Ok(Some(Report { source: location.to_string(), description, collections, warnings }))
}

/// Reads a collection; `None` if `proceed`, which gets the number of records so far, ended it.
fn inspect_collection(
    source: &Source,
    collection: &Collection,
    mut proceed: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<CollectionReport>, Failure> {
    let mut report = CollectionReport::new(collection.clone());
    let read = source.read(collection, |record| {
        report.add(&record);
        proceed(report.counts.records)
    })?;
    report.collection.warnings.extend(read.warnings);
    Ok(read.complete.then_some(report))
}
