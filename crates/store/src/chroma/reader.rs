//! The record stream of one collection of a server.

use std::collections::{HashMap, HashSet};

use chroma::{Collection, ReadReport, Record, Tally, Vector, Warning, WarningCode};

use super::{
    api::Connection,
    error::Error,
    fetch::{Fetch, PageSize},
    position::Position,
    record::{Parts, record},
    wire::Column,
};

/// Ids per request when only ids are requested: some megabytes.
const IDS_PAGE: u32 = 50_000;

/// How often the ids are listed to find records added late. Each round reads all records found missing by the
/// previous one, so the next one finds only those added in between.
const MOST_ROUNDS: u32 = 4;

/// Number of ids named in a warning.
const EXAMPLES: usize = 3;

/// Reads one collection page by page; see [`ChromaServer::read`](super::ChromaServer::read) for its guarantees.
#[derive(Debug)]
pub struct Reader {
    fetch: Fetch,
    ids_size: PageSize,
    phase: Phase,
    /// Returned ids, with the last round in which the server listed them.
    known: HashMap<Box<str>, u32>,
    /// Number of rounds of listing ids.
    round: u32,
    changes: Changes,
    tally: Tally,
    report: ReadReport,
}

#[derive(Debug)]
enum Phase {
    /// Reading pages of records.
    Pages(Position),
    /// All records found so far were returned; next, the ids are listed.
    Ids,
    /// Reading records missing from the pages, by their ids.
    Late(Vec<String>),
    /// Finished.
    Done,
}

/// Signs that the collection changed.
#[derive(Debug, Default)]
struct Changes {
    count_before: u64,
    count_after: u64,
    /// Ids in the last listing.
    listed: u64,
    shifts: u64,
    late: u64,
    late_examples: Vec<String>,
    gone: u64,
    gone_examples: Vec<String>,
    /// Whether even the last round found missing records.
    unsettled: bool,
}

impl Reader {
    /// Creates a reader, and requests the number of records.
    pub(crate) async fn new(
        connection: Connection,
        collection: Collection,
        columns: Vec<Column>,
        page_records: u32,
    ) -> Result<Self, Error> {
        let count_before = connection.count(&collection).await?;
        Ok(Self {
            fetch: Fetch::new(connection, collection, columns, page_records),
            ids_size: PageSize::new(IDS_PAGE),
            phase: Phase::Pages(Position::default()),
            known: HashMap::new(),
            round: 0,
            changes: Changes { count_before, ..Changes::default() },
            tally: Tally::default(),
            report: ReadReport::default(),
        })
    }

    /// The server's number of records when the read began.
    pub fn record_count(&self) -> u64 {
        self.changes.count_before
    }

    /// The next records, never empty; `None` at the end. A call that fails, or whose future is dropped early, ends
    /// the read: further calls return `None`, and the report is incomplete.
    ///
    /// # Errors
    /// When a request fails after retries; [`Error::Unstable`] if deletions outpace the read.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Record>>, Error> {
        loop {
            let records = match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Pages(mut place) => {
                    let page = self.fetch.page(place.start()).await?;
                    let Some(new) = place.step(&page.ids) else {
                        self.changes.shifts += 1;
                        place.find(&self.fetch, |id| self.known.contains_key(id)).await?;
                        self.phase = Phase::Pages(place);
                        continue;
                    };
                    self.phase = if new.is_empty() { Phase::Ids } else { Phase::Pages(place) };
                    self.hand_out(page.rows)
                }
                Phase::Ids => {
                    self.look_for_late().await?;
                    continue;
                }
                Phase::Late(mut ids) => {
                    let count = ids.len().min(self.fetch.page_size.current() as usize);
                    let chunk: Vec<String> = ids.drain(..count).collect();
                    let rows = self.fetch.with_ids(&chunk).await?;
                    self.phase = if ids.is_empty() { Phase::Ids } else { Phase::Late(ids) };
                    self.hand_out(rows)
                }
                Phase::Done => return Ok(None),
            };
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
    }

    /// The report of the read. Complete only after [`next_page`](Self::next_page) has returned `None`.
    pub fn into_report(mut self) -> ReadReport {
        self.report.unread = if self.report.complete { self.changes.unlisted() } else { 0 };
        // An incomplete comparison is not evidence.
        self.report.warnings.extend(self.changes.warning().filter(|_| self.report.complete));
        self.report.warnings.extend(self.tally.into_warnings());
        self.report
    }

    /// The report of a read that the visitor stopped before the `unvisited` records.
    pub(crate) fn into_stopped_report(mut self, unvisited: impl Iterator<Item = Record>) -> ReadReport {
        for record in unvisited {
            self.report.records -= 1;
            match record.vector {
                Vector::Present { .. } => self.report.from_hnsw -= 1,
                Vector::Missing { .. } => self.report.missing -= 1,
            }
        }
        self.report.complete = false;
        self.report.warnings.extend(self.tally.into_warnings());
        self.report
    }

    fn hand_out(&mut self, rows: Vec<(String, Parts)>) -> Vec<Record> {
        let collection = &self.fetch.collection;
        let mut records = Vec::with_capacity(rows.len());
        for (id, parts) in rows {
            if self.known.contains_key(id.as_str()) {
                continue;
            }
            self.known.insert(id.as_str().into(), self.round);
            let record = record(id, parts, collection.space, &mut self.tally);
            self.report.records += 1;
            match &record.vector {
                Vector::Present { embedding, .. } => {
                    self.report.from_hnsw += 1;
                    if collection.dimension.is_some_and(|dimension| dimension != embedding.dimension()) {
                        let what = "vectors do not have the collection's dimension, for ids";
                        self.tally.add(WarningCode::DimensionMismatch, what, record.id.as_bytes());
                    }
                }
                Vector::Missing { .. } => self.report.missing += 1,
            }
            records.push(record);
        }
        records
    }

    /// Lists all ids, compares them with those returned, and sets the phase to read the missing ones. Lists them
    /// again while count and listing differ, which distinguishes a change from a faulty server.
    async fn look_for_late(&mut self) -> Result<(), Error> {
        self.changes.unsettled = self.round == MOST_ROUNDS;
        while self.round < MOST_ROUNDS {
            let late = self.list_ids().await?;
            if !late.is_empty() {
                self.changes.late += late.len() as u64;
                let room = EXAMPLES - self.changes.late_examples.len();
                self.changes.late_examples.extend(late.iter().take(room).cloned());
                self.phase = Phase::Late(late);
                return Ok(());
            }
            self.changes.count_after = self.fetch.connection.count(&self.fetch.collection).await?;
            if self.changes.count_after == self.changes.listed {
                break;
            }
        }
        let gone = self.known.iter().filter(|(_, round)| **round != self.round).map(|(id, _)| id);
        let mut gone: Vec<&str> = gone.map(|id| &**id).collect();
        gone.sort_unstable();
        self.changes.gone = gone.len() as u64;
        self.changes.gone_examples = gone.into_iter().take(EXAMPLES).map(str::to_owned).collect();
        self.report.complete = true;
        Ok(())
    }

    /// Lists all ids in a new round, and returns those that were not returned before.
    async fn list_ids(&mut self) -> Result<Vec<String>, Error> {
        self.round += 1;
        let (mut place, mut missing, mut listed) = (Position::default(), HashSet::<String>::new(), 0);
        loop {
            let ids = self.fetch.ids(&mut self.ids_size, place.start()).await?;
            let Some(new) = place.step(&ids) else {
                self.changes.shifts += 1;
                let is_listed = |id: &str| self.known.get(id) == Some(&self.round) || missing.contains(id);
                place.find(&self.fetch, is_listed).await?;
                continue;
            };
            if new.is_empty() {
                break;
            }
            for id in new {
                listed += match self.known.get_mut(id.as_str()) {
                    Some(round) => u64::from(std::mem::replace(round, self.round) != self.round),
                    None => u64::from(missing.insert(id.clone())),
                };
            }
        }
        self.changes.listed = listed;
        let mut missing: Vec<String> = missing.into_iter().collect();
        missing.sort_unstable();
        Ok(missing)
    }
}

impl Changes {
    /// Records that the server counts but does not list, even when repeated.
    fn unlisted(&self) -> u64 {
        if self.unsettled { 0 } else { self.count_after.saturating_sub(self.listed) }
    }

    fn warning(&self) -> Option<Warning> {
        let mut signs = Vec::new();
        let mut sign = |count: u64, what: &str, examples: &[String]| {
            if count == 0 {
                return;
            }
            let more = if count > examples.len() as u64 { ", …" } else { "" };
            let ids: Vec<String> = examples.iter().map(|id| id.chars().take(80).collect()).collect();
            let named =
                if ids.is_empty() { String::new() } else { format!(" (`{}`{more})", ids.join("`, `")) };
            signs.push(format!("{count} {what}{named}"));
        };
        sign(
            self.late,
            "records were added while it was read and were read after the others",
            &self.late_examples,
        );
        sign(self.gone, "records that were read are gone", &self.gone_examples);
        sign(self.shifts, "pages had shifted and were requested again", &[]);
        if self.unsettled {
            signs
                .push("records were still being added at the end; the last of them were not read".to_owned());
        }
        let (before, after, listed) = (self.count_before, self.count_after, self.listed);
        let is_explained = !signs.is_empty();
        if after != listed && !self.unsettled {
            signs.push(format!("the server counts {after} records and lists {listed}"));
        } else if before != after && !is_explained {
            signs.push(format!("the server counted {before} records before and {after} after"));
        }
        if signs.is_empty() {
            return None;
        }
        let promise = if after == listed || is_explained {
            "every record that existed throughout was read, and updated ones in the state at some moment \
                during the read"
        } else {
            "it is unknown whether all were read, so stop the writers and run again"
        };
        let message = format!("the collection changed while it was read: {}; {promise}", signs.join("; "));
        Some(Warning::new(WarningCode::SourceChanged, message))
    }
}
