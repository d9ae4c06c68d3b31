//! Vectors in two dimensions: their first two principal components.

/// Vectors that are projected at most: each step reads all of them.
pub(super) const MOST_VECTORS: usize = 1_000;
/// Steps after which the axes are taken as they are: those of very similar weight need not be told apart in a picture.
const MOST_STEPS: usize = 100;
/// Change of the axes' weights, relative to the total, below which they are found.
const PRECISION: f64 = 1e-7;

/// Vectors in the plane in which they differ most.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Projection {
    /// Of each vector.
    pub(super) points: Vec<(f64, f64)>,
    /// The parts of the variance that the two axes have; 0 if all vectors are equal.
    pub(super) explained: [f64; 2],
}

/// Projects `vectors`, which have the same number of components and finite ones. The same vectors in the same order give the
/// same points to the last bit.
///
/// Power iteration on the covariance for both axes at once: each step multiplies them by the covariance, as two products
/// with the centred vectors, and makes them orthogonal. Then the axes are turned within their plane, so that the first one
/// has the largest variance.
pub(super) fn project(vectors: &[Vec<f32>]) -> Projection {
    let dimension = vectors.first().map_or(0, Vec::len);
    let centred = centred(vectors, dimension);
    let total: f64 = centred.iter().flatten().map(|component| component * component).sum();
    if total <= 0.0 || !total.is_finite() {
        return Projection { points: vec![(0.0, 0.0); vectors.len()], explained: [0.0; 2] };
    }
    let mut axes = [first_axis(dimension, 1), first_axis(dimension, 2)];
    orthogonalize(&mut axes);
    let mut weights = [0.0; 2];
    for _ in 0..MOST_STEPS {
        let mut next = [vec![0.0; dimension], vec![0.0; dimension]];
        for vector in &centred {
            for (axis, next) in axes.iter().zip(&mut next) {
                let along = product(vector, axis);
                next.iter_mut().zip(vector).for_each(|(sum, component)| *sum += along * component);
            }
        }
        let reached = [product(&next[0], &axes[0]), product(&next[1], &axes[1])];
        axes = next;
        orthogonalize(&mut axes);
        let change = (reached[0] - weights[0]).abs() + (reached[1] - weights[1]).abs();
        weights = reached;
        if change <= PRECISION * total {
            break;
        }
    }
    let along = |axis: &[f64]| -> Vec<f64> { centred.iter().map(|vector| product(vector, axis)).collect() };
    let (x, y) = turned(along(&axes[0]), along(&axes[1]));
    let part = |along: &[f64]| (product(along, along) / total).min(1.0);
    Projection { explained: [part(&x), part(&y)], points: x.into_iter().zip(y).collect() }
}

/// The vectors minus their mean, `[vectors][dimension]`. Missing components count as 0.
fn centred(vectors: &[Vec<f32>], dimension: usize) -> Vec<Vec<f64>> {
    let component = |vector: &Vec<f32>, place: usize| f64::from(vector.get(place).copied().unwrap_or(0.0));
    let count = vectors.len().max(1) as f64;
    let means: Vec<f64> = (0..dimension)
        .map(|place| vectors.iter().map(|vector| component(vector, place)).sum::<f64>() / count)
        .collect();
    let centre = |vector: &Vec<f32>| -> Vec<f64> {
        means.iter().enumerate().map(|(place, mean)| component(vector, place) - mean).collect()
    };
    vectors.iter().map(centre).collect()
}

/// Numbers between -0.5 and 0.5 that follow from `seed`: hardly any covariance has an axis orthogonal to them.
fn first_axis(dimension: usize, seed: u64) -> Vec<f64> {
    // SplitMix64, whose constants these are.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 11
    };
    (0..dimension).map(|_| next() as f64 / (1_u64 << 53) as f64 - 0.5).collect()
}

fn product(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Makes the axes orthogonal, each of length 1; 0 if there is no further direction.
fn orthogonalize([first, second]: &mut [Vec<f64>; 2]) {
    normalize(first);
    let common = product(first, second);
    let before = product(second, second);
    second.iter_mut().zip(first.iter()).for_each(|(component, along)| *component -= common * along);
    // What rounding leaves of a second axis along the first one is no direction.
    if product(second, second) <= before * 1e-20 {
        second.fill(0.0);
    }
    normalize(second);
}

fn normalize(axis: &mut [f64]) {
    let length = product(axis, axis).sqrt();
    if length > 0.0 {
        axis.iter_mut().for_each(|component| *component /= length);
    }
}

/// Coordinates, turned so that the first ones have the largest variance and both are uncorrelated. The coordinate that is
/// farthest from 0 is positive.
fn turned(x: Vec<f64>, y: Vec<f64>) -> (Vec<f64>, Vec<f64>) {
    let (xx, yy, xy) = (product(&x, &x), product(&y, &y), product(&x, &y));
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let (sine, cosine) = angle.sin_cos();
    let (mut first, mut second): (Vec<f64>, Vec<f64>) =
        x.into_iter().zip(y).map(|(x, y)| (cosine * x + sine * y, cosine * y - sine * x)).unzip();
    for axis in [&mut first, &mut second] {
        let farthest =
            axis.iter().copied().fold(0.0_f64, |far, one| if one.abs() > far.abs() { one } else { far });
        if farthest < 0.0 {
            axis.iter_mut().for_each(|coordinate| *coordinate = -*coordinate);
        }
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` vectors that differ by ten along one direction, three along another, and hardly along the others.
    fn flat(count: usize, dimension: usize) -> (Vec<Vec<f32>>, Vec<(f64, f64)>) {
        let noise = |seed: usize| first_axis(dimension, seed as u64 + 7);
        let mut axes = [noise(1_000), noise(2_000)];
        orthogonalize(&mut axes);
        let at: Vec<(f64, f64)> = (0..count)
            .map(|n| {
                let place = first_axis(2, n as u64 + 77);
                (20.0 * place[0], 6.0 * place[1])
            })
            .collect();
        let vector = |(n, (x, y)): (usize, &(f64, f64))| {
            let noise = noise(n + 5_000);
            (0..dimension)
                .map(|place| (5.0 + x * axes[0][place] + y * axes[1][place] + 1e-3 * noise[place]) as f32)
                .collect()
        };
        (at.iter().enumerate().map(vector).collect(), at)
    }

    #[test]
    fn plane_of_the_largest_differences_is_found() {
        let (vectors, at) = flat(200, 64);
        let Projection { points, explained } = project(&vectors);
        assert!(explained[0] > 0.85 && explained[0] + explained[1] > 0.999, "{explained:?}");
        // Distances in the plane are those between the vectors.
        let distance = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1);
        for n in 1..at.len() {
            let (expected, found) = (distance(at[0], at[n]), distance(points[0], points[n]));
            assert!((expected - found).abs() < 0.02, "{n}: {expected} {found}");
        }
        assert_eq!(project(&vectors), Projection { points, explained }, "the same again");
    }

    #[test]
    fn axes_are_uncorrelated_and_the_first_one_is_the_longer() {
        let vectors: Vec<Vec<f32>> =
            (0..50).map(|n| first_axis(8, n).into_iter().map(|one| one as f32).collect()).collect();
        let Projection { points, explained } = project(&vectors);
        let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
        assert!(product(&x, &y).abs() < 1e-9, "{}", product(&x, &y));
        assert!(explained[0] >= explained[1] && explained[1] > 0.0, "{explained:?}");
        assert!(x.iter().copied().fold(f64::MIN, f64::max) >= -x.iter().copied().fold(f64::MAX, f64::min));
    }

    #[test]
    fn odd_input_has_points() {
        for vectors in [
            vec![],
            vec![vec![]; 3],
            vec![vec![1.0, 2.0]],
            vec![vec![1.0, 2.0]; 5],
            // All on a line: the second axis has nothing.
            vec![vec![0.0, 0.0], vec![1.0, 1.0], vec![3.0, 3.0]],
            vec![vec![f32::MAX, 0.0], vec![-f32::MAX, 1.0]],
            // Of different lengths, which no table has.
            vec![vec![1.0, 2.0], vec![1.0]],
            vec![vec![0.0], vec![2.0]],
        ] {
            let Projection { points, explained } = project(&vectors);
            assert_eq!(points.len(), vectors.len());
            assert!(points.iter().all(|(x, y)| x.is_finite() && y.is_finite()), "{vectors:?} {points:?}");
            assert!(explained.iter().all(|part| (0.0..=1.0).contains(part)), "{vectors:?} {explained:?}");
        }
        let line = project(&[vec![0.0, 0.0], vec![1.0, 1.0], vec![3.0, 3.0]]);
        assert!(line.explained[0] > 1.0 - 1e-9 && line.explained[1] < 1e-9, "{line:?}");
    }
}
