//! Progress on standard error: of a migration, a bar on a terminal and a line a phase elsewhere; of a mere read, a
//! bar on a terminal and nothing elsewhere.

use std::{fmt, io::IsTerminal as _, sync::Mutex, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use migrate::Phase;
use records::Service;

/// Shows how far the migration of one service is.
pub(crate) struct MigrationProgress {
    service: Service,
    /// The bar of the phase under way; `None` where standard error is no terminal.
    bar: Option<Mutex<ProgressBar>>,
}

impl MigrationProgress {
    pub(crate) fn new(service: Service) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| Mutex::new(ProgressBar::hidden()));
        Self { service, bar }
    }

    /// Takes what [`migrate::migrate`] tells.
    pub(crate) fn show(&self, phase: Phase, done: u64, total: u64) {
        let verb = match phase {
            Phase::Copy => "copying",
            Phase::Index => "indexing",
            Phase::Verify => "verifying",
        };
        let Some(bar) = &self.bar else {
            if done == 0 {
                eprintln!("{verb} {}: {total} records", self.service.collection());
            }
            return;
        };
        let mut bar = bar.lock().expect("no holder panics");
        if done == 0 {
            bar.finish_and_clear();
            *bar = ProgressBar::new(total)
                .with_style(style())
                .with_message(format!("{verb} {}", self.service.collection()));
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar.set_position(done);
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.into_inner().expect("no holder panics").finish_and_clear();
        }
    }
}

/// Records between two looks at the bar, which costs more than reading a small record.
const SHOW_EVERY: u64 = 512;

/// Shows how far reading a source is.
pub(crate) struct ReadProgress(Option<ProgressBar>);

impl ReadProgress {
    /// A bar if standard error is a terminal.
    pub(crate) fn new(verb: &'static str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| ProgressBar::hidden().with_message(verb)))
    }

    /// A bar if standard error is a terminal and standard output, where the records go, is not.
    pub(crate) fn beside_output(verb: &'static str) -> Self {
        if std::io::stdout().is_terminal() { Self(None) } else { Self::new(verb) }
    }

    /// Whether somebody looks on, so that finding out how much there is to do is worth it.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Begins, with `records` to come.
    pub(crate) fn start(&mut self, records: u64) {
        if let Some(hidden) = &self.0 {
            let bar = ProgressBar::new(records).with_style(style()).with_message(hidden.message());
            bar.enable_steady_tick(Duration::from_millis(100));
            self.0 = Some(bar);
        }
    }

    /// `records` are done.
    pub(crate) fn show(&self, records: u64) {
        if let Some(bar) = &self.0
            && records.is_multiple_of(SHOW_EVERY)
        {
            bar.set_position(records);
        }
    }

    /// Prints a line that stays, above the bar.
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

fn style() -> ProgressStyle {
    let template = "{msg:29} {wide_bar} {human_pos}/{human_len} records, {rate}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is valid").with_key(
        "rate",
        |state: &ProgressState, line: &mut dyn fmt::Write| {
            write!(line, "{:.0}/s", state.per_sec())
                .expect("indicatif writes to a string, which cannot fail");
        },
    )
}

/// Prints one line of the setup's progress.
pub(crate) fn setup_line(line: &str) {
    eprintln!("{line} …");
}
