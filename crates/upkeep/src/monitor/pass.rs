//! A pass of the monitor.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use records::timestamp;
use store::postgres::{
    Database, Table,
    searches::{FilterClass, ReplayedSearch, SampledSearch, SearchHistory, SearchTotals, StoredHistory},
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
use crate::{observe::tables_and, policy::EXACT_SCAN_ROWS};

/// Maximum stored vectors per table: 15 MB.
const MOST_SAMPLES: u32 = 10_000;
/// Maximum remembered searches whose results are too large.
const MOST_TOO_LARGE: usize = 1_000;
/// With more tables, recall is measured for the large ones and those whose searches were sampled: the small ones have no
/// index, and all of them would take minutes.
const MANY_TABLES: usize = 20;
/// How many times as many samples are read to find distinct ones.
const REPEATED: u32 = 4;

/// Monitors the searches of a process, and the recall of all processes' searches.
#[derive(Debug)]
pub struct Monitor {
    database: Database,
    config: MonitorConfig,
    /// The counters at the last recorded pass.
    counted: Vec<SearchTotals>,
    counted_at: Instant,
    /// The last filtered searches of each kind, which are kept only in memory. They are replayed when there are new
    /// ones, or to clear an alert.
    filtered: BTreeMap<Kind, Vec<ReplayedSearch>>,
    /// The last searches whose results were too large, with their tables: they are not replayed.
    too_large: VecDeque<(String, ReplayedSearch)>,
    /// Kinds of searches with an active alert.
    with_alerts: BTreeSet<Kind>,
    /// Tables and the builds of their indexes without search parameters of their own, at the last pass.
    without_parameters: BTreeSet<(String, i64)>,
    passes: u32,
}

/// The result of a pass.
#[derive(Debug)]
pub struct Pass {
    /// The recorded rows.
    pub history: Vec<SearchHistory>,
    /// The last recall measurement of each table and class, by any process.
    pub recalls: Vec<SearchHistory>,
    /// Active alerts, detected by any process.
    pub alerts: Vec<Alert>,
    /// Alerts raised or cleared by this pass.
    pub changes: Vec<AlertChange>,
    /// History rows that were skipped because their values are invalid.
    pub unreadable: u64,
    /// Number of searches of each table and class that are no longer replayed, because their results exceed the
    /// maximum size of a response.
    pub too_large: Vec<(String, FilterClass, usize)>,
    /// Tables whose searches could not be replayed, and the errors.
    pub failures: Vec<(String, store::Error)>,
}

impl Monitor {
    /// A monitor of the tables of `database`, and of its searches if it counts them.
    pub fn new(database: Database, config: MonitorConfig) -> Self {
        Self {
            database,
            config,
            counted: Vec::new(),
            counted_at: Instant::now(),
            filtered: BTreeMap::new(),
            too_large: VecDeque::new(),
            with_alerts: BTreeSet::new(),
            without_parameters: BTreeSet::new(),
            passes: 0,
        }
    }

    /// Reads the searches since the last pass, replays some unless another process is replaying, records the results,
    /// and derives alerts.
    ///
    /// # Errors
    /// When the database is unavailable. Counters are not lost.
    pub async fn pass(&mut self) -> Result<Pass, store::Error> {
        let counted_at = Instant::now();
        let until = counted_at + self.config.interval / 2;
        let (totals, samples) = self.take();
        let windows = windows(&totals, &self.counted);
        self.database.store_search_samples(&stored(&samples)).await?;
        let searched = self.remember(samples);
        let (mut measured, mut rows) = (Measured::default(), BTreeMap::new());
        let searched_tables: BTreeSet<String> = windows.keys().map(|kind| kind.0.clone()).collect();
        let searched_tables: Vec<String> = searched_tables.into_iter().collect();
        let mut tables = tables_and(&self.database, &searched_tables).await?;
        let mut without_parameters = BTreeSet::new();
        for table in &tables {
            match self.database.observe_indexes(table).await {
                Ok(observation) => {
                    rows.insert(table.name.clone(), observation.rows);
                    let lacking = observation.indexes.iter();
                    let lacking = lacking.filter(|index| index.is_searched() && index.measured.is_empty());
                    without_parameters.extend(lacking.map(|index| (table.name.clone(), index.build)));
                }
                Err(error) => measured.failures.push((table.name.clone(), error)),
            }
        }
        // Maintenance measures the parameters of a new index before the next pass. If nothing does, its recall is that of the
        // searches.
        let is_new = |table: &Table| {
            let mut new = without_parameters.difference(&self.without_parameters);
            new.any(|(name, _)| *name == table.name)
        };
        tables.retain(|table| rows.contains_key(&table.name) && !is_new(table));
        self.without_parameters = without_parameters;
        if let Some(lock) = self.database.lock_replays().await? {
            self.replay(&tables, &rows, (&searched, until), &mut measured).await;
            lock.release().await?;
        }
        let too_large = self.leave_out(&mut measured);
        let seconds = counted_at.duration_since(self.counted_at).as_secs_f64();
        let history = self.history(windows, &measured, &rows, seconds);
        self.database.store_search_history(&history).await?;
        (self.counted, self.counted_at) = (totals, counted_at);
        self.passes = self.passes.wrapping_add(1);
        self.expire().await?;
        let StoredHistory { rows: mut past, unreadable } =
            self.database.search_history(now() - BASELINE).await?;
        // Dropped tables have no alerts.
        past.retain(|row| rows.contains_key(&row.table));
        let known = alerts(&past);
        self.with_alerts =
            known.active.iter().map(|alert| (alert.table.clone(), alert.filter_class)).collect();
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

    /// The current counters, and the sampled searches.
    fn take(&self) -> (Vec<SearchTotals>, Vec<(Kind, Vec<SampledSearch>)>) {
        let Some(watch) = self.database.search_watch() else { return (Vec::new(), Vec::new()) };
        (watch.totals(), watch.take_samples())
    }

    /// Keeps the filtered searches in memory, and returns their kinds.
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

    /// Replays searches: the last filtered ones of each class searched recently, and for each table unfiltered ones,
    /// from samples or derived from its rows.
    async fn replay(
        &self,
        tables: &[Table],
        rows: &BTreeMap<String, u64>,
        (searched, until): (&BTreeSet<Kind>, Instant),
        measured: &mut Measured,
    ) {
        let mut kinds: Vec<(&Table, FilterClass, Vec<ReplayedSearch>)> = Vec::new();
        let derived_from = if tables.len() > MANY_TABLES { EXACT_SCAN_ROWS } else { 0 };
        for table in tables {
            match self.without_filter(table, rows[&table.name], derived_from).await {
                Ok(searches) => kinds.push((table, FilterClass::None, searches)),
                Err(error) => measured.failures.push((table.name.clone(), error)),
            }
        }
        for (kind, searches) in &self.filtered {
            let table = tables.iter().find(|table| table.name == kind.0);
            let is_due = searched.contains(kind) || self.with_alerts.contains(kind);
            if let Some(table) = table.filter(|_| is_due) {
                kinds.push((table, kind.1, searches.clone()));
            }
        }
        // The order rotates with each pass, in case the time does not suffice for all.
        let first = self.passes as usize % kinds.len().max(1);
        kinds.rotate_left(first);
        for (table, filter_class, searches) in kinds {
            match self.measure_settled(table, &searches, until).await {
                Ok(Some(measurement)) => {
                    measured.kinds.insert((table.name.clone(), filter_class), measurement);
                }
                Ok(None) => {}
                Err(error) => measured.failures.push((table.name.clone(), error)),
            }
        }
    }

    /// Measures `searches`; `None` while an index of the table is new: until its search parameters are measured, and if it was
    /// built meanwhile, searches find less than they will.
    async fn measure_settled(
        &self,
        table: &Table,
        searches: &[ReplayedSearch],
        until: Instant,
    ) -> Result<Option<Measurement>, store::Error> {
        let before = self.database.index_progress(table).await?;
        if before.awaits_parameters() {
            return Ok(None);
        }
        let measurement = measure(&self.database, table, searches, Pace::Background { until }).await?;
        let after = self.database.index_progress(table).await?;
        Ok((after.is_same_as(&before) && !after.awaits_parameters()).then_some(measurement))
    }

    /// Unfiltered searches of a table; if too few were sampled, further ones derived from its rows, if it has at least
    /// `derived_from`.
    async fn without_filter(
        &self,
        table: &Table,
        rows: u64,
        derived_from: u64,
    ) -> Result<Vec<ReplayedSearch>, store::Error> {
        let wanted = self.config.replays;
        // A text may be searched repeatedly.
        let kept = self.database.search_samples(table, wanted.saturating_mul(REPEATED)).await?;
        let kept = kept.into_iter().map(unfiltered).filter(|search| self.may_replay(&table.name, search));
        let mut searches = different(kept, wanted);
        let lacking = wanted.saturating_sub(u32::try_from(searches.len()).expect("the limit fits 32 bits"));
        if lacking > 0 && rows >= derived_from {
            // Different rows in each pass, and other than those that the search parameters were chosen by.
            let seed = now().assume_utc().unix_timestamp() as u32;
            searches.extend(searches_for_rows(&self.database, table, rows, lacking, seed).await?);
        }
        Ok(searches)
    }

    /// Whether the result of `search` was not too large so far.
    fn may_replay(&self, table: &str, search: &ReplayedSearch) -> bool {
        !self.too_large.iter().any(|(of, too_large)| of == table && too_large == search)
    }

    /// Remembers the searches whose results were too large, and returns their number per kind.
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
                // A table that was dropped or is not visible has no rows.
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

/// Measurements by kind.
#[derive(Default)]
struct Measured {
    kinds: BTreeMap<Kind, Measurement>,
    failures: Vec<(String, store::Error)>,
}

/// The first `most` distinct ones of `searches`: duplicates would overstate the confidence.
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

/// The last recall of each table and class, from a history in order of time.
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
