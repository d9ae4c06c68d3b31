//! Further searches for parameters that the first ones neither accept nor reject.
//!
//! Two hundred searches state a recall of 0.98 to about 0.005, so that the least parameter that meets the target with
//! confidence would exceed it by as much, which costs up to 40 % of the time. An exact scan for each of a thousand
//! more would take minutes in a large table. There they are compared with a thorough index scan instead, and the result is
//! multiplied by the recall of thorough scans, as the first searches state it.

use store::postgres::{
    Database,
    nearest::{IndexSearch, NeighbourSearch},
    vector_index::{DEPTHS, Filtering, IndexKind, Observation, Share, VectorIndex},
};
use tokio::sync::OnceCell;

use crate::{
    progress::{Event, Observer},
    questions::{Question, questions},
    recall::RecallCounter,
};

/// Maximum number of results that are compared.
pub(crate) const DEEPEST: u32 = DEPTHS[DEPTHS.len() - 1];
/// pgvector's greatest `hnsw.ef_search`.
const THOROUGH: u32 = 1_000;
/// Enough for the nearest row.
const NEAREST: u32 = 100;
/// They state a recall of 0.98 to about 0.002.
const MOST: u64 = 1_000;
/// Of small tables, one row in twenty.
const ROWS_PER_SEARCH: u64 = 20;
/// Up to here, an exact scan is faster than a thorough index scan.
const EXACT_ROWS: u64 = 20_000;
/// Selects other rows than those of the first searches.
const SEED: u32 = 13;

/// Searches without a filter for the rows of a table with an HNSW index, made when they are first needed.
pub(crate) struct FurtherSearches<'a> {
    database: &'a Database,
    observation: &'a Observation,
    index: &'a VectorIndex,
    observer: &'a Observer<'a>,
    questions: OnceCell<Vec<Question>>,
    thoroughness: OnceCell<f64>,
}

impl<'a> FurtherSearches<'a> {
    /// `None` for an IVFFlat index, in which a thorough scan is hardly faster than an exact one, and for filtered searches.
    pub(crate) fn of(
        database: &'a Database,
        observation: &'a Observation,
        index: &'a VectorIndex,
        filtering: Filtering,
        observer: &'a Observer<'a>,
    ) -> Option<Self> {
        let is_measured =
            filtering == Filtering::None && matches!(index.definition.kind, IndexKind::Hnsw { .. });
        is_measured.then(|| Self {
            database,
            observation,
            index,
            observer,
            questions: OnceCell::new(),
            thoroughness: OnceCell::new(),
        })
    }

    /// The searches, with the results of exact or thorough scans.
    ///
    /// # Errors
    /// When a statement fails.
    pub(crate) async fn questions(&self) -> Result<&[Question], store::Error> {
        let make = async || {
            let (table, rows) = (&self.observation.table, self.observation.rows);
            let nearest = self.scan(NEAREST);
            let count = u32::try_from((rows / ROWS_PER_SEARCH).min(MOST)).expect("at most a thousand");
            let mut made = Vec::new();
            let samples = questions(self.database, table, (rows, count, SEED), Some(&nearest)).await?;
            for (done, sample) in (1..).zip(samples) {
                let search = NeighbourSearch::of(table, &sample, Share::ALL, DEEPEST);
                let exact = if self.is_exact() {
                    self.database.nearest_exact(&search).await?.distances()
                } else {
                    self.thorough(&search).await?
                };
                if !exact.is_empty() {
                    made.push(Question { sample, exact });
                }
                (self.observer)(Event::Measuring { done, total: count.into() });
            }
            Ok(made)
        };
        self.questions.get_or_try_init(make).await.map(Vec::as_slice)
    }

    /// The recall of the scans that [`Self::questions`] were compared with, for `known` searches, whose results are exact.
    ///
    /// # Errors
    /// When a statement fails.
    pub(crate) async fn thoroughness(&self, known: &[Question]) -> Result<f64, store::Error> {
        if self.is_exact() {
            return Ok(1.0);
        }
        let measure = async || {
            let mut counter = RecallCounter::default();
            for question in known {
                let table = &self.observation.table;
                let search = NeighbourSearch::of(table, &question.sample, Share::ALL, DEEPEST);
                counter.add(&question.exact, &self.thorough(&search).await?);
            }
            Ok(counter.value().expect("a question has results"))
        };
        self.thoroughness.get_or_try_init(measure).await.copied()
    }

    fn is_exact(&self) -> bool {
        self.observation.rows <= EXACT_ROWS
    }

    async fn thorough(&self, search: &NeighbourSearch<'_>) -> Result<Vec<f64>, store::Error> {
        Ok(self.database.nearest_by_index(search, &self.scan(THOROUGH)).await?.distances())
    }

    fn scan(&self, candidates: u32) -> IndexSearch {
        IndexSearch::with_candidates(self.observation, self.index, candidates)
    }
}
