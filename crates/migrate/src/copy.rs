//! The copy: tasks write batches, each on its own connection. The batches were kept by the plan, or a thread reads
//! the source again.
//!
//! The queue between thread and tasks is bounded: per task, one batch is being written and one waits. Each batch is
//! one transaction, which also commits the job's progress.

use std::{collections::HashSet, ops::ControlFlow, sync::Arc};

use chroma::{Record, Warning};
use records::Embedding;
use store::{
    RowDigest, StoredRecord,
    postgres::{
        Database, Table,
        jobs::Job,
        write::{Batch, QuarantinedRecord, Written},
    },
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    Error,
    batcher::Batcher,
    classify::{Classified, Classifier},
    digest::CollectionDigest,
    mapping::{RejectReason, check_record},
    observe::{Counter, Event, Observer, Phase, Step},
    options::{BatchOptions, Embed, RejectedRecords},
    plan::Plan,
    read::{Read, SourceCollection, Visitor},
};

/// How to copy.
#[derive(Clone)]
pub(crate) struct CopyOptions {
    pub(crate) connections: usize,
    pub(crate) batches: BatchOptions,
    pub(crate) embed: Option<Embed>,
    /// What to do with records that the table rejects.
    pub(crate) rejected: RejectedRecords,
    /// Rows to delete because their records are gone, and their digests.
    pub(crate) deleted: Vec<(Uuid, RowDigest)>,
    /// Whether Chroma clients see the collection.
    pub(crate) is_served: bool,
}

/// The outcome of a copy.
pub(crate) struct Copied {
    pub(crate) source: SourceCollection,
    pub(crate) classifier: Classifier,
    pub(crate) warnings: Vec<Warning>,
    /// Including conflicts with rows written or edited between plan and copy.
    pub(crate) written: Written,
    pub(crate) digest_source: String,
}

/// Executes `plan`.
pub(crate) async fn copy(
    database: &Database,
    job: &Job,
    plan: Plan,
    options: CopyOptions,
    observer: &Observer,
) -> Result<Copied, Error> {
    let table = Arc::new(plan.classifier.table.clone());
    // Parallel writers do not change the order of the source, in which Chroma clients see the records. The table numbers the
    // rows of a single batch.
    let is_single = plan.spool.as_ref().is_some_and(|spool| spool.batches.len() <= 1);
    let first = if is_single {
        None
    } else {
        let first = database.reserve_positions(&table, plan.classifier.tally.inserts).await;
        first.map_err(Error::store("copy into", &table.name))?
    };
    let (sender, receiver) = mpsc::channel(options.connections);
    // Shared by the tasks: the next idle one takes the next batch.
    let receiver = Arc::new(Mutex::new(receiver));
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections {
        let (job, receiver) = (job.clone(), receiver.clone());
        let writer = Writer {
            database: database.clone(),
            table: table.clone(),
            job,
            rejected: options.rejected,
            first,
            is_served: options.is_served,
        };
        tasks.spawn(write_batches(writer, receiver, observer.clone()));
    }
    // The channel is closed once the last task has ended.
    drop(receiver);
    let sent = send_all(plan, options, sender, observer).await;
    let mut written = Written::default();
    // When all tasks have failed, sending ends early, and their error is the cause.
    while let Some(ended) = tasks.join_next().await {
        written += match ended {
            Ok(result) => result?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
    }
    let SentBatches { source, classifier, warnings, digest } = sent?;
    observer(Event::Step(Step::AllSent));
    let copied = Copied { source, classifier, warnings, written, digest_source: digest.to_string() };
    quarantine_refused(database, job, copied).await
}

/// The state after all batches were sent.
struct SentBatches {
    source: SourceCollection,
    classifier: Classifier,
    warnings: Vec<Warning>,
    digest: CollectionDigest,
}

/// Sends all batches: those kept by the plan, or else those of another read of the source.
async fn send_all(
    plan: Plan,
    options: CopyOptions,
    sender: mpsc::Sender<Batch>,
    observer: &Observer,
) -> Result<SentBatches, Error> {
    let Plan { source, mut classifier, warnings, spool } = plan;
    let CopyOptions { batches, embed, deleted, .. } = options;
    let deletions = Batch { deleted, ..Batch::default() };
    // If a batch cannot be sent, a task has failed and reports the cause.
    if !deletions.is_empty() && sender.send(deletions).await.is_err() {
        return Ok(SentBatches { source, classifier, warnings, digest: CollectionDigest::default() });
    }
    let name = source.collection().name.clone();
    if let Some(spool) = spool {
        let rows: usize = spool.batches.iter().map(Batch::len).sum();
        let mut counter = Counter::begin(observer, &name, Phase::Copy, rows as u64);
        for batch in spool.batches {
            let rows = batch.len();
            if sender.send(batch).await.is_err() {
                break;
            }
            (0..rows).for_each(|_| counter.count());
        }
        return Ok(SentBatches { source, classifier, warnings, digest: spool.digest });
    }
    let total = classifier.tally.source_records;
    classifier.restart();
    let copier = Copier {
        counter: Counter::begin(observer, &name, Phase::Copy, total),
        classifier,
        batcher: Batcher::new(batches),
        sender: Some(sender),
        embed,
        failure: None,
    };
    let mut read = source.read(copier).await?;
    if let Some(failure) = read.visitor.failure.take() {
        return Err(failure);
    }
    let Read { source, visitor: Copier { mut classifier, batcher, .. }, warnings, unread, .. } =
        read.complete()?;
    classifier.tally.unread = unread;
    Ok(SentBatches { source, classifier, warnings, digest: batcher.digest })
}

/// Makes batches on the visitor's thread.
struct Copier {
    counter: Counter,
    classifier: Classifier,
    batcher: Batcher,
    /// `None` after the end of the read.
    sender: Option<mpsc::Sender<Batch>>,
    embed: Option<Embed>,
    failure: Option<Error>,
}

impl Visitor for Copier {
    fn visit(&mut self, record: Record) -> ControlFlow<()> {
        let mut classified = self.classifier.classify(record);
        if classified.lacks_embedding()
            && let Classified::Row(row, ..) = &mut classified
        {
            match self.embed(row) {
                Ok(embedding) => row.embedding = embedding,
                Err(error) => {
                    self.failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        let batch = self.batcher.add(classified);
        self.counter.count();
        batch.map_or(ControlFlow::Continue(()), |batch| self.send(batch))
    }

    fn end(&mut self, is_complete: bool) {
        if is_complete && let Some(batch) = self.batcher.rest() {
            // If this breaks, a task has failed and reports the cause.
            let (ControlFlow::Continue(()) | ControlFlow::Break(())) = self.send(batch);
        }
        // The tasks end when the sender is dropped.
        self.sender = None;
    }
}

impl Copier {
    fn embed(&self, row: &StoredRecord) -> Result<Embedding, Error> {
        let embed = self.embed.as_ref().expect("records without vectors are rejected otherwise");
        let source_id = || row.source_id.clone().expect("a record has an id");
        let failed = |source| Error::Embed { source_id: source_id(), source };
        let text = row.text.as_deref().expect("a record with neither text nor vector is rejected");
        let embedding = embed(text).map_err(failed)?;
        let (found, expected) = (embedding.dimension(), self.classifier.table.dimension);
        if found != expected {
            let message = format!("the model returns {found} dimensions, and the table has {expected}");
            return Err(failed(message.into()));
        }
        Ok(embedding)
    }

    fn send(&self, batch: Batch) -> ControlFlow<()> {
        let sender = self.sender.as_ref().expect("nothing is sent after the end");
        match sender.blocking_send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_a_task_has_failed) => ControlFlow::Break(()),
        }
    }
}

/// Writes batches until the channel is closed. A failing task also stops the sender.
async fn write_batches(
    writer: Writer,
    batches: Arc<Mutex<mpsc::Receiver<Batch>>>,
    observer: Observer,
) -> Result<Written, Error> {
    let mut all = Written::default();
    loop {
        let Some(batch) = batches.lock().await.recv().await else { return Ok(all) };
        match writer.write(batch, &observer).await {
            Ok(written) => all += written,
            Err(error) => {
                batches.lock().await.close();
                return Err(Error::store("copy into", &writer.table.name)(error));
            }
        }
    }
}

/// The state of a writing task.
struct Writer {
    database: Database,
    table: Arc<Table>,
    job: Job,
    rejected: RejectedRecords,
    /// The position of the first new row; `None` if rows have none, or the table numbers them.
    first: Option<i64>,
    /// Whether Chroma clients see the collection.
    is_served: bool,
}

impl Writer {
    async fn write(&self, mut batch: Batch, observer: &Observer) -> Result<Written, store::Error> {
        let Self { database, table, job, rejected, first, is_served } = self;
        batch.was_served = *is_served;
        batch.position = first.zip(batch.position).map(|(first, place)| first + place);
        let mut refused = Vec::new();
        let pending = match database.write(table, job, &batch).await {
            Err(store::Error::Row { .. } | store::Error::BeyondHalf { .. })
                if *rejected == RejectedRecords::Quarantine =>
            {
                let found = database.refused_rows(table, &batch).await?;
                refused.extend(found.into_iter().map(|(id, _)| id));
                let accepted = batch.without(&refused.iter().copied().collect());
                database.write(table, job, &accepted).await?
            }
            written => written?,
        };
        observer(Event::Step(Step::BatchSent));
        let mut written = pending.commit().await?;
        observer(Event::Step(Step::BatchCommitted));
        written.refused = refused;
        Ok(written)
    }
}

/// Reads the source again for the records that the table rejected, and quarantines them.
async fn quarantine_refused(database: &Database, job: &Job, copied: Copied) -> Result<Copied, Error> {
    let Copied { source, classifier, warnings, written, digest_source } = copied;
    if written.refused.is_empty() {
        return Ok(Copied { source, classifier, warnings, written, digest_source });
    }
    let refused = written.refused.iter().copied().collect();
    let collector = RefusedRecords { classifier, refused, quarantined: Vec::new() };
    let Read { source, visitor, .. } = source.read(collector).await?.complete()?;
    let RefusedRecords { classifier, quarantined, refused } = visitor;
    if !refused.is_empty() {
        return Err(Error::SourceChanged {
            collection: job.origin.collection.clone(),
            records: refused.len(),
        });
    }
    let batch = Batch { quarantined, ..Batch::default() };
    let failed = |error| Error::store("quarantine records of", &classifier.table.name)(error);
    let pending = database.write(&classifier.table, job, &batch).await.map_err(failed)?;
    pending.commit().await.map_err(failed)?;
    Ok(Copied { source, classifier, warnings, written, digest_source })
}

struct RefusedRecords {
    classifier: Classifier,
    refused: HashSet<Uuid>,
    quarantined: Vec<QuarantinedRecord>,
}

impl Visitor for RefusedRecords {
    fn visit(&mut self, record: Record) -> ControlFlow<()> {
        // Of several records with one id, the first that a row can hold was to be written.
        let missing_vectors = self.classifier.choices.missing_vectors;
        let is_held = check_record(&self.classifier.table, &record, missing_vectors).is_ok();
        if is_held && self.refused.remove(&self.classifier.table.row_id(&record.id)) {
            self.quarantined.extend(self.classifier.reject(record, RejectReason::RefusedByTable));
        }
        ControlFlow::Continue(())
    }
}
