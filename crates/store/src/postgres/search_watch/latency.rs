//! Latencies of searches: a histogram with exponential buckets, which costs two additions per search.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Buckets per doubling of the time; a percentile has an error of at most 3 %.
const PARTS: u64 = 16;
const PARTS_LOG2: u32 = PARTS.ilog2();
/// Up to 134 s, longer than any statement may run; greater values count as 134 s.
const LONGEST_LOG2: u32 = 27;
const BUCKETS: usize = ((LONGEST_LOG2 - PARTS_LOG2 + 2) as u64 * PARTS) as usize;

/// Counts since the process started.
#[derive(Debug)]
pub(super) struct LatencyCounter([AtomicU64; BUCKETS]);

/// The number of searches in each bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies(Box<[u64; BUCKETS]>);

/// Percentiles of the latency in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
}

impl LatencyCounter {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(super) fn add(&self, latency: Duration) {
        self.0[bucket(latency)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Latencies {
        Latencies(Box::new(std::array::from_fn(|bucket| self.0[bucket].load(Ordering::Relaxed))))
    }
}

impl Latencies {
    /// An empty histogram.
    pub fn none() -> Self {
        Self(Box::new([0; BUCKETS]))
    }

    /// The counts since `earlier`, an earlier copy of the same counter.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(Box::new(std::array::from_fn(|bucket| self.0[bucket] - earlier.0[bucket])))
    }

    /// The percentiles; `None` if nothing was counted.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let count: u64 = self.0.iter().sum();
        if count == 0 {
            return None;
        }
        let percentile = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let is_reached = |counted: &u64| {
                seen += counted;
                seen >= rank
            };
            middle_ms(self.0.iter().position(is_reached).expect("the last bucket reaches every rank"))
        };
        Some(Percentiles { p50_ms: percentile(0.5), p95_ms: percentile(0.95), p99_ms: percentile(0.99) })
    }
}

/// Times below 16 µs have a bucket each; above, the leading bit and the next four select the bucket.
fn bucket(latency: Duration) -> usize {
    let longest = (1_u64 << (LONGEST_LOG2 + 1)) - 1;
    let microseconds = u64::try_from(latency.as_micros()).unwrap_or(longest).min(longest);
    let bucket = match microseconds.checked_ilog2() {
        None => 0,
        Some(log2) if log2 < PARTS_LOG2 => microseconds,
        Some(log2) => {
            let shift = log2 - PARTS_LOG2;
            u64::from(shift + 1) * PARTS + ((microseconds >> shift) - PARTS)
        }
    };
    usize::try_from(bucket).expect("there are a few hundred buckets")
}

/// The middle of a bucket.
fn middle_ms(bucket: usize) -> f64 {
    let (shift, part) = ((bucket as u64 / PARTS).saturating_sub(1), bucket as u64 % PARTS);
    let is_exact = (bucket as u64) < PARTS;
    let least = if is_exact { part } else { (PARTS + part) << shift };
    let width = if is_exact { 1 } else { 1_u64 << shift };
    (least as f64 + width as f64 / 2.0) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times_to_three_per_cent() {
        let counter = LatencyCounter::new();
        assert_eq!(counter.read().percentiles(), None);
        for number in 1..=10_000 {
            counter.add(Duration::from_micros(number * 7));
        }
        let percentiles = counter.read().percentiles().expect("some were counted");
        for (found, expected) in
            [(percentiles.p50_ms, 35.0), (percentiles.p95_ms, 66.5), (percentiles.p99_ms, 69.3)]
        {
            assert!((found / expected - 1.0).abs() < 0.032, "{found} for {expected}");
        }
    }

    #[test]
    fn every_time_has_a_bucket_and_buckets_are_in_order() {
        let mut last = 0;
        for exponent in 0..40 {
            for part in 0..64_u64 {
                let microseconds = (1_u64 << exponent) + (part << exponent) / 64;
                let bucket = bucket(Duration::from_micros(microseconds));
                assert!(bucket >= last && bucket < BUCKETS, "{microseconds} µs: {bucket}");
                last = bucket;
                let off = middle_ms(bucket) * 1_000.0 / microseconds as f64;
                let is_close = (0.96..=1.04).contains(&off) || microseconds < 16 || exponent > LONGEST_LOG2;
                assert!(is_close, "{microseconds} µs: {off}");
            }
        }
        assert_eq!(last, BUCKETS - 1);
        assert_eq!(bucket(Duration::ZERO), 0);
    }

    #[test]
    fn earlier_counts_are_subtracted() {
        let counter = LatencyCounter::new();
        counter.add(Duration::from_secs(10));
        let earlier = counter.read();
        assert_eq!(counter.read().since(&earlier).percentiles(), None);
        counter.add(Duration::from_millis(1));
        let percentiles = counter.read().since(&earlier).percentiles().expect("one was counted");
        assert!(percentiles.p99_ms < 1.1, "{percentiles:?}");
    }
}
