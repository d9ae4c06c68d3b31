//! The Chroma side of a migration: one collection of one directory, read on a thread of its own.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use chroma::{Collection, PersistDirectory, ReadReport, Record, Warning};
use records::Service;
use tokio::sync::mpsc;

use crate::Error;

/// Records that wait between the reader and the writer: enough to bridge a round trip, and a few megabytes.
const QUEUE_RECORDS: usize = 256;

/// A service's collection in a Chroma persist directory.
pub struct Source {
    directory: PersistDirectory,
    collection: Collection,
    path: PathBuf,
    records: u64,
}

impl Source {
    /// Opens the directory at `path` and finds the collection of `service`.
    ///
    /// # Errors
    /// When the directory cannot be read, or has no such collection or several.
    pub fn open(path: &Path, service: Service) -> Result<Self, Error> {
        let path = path.to_owned();
        let unreadable = |source| Error::Source { path: path.clone(), source: Box::new(source) };
        let directory = PersistDirectory::open(&path).map_err(unreadable)?;
        let name = service.collection();
        let mut named = directory.collections().iter().filter(|collection| collection.name == name);
        let collection = match (named.next(), named.next()) {
            (Some(collection), None) => collection.clone(),
            (None, _) => {
                let found = directory.collections().iter().map(full_name).collect();
                return Err(Error::NoCollection { path, name, found });
            }
            (Some(_), Some(_)) => {
                let of_that_name =
                    directory.collections().iter().filter(|collection| collection.name == name);
                let found = of_that_name.map(full_name).collect();
                return Err(Error::AmbiguousCollection { path, name, found });
            }
        };
        let records = directory.record_count(&collection).map_err(unreadable)?;
        Ok(Self { directory, collection, path, records })
    }

    /// The collection.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is odd about the directory and the collection.
    pub fn warnings(&self) -> Vec<Warning> {
        self.directory.warnings().iter().chain(&self.collection.warnings).cloned().collect()
    }

    /// How many records the collection has.
    pub fn record_count(&self) -> u64 {
        self.records
    }

    /// Starts reading. The receiver ends after the last record, or early on an error, which
    /// [`Reading::finish`] tells.
    pub(crate) fn read(self) -> Result<(Reading, mpsc::Receiver<Record>), Error> {
        let (sender, receiver) = mpsc::channel(QUEUE_RECORDS);
        let read = move || {
            let result = self.directory.read(&self.collection, |record| match sender.blocking_send(record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_receiver_gone) => ControlFlow::Break(()),
            });
            match result {
                Ok(report) => Ok((self, report)),
                Err(source) => Err(Error::Source { path: self.path, source: Box::new(source) }),
            }
        };
        let thread = thread::Builder::new().name("chroma-reader".to_owned()).spawn(read);
        Ok((Reading(thread.map_err(|source| Error::Thread { source })?), receiver))
    }
}

/// A read under way.
pub(crate) struct Reading(thread::JoinHandle<Result<(Source, ReadReport), Error>>);

impl Reading {
    /// Gives the source back, once its receiver has ended.
    pub(crate) fn finish(self) -> Result<(Source, ReadReport), Error> {
        match self.0.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn full_name(collection: &Collection) -> String {
    format!("{}/{}/{}", collection.tenant, collection.database, collection.name)
}
