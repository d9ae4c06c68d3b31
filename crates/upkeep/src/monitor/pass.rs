//! One look at what searches did since the last one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use records::{Service, timestamp};
use store::postgres::{
    Database, Table,
    searches::{FilterClass, KeptHistory, ReplayedSearch, SampledSearch, SearchHistory, SearchTotals},
};
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::time::Instant;

use super::{
    MonitorConfig,
    alert::{Alert, AlertChange},
    drift::{BASELINE, alerts},
    measure::{Measurement, Pace, measure, searches_for_rows, unfiltered},
    window::{Kind, Window, stored, windows},
};
use crate::observe::tables;

/// Vectors that are kept of each table at the most: 15 MB.
const MOST_SAMPLES: u32 = 10_000;
/// So many searches whose answers are too large are remembered.
const MOST_TOO_LARGE: usize = 1_000;
/// So many times as many are looked through for different ones.
const REPEATED: u32 = 4;

/// Watches the searches of a process, and what those of all processes find.
#[derive(Debug)]
pub struct Monitor {
    database: Database,
    config: MonitorConfig,
    /// What had been counted when the last pass was kept.
    counted: Vec<SearchTotals>,
    counted_at: Instant,
    /// The last searches with filters of each kind, which are in no table: made again when there are new ones, or something
    /// is wrong with them that only they can show to be over.
    filtered: BTreeMap<Kind, Vec<ReplayedSearch>>,
    /// The last searches whose answers were too large, with their tables: they are not made again.
    too_large: VecDeque<(String, ReplayedSearch)>,
    /// Kinds of searches that something was wrong with.
    troubled: BTreeSet<Kind>,
    passes: u32,
}

/// What a pass has found.
#[derive(Debug)]
pub struct Pass {
    /// What it has kept.
    pub history: Vec<SearchHistory>,
    /// The last measurement of recall of each table and class, whoever has made it.
    pub recalls: Vec<SearchHistory>,
    /// What is wrong now, whoever has noticed it.
    pub alerts: Vec<Alert>,
    /// What began or ended with what this pass has kept.
    pub changes: Vec<AlertChange>,
    /// Rows of the history that are passed over, since no measurement leaves such.
    pub unreadable: u64,
    /// How many searches of each table and class are not made again from now on, since their answers have more bytes than
    /// an answer may.
    pub too_large: Vec<(String, FilterClass, usize)>,
    /// Tables whose searches could not be made again, and why not.
    pub failures: Vec<(String, store::Error)>,
}

impl Monitor {
    /// A monitor of the searches that `database` counts, if it does, and of its tables.
    pub fn new(database: Database, config: MonitorConfig) -> Self {
        Self {
            database,
            config,
            counted: Vec::new(),
            counted_at: Instant::now(),
            filtered: BTreeMap::new(),
            too_large: VecDeque::new(),
            troubled: BTreeSet::new(),
            passes: 0,
        }
    }

    /// Looks at what was searched for since the last pass, makes some of it again unless another process does that now,
    /// keeps what it finds, and says what is wrong.
    ///
    /// # Errors
    /// When the database does not answer. What was counted is not lost.
    pub async fn pass(&mut self) -> Result<Pass, store::Error> {
        let counted_at = Instant::now();
        let until = counted_at + self.config.interval / 2;
        let (totals, samples) = self.take();
        let windows = windows(&totals, &self.counted);
        self.database.keep_search_samples(&stored(&samples)).await?;
        let searched = self.remember(samples);
        let (mut measured, mut rows) = (Measured::default(), BTreeMap::new());
        let mut tables = tables(&self.database).await?;
        for table in &tables {
            match self.database.observe_indexes(table).await {
                Ok(observation) => drop(rows.insert(table.name.clone(), observation.rows)),
                Err(error) => measured.failures.push((table.name.clone(), error)),
            }
        }
        tables.retain(|table| rows.contains_key(&table.name));
        if let Some(lock) = self.database.lock_replays().await? {
            self.replay(&tables, &rows, (&searched, until), &mut measured).await;
            lock.release().await?;
        }
        let too_large = self.leave_out(&mut measured);
        let seconds = counted_at.duration_since(self.counted_at).as_secs_f64();
        let history = self.history(windows, &measured, &rows, seconds);
        self.database.keep_search_history(&history).await?;
        (self.counted, self.counted_at) = (totals, counted_at);
        self.passes = self.passes.wrapping_add(1);
        self.expire().await?;
        let KeptHistory { rows: mut past, unreadable } =
            self.database.search_history(now() - BASELINE).await?;
        // Of tables that were dropped nothing is wrong any more.
        past.retain(|row| rows.contains_key(&row.table));
        let known = alerts(&past);
        self.troubled = known.active.iter().map(|alert| (alert.table.clone(), alert.filter_class)).collect();
        let measured_at = history.first().map(|row| row.measured_at);
        let changes = known.changes.into_iter().filter(|change| Some(change.at) == measured_at).collect();
        Ok(Pass {
            history,
            recalls: last_recalls(past),
            alerts: known.active,
            changes,
            unreadable,
            too_large,
            failures: measured.failures,
        })
    }

    /// What was counted until now, and the searches that were kept whole.
    fn take(&self) -> (Vec<SearchTotals>, Vec<(Kind, Vec<SampledSearch>)>) {
        let Some(watch) = self.database.search_watch() else { return (Vec::new(), Vec::new()) };
        let mut samples = Vec::new();
        for service in Service::ALL {
            for filter_class in FilterClass::ALL {
                let kind = (Table::of(service).name, filter_class);
                samples.push((kind, watch.take_samples(service, filter_class)));
            }
        }
        samples.retain(|(_, samples)| !samples.is_empty());
        (watch.totals(), samples)
    }

    /// Keeps the searches with filters in memory, and answers which kinds there were.
    fn remember(&mut self, samples: Vec<(Kind, Vec<SampledSearch>)>) -> BTreeSet<Kind> {
        let mut searched = BTreeSet::new();
        for (kind, samples) in samples {
            if kind.1 == FilterClass::None {
                continue;
            }
            let again = samples
                .into_iter()
                .rev()
                .map(|sample| ReplayedSearch { embedding: sample.embedding, selection: sample.selection });
            let earlier = self.filtered.remove(&kind).into_iter().flatten();
            let searches = again.chain(earlier).filter(|search| self.may_replay(&kind.0, search));
            self.filtered.insert(kind.clone(), different(searches, self.config.replays));
            searched.insert(kind);
        }
        searched
    }

    /// Makes searches again: of each class that was just searched the last ones with their filters, and of each table some
    /// without, as they were kept, or else for its own rows.
    async fn replay(
        &self,
        tables: &[Table],
        rows: &BTreeMap<String, u64>,
        (searched, until): (&BTreeSet<Kind>, Instant),
        measured: &mut Measured,
    ) {
        let mut kinds: Vec<(&Table, FilterClass, Vec<ReplayedSearch>)> = Vec::new();
        for table in tables {
            match self.without_filter(table, rows[&table.name]).await {
                Ok(searches) => kinds.push((table, FilterClass::None, searches)),
                Err(error) => measured.failures.push((table.name.clone(), error)),
            }
        }
        for (kind, searches) in &self.filtered {
            let table = tables.iter().find(|table| table.name == kind.0);
            let is_due = searched.contains(kind) || self.troubled.contains(kind);
            if let Some(table) = table.filter(|_| is_due) {
                kinds.push((table, kind.1, searches.clone()));
            }
        }
        // Others come first in the next pass, should the time not suffice for all.
        let first = self.passes as usize % kinds.len().max(1);
        kinds.rotate_left(first);
        for (table, filter_class, searches) in kinds {
            match measure(&self.database, table, &searches, Pace::Background { until }).await {
                Ok(measurement) => {
                    measured.kinds.insert((table.name.clone(), filter_class), measurement);
                }
                Err(error) => measured.failures.push((table.name.clone(), error)),
            }
        }
    }

    async fn without_filter(&self, table: &Table, rows: u64) -> Result<Vec<ReplayedSearch>, store::Error> {
        let wanted = self.config.replays;
        // A text may be searched for again and again.
        let kept = self.database.search_samples(table, wanted.saturating_mul(REPEATED)).await?;
        let kept = kept.into_iter().map(unfiltered).filter(|search| self.may_replay(&table.name, search));
        let mut searches = different(kept, wanted);
        let lacking = wanted.saturating_sub(u32::try_from(searches.len()).expect("so many were asked for"));
        if lacking > 0 {
            // Other rows in each pass than those that the settings were chosen by.
            let seed = now().assume_utc().unix_timestamp() as u32;
            searches.extend(searches_for_rows(&self.database, table, rows, lacking, seed).await?);
        }
        Ok(searches)
    }

    /// Whether the answer to `search` was not too large so far.
    fn may_replay(&self, table: &str, search: &ReplayedSearch) -> bool {
        !self.too_large.iter().any(|(of, too_large)| of == table && too_large == search)
    }

    /// Remembers the searches whose answers were too large, and answers how many each kind had.
    fn leave_out(&mut self, measured: &mut Measured) -> Vec<(String, FilterClass, usize)> {
        let mut counts = Vec::new();
        for ((table, filter_class), measurement) in &mut measured.kinds {
            let searches = std::mem::take(&mut measurement.too_large);
            if searches.is_empty() {
                continue;
            }
            counts.push((table.clone(), *filter_class, searches.len()));
            if let Some(filtered) = self.filtered.get_mut(&(table.clone(), *filter_class)) {
                filtered.retain(|search| !searches.contains(search));
            }
            self.too_large.extend(searches.into_iter().map(|search| (table.clone(), search)));
        }
        let excess = self.too_large.len().saturating_sub(MOST_TOO_LARGE);
        self.too_large.drain(..excess);
        counts
    }

    fn history(
        &self,
        mut windows: BTreeMap<Kind, Window>,
        measured: &Measured,
        rows: &BTreeMap<String, u64>,
        seconds: f64,
    ) -> Vec<SearchHistory> {
        let measured_at = now();
        for (kind, measurement) in &measured.kinds {
            if measurement.replayed > 0 {
                windows.entry(kind.clone()).or_default();
            }
        }
        let row = |(kind, window): (Kind, Window)| {
            let measurement = measured.kinds.get(&kind);
            let (table, filter_class) = kind;
            Some(SearchHistory {
                filter_class,
                measured_at,
                seconds,
                searches: window.searches,
                latency: window.latency,
                wanted: window.wanted,
                returned: window.returned,
                replayed: measurement.map_or(0, |measurement| measurement.replayed),
                missing: measurement.map_or(0, |measurement| measurement.missing),
                recall: measurement.and_then(|measurement| measurement.recall),
                target: self.config.recall_target,
                // A table that was dropped since, or cannot be seen, has none.
                rows: *rows.get(&table)?,
                table,
            })
        };
        windows.into_iter().filter_map(row).collect()
    }

    async fn expire(&self) -> Result<(), store::Error> {
        let MonitorConfig { sample_retention, history_retention, .. } = self.config;
        self.database.expire_search_samples(now() - sample_retention, MOST_SAMPLES).await?;
        self.database.expire_search_history(now() - history_retention).await?;
        Ok(())
    }
}

/// What searches find.
#[derive(Default)]
struct Measured {
    kinds: BTreeMap<Kind, Measurement>,
    failures: Vec<(String, store::Error)>,
}

/// The first `most` of `searches` that are not alike: the same one again would only seem to make sure.
fn different(searches: impl Iterator<Item = ReplayedSearch>, most: u32) -> Vec<ReplayedSearch> {
    let mut different: Vec<ReplayedSearch> = Vec::new();
    for search in searches {
        if different.len() == most as usize {
            break;
        }
        if !different.contains(&search) {
            different.push(search);
        }
    }
    different
}

/// Of a history in order of time.
fn last_recalls(past: Vec<SearchHistory>) -> Vec<SearchHistory> {
    let measured = past.into_iter().filter(|row| row.recall.is_some());
    let last: BTreeMap<Kind, SearchHistory> =
        measured.map(|row| ((row.table.clone(), row.filter_class), row)).collect();
    last.into_values().collect()
}

fn now() -> PrimitiveDateTime {
    let now = OffsetDateTime::now_utc();
    timestamp::to_microseconds(PrimitiveDateTime::new(now.date(), now.time()))
}
