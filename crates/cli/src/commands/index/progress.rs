//! Progress of a build on standard error: a bar on a terminal, otherwise a line for each step.

use std::io::IsTerminal as _;

use indicatif::ProgressBar;
use records::lock::Mutex;
use store::postgres::vector_index::IndexChange;
use upkeep::Event;

use crate::{output::visible, progress::bar};

/// Shows the progress of a table's indexes.
pub(in crate::commands) struct IndexProgress {
    /// Shared by the events of one task. `None` where standard error is no terminal.
    bar: Option<Mutex<ProgressBar>>,
}

impl IndexProgress {
    pub(in crate::commands) fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(|| Mutex::new(ProgressBar::hidden())) }
    }

    pub(in crate::commands) fn show(&self, event: Event<'_>) {
        if let Some(line) = event.step() {
            let verb = match event {
                Event::Change(IndexChange::Build { .. }) => Some(("indexing", "rows")),
                Event::Tuning(_) => Some(("exact searches", "searches")),
                _ => None,
            };
            self.step(&line, verb);
        }
        if let (Event::Building { done, total } | Event::Measuring { done, total }, Some(bar)) =
            (event, &self.bar)
        {
            let bar = bar.lock();
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Prints what starts, and shows a bar for a long step.
    fn step(&self, line: &str, verb: Option<(&'static str, &'static str)>) {
        let line = visible(line);
        match &self.bar {
            Some(shown) => {
                let mut shown = shown.lock();
                shown.finish_and_clear();
                eprintln!("{line}");
                *shown = verb.map_or_else(ProgressBar::hidden, |(verb, unit)| bar(verb, unit));
            }
            None => eprintln!("{line}"),
        }
    }

    /// Removes the bar.
    pub(in crate::commands) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.into_inner().finish_and_clear();
        }
    }
}
