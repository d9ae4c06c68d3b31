//! Replays searches and measures their recall.

use std::time::Duration;

use records::Embedding;
use store::{
    postgres::{
        Database, Table,
        searches::{MeasuredRecall, ReplayedSearch},
    },
    storage::{Selection, StorageError},
};
use tokio::time::{Instant, sleep};

use crate::{
    questions::questions,
    recall::{MeanRecall, recall},
};

/// Results per replayed search: recall@10.
const DEPTH: u32 = 10;
/// An exact scan of a million rows takes one or two seconds on one core.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// In the background, the pause after a search is this many times its duration.
const REST: u32 = 4;
/// How often to check for free connections.
const GIVE_WAY: Duration = Duration::from_millis(250);
/// Connections that must be free: one for the replay, and one for others.
const FREE_CONNECTIONS: u32 = 2;

/// The load that a measurement may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For interactive use: searches without pauses.
    Prompt,
    /// In the background: with pauses, and only while connections are free. Searches not started by `until` are
    /// skipped.
    Background {
        /// The deadline.
        until: Instant,
    },
}

/// The result of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Replayed searches for which rows match.
    pub replayed: u32,
    /// Skipped searches, whose vectors have no finite distance to any row.
    pub without_distance: u32,
    /// Skipped searches, whose results exceed the maximum size of a response.
    pub too_large: Vec<ReplayedSearch>,
    /// Missing results, for which rows match.
    pub missing: u64,
    /// Recall@10; `None` if no rows match.
    pub recall: Option<MeasuredRecall>,
    /// Median time of a search, in milliseconds.
    pub median_ms: Option<f64>,
}

/// Replays `searches` in `table` and compares the results with exact scans.
///
/// # Errors
/// When a statement fails.
pub async fn measure(
    database: &Database,
    table: &Table,
    searches: &[ReplayedSearch],
    pace: Pace,
) -> Result<Measurement, store::Error> {
    let (mut recalls, mut times, mut missing) = (Vec::new(), Vec::new(), 0);
    let (mut without_distance, mut too_large) = (0, Vec::new());
    for search in searches {
        if !is_free(database, pace).await {
            break;
        }
        let began = Instant::now();
        match database.replay(table, search, DEPTH, STATEMENT_TIMEOUT).await {
            Ok(replay) => {
                missing += replay.missing;
                if let Some(recall) = recall(&replay.exact, &replay.found) {
                    recalls.push(recall);
                    times.push(replay.took);
                } else {
                    without_distance += 1;
                }
            }
            Err(error) if is_too_large(&error) => too_large.push(search.clone()),
            Err(error) => return Err(error),
        }
        if let Pace::Background { until } = pace {
            sleep((began.elapsed() * REST).min(until.saturating_duration_since(Instant::now()))).await;
        }
    }
    times.sort_unstable();
    let mean = (!recalls.is_empty()).then(|| MeanRecall::of(&recalls));
    Ok(Measurement {
        replayed: u32::try_from(recalls.len()).expect("few searches are replayed"),
        without_distance,
        too_large,
        missing,
        recall: mean.map(|MeanRecall { mean, low, high }| MeasuredRecall { mean, low, high }),
        median_ms: times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1_000.0),
    })
}

/// Whether a replay failed because the result exceeds the maximum size of a response.
fn is_too_large(error: &store::Error) -> bool {
    matches!(error, store::Error::Replay { source, .. } if matches!(**source, StorageError::TooLarge))
}

/// Waits until another search may be replayed; `false` after the deadline.
async fn is_free(database: &Database, pace: Pace) -> bool {
    let Pace::Background { until } = pace else { return true };
    while Instant::now() < until {
        if database.free_connections() >= FREE_CONNECTIONS {
            return true;
        }
        sleep(GIVE_WAY).await;
    }
    false
}

/// `count` searches like those for new texts, derived from the `rows` rows of `table`. Deterministic for a `seed` and
/// an unchanged table.
///
/// # Errors
/// When a statement fails.
pub async fn searches_for_rows(
    database: &Database,
    table: &Table,
    rows: u64,
    count: u32,
    seed: u32,
) -> Result<Vec<ReplayedSearch>, store::Error> {
    let questions = questions(database, table, (rows, count, seed), None).await?;
    Ok(questions.into_iter().map(|question| unfiltered(question.embedding)).collect())
}

/// A search without filters.
pub(super) fn unfiltered(embedding: Embedding) -> ReplayedSearch {
    ReplayedSearch { embedding, selection: Selection::default() }
}
