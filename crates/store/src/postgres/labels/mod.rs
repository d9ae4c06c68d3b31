//! What people say of answers: table `labels`, which is in PostgreSQL even if the outputs are in ChromaDB.
//!
//! Rows are only added. The label of an annotator for an item is the last that is not withdrawn.

mod list;
mod store;

use records::{MAX_LABEL_BYTES, Service};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub use list::LabelSelection;
pub use store::LabelOutcome;

use super::failure::Failing;
use crate::{
    StoredTime,
    storage::{StorageError, check_text},
};

const FAILING: Failing = Failing(Service::Judge);

/// Most bytes of an annotator's name.
pub const MAX_ANNOTATOR_BYTES: usize = 200;
/// Bytes of a digest, of an item or of a query's text.
const DIGEST_BYTES: usize = 16;

/// Identifies what a label is about: query, metric, and model or pair of models.
pub type ItemDigest = [u8; DIGEST_BYTES];

/// A label of one annotator.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLabel {
    /// Its id.
    pub id: Uuid,
    /// The annotator's name.
    pub annotator: String,
    /// The query that was answered.
    pub query: LabelledQuery,
    /// The metric by which the answers were judged, if it is known.
    pub metric: Option<String>,
    /// What the annotator said.
    pub verdict: LabelVerdict,
    /// When.
    pub labelled_at: StoredTime,
}

/// The query of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelledQuery {
    /// A query with an id.
    Id(String),
    /// A query that is known only by its text: the first 16 bytes of the SHA-256 of its UTF-8.
    Digest([u8; DIGEST_BYTES]),
}

/// What an annotator said of one answer or of two.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelVerdict {
    /// Of one answer.
    Score {
        /// The model that gave it.
        model: String,
        /// The score: a finite number; `None` if it was skipped.
        score: Option<f64>,
    },
    /// Of two answers.
    Preference {
        /// The model of the answer that was shown first.
        first: String,
        /// The model of the answer that was shown second.
        second: String,
        /// The better one; `None` if they were skipped.
        winner: Option<LabelWinner>,
    },
}

/// The better of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelWinner {
    /// The one that was shown first.
    A,
    /// The one that was shown second.
    B,
    /// Neither.
    Tie,
}

impl LabelWinner {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::A, Self::B, Self::Tie].into_iter().find(|winner| winner.as_str() == name)
    }
}

impl LabelVerdict {
    /// Whether the annotator gave no verdict.
    pub fn is_skipped(&self) -> bool {
        matches!(self, Self::Score { score: None, .. } | Self::Preference { winner: None, .. })
    }

    /// The model of the answer or of the one that was shown first, and that of the second.
    pub fn models(&self) -> (&str, Option<&str>) {
        match self {
            Self::Score { model, .. } => (model, None),
            Self::Preference { first, second, .. } => (first, Some(second)),
        }
    }
}

impl StoredLabel {
    /// Identifies what it is about.
    pub fn item(&self) -> ItemDigest {
        item(&self.query, self.metric.as_deref(), self.verdict.models())
    }

    /// Rejects what cannot be stored.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a text that is too long or has the character NUL, a name of an annotator that is
    /// blank, a score that is not a finite number, or a model that is compared with itself.
    pub fn check(&self) -> Result<(), StorageError> {
        let refused = |field: &str, reason: String| StorageError::Refused { field: field.to_owned(), reason };
        let (first, second) = self.verdict.models();
        let query_id = match &self.query {
            LabelledQuery::Id(id) => Some(id.as_str()),
            LabelledQuery::Digest(_) => None,
        };
        let texts = [
            ("annotator", Some(self.annotator.as_str()), MAX_ANNOTATOR_BYTES),
            ("query_id", query_id, MAX_LABEL_BYTES),
            ("evaluation_prompt_id", self.metric.as_deref(), MAX_LABEL_BYTES),
            ("model", Some(first), MAX_LABEL_BYTES),
            ("model", second, MAX_LABEL_BYTES),
        ];
        for (field, text, most_bytes) in texts {
            let Some(text) = text else { continue };
            check_text(field, text)?;
            if text.len() > most_bytes {
                let found = text.len();
                return Err(refused(field, format!("expected up to {most_bytes} bytes, found {found}")));
            }
        }
        if self.annotator.trim().is_empty() {
            return Err(refused("annotator", "expected the annotator's name, found nothing".to_owned()));
        }
        match &self.verdict {
            LabelVerdict::Score { score: Some(score), .. } if !score.is_finite() => {
                Err(refused("score", "expected a finite number".to_owned()))
            }
            LabelVerdict::Preference { first, second, .. } if first == second => {
                Err(refused("model_b", "expected a model other than model_a".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Identifies the answers of these models to `query`, by this metric. The order of the models does not matter.
pub fn item(query: &LabelledQuery, metric: Option<&str>, (one, other): (&str, Option<&str>)) -> ItemDigest {
    let (first, second) = match other {
        Some(other) if other < one => (other, Some(one)),
        other => (one, other),
    };
    let (kind, query): (&[u8], &[u8]) = match query {
        LabelledQuery::Id(id) => (b"id", id.as_bytes()),
        LabelledQuery::Digest(digest) => (b"text", digest),
    };
    let mut hash = Sha256::new();
    let mut add = |part: Option<&[u8]>| {
        // The lengths keep parts apart.
        hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hash.update(part.unwrap_or_default());
    };
    let parts = [
        Some(kind),
        Some(query),
        metric.map(str::as_bytes),
        Some(first.as_bytes()),
        second.map(str::as_bytes),
    ];
    parts.into_iter().for_each(&mut add);
    let digest = hash.finalize();
    digest[..DIGEST_BYTES].try_into().expect("SHA-256 is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_is_that_of_query_metric_and_unordered_models() {
        let id = |id: &str| LabelledQuery::Id(id.to_owned());
        let pair = item(&id("q"), Some("m"), ("a", Some("b")));
        assert_eq!(item(&id("q"), Some("m"), ("b", Some("a"))), pair);
        let others = [
            item(&id("q"), Some("m"), ("a", None)),
            item(&id("q"), None, ("a", Some("b"))),
            item(&id("q"), Some(""), ("a", Some("b"))),
            item(&id("qm"), Some(""), ("a", Some("b"))),
            item(&id("q"), Some("m"), ("ab", Some(""))),
            item(&LabelledQuery::Digest(*b"0123456789abcdef"), Some("m"), ("a", Some("b"))),
            item(&id("0123456789abcdef"), Some("m"), ("a", Some("b"))),
        ];
        for (place, other) in others.iter().enumerate() {
            assert!(*other != pair && !others[..place].contains(other), "{place}");
        }
    }
}
