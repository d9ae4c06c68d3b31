//! Counts the searches of a process and samples a few of them.
//!
//! A search that is not sampled costs a few atomic additions; a sampled one costs a copy of its vector and selection
//! and a short lock.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use records::{Embedding, lock::Mutex, timestamp};
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{
    FilterClass,
    latency::{Latencies, LatencyCounter},
};
use crate::storage::{Scan, Selection};

/// Maximum number of samples for each table and class: 1.5 kB each. The oldest are discarded.
const MOST_KEPT: usize = 64;
/// Maximum bytes of the vectors of all samples.
const MOST_KEPT_BYTES: usize = 4 << 20;
/// Maximum tables: the counters of each take up to 20 kB, and each is a label of metrics. Beyond it, the one that has not been
/// searched for the longest time is forgotten.
const MOST_TABLES: usize = 200;
/// At least one search in this time is sampled, so that there are samples of classes that are rarely searched.
const KEPT_AT_LEAST_EVERY: Duration = Duration::from_secs(20);

/// Counts and samples the vector searches of a process.
#[derive(Debug)]
pub struct SearchWatch {
    sample_rate: f64,
    began: Instant,
    /// The searched tables. Shared by the searches and the reader; locked briefly.
    tables: Mutex<HashMap<String, Arc<TableCells>>>,
    /// How many tables were added.
    added: AtomicU64,
    /// Bytes of the vectors of all samples.
    kept_bytes: AtomicUsize,
}

/// The counters of a table.
#[derive(Debug)]
struct TableCells {
    /// Differs if the table was forgotten meanwhile.
    number: u64,
    /// When it was last searched, in milliseconds since the start.
    last_ms: AtomicU64,
    /// By class; created by its first search.
    cells: [OnceLock<Box<Cell>>; FilterClass::ALL.len()],
}

/// The counters of one table and class.
#[derive(Debug)]
struct Cell {
    searches: AtomicU64,
    wanted: AtomicU64,
    returned: AtomicU64,
    /// By scan.
    scans: [AtomicU64; Scan::ALL.len()],
    latencies: LatencyCounter,
    /// When a search was last sampled, in milliseconds since the start, plus one; 0 before the first.
    last_kept_ms: AtomicU64,
    /// Shared by the searches that add samples and the reader.
    kept: Mutex<VecDeque<SampledSearch>>,
}

/// A search that has just finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SearchNote<'a> {
    pub(crate) table: &'a str,
    pub(crate) filter_class: FilterClass,
    /// The filter, if the search can be replayed.
    pub(crate) selection: Option<&'a Selection>,
    pub(crate) embedding: &'a Embedding,
    pub(crate) wanted: u32,
    pub(crate) returned: usize,
    pub(crate) scan: Scan,
    pub(crate) latency: Duration,
}

/// A sampled search, to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledSearch {
    /// When, in UTC.
    pub searched_at: PrimitiveDateTime,
    /// The filter. It may contain texts and is only kept in memory.
    pub selection: Selection,
    /// The vector.
    pub embedding: Embedding,
    /// Number of requested results.
    pub wanted: u32,
    /// Number of results.
    pub returned: u32,
    /// How long it took, including the wait for a connection.
    pub latency: Duration,
}

/// The searches of one table and class since the process first searched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchTotals {
    /// The table.
    pub table: String,
    /// Differs from that of an earlier copy if the counts started again at zero.
    pub series: u64,
    /// The class of their filters.
    pub filter_class: FilterClass,
    /// Number of searches.
    pub searches: u64,
    /// Number of requested results.
    pub wanted: u64,
    /// Number of results.
    pub returned: u64,
    /// How many used each scan, in the order of [`Scan::ALL`].
    pub scans: [u64; Scan::ALL.len()],
    /// How long they took.
    pub latencies: Latencies,
}

impl SearchWatch {
    /// A watch that samples the share `sample_rate` (0 to 1) of the searches, and at least three a minute of each
    /// table and class; none with a share of 0.
    pub fn new(sample_rate: f64) -> Self {
        Self {
            sample_rate,
            began: Instant::now(),
            tables: Mutex::default(),
            added: AtomicU64::new(0),
            kept_bytes: AtomicUsize::new(0),
        }
    }

    /// Counts a search and samples it if it is selected.
    pub(crate) fn note(&self, note: &SearchNote<'_>) {
        let table = self.table(note.table);
        let cell = table.cells[note.filter_class as usize].get_or_init(|| Box::new(Cell::new()));
        let number = cell.searches.fetch_add(1, Ordering::Relaxed);
        cell.wanted.fetch_add(note.wanted.into(), Ordering::Relaxed);
        cell.returned.fetch_add(note.returned as u64, Ordering::Relaxed);
        cell.scans[note.scan as usize].fetch_add(1, Ordering::Relaxed);
        cell.latencies.add(note.latency);
        if let Some(selection) = note.selection
            && self.is_kept(cell, number)
        {
            self.keep(cell, note, selection);
        }
    }

    /// The counters of a table.
    fn table(&self, name: &str) -> Arc<TableCells> {
        let now = self.elapsed_ms();
        let mut tables = self.tables.lock();
        if let Some(table) = tables.get(name) {
            table.last_ms.store(now, Ordering::Relaxed);
            return Arc::clone(table);
        }
        if tables.len() >= MOST_TABLES {
            let oldest = tables.iter().min_by_key(|(_, table)| table.last_ms.load(Ordering::Relaxed));
            if let Some(forgotten) =
                oldest.map(|(name, _)| name.clone()).and_then(|name| tables.remove(&name))
            {
                for cell in forgotten.cells.iter().filter_map(OnceLock::get) {
                    self.take(cell);
                }
            }
        }
        let table = Arc::new(TableCells {
            number: self.added.fetch_add(1, Ordering::Relaxed),
            last_ms: AtomicU64::new(now),
            cells: std::array::from_fn(|_| OnceLock::new()),
        });
        tables.insert(name.to_owned(), Arc::clone(&table));
        table
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("no process runs that long")
    }

    fn is_kept(&self, cell: &Cell, number: u64) -> bool {
        if self.sample_rate <= 0.0 {
            return false;
        }
        let elapsed_ms = self.elapsed_ms();
        let last = cell.last_kept_ms.load(Ordering::Relaxed);
        let is_overdue =
            last == 0 || Duration::from_millis((elapsed_ms + 1).saturating_sub(last)) >= KEPT_AT_LEAST_EVERY;
        let is_kept = is_overdue || share_of(number) < self.sample_rate;
        if is_kept {
            // Two concurrent searches may both be sampled, which is harmless.
            cell.last_kept_ms.store(elapsed_ms + 1, Ordering::Relaxed);
        }
        is_kept
    }

    fn keep(&self, cell: &Cell, note: &SearchNote<'_>, selection: &Selection) {
        let bytes = bytes_of(note.embedding);
        if self.kept_bytes.load(Ordering::Relaxed) + bytes > MOST_KEPT_BYTES {
            return;
        }
        let now = OffsetDateTime::now_utc();
        let sample = SampledSearch {
            searched_at: timestamp::to_microseconds(PrimitiveDateTime::new(now.date(), now.time())),
            selection: selection.clone(),
            embedding: note.embedding.clone(),
            wanted: note.wanted,
            returned: u32::try_from(note.returned).unwrap_or(u32::MAX),
            latency: note.latency,
        };
        let mut kept = cell.kept.lock();
        if kept.len() == MOST_KEPT
            && let Some(oldest) = kept.pop_front()
        {
            self.kept_bytes.fetch_sub(bytes_of(&oldest.embedding), Ordering::Relaxed);
        }
        self.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
        kept.push_back(sample);
    }

    /// The counts of each table and class that was searched, by name.
    pub fn totals(&self) -> Vec<SearchTotals> {
        let mut totals = Vec::new();
        for (name, table) in self.searched() {
            for (filter_class, cell) in FilterClass::ALL.into_iter().zip(&table.cells) {
                let Some(cell) = cell.get() else { continue };
                totals.push(SearchTotals {
                    table: name.clone(),
                    series: table.number,
                    filter_class,
                    searches: cell.searches.load(Ordering::Relaxed),
                    wanted: cell.wanted.load(Ordering::Relaxed),
                    returned: cell.returned.load(Ordering::Relaxed),
                    scans: cell.scans.each_ref().map(|count| count.load(Ordering::Relaxed)),
                    latencies: cell.latencies.read(),
                });
            }
        }
        totals
    }

    /// Takes the samples of each table and class, oldest first.
    pub fn take_samples(&self) -> Vec<((String, FilterClass), Vec<SampledSearch>)> {
        let mut samples = Vec::new();
        for (name, table) in self.searched() {
            for (filter_class, cell) in FilterClass::ALL.into_iter().zip(&table.cells) {
                let Some(cell) = cell.get() else { continue };
                samples.push(((name.clone(), filter_class), self.take(cell)));
            }
        }
        samples.retain(|(_, samples)| !samples.is_empty());
        samples
    }

    fn take(&self, cell: &Cell) -> Vec<SampledSearch> {
        let taken: Vec<SampledSearch> = cell.kept.lock().drain(..).collect();
        let bytes = taken.iter().map(|sample| bytes_of(&sample.embedding)).sum();
        self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
        taken
    }

    /// The tables by name.
    fn searched(&self) -> Vec<(String, Arc<TableCells>)> {
        let tables = self.tables.lock();
        let mut tables: Vec<_> =
            tables.iter().map(|(name, table)| (name.clone(), Arc::clone(table))).collect();
        tables.sort_by(|one, other| one.0.cmp(&other.0));
        tables
    }
}

impl Cell {
    fn new() -> Self {
        Self {
            searches: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            scans: std::array::from_fn(|_| AtomicU64::new(0)),
            latencies: LatencyCounter::new(),
            last_kept_ms: AtomicU64::new(0),
            kept: Mutex::new(VecDeque::new()),
        }
    }
}

fn bytes_of(embedding: &Embedding) -> usize {
    embedding.dimension() * size_of::<f32>()
}

/// A pseudo-random number below 1 for each search (SplitMix64), so that periodic searches do not bias the sample.
fn share_of(number: u64) -> f64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / 2.0_f64.powi(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(watch: &SearchWatch, selection: &Selection, number: u16) {
        watch.note(&SearchNote {
            table: "queries",
            filter_class: FilterClass::of(selection),
            selection: Some(selection),
            embedding: &Embedding::from(vec![f32::from(number)]),
            wanted: 10,
            returned: 7,
            scan: if number.is_multiple_of(4) { Scan::Both } else { Scan::Index },
            latency: Duration::from_millis(2),
        });
    }

    fn kept(watch: &SearchWatch, filter_class: FilterClass) -> Vec<f32> {
        let cells = watch.table("queries");
        let samples = cells.cells[filter_class as usize].get().map_or_else(Vec::new, |cell| watch.take(cell));
        samples.iter().map(|sample| sample.embedding.as_slice()[0]).collect()
    }

    #[test]
    fn searches_are_counted_by_class_and_a_share_is_sampled() {
        let watch = SearchWatch::new(0.01);
        assert_eq!(watch.totals(), []);
        let all = Selection::default();
        for number in 0..2_000 {
            note(&watch, &all, number);
        }
        note(&watch, &Selection { category: Some("physics".to_owned()), ..Selection::default() }, 7);
        let totals = watch.totals();
        let counts: Vec<_> = totals
            .iter()
            .map(|totals| {
                (totals.filter_class, totals.searches, totals.wanted, totals.returned, totals.scans)
            })
            .collect();
        assert_eq!(
            counts,
            [
                (FilterClass::None, 2_000, 20_000, 14_000, [0, 1_500, 500]),
                (FilterClass::Category, 1, 10, 7, [0, 1, 0])
            ]
        );
        let number_kept = kept(&watch, FilterClass::None).len();
        assert!((10..=35).contains(&number_kept), "{number_kept} of 2,000");
        assert_eq!(kept(&watch, FilterClass::Category), [7.0], "the first of each class is sampled");
        assert_eq!(kept(&watch, FilterClass::Category), [0.0; 0], "they are taken once");
    }

    #[test]
    fn latest_samples_are_kept_and_none_if_sampling_is_off() {
        let watch = SearchWatch::new(1.0);
        (0..100).for_each(|number| note(&watch, &Selection::default(), number));
        let kept_numbers = kept(&watch, FilterClass::None);
        assert_eq!((kept_numbers.len(), kept_numbers[0], kept_numbers[63]), (MOST_KEPT, 36.0, 99.0));
        let off = SearchWatch::new(0.0);
        (0..100).for_each(|number| note(&off, &Selection::default(), number));
        assert_eq!((kept(&off, FilterClass::None).len(), off.totals()[0].searches), (0, 100));
    }

    #[test]
    fn many_tables_and_large_vectors_take_bounded_memory() {
        let watch = SearchWatch::new(1.0);
        let (all, large) = (Selection::default(), Embedding::from(vec![1.0; 16_000]));
        for number in 0..3 * MOST_TABLES {
            watch.note(&SearchNote {
                table: &format!("file_{number:04}"),
                filter_class: FilterClass::None,
                selection: Some(&all),
                embedding: &large,
                wanted: 1,
                returned: 1,
                scan: Scan::Exact,
                latency: Duration::from_millis(1),
            });
        }
        let totals = watch.totals();
        assert_eq!(totals.len(), MOST_TABLES);
        let kept: usize = watch.take_samples().iter().map(|(_, samples)| samples.len()).sum();
        assert!((1..=MOST_KEPT_BYTES / 64_000).contains(&kept), "{kept}");
        assert_eq!(watch.kept_bytes.load(Ordering::Relaxed), 0);
        // A table that was forgotten starts again at zero, as another series.
        let first = totals.first().map(|total| (total.table.clone(), total.series));
        let (name, series) = first.expect("there are some");
        watch.tables.lock().remove(&name);
        assert_ne!(watch.table(&name).number, series);
    }
}
