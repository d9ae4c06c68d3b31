//! Generates query vectors like those of new texts from the table's rows, for tables without recorded searches.
//!
//! The rows themselves are unsuitable. An HNSW index has a node for each row with edges to its neighbours, so a
//! search for it succeeds with almost any parameter: with 10,000 sentences, `ef_search` 10 had a recall of 0.99 for
//! rows, and of 0.92 for sentences that were not stored. So each row is rotated, in a random direction, by nine
//! tenths of the distance to its nearest row: 0.98 then needed `ef_search` 40 where new sentences needed 30, and 75
//! where they needed 35 (of 30,000). The full distance would need two to four times as much, and directions towards
//! other rows as little as rows do.

use records::{DistanceSpace, Embedding};
use store::postgres::{
    Database, Table,
    nearest::NeighbourSearch,
    vector_index::{Sample, Share},
};
use uuid::Uuid;

/// Fraction of the distance to the nearest row.
const TURN: f64 = 0.9;
/// Rows closer than this are copies.
const COPY: f64 = 1e-6;
/// Number of neighbours to read, so that copies do not hide the nearest other row.
const NEIGHBOURS: u32 = 10;

/// Up to `count` of the `rows` rows of `table`, rotated. Deterministic for a `seed` and an unchanged table. They have
/// no id, so that no row is excluded from their results.
///
/// # Errors
/// When a statement fails.
pub(crate) async fn questions(
    database: &Database,
    table: &Table,
    rows: u64,
    count: u32,
    seed: u32,
) -> Result<Vec<Sample>, store::Error> {
    let mut random = Random::new(seed);
    let mut questions = Vec::new();
    for sample in database.sample_rows(table, rows, count, seed).await? {
        let search = NeighbourSearch::of(table, &sample, Share::ALL, NEIGHBOURS);
        let nearest = database.nearest_exact(&search).await?.found;
        let cosines =
            nearest.into_iter().map(|(_, distance)| cosine(table.space, distance, &sample.embedding));
        let cosine = cosines.map(|cosine| cosine.clamp(0.0, 1.0)).find(|cosine| *cosine < 1.0 - COPY);
        // If there are only copies, searches look like the row.
        let cosine = cosine.unwrap_or(1.0);
        questions.push(Sample { id: Uuid::nil(), embedding: turned(&sample.embedding, cosine, &mut random) });
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

/// `row`, rotated by [`TURN`] of the distance between vectors with cosine `nearest`, with the same norm.
fn turned(row: &Embedding, nearest: f64, random: &mut Random) -> Embedding {
    let row: Vec<f64> = row.as_slice().iter().map(|component| f64::from(*component)).collect();
    let length = dot(&row, &row).sqrt();
    if length == 0.0 {
        return row.iter().map(|_| 0.0).collect::<Vec<f32>>().into();
    }
    let mut direction: Vec<f64> = row.iter().map(|_| random.normal()).collect();
    // Orthogonal to the row.
    let along = dot(&direction, &row) / (length * length);
    direction.iter_mut().zip(&row).for_each(|(component, of_row)| *component -= along * of_row);
    let across = dot(&direction, &direction).sqrt();
    if across == 0.0 {
        // There is no other direction in one dimension.
        return row.iter().map(|component| *component as f32).collect::<Vec<f32>>().into();
    }
    // For equal norms, the squared distance is proportional to 1 - cosine.
    let cosine = 1.0 - TURN * TURN * (1.0 - nearest);
    let sine = (1.0 - cosine * cosine).sqrt();
    let turned = |(of_row, of_direction): (&f64, &f64)| {
        // PostgreSQL rejects infinite components.
        let component = cosine * of_row + sine * length / across * of_direction;
        component.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    };
    row.iter().zip(&direction).map(turned).collect::<Vec<f32>>().into()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// A small generator (xorshift64*), for deterministic queries on all platforms.
struct Random(u64);

impl Random {
    fn new(seed: u32) -> Self {
        Self(u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed (Box–Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(components: impl IntoIterator<Item = f32>) -> Embedding {
        components.into_iter().collect::<Vec<_>>().into()
    }

    #[test]
    fn rotated_rows_keep_their_norm_and_have_the_distance() {
        let row = embedding((0..384).map(|n| (n as f32 * 0.37).sin() * 3.0));
        let length = |embedding: &Embedding| {
            embedding.as_slice().iter().map(|component| f64::from(*component).powi(2)).sum::<f64>().sqrt()
        };
        for nearest in [0.0, 0.5, 0.9, 1.0] {
            let turned = turned(&row, nearest, &mut Random::new(7));
            assert!((length(&turned) - length(&row)).abs() < 1e-3, "{nearest}");
            let product: f64 =
                row.as_slice().iter().zip(turned.as_slice()).map(|(one, other)| f64::from(one * other)).sum();
            let cosine = product / length(&row).powi(2);
            assert!((cosine - (1.0 - 0.81 * (1.0 - nearest))).abs() < 1e-4, "{nearest}: {cosine}");
        }
        let other = turned(&row, 0.5, &mut Random::new(8));
        assert_ne!(other, turned(&row, 0.5, &mut Random::new(7)), "another seed turns it elsewhere");
    }

    #[test]
    fn zero_and_one_dimensional_vectors_are_unchanged() {
        assert_eq!(turned(&embedding([0.0, 0.0]), 0.5, &mut Random::new(1)), embedding([0.0, 0.0]));
        assert_eq!(turned(&embedding([2.0]), 0.5, &mut Random::new(1)), embedding([2.0]));
        assert!(turned(&embedding([f32::MAX; 3]), 0.0, &mut Random::new(1)).is_finite());
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
