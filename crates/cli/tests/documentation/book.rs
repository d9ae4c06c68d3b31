//! The site that `mdbook build docs` builds.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use mdbook_driver::{MDBook, book::BookItem};
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

use super::{documents, repository};

/// Collects warnings and errors. mdBook only logs problems that it does not regard as fatal, such as unclosed HTML.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            let mut text = Text(format!("{}:", event.metadata().target()));
            event.record(&mut text);
            self.0.lock().expect("no test panics here").push(text.0);
        }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {value:?}");
    }
}

fn load() -> MDBook {
    MDBook::load(repository().join("docs")).expect("docs/book.toml and docs/SUMMARY.md read")
}

#[test]
fn book_builds_without_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let warnings = Warnings::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(warnings.clone()), || {
        let mut book = load();
        book.config.build.build_dir = folder.path().to_owned();
        book.build().expect("the book builds");
    });
    let warnings = warnings.0.lock().expect("no test panics here");
    assert!(warnings.is_empty(), "{warnings:#?}");
    for page in ["index.html", "get-started.html", "reference/settings.html", "print.html"] {
        assert!(folder.path().join(page).is_file(), "the book has {page}");
    }
}

#[test]
fn book_lists_every_document_of_its_folder() {
    let book = load();
    let listed: BTreeSet<PathBuf> = book
        .iter()
        .filter_map(|item| match item {
            BookItem::Chapter(chapter) => chapter.source_path.clone(),
            _ => None,
        })
        .collect();
    let docs = repository().join("docs");
    let there: BTreeSet<PathBuf> = documents()
        .iter()
        .filter_map(|path| path.strip_prefix(&docs).ok())
        .filter(|path| *path != Path::new("SUMMARY.md"))
        .map(Path::to_owned)
        .collect();
    assert_eq!(listed, there, "docs/SUMMARY.md lists each page once");
}
