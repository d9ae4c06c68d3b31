//! Counts the searches of a process and samples a few of them.
//!
//! A search that is not sampled costs a few atomic additions; a sampled one costs a copy of its vector and selection
//! and a short lock.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use records::{Embedding, Service, lock::Mutex, timestamp};
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{
    FilterClass,
    latency::{Latencies, LatencyCounter},
};
use crate::storage::{Scan, Selection};

/// Maximum number of samples for each service and class: 1.5 kB each, 2 MB in total. The oldest are discarded.
const MOST_KEPT: usize = 64;
/// At least one search in this time is sampled, so that there are samples of classes that are rarely searched.
const KEPT_AT_LEAST_EVERY: Duration = Duration::from_secs(20);

/// Counts and samples the vector searches of a process.
#[derive(Debug)]
pub struct SearchWatch {
    sample_rate: f64,
    began: Instant,
    /// By service, then by class.
    cells: Box<[[Cell; FilterClass::ALL.len()]; Service::ALL.len()]>,
}

/// The counters of one service and class.
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
    pub(crate) service: Service,
    pub(crate) selection: &'a Selection,
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

/// The searches of one service and class since the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchTotals {
    /// The service.
    pub service: Service,
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
    /// service and class; none with a share of 0.
    pub fn new(sample_rate: f64) -> Self {
        let cell = |_| Cell {
            searches: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            scans: std::array::from_fn(|_| AtomicU64::new(0)),
            latencies: LatencyCounter::new(),
            last_kept_ms: AtomicU64::new(0),
            kept: Mutex::new(VecDeque::new()),
        };
        let cells = Box::new(std::array::from_fn(|_| std::array::from_fn(cell)));
        Self { sample_rate, began: Instant::now(), cells }
    }

    /// Counts a search and samples it if it is selected.
    pub(crate) fn note(&self, note: &SearchNote<'_>) {
        let filter_class = FilterClass::of(note.selection);
        let cell = self.cell(note.service, filter_class);
        let number = cell.searches.fetch_add(1, Ordering::Relaxed);
        cell.wanted.fetch_add(note.wanted.into(), Ordering::Relaxed);
        cell.returned.fetch_add(note.returned as u64, Ordering::Relaxed);
        cell.scans[note.scan as usize].fetch_add(1, Ordering::Relaxed);
        cell.latencies.add(note.latency);
        if self.is_kept(cell, number) {
            cell.keep(note);
        }
    }

    fn is_kept(&self, cell: &Cell, number: u64) -> bool {
        if self.sample_rate <= 0.0 {
            return false;
        }
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).expect("no process runs that long");
        let last = cell.last_kept_ms.load(Ordering::Relaxed);
        let is_overdue = last == 0 || Duration::from_millis(elapsed_ms + 1 - last) >= KEPT_AT_LEAST_EVERY;
        let is_kept = is_overdue || share_of(number) < self.sample_rate;
        if is_kept {
            // Two concurrent searches may both be sampled, which is harmless.
            cell.last_kept_ms.store(elapsed_ms + 1, Ordering::Relaxed);
        }
        is_kept
    }

    /// The counts of each service and class that was searched.
    pub fn totals(&self) -> Vec<SearchTotals> {
        let mut totals = Vec::new();
        for service in Service::ALL {
            for filter_class in FilterClass::ALL {
                let cell = self.cell(service, filter_class);
                let searches = cell.searches.load(Ordering::Relaxed);
                if searches > 0 {
                    totals.push(SearchTotals {
                        service,
                        filter_class,
                        searches,
                        wanted: cell.wanted.load(Ordering::Relaxed),
                        returned: cell.returned.load(Ordering::Relaxed),
                        scans: cell.scans.each_ref().map(|count| count.load(Ordering::Relaxed)),
                        latencies: cell.latencies.read(),
                    });
                }
            }
        }
        totals
    }

    /// Takes the samples of `service`, oldest first.
    pub fn take_samples(&self, service: Service, filter_class: FilterClass) -> Vec<SampledSearch> {
        let mut kept = self.cell(service, filter_class).kept.lock();
        kept.drain(..).collect()
    }

    fn cell(&self, service: Service, filter_class: FilterClass) -> &Cell {
        &self.cells[service as usize][filter_class as usize]
    }
}

impl Cell {
    fn keep(&self, note: &SearchNote<'_>) {
        let now = OffsetDateTime::now_utc();
        let sample = SampledSearch {
            searched_at: timestamp::to_microseconds(PrimitiveDateTime::new(now.date(), now.time())),
            selection: note.selection.clone(),
            embedding: note.embedding.clone(),
            wanted: note.wanted,
            returned: u32::try_from(note.returned).expect("it is within the limit"),
            latency: note.latency,
        };
        let mut kept = self.kept.lock();
        if kept.len() == MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back(sample);
    }
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
            service: Service::Query,
            selection,
            embedding: &Embedding::from(vec![f32::from(number)]),
            wanted: 10,
            returned: 7,
            scan: if number.is_multiple_of(4) { Scan::Both } else { Scan::Index },
            latency: Duration::from_millis(2),
        });
    }

    fn kept(watch: &SearchWatch, filter_class: FilterClass) -> Vec<f32> {
        let samples = watch.take_samples(Service::Query, filter_class);
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
}
