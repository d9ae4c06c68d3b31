//! Progress on standard error. A migration shows a bar on a terminal and otherwise a line for each phase; a read shows a
//! bar on a terminal only.

use std::{fmt, io::IsTerminal as _, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use migrate::{Event, Observer, Phase};
use records::lock::Mutex;

use crate::output::{excerpt, visible};

/// The progress of a migration.
#[derive(Clone)]
pub(crate) struct MigrationProgress(
    // Shared between the reader's thread, the tasks that write and the command. `None` where standard error is no
    // terminal.
    Option<Arc<Mutex<ProgressBar>>>,
);

impl MigrationProgress {
    pub(crate) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self(is_terminal.then(|| Arc::new(Mutex::new(ProgressBar::hidden()))))
    }

    /// The observer that receives the events of a migration.
    pub(crate) fn observer(&self) -> Observer {
        let progress = self.clone();
        Arc::new(move |event| progress.show(event))
    }

    fn show(&self, event: Event<'_>) {
        match (&self.0, event) {
            (Some(bar), Event::Phase { collection, phase, total }) => {
                let mut bar = bar.lock();
                bar.finish_and_clear();
                let (verb, unit) = describe(phase);
                *bar = ProgressBar::new(total)
                    .with_style(if total == 0 { unmeasured_style(unit) } else { style(unit) })
                    .with_message(format!("{verb} {}", excerpt(collection, 20)));
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            (Some(bar), Event::Progress { done, total }) => {
                let bar = bar.lock();
                if bar.length() != Some(total) && total > 0 {
                    bar.set_style(style("rows"));
                    bar.set_length(total);
                }
                bar.set_position(done);
            }
            (None, Event::Phase { collection, phase, total }) => {
                let (verb, unit) = describe(phase);
                let much = if total == 0 { String::new() } else { format!(": {total} {unit}") };
                eprintln!("{verb} {}{much}", visible(collection));
            }
            (None, Event::Progress { .. }) | (_, Event::Step(_)) => {}
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.lock().finish_and_clear();
        }
    }
}

/// Verb and unit of a phase.
fn describe(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Target => ("reading the table of", "rows"),
        Phase::Plan => ("checking", "records"),
        Phase::Copy => ("copying", "records"),
        Phase::Index => ("indexing", "rows"),
        Phase::Verify => ("verifying", "records"),
        Phase::Search => ("searching", "searches"),
        Phase::Collections => ("processing", "collections"),
    }
}

/// Records between updates of the bar: an update costs more than reading a small record.
const SHOW_EVERY: u64 = 512;

/// The progress of reading a source.
pub(crate) struct ReadProgress(Option<ProgressBar>);

impl ReadProgress {
    /// A bar if standard error is a terminal.
    pub(crate) fn new(verb: &'static str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| ProgressBar::hidden().with_message(verb)))
    }

    /// A bar if standard error is a terminal and standard output, which gets the records, is not.
    pub(crate) fn with_output(verb: &'static str) -> Self {
        if std::io::stdout().is_terminal() { Self(None) } else { Self::new(verb) }
    }

    /// Whether the bar is shown, so that counting the records is worth it.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Starts the bar, with `records` in total.
    pub(crate) fn start(&mut self, records: u64) {
        if let Some(hidden) = &self.0 {
            let bar = ProgressBar::new(records).with_style(style("records")).with_message(hidden.message());
            bar.enable_steady_tick(Duration::from_millis(100));
            self.0 = Some(bar);
        }
    }

    /// Shows that `records` are done.
    pub(crate) fn show(&self, records: u64) {
        if let Some(bar) = &self.0
            && records.is_multiple_of(SHOW_EVERY)
        {
            bar.set_position(records);
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A bar whose length is set later.
pub(crate) fn bar(verb: &'static str, unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_style(style(unit)).with_message(verb);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn style(unit: &str) -> ProgressStyle {
    let template =
        format!("{{msg:29}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{rate}}, {{eta}} left");
    ProgressStyle::with_template(&template).expect("the template is valid").with_key(
        "rate",
        |state: &ProgressState, line: &mut dyn fmt::Write| {
            write!(line, "{:.0}/s", state.per_sec())
                .expect("indicatif writes to a string, which cannot fail");
        },
    )
}

/// For a phase of unknown length.
fn unmeasured_style(unit: &str) -> ProgressStyle {
    let template = format!("{{msg:29}} {{spinner}} {{human_pos}} {unit}, {{elapsed}}");
    ProgressStyle::with_template(&template).expect("the template is valid")
}

/// Prints one line of progress of the setup.
pub(crate) fn setup_line(line: &str) {
    eprintln!("{line} …");
}
