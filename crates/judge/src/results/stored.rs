//! Stored results and labels as judgements and labels: which query they are about, and what they say.

use std::fmt;

use sha2::{Digest as _, Sha256};
use store::postgres::{LabelVerdict, LabelWinner, LabelledQuery, StoredJudgement, StoredLabel};

use super::{JudgeVerdict, Judgement, ScoreLabel, WinnerLabel};
use crate::{outcome::Outcome, parse::Winner};

/// Bytes of a text's SHA-256 that identify it.
const DIGEST_BYTES: usize = 16;

/// Identity of a query. Its text form is the key of judgements.
#[derive(Clone, Copy, Debug)]
pub enum QueryKey<'q> {
    /// Its id.
    Id(&'q str),
    /// The digest of its text.
    Digest([u8; DIGEST_BYTES]),
}

impl QueryKey<'_> {
    /// The key of a query that is known only by its text.
    pub fn of_text(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self::Digest(digest[..DIGEST_BYTES].try_into().expect("SHA-256 is longer"))
    }
}

impl fmt::Display for QueryKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Digest(digest) => {
                f.write_str("text ")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// The keys of the query, its id first.
pub fn query_keys<'r>(stored: &StoredJudgement<'r>) -> [Option<QueryKey<'r>>; 2] {
    let digest = stored.query_digest.map(|digest| {
        QueryKey::Digest(digest.try_into().expect("the statement cuts digests to their length"))
    });
    [stored.query_id.map(QueryKey::Id), digest]
}

/// The judgement, with `query` as the key of its query.
pub fn stored_judgement<'r>(stored: &StoredJudgement<'r>, query: &'r str) -> Judgement<'r> {
    let verdict = match stored.comparison {
        None => JudgeVerdict::Score {
            score: Outcome::stored(stored.status, stored.score),
            is_out_of_range: stored.is_out_of_range,
        },
        Some(comparison) => JudgeVerdict::Comparison {
            opponent: comparison.opponent,
            is_swapped: comparison.is_swapped,
            winner: Outcome::stored(stored.status, comparison.winner.map(Winner::from)),
        },
    };
    Judgement {
        query,
        model: stored.model_id,
        theme: stored.theme,
        metric: stored.evaluation_prompt_id,
        judge: stored.judge_model,
        run: stored.run_id,
        repeat: stored.repeat,
        verdict,
    }
}

impl From<LabelWinner> for Winner {
    fn from(winner: LabelWinner) -> Self {
        match winner {
            LabelWinner::A => Self::A,
            LabelWinner::B => Self::B,
            LabelWinner::Tie => Self::Tie,
        }
    }
}

/// Stored labels by kind; skipped ones are no labels.
pub fn stored_labels(stored: Vec<StoredLabel>) -> (Vec<ScoreLabel>, Vec<WinnerLabel>) {
    let (mut scores, mut winners) = (Vec::new(), Vec::new());
    for StoredLabel { query, metric, verdict, .. } in stored {
        let query = match &query {
            LabelledQuery::Id(id) => QueryKey::Id(id).to_string(),
            LabelledQuery::Digest(digest) => QueryKey::Digest(*digest).to_string(),
        };
        match verdict {
            LabelVerdict::Score { model, score: Some(score) } => {
                scores.push(ScoreLabel { query, metric, model, score });
            }
            LabelVerdict::Preference { first, second, winner: Some(winner) } => {
                winners.push(WinnerLabel { query, metric, first, second, winner: winner.into() });
            }
            LabelVerdict::Score { score: None, .. } | LabelVerdict::Preference { winner: None, .. } => {}
        }
    }
    (scores, winners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_key_is_its_id_or_a_digest_of_its_text() {
        assert_eq!(QueryKey::Id("q").to_string(), "id q");
        let key = QueryKey::of_text("abc").to_string();
        // FIPS 180-2, appendix B.1.
        assert_eq!(key, "text ba7816bf8f01cfea414140de5dae2223");
    }
}
