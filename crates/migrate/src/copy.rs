//! The copy: a thread reads the source again and makes batches, tasks write them, each on a connection of its own.
//!
//! What waits between them is bounded: a batch under way and one waiting for each task. Each batch is one
//! transaction; together with its rows it commits the job's progress.

use std::{ops::ControlFlow, sync::Arc};

use chroma::{Record, Warning};
use records::Embedding;
use store::{
    RowDigest, StoredRecord,
    postgres::{
        Database, Table,
        jobs::{Counts, Job},
        write::{Batch, Written},
    },
};
use tokio::{sync::mpsc, task::JoinSet};
use uuid::Uuid;

use crate::{
    Error,
    classify::{Classified, Classifier},
    digest::CollectionDigest,
    observe::{Counter, Event, Observer, Phase, Step},
    plan::Plan,
    quarantine::Quarantine,
    read::{SourceCollection, Visitor},
    target::Action,
};

/// A batch is sent when it reaches this size, however few its rows: memory is what counts then.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// The first batch is small, so that the connections have something to do soon; each next one is twice as large, up to
/// what was asked for.
const FIRST_BATCH_ROWS: usize = 250;

/// Makes a vector from a text.
pub type Embed =
    Arc<dyn Fn(&str) -> Result<Embedding, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// How to copy.
#[derive(Clone)]
pub(crate) struct CopyOptions {
    pub(crate) connections: usize,
    pub(crate) batch_rows: usize,
    pub(crate) embed: Option<Embed>,
    /// Rows to delete, of records that are gone, and their digests.
    pub(crate) deleted: Vec<(Uuid, RowDigest)>,
}

/// What the copy has done.
pub(crate) struct Copied {
    pub(crate) source: SourceCollection,
    pub(crate) classifier: Classifier,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) counts: Counts,
    /// Rows that others wrote between plan and copy.
    pub(crate) in_the_way: Vec<Uuid>,
    /// Rows that others edited between plan and copy.
    pub(crate) edited: Vec<Uuid>,
    pub(crate) digest_source: String,
}

/// Carries `plan` out.
pub(crate) async fn copy(
    database: &Database,
    job: &Job,
    plan: Plan,
    options: CopyOptions,
    observer: &Observer,
) -> Result<Copied, Error> {
    let Plan { source, mut classifier, quarantine, .. } = plan;
    let table = Arc::new(classifier.table.clone());
    let total = classifier.tally.source_records;
    classifier.restart();
    let mut tasks = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..options.connections {
        let (sender, receiver) = mpsc::channel(1);
        senders.push(sender);
        let task = write_batches(database.clone(), table.clone(), job.clone(), receiver, observer.clone());
        tasks.spawn(task);
    }
    let copier = Copier {
        quarantine,
        counter: Counter::begin(observer, &source.collection().name, Phase::Copy, total),
        classifier,
        run: job.run_id,
        batch: Batch { deleted: options.deleted.clone(), ..Batch::default() },
        senders,
        next: 0,
        batch_rows: options.batch_rows.min(FIRST_BATCH_ROWS),
        options,
        digest: CollectionDigest::default(),
        failure: None,
    };
    let read = source.read(copier).await;
    let (mut counts, mut in_the_way, mut edited) = (Counts::default(), Vec::new(), Vec::new());
    // A task that fails drops its channel, which ends the read early: its error is the cause.
    while let Some(ended) = tasks.join_next().await {
        let written = match ended {
            Ok(result) => result?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        counts += written.counts;
        in_the_way.extend(written.in_the_way);
        edited.extend(written.edited);
    }
    let mut read = read?;
    if let Some(failure) = read.visitor.failure.take() {
        return Err(failure);
    }
    let read = read.complete()?;
    observer(Event::Step(Step::AllSent));
    Ok(Copied {
        source: read.source,
        warnings: read.warnings,
        counts,
        in_the_way,
        edited,
        digest_source: read.visitor.digest.to_string(),
        classifier: read.visitor.classifier,
    })
}

/// Makes batches of records, on the reader's thread.
struct Copier {
    /// `None` where a migration with rejects never comes this far.
    quarantine: Option<Quarantine>,
    counter: Counter,
    classifier: Classifier,
    run: Uuid,
    batch: Batch,
    /// One for each task. Batches go round; a task that is behind holds the reader up.
    senders: Vec<mpsc::Sender<Batch>>,
    next: usize,
    /// Rows of the batch under way.
    batch_rows: usize,
    options: CopyOptions,
    digest: CollectionDigest,
    failure: Option<Error>,
}

impl Visitor for Copier {
    fn visit(&mut self, record: Record) -> ControlFlow<()> {
        match self.classifier.classify(record) {
            Classified::Row(row, action, digest) => {
                if let Err(error) = self.add(row, action, digest) {
                    self.failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
            Classified::Rejected(record, reason) => {
                let quarantined = self.quarantine.as_ref().and_then(|rejects| rejects.take(&record, reason));
                self.batch.quarantined.extend(quarantined);
            }
        }
        self.counter.count();
        let rows = self.batch.new.len() + self.batch.changed.len() + self.batch.quarantined.len();
        let size_bytes = self.batch.new.size_bytes() + self.batch.changed.size_bytes();
        if rows >= self.batch_rows || size_bytes >= MAX_BATCH_BYTES {
            return self.send();
        }
        ControlFlow::Continue(())
    }

    fn end(&mut self, is_complete: bool) {
        if is_complete && !self.batch.is_empty() {
            // If it breaks, a task has failed and says why.
            let (ControlFlow::Continue(()) | ControlFlow::Break(())) = self.send();
        }
        // The tasks end when their channels do.
        self.senders.clear();
    }
}

impl Copier {
    fn add(&mut self, mut row: StoredRecord, action: Action, digest: Option<RowDigest>) -> Result<(), Error> {
        let is_written = matches!(action, Action::Insert | Action::Update(_));
        if row.embedding_is_made && is_written {
            row.embedding = self.embed(&row)?;
        }
        let digest = match action {
            Action::Insert => Some(self.batch.new.push(&row, self.run)),
            Action::Update(seen) => {
                self.batch.changed_from.push(seen);
                Some(self.batch.changed.push(&row, self.run))
            }
            Action::Keep | Action::Edited | Action::BornHere | Action::OfAnother => digest,
        };
        // Rows in conflict have one too, but those that are not this collection's: they are not compared either.
        if let Some(digest) = digest {
            self.digest.add(digest);
        }
        Ok(())
    }

    fn embed(&self, row: &StoredRecord) -> Result<Embedding, Error> {
        let embed = self.options.embed.as_ref().expect("records without vectors are rejected otherwise");
        let source_id = || row.source_id.clone().expect("a record has an id");
        let failed = |source| Error::Embed { source_id: source_id(), source };
        let text = row.text.as_deref().expect("a record with neither text nor vector is rejected");
        let embedding = embed(text).map_err(failed)?;
        let (found, expected) = (embedding.dimension(), self.classifier.table.dimension);
        if found != expected {
            let message = format!("the model makes {found} dimensions, and the table has {expected}");
            return Err(failed(message.into()));
        }
        Ok(embedding)
    }

    fn send(&mut self) -> ControlFlow<()> {
        let next = Batch { new: self.batch.new.emptied(), ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.batch_rows = (self.batch_rows * 2).min(self.options.batch_rows);
        let sender = &self.senders[self.next];
        self.next = (self.next + 1) % self.senders.len();
        match sender.blocking_send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_task_has_failed) => ControlFlow::Break(()),
        }
    }
}

async fn write_batches(
    database: Database,
    table: Arc<Table>,
    job: Job,
    mut batches: mpsc::Receiver<Batch>,
    observer: Observer,
) -> Result<Written, Error> {
    let mut all = Written::default();
    while let Some(batch) = batches.recv().await {
        let failed = |error| Error::store("copy into", &table.name)(error);
        let pending = database.write(&table, &job, &batch).await.map_err(failed)?;
        observer(Event::Step(Step::BatchSent));
        let written = pending.commit().await.map_err(failed)?;
        observer(Event::Step(Step::BatchCommitted));
        all.counts += written.counts;
        all.in_the_way.extend(written.in_the_way);
        all.edited.extend(written.edited);
    }
    Ok(all)
}
