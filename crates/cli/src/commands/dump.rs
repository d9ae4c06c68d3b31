//! `panopticon dump`: each record of a Chroma source as a line of JSON on standard output.

use std::{
    io::{self, Write},
    ops::ControlFlow,
};

use chroma::{Collection, Record, Vector, json_lines::CollectionLines};
use store::chroma::Source;

use crate::{
    arguments::DumpArguments,
    configuration::Configuration,
    exit::{ExitCode, Failure},
    interrupt::{Interrupt, run_interruptibly},
    output::{count, visible},
    progress::ReadProgress,
    source::{self, Location, Selection, full_name},
};

/// Lines are gathered up to this size before they are written, so that system calls cost little next to reading.
const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: DumpArguments,
) -> Result<ExitCode, Failure> {
    let location = Location::new(&arguments.source.source, &arguments.source.scope, configuration)
        .map_err(Failure::usage)?;
    run_interruptibly(move |interrupt| dump(&location, &arguments, interrupt)).await
}

fn dump(location: &Location, arguments: &DumpArguments, interrupt: &Interrupt) -> Result<ExitCode, Failure> {
    let source = source::open(location)?;
    let selection = Selection { name: arguments.collection.as_deref(), ..arguments.source.scope.selection() };
    let collections = selection.of(source.collections()).map_err(Failure::usage)?;
    // On a terminal, the lines themselves show the progress.
    let mut progress = ReadProgress::with_output("dumping");
    if progress.is_shown() {
        progress.start(
            collections.iter().map(|collection| source.record_count(collection)).sum::<Result<_, _>>()?,
        );
    }
    for warning in source.warnings() {
        progress.say(&format!("warning: {}", visible(&warning.to_string())));
    }
    let mut dump = Dump { out: io::stdout().lock(), buffer: Vec::new(), counts: Counts::default() };
    let mut end = End::Reached;
    for collection in collections {
        end = match dump.collection(&source, collection, interrupt, &progress) {
            Ok(end) => end,
            Err(failure) => {
                progress.finish();
                return Err(failure.context(dump.progress_so_far(collection)));
            }
        };
        if !matches!(end, End::Reached) {
            break;
        }
    }
    progress.finish();
    Ok(match end {
        End::Reached => dump.counts.conclude(),
        End::ReaderGone => ExitCode::BrokenPipe,
        End::Interrupted => {
            eprintln!("interrupted after {}", count(dump.counts.records, "record"));
            ExitCode::Interrupted
        }
    })
}

/// How the dump of a collection ended.
enum End {
    /// All records are written.
    Reached,
    /// The reader of standard output closed it, as `head` does. This is no failure.
    ReaderGone,
    /// A signal arrived.
    Interrupted,
}

/// What was written so far.
#[derive(Default)]
struct Counts {
    records: u64,
    without_vector: u64,
    inexact: u64,
}

struct Dump<W> {
    out: W,
    buffer: Vec<u8>,
    counts: Counts,
}

impl<W: Write> Dump<W> {
    fn collection(
        &mut self,
        source: &Source,
        collection: &Collection,
        interrupt: &Interrupt,
        progress: &ReadProgress,
    ) -> Result<End, Failure> {
        let lines = CollectionLines::new(collection);
        let mut write_error = None;
        let read = source.read(collection, |record| {
            if interrupt.is_raised() {
                return ControlFlow::Break(());
            }
            self.counts.add(&record);
            lines.append(&record, &mut self.buffer);
            progress.show(self.counts.records);
            if self.buffer.len() < BUFFER_BYTES {
                return ControlFlow::Continue(());
            }
            match self.write_out() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    write_error = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        // Even after an error, what was read is printed: the lines are complete.
        let written = write_error.map_or_else(|| self.write_out(), Err);
        let report = read?;
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::ReaderGone),
            Err(error) => {
                return Err(anyhow::Error::new(error).context("failed to write to standard output").into());
            }
        }
        if !report.complete {
            return Ok(End::Interrupted);
        }
        for warning in collection.warnings.iter().chain(&report.warnings) {
            progress.say(&format!("warning: {}: {}", full_name(collection), visible(&warning.to_string())));
        }
        Ok(End::Reached)
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }

    fn progress_so_far(&self, collection: &Collection) -> String {
        format!(
            "stopped after reading {}, in collection `{}`",
            count(self.counts.records, "record"),
            full_name(collection)
        )
    }
}

impl Counts {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.without_vector += u64::from(matches!(record.vector, Vector::Missing { .. }));
        self.inexact += u64::from(!record.problems.is_empty());
    }

    /// Reports incomplete records, and chooses the exit code.
    fn conclude(&self) -> ExitCode {
        let Self { records, without_vector, inexact } = self;
        for (what, affected) in
            [("without a vector", *without_vector), ("not exactly as stored, see their `problems`", *inexact)]
        {
            if affected > 0 {
                eprintln!("{what}: {affected} of {}", count(*records, "record"));
            }
        }
        if without_vector + inexact == 0 { ExitCode::Complete } else { ExitCode::Rejected }
    }
}
