//! The filters of searches.

use serde_json::{Map, Value, json};
use store::storage::{self, Selection};

use super::{corpus::Text, embeddings::Corpus};

/// A condition, in the syntax of each contestant.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    None,
    /// A metadata key with this value: one record in `of`, independent of its meaning.
    Hashed {
        key: &'static str,
        of: usize,
    },
    /// The theme, which one record in eight has, independent of its meaning.
    Theme,
    /// The text's category, which correlates with its meaning.
    Source(String),
}

/// Shares of the records for the filters independent of meaning.
const HASHED: [(&str, usize); 4] = [("half", 2), ("tenth", 10), ("hundredth", 100), ("thousandth", 1_000)];
const THEMES: usize = 8;
/// Approximate shares of the records for the filters that correlate with meaning.
const SOURCE_SHARES: [f64; 2] = [0.1, 0.01];

impl Filter {
    /// All filters, for the first `stored` texts.
    pub(super) fn all(corpus: &Corpus, stored: usize) -> Vec<Self> {
        let mut filters: Vec<Self> = HASHED.iter().map(|(key, of)| Self::Hashed { key, of: *of }).collect();
        filters.push(Self::Theme);
        let mut sources: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for text in &corpus.texts[..stored] {
            *sources.entry(&text.source).or_default() += 1;
        }
        for share in SOURCE_SHARES {
            let distance = |count: usize| (count as f64 / stored as f64 / share).ln().abs();
            let nearest = sources.iter().min_by(|one, other| distance(*one.1).total_cmp(&distance(*other.1)));
            filters.extend(nearest.map(|(source, _)| Self::Source((*source).to_owned())));
        }
        filters
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Hashed { key, .. } => format!("one {key}"),
            Self::Theme => "theme".to_owned(),
            Self::Source(source) => format!("source {source}"),
        }
    }

    pub(super) fn matches(&self, text: &Text, number: usize) -> bool {
        match self {
            Self::None => true,
            Self::Hashed { of, .. } => number.is_multiple_of(*of),
            Self::Theme => number.is_multiple_of(THEMES),
            Self::Source(source) => text.source == *source,
        }
    }

    /// For our store.
    pub(super) fn selection(&self) -> Selection {
        match self {
            Self::Theme => Selection { category: Some(theme(0)), ..Selection::default() },
            _ => Selection {
                filter: self
                    .condition()
                    .map(|json| storage::Filter::from_json(&json).expect("a filter of Chroma's form")),
                ..Selection::default()
            },
        }
    }

    /// As Chroma's `where`, with the theme as metadata.
    pub(super) fn condition(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Hashed { key, .. } => Some(json!({ *key: 0 })),
            Self::Theme => Some(json!({ "theme": theme(0) })),
            Self::Source(source) => Some(json!({ "source": source })),
        }
    }

    /// The filter's part of a request to our service.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::None => json!({}),
            Self::Theme => json!({ "theme": theme(0) }),
            _ => json!({ "where": self.condition() }),
        }
    }
}

/// The theme of a record.
pub(super) fn theme(number: usize) -> String {
    format!("theme {}", number % THEMES)
}

/// The metadata of a record.
pub(super) fn metadata(text: &Text, number: usize) -> Map<String, Value> {
    let hashed = HASHED.iter().map(|(key, of)| ((*key).to_owned(), json!(number % of)));
    hashed.chain([("source".to_owned(), json!(text.source))]).collect()
}
