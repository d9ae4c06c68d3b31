//! Translated regular expressions match the same texts in PostgreSQL as in Rust.

use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};
use records::Service;
use regex::Regex;
use store::storage::{DocumentFilter, NewRecord, Selection, Start, Storage as _, StorageError};
use test_support::count;

use super::{new_record, storage, store};

/// For each change, and at night.
const PATTERNS: (usize, usize) = (200, 600);
const TEXTS: usize = 100;

/// Characters that classes, case folding, word boundaries and line ends tell apart: `K` has the Kelvin sign as a
/// third case, `s` the long s, and U+0301 is a word character but no letter.
const CHARACTERS: [char; 20] = [
    'a',
    'b',
    'B',
    'k',
    'K',
    '\u{212A}',
    's',
    '\u{17F}',
    'ß',
    'é',
    '\u{301}',
    '1',
    '٣',
    '_',
    '-',
    ' ',
    '\n',
    '\r',
    '\u{2028}',
    '\u{1F600}',
];

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(CHARACTERS.to_vec()), 0..7)
        .prop_map(|characters| characters.into_iter().collect())
}

fn patterns() -> impl Strategy<Value = String> {
    let atoms = [
        "a",
        "b",
        "B",
        "k",
        "s",
        "ß",
        "é",
        "1",
        "_",
        "-",
        " ",
        r"\n",
        r"\r",
        ".",
        "(?s:.)",
        "(?R:.)",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        "[ab]",
        "[^ab]",
        r"[^\n]",
        r"[\w&&[^a]]",
        "[a-s]",
        r"[^\s\S]",
        "(?i:k)",
        "(?i:S)",
        "(?i:ß)",
        r"(?i:[^k])",
        r"\p{L}",
        r"\P{L}",
        r"\pM",
        r"(?-u:\w)",
        r"(?-u:\d)",
        r"\x{1F600}",
        "^",
        "$",
        r"\A",
        r"\z",
        "(?m:^)",
        "(?m:$)",
        "(?mR:^)",
        "(?mR:$)",
        r"\b",
        r"\B",
        r"(?-u:\b)",
        r"(?-u:\B)",
        r"\b{start}",
        r"\b{end}",
        r"\b{start-half}",
        r"\b{end-half}",
        r"(?-u:\b{start})",
        r"(?-u:\b{end})",
        r"(?-u:\b{start-half})",
        r"(?-u:\b{end-half})",
        "",
    ];
    let quantifiers = ["*", "+", "?", "{2}", "{0}", "{1,2}", "{0,2}", "{2,}", "*?", "+?", "{1,2}?"];
    prop::sample::select(atoms.to_vec()).prop_map(str::to_owned).prop_recursive(4, 12, 3, move |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| parts.concat()),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            2 => (inner.clone(), prop::sample::select(quantifiers.to_vec()))
                .prop_map(|(part, quantifier)| format!("(?:{part}){quantifier}")),
            1 => inner.prop_map(|part| format!("({part})")),
        ]
    })
}

fn matching(operator: &str, pattern: &str) -> Selection {
    let filter = DocumentFilter::from_json(&serde_json::json!({ operator: pattern }));
    Selection { document: Some(filter.expect("it is a pattern")), ..Selection::default() }
}

#[tokio::test]
async fn random_patterns_match_the_same_texts() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let mut runner = TestRunner::default();
    let mut sampled: Vec<String> = Vec::new();
    while sampled.len() < TEXTS {
        let text = texts().new_tree(&mut runner).expect("a text").current();
        if !sampled.contains(&text) {
            sampled.push(text);
        }
    }
    let records: Vec<NewRecord> = (0..)
        .zip(&sampled)
        .map(|(n, text)| NewRecord { text: text.clone(), ..new_record(Service::Query, text, n) })
        .collect();
    store(&storage, &records).await;
    let (mut patterns_with_matches, all) = (0, u32::try_from(TEXTS).expect("it is small"));
    let pattern_count = count(PATTERNS.0, PATTERNS.1);
    for _ in 0..pattern_count {
        let pattern = patterns().prop_filter("patterns have a character", |pattern| !pattern.is_empty());
        let pattern = pattern.new_tree(&mut runner).expect("a pattern").current();
        let regex = Regex::new(&pattern).expect("it compiles");
        // Not `is_match`, which misses some: see the Chroma storage's `matching`.
        let mut expected: Vec<&String> = sampled.iter().filter(|text| regex.find(text).is_some()).collect();
        expected.sort_unstable();
        let listed = storage.list(&matching("$regex", &pattern), Start::Offset(0), all).await;
        let listed = listed.unwrap_or_else(|error| panic!("`{pattern}`: {error:?}"));
        let mut found: Vec<&String> = listed.iter().map(|record| &record.text).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "`{pattern}`");
        patterns_with_matches += usize::from(!found.is_empty() && found.len() < TEXTS);
    }
    assert!(
        patterns_with_matches > pattern_count / 4,
        "most patterns tell texts apart: {patterns_with_matches}"
    );
}

#[tokio::test]
async fn repetitions_beyond_postgresql_s_count_are_nested_or_refused() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let records: Vec<NewRecord> = [299, 300, 301, 610, 611]
        .map(|length| NewRecord {
            text: "a".repeat(length.into()),
            ..new_record(Service::Query, &length.to_string(), length)
        })
        .to_vec();
    store(&storage, &records).await;
    for (pattern, expected) in [
        ("^a{300}$", vec!["300"]),
        ("^a{300,610}$", vec!["610", "301", "300"]),
        ("^a{301,}$", vec!["611", "610", "301"]),
        ("^a{0,300}$", vec!["300", "299"]),
        ("^(?:a{0}b?){300}$", vec![]),
    ] {
        assert_eq!(super::ids(&storage, &matching("$regex", pattern)).await, expected, "{pattern}");
    }
    for pattern in ["a{100000}", r"(?:\w{200}[a-z]{255}){255}"] {
        let refused = storage.count(&matching("$not_regex", pattern)).await;
        let is_refused =
            matches!(&refused, Err(StorageError::Unsupported { field, .. }) if field == "where_document");
        assert!(is_refused, "{pattern}: {refused:?}");
    }
}

#[tokio::test]
async fn patterns_with_too_large_a_translation_are_rejected() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let nested = |quantifier: &str, depth| {
        (0..depth).fold("a".to_owned(), |pattern, _| format!("({pattern}){quantifier}"))
    };
    let mut refused = vec![r"\b".repeat(500), r"\B\b{start}".repeat(90), r"(\b){300,600}".repeat(50)];
    for quantifier in ["{256,512}", "{300,}", "{257}", "{0,700}"] {
        refused.extend([nested(quantifier, 40), nested(quantifier, 90)]);
    }
    for pattern in refused {
        for operator in ["$regex", "$not_regex"] {
            let counted = storage.count(&matching(operator, &pattern)).await;
            assert!(matches!(counted, Err(StorageError::Unsupported { .. })), "{pattern}: {counted:?}");
        }
    }
    // Ordinary patterns are accepted.
    let words = vec![serde_json::json!({"$regex": r"\bword\b"}); 8];
    let filter = DocumentFilter::from_json(&serde_json::json!({ "$or": words })).expect("a filter");
    let selection = Selection { document: Some(filter), ..Selection::default() };
    assert_eq!(storage.count(&selection).await.expect("it is small"), 0);
}
