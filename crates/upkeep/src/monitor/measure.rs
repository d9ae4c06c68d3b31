//! Makes searches again, and says how much of what is nearest they find.

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

/// Results of each search that is made again: recall is that of the ten nearest.
const DEPTH: u32 = 10;
/// An exact search of a million rows takes a second or two on one core.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// In the background the server is given this many times as long to rest as a search took.
const REST: u32 = 4;
/// It is looked so often whether others need the connections.
const GIVE_WAY: Duration = Duration::from_millis(250);
/// Connections that have to be free: the replay's own, and one for whoever comes.
const FREE_CONNECTIONS: u32 = 2;

/// How much of the server is taken to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Somebody waits: one search after the other.
    Prompt,
    /// Nobody does: with pauses, and only while connections are free. What is not done by `until` is left.
    Background {
        /// The end.
        until: Instant,
    },
}

/// What searches of a table find.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Searches that were made and had something to find.
    pub replayed: u32,
    /// Searches that were left out, since there is nothing at a finite distance from their vector.
    pub without_distance: u32,
    /// Searches that were left out, since their answers have more bytes than an answer may.
    pub too_large: Vec<ReplayedSearch>,
    /// Results that they did not have although there are as many.
    pub missing: u64,
    /// The share of the ten nearest rows that they found; `None` where there was nothing to find.
    pub recall: Option<MeasuredRecall>,
    /// Median time of a search, in milliseconds.
    pub median_ms: Option<f64>,
}

/// Makes `searches` in `table` and compares what they find with what there is.
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
        replayed: u32::try_from(recalls.len()).expect("few searches are made again"),
        without_distance,
        too_large,
        missing,
        recall: mean.map(|MeanRecall { mean, low, high }| MeasuredRecall { mean, low, high }),
        median_ms: times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1_000.0),
    })
}

/// Whether a search was not made again since its answer has more bytes than an answer may.
fn is_too_large(error: &store::Error) -> bool {
    matches!(error, store::Error::Replay { source, .. } if matches!(**source, StorageError::TooLarge))
}

/// Waits until another search may be made; `false` where its time is over.
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

/// `count` searches like those for new texts, made of the `rows` rows of `table`. For the same `seed` the same ones, while
/// the table stays the same.
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
    let questions = questions(database, table, rows, count, seed).await?;
    Ok(questions.into_iter().map(|question| unfiltered(question.embedding)).collect())
}

/// A search among all rows.
pub(super) fn unfiltered(embedding: Embedding) -> ReplayedSearch {
    ReplayedSearch { embedding, selection: Selection::default() }
}
