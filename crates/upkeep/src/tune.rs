//! Measures which search parameters meet the recall target, on the table's rows.
//!
//! The vectors of recent searches are replayed, by exact scan and by index scan, since queries may be distributed
//! differently from rows. If too few were recorded, vectors like those of new texts are derived from rows; or both
//! are used, and the lower recall counts. The result is the least parameter whose recall meets the target with
//! confidence. Where the first searches leave that open, [`FurtherSearches`] decide.

use std::{collections::HashSet, time::Duration};

use records::Embedding;
use store::postgres::{
    Database, Table,
    nearest::{IndexSearch, NeighbourSearch, Neighbours},
    vector_index::{
        DEPTHS, Filtering, IndexKind, MeasuredPoint, MeasuredSetting, Observation, Sample, Share, Tuned,
        VectorIndex, exact_scan_limit,
    },
};
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use crate::{
    further::{DEEPEST, FurtherSearches},
    policy::{BuildUrgency, Policy},
    progress::{Event, Observer},
    questions::{Question, questions},
    recall::{FEWEST_SAMPLES, MeanRecall, ParameterSearch, sample_count},
};

/// After this many searches, a parameter that cannot meet the target any more is given up.
const HOPE_AFTER: usize = 10;
/// With fewer recorded searches, generated ones are used; with at least `ENOUGH_SEARCHES`, only recorded ones.
const FEWEST_SEARCHES: usize = 10;
const ENOUGH_SEARCHES: usize = FEWEST_SAMPLES as usize;
/// How many times as many samples are read to find distinct ones.
const REPEATED: u32 = 4;
/// An arbitrary seed, which selects the rows.
const SEED: u32 = 7;

/// A greater parameter is only chosen if its time is below this fraction, which exceeds measurement noise.
const FASTER: f64 = 0.8;

/// pgvector's limit of `hnsw.ef_search`.
const MOST_CANDIDATES: u32 = 1_000;

/// Matches of the measured filter, as a multiple of the exact-scan limit: just above it, since fewer matches are
/// harder for index scans.
const FILTERED_MATCHES: f64 = 1.1;

/// Where query vectors are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Derived from rows.
    Rows,
    /// Recorded searches.
    Searches,
}

/// Measures the search parameters of `index` for searches with and without a filter, stores them, and returns them;
/// none for a table without vectors.
///
/// # Errors
/// When a statement fails.
pub(crate) async fn tune(
    database: &Database,
    observation: &Observation,
    index: &VectorIndex,
    policy: &Policy,
    observer: &Observer<'_>,
) -> Result<Vec<MeasuredSetting>, store::Error> {
    let (table, rows) = (&observation.table, observation.rows);
    let count = sample_count(rows, policy);
    let groups = groups(database, table, rows, count).await?;
    let total = groups.iter().map(|(_, group)| group.len()).sum::<usize>() as u64;
    let matches = FILTERED_MATCHES * f64::from(exact_scan_limit(rows));
    let share = Share::of(matches as u64, rows);
    let kinds = [(Filtering::None, Share::ALL), (Filtering::Some, share)];
    let mut found = Vec::new();
    for (filtering, share) in kinds {
        // With so few rows, any filter leads to an exact scan.
        if filtering == Filtering::Some && share.is_all() {
            continue;
        }
        let (mut done, mut left_out) = (0, 0);
        let mut questions = Vec::new();
        for (origin, group) in &groups {
            let mut asked = Vec::new();
            for sample in group {
                let search = NeighbourSearch::of(table, sample, share, DEEPEST);
                let exact = database.nearest_exact(&search).await?.distances();
                asked.push(Question { sample: sample.clone(), exact });
                done += 1;
                observer(Event::Measuring { done, total });
            }
            // The cosine distance of a zero vector is undefined.
            let all = asked.len();
            asked.retain(|question: &Question| !question.exact.is_empty());
            left_out += (all - asked.len()) as u64;
            questions.push((*origin, asked));
        }
        if left_out > 0 {
            observer(Event::LeftOut { searches: left_out });
        }
        questions.retain(|(_, asked)| !asked.is_empty());
        if questions.is_empty() {
            continue;
        }
        // A migration waits for the result, and does without the last thousandths.
        let further = (policy.urgency == BuildUrgency::None)
            .then(|| FurtherSearches::of(database, observation, index, filtering, observer))
            .flatten();
        let measuring =
            Measuring { database, observation, index, filtering, share, questions: &questions, further };
        let mut least = 1;
        for depth in DEPTHS {
            let tuned = measuring.best_setting(depth, least, policy.recall_target).await?;
            // More results need at least the same parameter.
            least = tuned.setting.candidates;
            found.push(tuned);
        }
    }
    database.store_measured(table, index, &found).await?;
    Ok(found.into_iter().map(|tuned| tuned.setting).collect())
}

/// The queries: up to `count` recent searches if enough were recorded, vectors derived from rows if there are too
/// few, or both.
async fn groups(
    database: &Database,
    table: &Table,
    rows: u64,
    count: u32,
) -> Result<Vec<(Origin, Vec<Sample>)>, store::Error> {
    let kept = database.search_samples(table, count.saturating_mul(REPEATED)).await?;
    let mut seen = HashSet::new();
    let bits =
        |kept: &Embedding| kept.as_slice().iter().map(|component| component.to_bits()).collect::<Vec<_>>();
    let different = kept.into_iter().filter(|kept| seen.insert(bits(kept)));
    let searches: Vec<Sample> =
        different.take(count as usize).map(|embedding| Sample { id: Uuid::nil(), embedding }).collect();
    if searches.len() >= ENOUGH_SEARCHES {
        return Ok(vec![(Origin::Searches, searches)]);
    }
    let mut groups = vec![(Origin::Rows, questions(database, table, (rows, count, SEED), None).await?)];
    if searches.len() >= FEWEST_SEARCHES {
        groups.push((Origin::Searches, searches));
    }
    Ok(groups)
}

struct Measuring<'a> {
    database: &'a Database,
    observation: &'a Observation,
    index: &'a VectorIndex,
    filtering: Filtering,
    share: Share,
    /// Non-empty groups of queries.
    questions: &'a [(Origin, Vec<Question>)],
    further: Option<FurtherSearches<'a>>,
}

impl Measuring<'_> {
    /// The least parameter that meets the target, or the greatest if none does; or a greater one that is faster, as
    /// happens when the least one causes many iterative scans.
    async fn best_setting(&self, depth: u32, least: u32, target: f64) -> Result<Tuned, store::Error> {
        let (least, most) = match self.index.definition.kind {
            IndexKind::Ivfflat { lists } => (least, lists),
            IndexKind::Hnsw { .. } => (least.max(depth), MOST_CANDIDATES),
        };
        let mut search = ParameterSearch::between(least, most);
        let mut best: Option<MeasuredSetting> = None;
        let mut curve = Vec::new();
        while let Some(candidates) = search.next() {
            let setting = self.measure(depth, candidates, target).await?;
            curve.push(MeasuredPoint::from(&setting));
            let is_enough = setting.recall_low >= target;
            search.learn(candidates, is_enough);
            if is_enough || best.is_none_or(|best| best.recall_low < target) {
                best = Some(setting);
            }
        }
        let mut best = best.expect("at least one parameter was tried");
        while best.candidates < most {
            let doubled = self.measure(depth, best.candidates.saturating_mul(2).min(most), target).await?;
            curve.push(MeasuredPoint::from(&doubled));
            if doubled.recall_low < target || doubled.latency_ms > best.latency_ms * FASTER {
                break;
            }
            best = doubled;
        }
        curve.sort_by_key(|point| point.candidates);
        // The latest measurement of each.
        curve.dedup_by(|later, earlier| {
            let is_same = later.candidates == earlier.candidates;
            if is_same {
                *earlier = *later;
            }
            is_same
        });
        Ok(Tuned { setting: best, curve })
    }

    /// Recall and median time of searches with `candidates`: of all queries, unless the first ones rule out the
    /// target, and of further ones if those leave the decision open. The recall is the lowest of the groups.
    async fn measure(
        &self,
        depth: u32,
        candidates: u32,
        target: f64,
    ) -> Result<MeasuredSetting, store::Error> {
        let index = IndexSearch::with_candidates(self.observation, self.index, candidates);
        let (mut worst, mut times) = (None::<MeanRecall>, Vec::<Duration>::new());
        for (origin, group) in self.questions {
            let mut recalls = Vec::new();
            for question in group {
                let found = self.found(question, depth, &index).await?;
                recalls.push(question.recall(depth, &found.distances()));
                times.push(found.took);
                if recalls.len().is_multiple_of(HOPE_AFTER) && MeanRecall::of(&recalls).is_hopeless(target) {
                    break;
                }
            }
            let mut recall = MeanRecall::of(&recalls);
            let is_open = *origin == Origin::Rows && recall.low < target && recall.high >= target;
            if let Some(further) = self.further.as_ref().filter(|_| is_open) {
                let thoroughness = further.thoroughness(group).await?;
                for question in further.questions().await? {
                    let found = self.found(question, depth, &index).await?;
                    recalls.push(question.recall(depth, &found.distances()) * thoroughness);
                    times.push(found.took);
                }
                recall = MeanRecall::of(&recalls);
            }
            if worst.is_none_or(|worst| recall.low < worst.low) {
                worst = Some(recall);
            }
        }
        let recall = worst.expect("there is at least one group");
        times.sort_unstable();
        Ok(MeasuredSetting {
            filtering: self.filtering,
            depth,
            candidates,
            first_candidates: None,
            target,
            recall: recall.mean,
            recall_low: recall.low,
            latency_ms: times[times.len() / 2].as_secs_f64() * 1_000.0,
            sampled: u32::try_from(times.len()).expect("at most 2,000"),
            rows: self.observation.rows,
            measured_at: now(),
        })
    }

    async fn found(
        &self,
        question: &Question,
        depth: u32,
        index: &IndexSearch,
    ) -> Result<Neighbours, store::Error> {
        let search = NeighbourSearch::of(&self.observation.table, &question.sample, self.share, depth);
        self.database.nearest_by_index(&search, index).await
    }
}

fn now() -> PrimitiveDateTime {
    let now = OffsetDateTime::now_utc();
    PrimitiveDateTime::new(now.date(), now.time())
}
