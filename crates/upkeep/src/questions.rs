//! Generates query vectors like those of new texts from the table's rows, for tables without recorded searches.
//!
//! The rows themselves are unsuitable. An HNSW index has a node for each row with edges to its neighbours, so a
//! search for it succeeds with almost any parameter: with 20,000 glosses, `ef_search` 20 had a recall of 0.99 for
//! rows, and of 0.94 for glosses that were not stored. A row that is moved in a random direction is too easy as well
//! with few candidates, and too hard with many, since there are no texts in that direction. So each row is moved away
//! from its nearest row, by somewhat more than their distance: that is as far from all rows as a new text is, and in a
//! direction in which texts differ. docs/benchmarks.md has the measurements.

use records::{DistanceSpace, Embedding};
use store::postgres::{
    Database, Table,
    nearest::{IndexSearch, NeighbourSearch},
    vector_index::{Sample, Share},
};
use uuid::Uuid;

use crate::recall::recall;

/// How far a row is moved, as a multiple of the distance to its nearest row.
const AWAY: f64 = 1.2;
/// Rows closer than this are copies.
const COPY: f64 = 1e-6;
/// Number of neighbours to read, so that copies do not hide the nearest other row.
const NEIGHBOURS: u32 = 10;

/// A query and its exact result.
pub(crate) struct Question {
    pub(crate) sample: Sample,
    /// Distances of the nearest rows, nearest first.
    pub(crate) exact: Vec<f64>,
}

impl Question {
    /// The recall of the first `depth` results at these distances.
    pub(crate) fn recall(&self, depth: u32, found: &[f64]) -> f64 {
        let exact = &self.exact[..self.exact.len().min(depth as usize)];
        recall(exact, found).expect("the exact scan returned rows")
    }
}

/// Up to `count` of the `rows` rows of `table`, moved. Deterministic for a `seed` and an unchanged table. They have
/// no id, so that no row is excluded from their results. The nearest row is found by `index`, or by an exact scan.
///
/// # Errors
/// When a statement fails.
pub(crate) async fn questions(
    database: &Database,
    table: &Table,
    (rows, count, seed): (u64, u32, u32),
    index: Option<&IndexSearch>,
) -> Result<Vec<Sample>, store::Error> {
    let mut questions = Vec::new();
    for sample in database.sample_rows(table, rows, count, seed).await? {
        let search = NeighbourSearch::of(table, &sample, Share::ALL, NEIGHBOURS);
        let nearest = match index {
            Some(index) => database.nearest_by_index(&search, index).await?,
            None => database.nearest_exact(&search).await?,
        };
        let is_other =
            |distance| cosine(table.space, distance, &sample.embedding).clamp(0.0, 1.0) < 1.0 - COPY;
        let other = nearest.found.into_iter().find(|(_, distance)| is_other(*distance));
        let other = match other {
            Some((id, _)) => database.embeddings(table, &[id]).await?.pop(),
            None => None,
        };
        // If there are only copies, searches look like the row.
        let embedding =
            other.map_or_else(|| sample.embedding.clone(), |other| moved(&sample.embedding, &other));
        questions.push(Sample { id: Uuid::nil(), embedding });
    }
    Ok(questions)
}

/// The cosine between `embedding` and a row at `distance`, assuming equal norms.
fn cosine(space: DistanceSpace, distance: f64, embedding: &Embedding) -> f64 {
    let squared: f64 = embedding.as_slice().iter().map(|component| f64::from(*component).powi(2)).sum();
    match space {
        DistanceSpace::Cosine => 1.0 - distance,
        DistanceSpace::L2 => 1.0 - distance * distance / (2.0 * squared),
        DistanceSpace::InnerProduct => -distance / squared,
    }
}

/// `row`, moved away from `other` by [`AWAY`] times their distance, with the norm of `row`. Their directions alone count.
fn moved(row: &Embedding, other: &Embedding) -> Embedding {
    let (row, length) = (row.as_slice(), norm(row));
    let of_other = norm(other);
    if length == 0.0 || of_other == 0.0 {
        return row.to_vec().into();
    }
    let away = row.iter().zip(other.as_slice()).map(|(of_row, of_other_row)| {
        let (of_row, of_other) = (f64::from(*of_row) / length, f64::from(*of_other_row) / of_other);
        of_row + AWAY * (of_row - of_other)
    });
    let away: Vec<f64> = away.collect();
    let scale = length / away.iter().map(|component| component * component).sum::<f64>().sqrt();
    // PostgreSQL rejects infinite components.
    let component = |away: &f64| (away * scale).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
    away.iter().map(component).collect::<Vec<f32>>().into()
}

fn norm(embedding: &Embedding) -> f64 {
    embedding.as_slice().iter().map(|component| f64::from(*component).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(components: impl IntoIterator<Item = f32>) -> Embedding {
        components.into_iter().collect::<Vec<_>>().into()
    }

    #[test]
    fn moved_rows_keep_their_norm_and_lie_beyond_the_row() {
        let row = embedding((0..384).map(|n| (n as f32 * 0.37).sin() * 3.0));
        let cosine = |one: &Embedding, other: &Embedding| {
            let product = |(one, other): (&f32, &f32)| f64::from(*one) * f64::from(*other);
            one.as_slice().iter().zip(other.as_slice()).map(product).sum::<f64>() / (norm(one) * norm(other))
        };
        for change in [0.01, 0.3, 1.0] {
            let other =
                embedding((0..384).map(|n| (n as f32 * 0.37).sin() * 6.0 + change * (n as f32).cos()));
            let moved = moved(&row, &other);
            assert!((norm(&moved) - norm(&row)).abs() < 1e-3, "{change}");
            let (to_row, to_other) = (cosine(&moved, &row), cosine(&moved, &other));
            assert!(to_row > to_other, "{change}: {to_row} {to_other}");
            // For small angles, distances add up.
            let angle = |cosine: f64| cosine.min(1.0).acos();
            let ratio = angle(to_row) / angle(cosine(&row, &other));
            assert!((1.0..=AWAY).contains(&ratio) || (ratio - AWAY).abs() < 1e-3, "{change}: {ratio}");
        }
    }

    #[test]
    fn vectors_without_a_direction_and_of_one_dimension_are_unchanged() {
        assert_eq!(moved(&embedding([0.0, 0.0]), &embedding([1.0, 0.0])), embedding([0.0, 0.0]));
        assert_eq!(moved(&embedding([1.0, 0.0]), &embedding([0.0, 0.0])), embedding([1.0, 0.0]));
        assert_eq!(moved(&embedding([2.0]), &embedding([3.0])), embedding([2.0]));
        assert!(moved(&embedding([f32::MAX; 3]), &embedding([-f32::MAX, 0.0, 1.0])).is_finite());
    }

    #[test]
    fn cosine_is_the_same_in_every_space() {
        // Two vectors of length 2 at 60 degrees.
        let row = embedding([2.0, 0.0]);
        for (space, distance) in
            [(DistanceSpace::Cosine, 0.5), (DistanceSpace::L2, 2.0), (DistanceSpace::InnerProduct, -2.0)]
        {
            assert!((cosine(space, distance, &row) - 0.5).abs() < 1e-12, "{space:?}");
        }
    }
}
