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
        match event {
            Event::Change(change) => {
                let (line, verb) = match change {
                    IndexChange::Drop { name } => (format!("dropping index `{name}`"), None),
                    IndexChange::Build { name, definition } => {
                        (format!("building index `{name}`: {definition}"), Some(("indexing", "rows")))
                    }
                    IndexChange::Rename { from, to } => (format!("renaming index `{from}` to `{to}`"), None),
                    IndexChange::SetConstruction { name, ef_construction } => {
                        (format!("setting ef_construction of index `{name}` to {ef_construction}"), None)
                    }
                };
                self.step(&line, verb);
            }
            Event::Tuning(tuning) => {
                let line = format!("tuning the search parameters of `{}`: {}", tuning.index, tuning.reason);
                self.step(&line, Some(("exact searches", "searches")));
            }
            Event::LeftOut { searches } => {
                let vectors = if searches == 1 { "vector has" } else { "vectors have" };
                self.step(&format!("{searches} {vectors} no finite distance to any row: skipped"), None);
            }
            Event::Building { done, total } | Event::Measuring { done, total } => {
                if let Some(bar) = &self.bar {
                    let bar = bar.lock();
                    bar.set_length(total);
                    bar.set_position(done);
                }
            }
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
