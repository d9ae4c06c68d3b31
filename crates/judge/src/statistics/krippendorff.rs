//! Agreement of several annotators, of which each has labelled some of the units.

use std::collections::BTreeMap;

use super::{Bootstrap, Interval};

/// How far apart two labels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelScale {
    /// Equal or not, as of names.
    Nominal,
    /// The square of the difference, as of scores.
    Interval,
}

/// Krippendorff's alpha.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alpha {
    /// 1 is perfect agreement, 0 is chance. None if all labels are the same, or no unit has two.
    pub alpha: Option<f64>,
    /// Its bootstrap interval, drawn by unit; none with fewer than two units, or if most of the samples have no alpha.
    pub interval: Option<Interval>,
    /// Units with at least two labels. Others are excluded.
    pub units: u64,
    /// Labels of these.
    pub labels: u64,
}

/// What a unit contributes.
struct Unit {
    labels: f64,
    /// Observed disagreement: the sum over its pairs, divided by the number of the other labels of the unit.
    observed: f64,
    /// The number of its labels of each name; for scores, their sum and the sum of their squares.
    sums: Vec<(usize, f64)>,
}

/// Krippendorff's alpha of `units`, each with the labels of its annotators. K. Krippendorff, "Computing Krippendorff's
/// Alpha-Reliability" (2011), part D, with missing data.
pub fn krippendorff(units: &[Vec<f64>], scale: LabelScale, bootstrap: &Bootstrap) -> Alpha {
    let shared: Vec<&Vec<f64>> = units.iter().filter(|labels| labels.len() > 1).collect();
    let count: usize = shared.iter().map(|labels| labels.len()).sum();
    let all = || shared.iter().flat_map(|labels| labels.iter().copied());
    // Divided first: the sum may exceed the largest number. Distances from the mean keep the digits of squares.
    let mean: f64 = all().map(|label| label / count as f64).sum();
    let mut names: BTreeMap<u64, usize> = BTreeMap::new();
    for label in all() {
        let next = names.len();
        // The addition converts negative zero to zero, which is the same label.
        names.entry((label + 0.0).to_bits()).or_insert(next);
    }
    let units: Vec<Unit> = shared
        .iter()
        .map(|labels| match scale {
            LabelScale::Nominal => nominal(labels, &names),
            LabelScale::Interval => interval(labels, mean),
        })
        .collect();
    let places = if scale == LabelScale::Nominal { names.len() } else { 2 };
    let of = |drawn: &mut dyn Iterator<Item = usize>| alpha(drawn.map(|place| &units[place]), scale, places);
    Alpha {
        alpha: of(&mut (0..units.len())),
        interval: bootstrap.interval_of(units.len(), |drawn| of(&mut drawn.iter().copied())),
        units: units.len() as u64,
        labels: count as u64,
    }
}

fn nominal(labels: &[f64], names: &BTreeMap<u64, usize>) -> Unit {
    let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
    for label in labels {
        *counts.entry(names[&(label + 0.0).to_bits()]).or_default() += 1.0;
    }
    let n = labels.len() as f64;
    let same: f64 = counts.values().map(|count| count * count).sum();
    Unit { labels: n, observed: (n * n - same) / (n - 1.0), sums: counts.into_iter().collect() }
}

fn interval(labels: &[f64], mean: f64) -> Unit {
    let n = labels.len() as f64;
    let centred = || labels.iter().map(|label| label - mean);
    let (sum, squares) = (centred().sum::<f64>(), centred().map(|label| label * label).sum::<f64>());
    let of_unit = sum / n;
    let around: f64 = centred().map(|label| (label - of_unit).powi(2)).sum();
    Unit { labels: n, observed: 2.0 * n * around / (n - 1.0), sums: vec![(0, sum), (1, squares)] }
}

fn alpha<'u>(units: impl Iterator<Item = &'u Unit>, scale: LabelScale, places: usize) -> Option<f64> {
    let (mut n, mut observed, mut sums) = (0.0, 0.0, vec![0.0; places]);
    for unit in units {
        n += unit.labels;
        observed += unit.observed;
        for (place, sum) in &unit.sums {
            sums[*place] += sum;
        }
    }
    let expected = match scale {
        LabelScale::Nominal => n * n - sums.iter().map(|count| count * count).sum::<f64>(),
        LabelScale::Interval => 2.0 * (n * sums[1] - sums[0] * sums[0]),
    };
    // Rounding leaves a rest where all scores are the same; near the limits of `f64`, squares overflow.
    let least = if scale == LabelScale::Interval { n * sums[1] * f64::EPSILON } else { 0.0 };
    (expected > least).then(|| 1.0 - (n - 1.0) * observed / expected).filter(|alpha| alpha.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: f64 = f64::NAN;
    /// Krippendorff 2011, part C: four observers, twelve units.
    const OBSERVERS: [[f64; 12]; 4] = [
        [1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 4.0, 1.0, 2.0, X, X, X],
        [1.0, 2.0, 3.0, 3.0, 2.0, 2.0, 4.0, 1.0, 2.0, 5.0, X, 3.0],
        [X, 3.0, 3.0, 3.0, 2.0, 3.0, 4.0, 2.0, 2.0, 5.0, 1.0, X],
        [1.0, 2.0, 3.0, 3.0, 2.0, 4.0, 4.0, 1.0, 2.0, 5.0, 1.0, X],
    ];

    fn units() -> Vec<Vec<f64>> {
        (0..12)
            .map(|unit| OBSERVERS.iter().map(|of| of[unit]).filter(|label| !label.is_nan()).collect())
            .collect()
    }

    #[test]
    fn alpha_is_that_of_krippendorffs_example() {
        let bootstrap = Bootstrap { replicates: 1_000, ..Bootstrap::default() };
        for (scale, expected) in [(LabelScale::Nominal, 0.743), (LabelScale::Interval, 0.849)] {
            let found = krippendorff(&units(), scale, &bootstrap);
            let alpha = found.alpha.expect("labels differ");
            assert!((alpha - expected).abs() < 0.0005, "{scale:?}: {alpha}");
            assert_eq!((found.units, found.labels), (11, 40), "the unit with one label is excluded");
            let interval = found.interval.expect("there are several units");
            assert!(interval.low < alpha && alpha < interval.high && interval.high <= 1.0, "{interval:?}");
            let shifted: Vec<Vec<f64>> =
                units().iter().map(|labels| labels.iter().map(|label| label + 1e9).collect()).collect();
            let far = krippendorff(&shifted, scale, &bootstrap).alpha.expect("labels differ");
            assert!((far - alpha).abs() < 1e-6, "{scale:?}: {far}");
        }
    }

    #[test]
    fn without_differences_there_is_no_alpha() {
        let bootstrap = Bootstrap::default();
        for scale in [LabelScale::Nominal, LabelScale::Interval] {
            let of = |units: &[Vec<f64>]| krippendorff(units, scale, &bootstrap);
            assert_eq!(of(&[]).alpha, None);
            assert_eq!(
                of(&[vec![1.0], vec![2.0]]),
                Alpha { alpha: None, interval: None, units: 0, labels: 0 }
            );
            assert_eq!(of(&[vec![0.1; 3], vec![0.1; 2]]).alpha, None);
            let opposite = of(&[vec![1.0, 2.0], vec![2.0, 1.0]]).alpha.expect("labels differ");
            assert!((opposite + 0.5).abs() < 1e-12, "{opposite}");
            assert_eq!(of(&[vec![1.0, 1.0], vec![2.0, 2.0]]).alpha, Some(1.0));
            let largest = of(&[vec![f64::MAX, -f64::MAX], vec![f64::MAX, f64::MAX]]).alpha;
            assert!(largest.is_none_or(f64::is_finite), "{largest:?}");
        }
    }
}
