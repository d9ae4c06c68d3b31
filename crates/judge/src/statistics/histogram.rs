//! Numbers of values in bins.

/// Bins of a histogram at most. Up to as many different values have a bin each.
const MOST_BINS: usize = 20;

/// Values between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Its lower bound, which belongs to it.
    pub low: f64,
    /// Its upper bound, which belongs to it only in the last bin, or if it equals the lower one.
    pub high: f64,
    /// Number of values.
    pub count: u64,
}

impl Bin {
    /// The place of `value` among `bins`.
    pub fn place(bins: &[Self], value: f64) -> Option<usize> {
        let last = bins.len().checked_sub(1)?;
        let place = bins.partition_point(|bin| bin.low <= value).checked_sub(1)?;
        (value <= bins[last].high && (place < last || value >= bins[last].low)).then_some(place)
    }
}

/// The finite `values` in bins, lowest first: one for each value if these are few, else bins of equal width.
pub fn histogram(values: impl IntoIterator<Item = f64>) -> Vec<Bin> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let groups = values.chunk_by(|a, b| a == b);
    if groups.clone().count() <= MOST_BINS {
        return groups.map(|of| Bin { low: of[0], high: of[0], count: of.len() as u64 }).collect();
    }
    let (Some(first), Some(last)) = (values.first().copied(), values.last().copied()) else {
        return Vec::new();
    };
    // Each end is divided first: their difference may exceed the largest number.
    let bound = |place: usize| {
        let part = place as f64 / MOST_BINS as f64;
        first * (1.0 - part) + last * part
    };
    let mut rest = &values[..];
    (0..MOST_BINS)
        .map(|place| {
            let (low, high) = (bound(place), if place + 1 == MOST_BINS { last } else { bound(place + 1) });
            let end =
                if place + 1 == MOST_BINS { rest.len() } else { rest.partition_point(|value| *value < high) };
            let (inside, after) = rest.split_at(end);
            rest = after;
            Bin { low, high, count: inside.len() as u64 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each_and_many_share_bins() {
        let few = histogram([3.0, 1.0, 3.0, f64::NAN, f64::INFINITY]);
        assert_eq!(few, [Bin { low: 1.0, high: 1.0, count: 1 }, Bin { low: 3.0, high: 3.0, count: 2 }]);
        let many = histogram((0..=100).map(f64::from));
        assert_eq!(many.len(), MOST_BINS);
        assert_eq!(many.iter().map(|bin| bin.count).sum::<u64>(), 101);
        assert_eq!(
            (many[0], many[19]),
            (Bin { low: 0.0, high: 5.0, count: 5 }, Bin { low: 95.0, high: 100.0, count: 6 })
        );
        let wide =
            histogram((0..30).map(|n| if n % 2 == 0 { -f64::MAX } else { f64::MAX } / f64::from(n + 1)));
        assert_eq!(wide.iter().map(|bin| bin.count).sum::<u64>(), 30);
        assert!(wide.iter().all(|bin| bin.low.is_finite() && bin.low <= bin.high));
        assert_eq!(histogram([]), []);
    }

    #[test]
    fn places_are_those_of_the_counted_values() {
        let values: Vec<f64> = (0..50).map(|n| f64::from(n * n)).collect();
        for bins in [histogram(values.iter().copied()), histogram(values[..5].iter().copied())] {
            let mut counts = vec![0; bins.len()];
            for value in values.iter().filter_map(|value| Bin::place(&bins, *value)) {
                counts[value] += 1;
            }
            // Values between bins of one value each are in the bin below them.
            if bins.len() == MOST_BINS {
                assert_eq!(counts, bins.iter().map(|bin| bin.count).collect::<Vec<_>>());
            }
            assert_eq!((Bin::place(&bins, -1.0), Bin::place(&bins, 1e9)), (None, None));
        }
        assert_eq!(Bin::place(&[], 1.0), None);
    }
}
