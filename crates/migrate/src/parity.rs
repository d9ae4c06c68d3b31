//! Search parity: exact searches of PostgreSQL must return the same records as exact searches of the source.

use std::collections::HashSet;

use records::{DistanceSpace, Embedding};
use store::postgres::{
    Database, Table,
    nearest::{NeighbourSearch, RowSet},
    vector_index::Share,
};
use upkeep::RecallCounter;
use uuid::Uuid;

use crate::{Error, observe::Counter, report::Searches, resume::Origins};

/// Results per search.
const RESULTS: usize = 10;
/// An exact scan reads the whole table, so the number of searches decreases with its size: about this many rows are
/// read in total.
const ROWS_TO_SEARCH: u64 = 2_000_000;

/// The nearest source records of sample vectors, collected while the source is read.
pub(crate) struct NearestInSource {
    space: DistanceSpace,
    queries: Vec<Query>,
    /// Vectors without a finite distance to any other.
    without_distance: u64,
}

/// Findings of the comparison about the rows of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComparedRows<'a> {
    /// Rows that differ from the source, so that their distance is not that of their records: they count as found
    /// where the source finds them.
    pub(crate) different: &'a HashSet<Uuid>,
    /// Whether the table has rows of this collection only.
    pub(crate) are_alone: bool,
    /// Whether the table may have a vector index.
    pub(crate) may_have_index: bool,
}

struct Query {
    embedding: Embedding,
    norm: f64,
    /// Nearest first, at most [`RESULTS`].
    nearest: Vec<(f64, Uuid)>,
}

impl NearestInSource {
    /// Number of searches for a table with this many rows.
    pub(crate) fn samples(rows: u64) -> usize {
        let samples = (ROWS_TO_SEARCH / rows.max(1)).clamp(5, 20).min(rows);
        usize::try_from(samples).expect("at most 20")
    }

    pub(crate) fn new(space: DistanceSpace, queries: Vec<Embedding>) -> Self {
        let given = queries.len();
        let queries: Vec<Query> = queries
            .into_iter()
            // The cosine distance is undefined for a zero vector, and for one whose norm exceeds the range of a
            // float.
            .filter(|embedding| {
                let norm = norm(embedding.as_slice());
                space != DistanceSpace::Cosine || (norm > 0.0 && norm.is_finite())
            })
            .map(|embedding| Query {
                norm: norm(embedding.as_slice()),
                embedding,
                nearest: Vec::with_capacity(RESULTS + 1),
            })
            .collect();
        let without_distance = (given - queries.len()) as u64;
        Self { space, queries, without_distance }
    }

    /// Adds the source record of row `id`. Records without a vector, which are empty here, are skipped.
    pub(crate) fn add(&mut self, id: Uuid, embedding: &[f32]) {
        if embedding.is_empty() {
            return;
        }
        let norm = if self.space == DistanceSpace::Cosine { norm(embedding) } else { 1.0 };
        for query in &mut self.queries {
            let distance = match self.space {
                DistanceSpace::L2 => squared_distance(query.embedding.as_slice(), embedding).sqrt(),
                DistanceSpace::InnerProduct => -product(query.embedding.as_slice(), embedding),
                DistanceSpace::Cosine => {
                    1.0 - product(query.embedding.as_slice(), embedding) / (query.norm * norm)
                }
            };
            let is_near = query.nearest.len() < RESULTS
                || query.nearest.last().is_some_and(|(last, _)| distance < *last);
            // NaN, the distance of a zero vector, never matches.
            if is_near && !distance.is_nan() {
                let position = query.nearest.partition_point(|(other, _)| *other <= distance);
                query.nearest.insert(position, (distance, id));
                query.nearest.truncate(RESULTS);
            }
        }
    }

    /// Runs the same searches in PostgreSQL, by exact scan and by index scan.
    pub(crate) async fn compare(
        self,
        database: &Database,
        table: &Table,
        origins: &Origins,
        rows: ComparedRows<'_>,
        mut counter: Counter,
    ) -> Result<Searches, Error> {
        let (mut parity, mut index_recall) = (RecallCounter::default(), RecallCounter::default());
        let mut without_distance = self.without_distance;
        let failed = |error| Error::store("search", &table.name)(error);
        let index = match rows.may_have_index {
            true => database.index_search(table).await.map_err(failed)?,
            false => None,
        };
        for query in &self.queries {
            let expected: Vec<f64> = query.nearest.iter().map(|(distance, _)| *distance).collect();
            if !expected.iter().any(|distance| distance.is_finite()) {
                without_distance += 1;
                counter.count();
                continue;
            }
            let embedding = query.embedding.as_slice();
            let search = |among| NeighbourSearch {
                table,
                embedding,
                left_out: Uuid::nil(),
                among,
                limit: RESULTS as u32,
            };
            let of_the_source = search(RowSet::Runs(&origins.own_runs));
            let found = database.nearest_exact(&of_the_source).await.map_err(failed)?;
            let is_right = |id: Uuid| {
                !rows.different.contains(&id) || query.nearest.iter().any(|(_, expected)| *expected == id)
            };
            let right: Vec<f64> =
                found.found.iter().filter(|(id, _)| is_right(*id)).map(|(_, distance)| *distance).collect();
            parity.add(&expected, &right);
            if let Some(index) = index.as_ref().filter(|index| index.holds(embedding)) {
                let search = search(RowSet::Share(Share::ALL));
                let by_index = database.nearest_by_index(&search, index).await.map_err(failed)?;
                let exact = match rows.are_alone {
                    true => found,
                    false => database.nearest_exact(&search).await.map_err(failed)?,
                };
                index_recall.add(&exact.distances(), &by_index.distances());
            }
            counter.count();
        }
        let count = self.queries.len() as u64 + self.without_distance - without_distance;
        Ok(Searches { count, without_distance, parity: parity.value(), index_recall: index_recall.value() })
    }

    /// Number of searches.
    pub(crate) fn count(&self) -> u64 {
        self.queries.len() as u64
    }
}

fn norm(vector: &[f32]) -> f64 {
    product(vector, vector).sqrt()
}

/// Number of lanes for vectorization.
const LANES: usize = 16;

fn product(one: &[f32], other: &[f32]) -> f64 {
    sum_of(one, other, |a, b| a * b)
}

fn squared_distance(one: &[f32], other: &[f32]) -> f64 {
    sum_of(one, other, |a, b| (a - b) * (a - b))
}

fn sum_of(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sums = [0.0_f32; LANES];
    let ((ones, one_rest), (others, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += term(one[lane], other[lane]);
        }
    }
    let rest: f32 = one_rest.iter().zip(other_rest).map(|(a, b)| term(*a, *b)).sum();
    let sum = sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + f64::from(rest);
    // A sum beyond the range of a float is infinite in PostgreSQL too.
    f64::from(sum as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_are_kept_in_order_for_each_space() {
        let check = |space: DistanceSpace, expected: &[f64]| {
            let mut nearest = NearestInSource::new(space, vec![Embedding::from(vec![1.0, 0.0])]);
            for vector in [[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]] {
                nearest.add(Uuid::nil(), &vector);
            }
            let distances: Vec<f64> =
                nearest.queries[0].nearest.iter().map(|(distance, _)| *distance).collect();
            assert_eq!(distances, expected, "{space}");
        };
        check(DistanceSpace::L2, &[1.0, 2.0, 5_f64.sqrt()]);
        check(DistanceSpace::InnerProduct, &[-3.0, 0.0, 0.0]);
        check(DistanceSpace::Cosine, &[0.0, 1.0]);
    }

    #[test]
    fn vectors_without_a_distance_are_counted_and_not_searched_for() {
        let vectors = [[0.0, 0.0], [1.0, 0.0], [3e38, 3e38]].map(|vector| Embedding::from(vector.to_vec()));
        let nearest = NearestInSource::new(DistanceSpace::Cosine, vectors.to_vec());
        assert_eq!((nearest.count(), nearest.without_distance), (1, 2));
        let nearest = NearestInSource::new(DistanceSpace::L2, vectors.to_vec());
        assert_eq!((nearest.count(), nearest.without_distance), (3, 0));
    }

    #[test]
    fn fewer_searches_are_made_in_larger_tables() {
        assert_eq!([0, 3, 10_000, 100_000, 5_000_000].map(NearestInSource::samples), [0, 3, 20, 20, 5]);
    }
}
