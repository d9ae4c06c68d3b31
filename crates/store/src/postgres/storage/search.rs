//! Search by vector, by words, and by both.

use std::collections::HashMap;

use records::{Embedding, stored_id};
use sqlx::Row as _;
use uuid::Uuid;

use super::{PostgresStorage, nearest_rows::NearestSearch};
use crate::{
    postgres::{
        bounded::AnswerSize,
        sql::service::{self as statements, Distances},
    },
    storage::{Hit, Scan, Search, SearchMode, StorageError},
};

const OPERATION: &str = "search";

/// The constant of reciprocal rank fusion, as its authors chose it (Cormack, Clarke and Büttcher, 2009).
const FUSION_CONSTANT: f64 = 60.0;
/// Depth of each list: deeper ranks would add less than 1/260 to a score, a quarter of the first rank's.
const FUSED_DEPTH: u32 = 200;

impl PostgresStorage {
    /// [`Storage::search`](crate::storage::Storage::search), also returning the scan if the search compared vectors.
    ///
    /// # Errors
    /// When the database fails, or the search is invalid.
    pub async fn search_and_scan(&self, search: &Search) -> Result<(Vec<Hit>, Option<Scan>), StorageError> {
        self.database.in_turn(|size| self.search_records(search, size)).await
    }

    async fn search_records(
        &self,
        search: &Search,
        size: AnswerSize,
    ) -> Result<(Vec<Hit>, Option<Scan>), StorageError> {
        if search.limit == 0 {
            return Ok((Vec::new(), None));
        }
        match &search.mode {
            SearchMode::Vector(embedding) => {
                let (hits, scan) = self.nearest_similar(search, embedding, (search.limit, size)).await?;
                Ok((hits, Some(scan)))
            }
            SearchMode::Text(_) if search.min_similarity.is_some() => Err(StorageError::Refused {
                field: "min_similarity".to_owned(),
                reason: "a search with mode `text` has no similarity: leave this field out, or use mode \
                        `vector` or `hybrid`"
                    .to_owned(),
            }),
            SearchMode::Text(text) => {
                Ok((self.ranked(search, text, None, (search.limit, size)).await?, None))
            }
            SearchMode::Hybrid { embedding, text } => {
                let depth = search.limit.max(FUSED_DEPTH);
                let (nearest, scan) = self.nearest_similar(search, embedding, (depth, size)).await?;
                let ranked = self.ranked(search, text, Some(embedding), (depth, size)).await?;
                Ok((fused([nearest, ranked], search.limit), Some(scan)))
            }
        }
    }

    /// The nearest records with at least the minimum similarity.
    async fn nearest_similar(
        &self,
        search: &Search,
        embedding: &Embedding,
        (limit, size): (u32, AnswerSize),
    ) -> Result<(Vec<Hit>, Scan), StorageError> {
        let nearest = NearestSearch { selection: &search.selection, embedding, limit, size };
        let (mut hits, scan) = self.nearest(&nearest, search.effort).await?;
        if let Some(least) = search.min_similarity {
            hits.retain(|hit| hit.distance.is_some_and(|distance| distance <= 1.0 - least));
        }
        Ok((hits, scan))
    }

    /// The records that match the words of `text`, best first, with their distance to `embedding`.
    async fn ranked(
        &self,
        search: &Search,
        text: &str,
        embedding: Option<&Embedding>,
        (limit, size): (u32, AnswerSize),
    ) -> Result<Vec<Hit>, StorageError> {
        if text.contains('\0') {
            return Err(StorageError::Refused {
                field: "query".to_owned(),
                reason: "contains the character NUL, which no record can contain: remove it".to_owned(),
            });
        }
        check_words(text)?;
        let distances = embedding
            .map(|embedding| Distances { embedding, up_to: search.min_similarity.map(|least| 1.0 - least) });
        let statement =
            statements::ranked_by_words(self.service(), &search.selection, text, distances, limit)?;
        let rows = self.rows(&statement, size, OPERATION).await?;
        let mut hits = self.hits(&rows)?;
        for (hit, row) in hits.iter_mut().zip(&rows) {
            hit.score = row.try_get("score").map_err(self.failing.to(OPERATION))?;
        }
        Ok(hits)
    }
}

/// Maximum bytes of search words: PostgreSQL's limit is a megabyte of distinct words, which takes seconds.
const MAX_WORDS_BYTES: usize = 64 << 10;
/// Maximum bytes of a word: PostgreSQL accepts 2,046, and lower case may be longer.
const MAX_WORD_BYTES: usize = 1_500;

/// Rejects words that PostgreSQL would reject.
fn check_words(text: &str) -> Result<(), StorageError> {
    let refused = |reason| Err(StorageError::Refused { field: "query".to_owned(), reason });
    if text.len() > MAX_WORDS_BYTES {
        let found = text.len();
        return refused(format!(
            "expected up to {MAX_WORDS_BYTES} bytes of search words, found {found}: use fewer words, or \
                mode `vector`"
        ));
    }
    if let Some(longest) =
        text.split_whitespace().map(str::len).max().filter(|longest| *longest > MAX_WORD_BYTES)
    {
        return refused(format!("expected words of up to {MAX_WORD_BYTES} bytes, found one of {longest}"));
    }
    Ok(())
}

/// Reciprocal rank fusion: a record scores `1 / (60 + rank)` in each list that contains it.
fn fused(lists: [Vec<Hit>; 2], limit: u32) -> Vec<Hit> {
    let mut by_key: HashMap<Uuid, (f64, Hit)> = HashMap::new();
    for list in lists {
        for (rank, hit) in (1_u32..).zip(list) {
            let (score, _) = by_key.entry(stored_id(&hit.record.id)).or_insert((0.0, hit));
            *score += 1.0 / (FUSION_CONSTANT + f64::from(rank));
        }
    }
    let mut fused: Vec<(Uuid, f64, Hit)> =
        by_key.into_iter().map(|(key, (score, hit))| (key, score, hit)).collect();
    fused.sort_by(|(key, score, _), (other_key, other_score, _)| {
        other_score.total_cmp(score).then(key.cmp(other_key))
    });
    let limit = limit as usize;
    fused.into_iter().take(limit).map(|(_, score, hit)| Hit { score: Some(score), ..hit }).collect()
}
