//! Vector search: by Chroma's index if it returns enough results, else by an exact scan.

use std::collections::HashSet;

use records::{DistanceSpace, Embedding, MODEL_DIMENSION, stored_id};
use uuid::Uuid;

use super::{
    ChromaStorage,
    matching::Matcher,
    narrowing::narrow,
    row::{Columns, Row},
};
use crate::{
    chroma::error::Error,
    storage::{Effort, Hit, Search, SearchMode, StorageError},
};

const OPERATION: &str = "search";

/// Minimum number of requested results, which also sets the search depth: Chroma before 1.0 otherwise examines ten
/// records.
const FEWEST_ASKED: usize = 100;
/// Beyond this, scanning the selected records is no slower than reading the results of the index.
const MOST_ASKED: usize = 2_000;
/// Growth of the number of requested results when too few of them are selected.
const GROWTH: usize = 4;

/// Vectors in memory at once: some megabytes.
const MEASURED_RECORDS: usize = 1_000;

/// Distances this close to 1 may be those of zero vectors, which Chroma treats as orthogonal to all others.
const ORTHOGONAL: f64 = 1e-6;

/// A search result before its record is read.
#[derive(Debug)]
struct Found {
    id: String,
    key: Uuid,
    /// `None` for a zero vector.
    distance: Option<f64>,
}

impl ChromaStorage {
    pub(super) async fn search_records(&self, search: &Search) -> Result<Vec<Hit>, StorageError> {
        let embedding = match &search.mode {
            SearchMode::Vector(embedding) => embedding,
            SearchMode::Text(_) | SearchMode::Hybrid { .. } => {
                return Err(StorageError::Unsupported {
                    field: "mode".to_owned(),
                    reason: self.no_text_search(),
                });
            }
        };
        check_embedding("embedding", embedding)?;
        let limit = usize::try_from(search.limit).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let is_measured = embedding.as_slice().iter().any(|x| *x != 0.0);
        let has_index = self.collection.space == DistanceSpace::Cosine && search.effort == Effort::Fast;
        let by_index = match has_index && is_measured {
            true => self.by_index(search, embedding, limit).await?,
            false => None,
        };
        let found = match by_index {
            Some(found) => found,
            None => self.exact(search, embedding, limit).await?,
        };
        let ids: Vec<String> = found.iter().map(|found| found.id.clone()).collect();
        let records = self.records(&ids, OPERATION).await?;
        // A record that was deleted meanwhile is missing.
        let mut records = records.into_iter().peekable();
        Ok(found
            .into_iter()
            .filter_map(|Found { id, distance, .. }| {
                let record = records.next_if(|record| record.id == id)?;
                Some(Hit { record, distance, score: None })
            })
            .collect())
    }

    fn no_text_search(&self) -> String {
        format!(
            "expected `vector`: search by text requires the storage type `postgres`, and that of {} is \
                `chroma`",
            self.service
        )
    }

    /// The best hits by Chroma's index; `None` if it returns too few to be certain.
    async fn by_index(
        &self,
        search: &Search,
        embedding: &Embedding,
        limit: usize,
    ) -> Result<Option<Vec<Found>>, StorageError> {
        let matcher = Matcher::new(self.service, &search.selection)?;
        let narrowed = narrow(self.service, &search.selection);
        let mut wanted = limit.saturating_mul(2).max(FEWEST_ASKED);
        while wanted <= MOST_ASKED {
            let answer = self
                .connection
                .query(&self.collection, embedding.as_slice(), wanted, &narrowed.condition)
                .await;
            let nearest = match answer {
                Ok(nearest) => nearest,
                // The response of 0.x if its index finds fewer than requested.
                Err(Error::Status { status: 500, message, .. }) if message.contains("2D array") => {
                    return Ok(None);
                }
                Err(error) => return Err(self.failed(OPERATION)(error)),
            };
            let Some((_, farthest)) = nearest.last() else { return Ok(None) };
            // Rounding may make the distance of equal vectors negative.
            let (farthest, count) = (farthest.max(0.0), nearest.len());
            let mut found: Vec<Found> = nearest
                .into_iter()
                .map(|(id, distance)| Found { key: stored_id(&id), id, distance: Some(distance.max(0.0)) })
                .filter(|found| is_near_enough(found.distance, search.min_similarity))
                .collect();
            let is_cut = !is_near_enough(Some(farthest), search.min_similarity);
            if !narrowed.is_exact {
                found = self.selected(found, &matcher).await?;
            }
            sort(&mut found);
            // Other records at the same distance as the last one may be missing.
            let mut is_known =
                is_cut || found.get(limit - 1).is_some_and(|last| last.distance < Some(farthest));
            if !is_known && count < wanted {
                // The index misses records, especially with a selective filter.
                is_known = self.count_of(&narrowed.condition, OPERATION).await? == Some(count);
                if !is_known {
                    return Ok(None);
                }
            }
            if is_known {
                found.truncate(limit);
                return Ok(if self.has_zero_vector(&found).await? { None } else { Some(found) });
            }
            wanted = wanted.saturating_mul(GROWTH);
        }
        Ok(None)
    }

    async fn selected(&self, found: Vec<Found>, matcher: &Matcher<'_>) -> Result<Vec<Found>, StorageError> {
        let ids: Vec<String> = found.iter().map(|found| found.id.clone()).collect();
        let columns = Columns { metadatas: true, documents: matcher.needs_document(), embeddings: false };
        let rows = self.rows(&ids, columns, OPERATION).await?;
        let selected: HashSet<String> =
            rows.into_iter().filter(|row| matcher.matches(row)).map(|row| row.id).collect();
        Ok(found.into_iter().filter(|found| selected.contains(&found.id)).collect())
    }

    async fn has_zero_vector(&self, found: &[Found]) -> Result<bool, StorageError> {
        let suspects: Vec<String> = found
            .iter()
            .filter(|found| found.distance.is_some_and(|distance| (distance - 1.0).abs() < ORTHOGONAL))
            .map(|found| found.id.clone())
            .collect();
        let columns = Columns { embeddings: true, ..Columns::default() };
        let rows = self.rows(&suspects, columns, OPERATION).await?;
        Ok(rows
            .iter()
            .any(|row| row.embedding.as_ref().is_some_and(|vector| vector.iter().all(|x| *x == 0.0))))
    }

    /// The best hits by an exact scan of the selected records.
    async fn exact(
        &self,
        search: &Search,
        embedding: &Embedding,
        limit: usize,
    ) -> Result<Vec<Found>, StorageError> {
        let columns = Columns { embeddings: true, ..Columns::default() };
        let measure = |found: &mut Vec<Found>, row: Row| {
            let Some(vector) = row.embedding else { return };
            let distance = cosine_distance(embedding.as_slice(), &vector);
            if is_near_enough(distance, search.min_similarity) {
                found.push(Found { key: stored_id(&row.id), id: row.id, distance });
            }
        };
        let mut found = if narrow(self.service, &search.selection).is_exact {
            self.scan(&search.selection, columns, OPERATION, measure).await?
        } else {
            // Vectors are the largest part of records, so only those of selected records are read.
            let note = |ids: &mut Vec<String>, row: Row| ids.push(row.id);
            let ids = self.scan(&search.selection, Columns::default(), OPERATION, note).await?;
            let mut found = Vec::new();
            for ids in ids.chunks(MEASURED_RECORDS) {
                let rows = self.rows(ids, columns, OPERATION).await?;
                rows.into_iter().for_each(|row| measure(&mut found, row));
            }
            found
        };
        sort(&mut found);
        found.truncate(limit);
        Ok(found)
    }
}

/// Checks that the vector has 384 finite components.
pub(super) fn check_embedding(field: &str, embedding: &Embedding) -> Result<(), StorageError> {
    if embedding.dimension() == MODEL_DIMENSION && embedding.is_finite() {
        return Ok(());
    }
    let reason = format!("expected {MODEL_DIMENSION} finite numbers, found {}", embedding.dimension());
    Err(StorageError::Refused { field: field.to_owned(), reason })
}

/// Nearest first, those without a distance last; ties by key.
fn sort(found: &mut [Found]) {
    let order = |found: &Found| (found.distance.is_none(), found.distance);
    found.sort_unstable_by(|left, right| {
        let by_distance = order(left).partial_cmp(&order(right)).expect("distances are numbers");
        by_distance.then_with(|| left.key.cmp(&right.key))
    });
}

/// A zero vector has no similarity.
fn is_near_enough(distance: Option<f64>, min_similarity: Option<f64>) -> bool {
    min_similarity.is_none_or(|least| distance.is_some_and(|distance| 1.0 - distance >= least))
}

/// 0 to 2; `None` if one of the vectors is zero.
fn cosine_distance(left: &[f32], right: &[f32]) -> Option<f64> {
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let lengths = (dot(left, left) * dot(right, right)).sqrt();
    (lengths > 0.0).then(|| 1.0 - (dot(left, right) / lengths).clamp(-1.0, 1.0))
}
