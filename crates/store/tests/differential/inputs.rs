//! Inputs of the operations: values on which stores differ, from small sets so that they collide.

use records::{Embedding, MODEL_DIMENSION, Service, timestamp::to_microseconds};
use serde_json::{Map, Value, json};
use store::storage::{
    Change, DocumentFilter, Effort, Filter, NewRecord, Production, Search, SearchMode, Selection,
};
use time::{Duration, PrimitiveDateTime, macros::datetime};

use super::random::Random;

const NOON: PrimitiveDateTime = datetime!(2026-01-31 12:00);

const CATEGORIES: [&str; 6] = ["physics", "Physics", "física \u{1f52d}", "", "5", "unknown"];
const MODELS: [&str; 3] = ["gpt-4", "claude 'x\"", "null"];
const KEYS: [&str; 9] = ["k", "K", "n", "a.b", "q\"'\\", "é", "", "#hash", "chroma:document"];
const WORDS: [&str; 10] =
    ["Why", "why", "sky", "blue", "100%", "a_b", "\\d+", "größe", "\u{1f600}", "日本語"];
const PARTS: [&str; 12] =
    ["why", "Why", "y s", "%", "_", "\\", "ö", "\u{1f600}", "本", "zzz", "\n", "blue blue"];
const PATTERNS: [&str; 10] = [
    "^why",
    "(?i)^why",
    "sky$",
    "\\d",
    "a.b",
    "[[:alpha:]]+ [a-z]+",
    "(blue|sky) ",
    "gr.+e",
    "^$",
    "\u{1f600}|日",
];

pub(super) struct Inputs {
    service: Service,
    ids: Vec<String>,
    vectors: Vec<Embedding>,
    /// Used before, to be reused.
    given: Vec<NewRecord>,
}

impl Inputs {
    pub(super) fn new(service: Service, random: &mut Random) -> Self {
        let mut ids: Vec<String> = [
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67E55044-10B1-426F-9247-BB680E5FE0C8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "chatcmpl-8xyz",
            "CHATCMPL-8xyz",
            "é",
            "e\u{301}",
            "\u{1f600}/../\"'\\;--",
            " ",
            "%",
            "a\nb",
        ]
        .map(str::to_owned)
        .into();
        ids.push("long".repeat(750));
        ids.extend((0..60).map(|number| format!("id{number}")));
        let mut vectors: Vec<Embedding> = (0..6).map(|_| vector(random)).collect();
        // Equal directions with other norms, opposite directions, and zero vectors.
        let scaled: Vec<f32> = vectors[0].as_slice().iter().map(|x| x * 50.0).collect();
        let opposite: Vec<f32> = vectors[0].as_slice().iter().map(|x| -x).collect();
        vectors.extend([scaled.into(), opposite.into(), vec![0.0; MODEL_DIMENSION].into()]);
        Self { service, ids, vectors, given: Vec::new() }
    }

    pub(super) fn id(&self, random: &mut Random) -> String {
        random.pick(&self.ids).clone()
    }

    pub(super) fn record(&mut self, random: &mut Random) -> NewRecord {
        if !self.given.is_empty() && random.once_in(6) {
            return random.pick(&self.given).clone();
        }
        let production = Production { model_id: (*random.pick(&MODELS)).to_owned(), query: words(random) };
        let mut metadata = metadata(random);
        if random.once_in(10) {
            metadata.insert("timestamp".to_owned(), json!("2026-01-31 12:03:30.25"));
        }
        let record = NewRecord {
            id: self.id(random),
            text: words(random),
            embedding: self.embedding(random),
            category: (*random.pick(&CATEGORIES)).to_owned(),
            production: (self.service == Service::Judge).then_some(production),
            metadata,
            created_at: time(random),
        };
        self.given.push(record.clone());
        record
    }

    pub(super) fn change(&self, random: &mut Random) -> Change {
        Change {
            text: random.once_in(2).then(|| (words(random), self.embedding(random))),
            category: random.once_in(3).then(|| (*random.pick(&CATEGORIES)).to_owned()),
            metadata: random.once_in(2).then(|| metadata(random)),
        }
    }

    pub(super) fn selection(&self, random: &mut Random) -> Selection {
        Selection {
            category: random.once_in(4).then(|| (*random.pick(&CATEGORIES)).to_owned()),
            model_id: random.once_in(6).then(|| (*random.pick(&MODELS)).to_owned()),
            filter: random.once_in(2).then(|| {
                let json = filter(random, self.service, 2);
                Filter::from_json(&json).unwrap_or_else(|error| panic!("{json}: {error}"))
            }),
            document: random.once_in(4).then(|| {
                let json = document_filter(random, 2);
                DocumentFilter::from_json(&json).unwrap_or_else(|error| panic!("{json}: {error}"))
            }),
            from: random.once_in(6).then(|| to_microseconds(time(random))),
            before: random.once_in(6).then(|| to_microseconds(time(random))),
        }
    }

    pub(super) fn search(&self, random: &mut Random, limit: impl Fn(&mut Random) -> u32) -> Search {
        Search {
            selection: if random.once_in(4) { Selection::default() } else { self.selection(random) },
            mode: SearchMode::Vector(self.embedding(random)),
            limit: limit(random),
            min_similarity: random.once_in(4).then(|| f64::from(random.component())),
            effort: if random.once_in(4) { Effort::Exact } else { Effort::Fast },
        }
    }

    fn embedding(&self, random: &mut Random) -> Embedding {
        if random.once_in(2) { vector(random) } else { random.pick(&self.vectors).clone() }
    }
}

/// Few times, so that they collide; some with more digits than are stored.
fn time(random: &mut Random) -> PrimitiveDateTime {
    let minute = Duration::minutes(i64::try_from(random.below(8)).expect("it is small"));
    NOON + minute + Duration::nanoseconds(if random.once_in(3) { 1_999 } else { 0 })
}

/// A unit vector.
fn vector(random: &mut Random) -> Embedding {
    let components: Vec<f32> = (0..MODEL_DIMENSION).map(|_| random.component()).collect();
    let length = components.iter().map(|x| x * x).sum::<f32>().sqrt();
    components.iter().map(|x| x / length).collect::<Vec<_>>().into()
}

fn words(random: &mut Random) -> String {
    let words: Vec<&str> = (0..random.below(5)).map(|_| *random.pick(&WORDS)).collect();
    words.join(if random.once_in(6) { "\n" } else { " " })
}

fn metadata(random: &mut Random) -> Map<String, Value> {
    (0..random.below(4)).map(|_| (key(random).to_owned(), value(random))).collect()
}

/// Mostly one, so that conditions meet values.
fn key(random: &mut Random) -> &'static str {
    if random.once_in(3) { KEYS[random.below(KEYS.len())] } else { "k" }
}

fn value(random: &mut Random) -> Value {
    match random.below(12) {
        0 => Value::Null,
        1 => json!({"x": [1, null, {"y": scalar(random)}], "": 1.0}),
        2 => json!([]),
        3 => json!([scalar(random), scalar(random), scalar(random)]),
        4 => json!([number(random), [number(random)]]),
        5 => json!(["x", "Why", "x"]),
        6 => json!(u64::MAX),
        _ => scalar(random),
    }
}

/// Values of records and conditions.
fn scalar(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!(random.once_in(2)),
        1 => json!(*random.pick(&["x", "X", "", "1", "true", "Why", "\u{1f600} 'q\" \\"])),
        _ => number(random),
    }
}

fn number(random: &mut Random) -> Value {
    random
        .pick(&[
            json!(0),
            json!(0.0),
            json!(1),
            json!(1.0),
            json!(1.5),
            json!(-3),
            json!(-3.25),
            json!(0.1),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992.0),
            json!(1e16),
            json!(10_000_000_000_000_000_i64),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(9.3e18),
            json!(1e-300),
        ])
        .clone()
}

fn filter(random: &mut Random, service: Service, depth: usize) -> Value {
    if depth > 0 && random.once_in(3) {
        let operator = *random.pick(&["$and", "$or"]);
        let conditions: Vec<Value> =
            (0..2 + random.below(2)).map(|_| filter(random, service, depth - 1)).collect();
        return json!({ operator: conditions });
    }
    let own = match service {
        Service::Query => ["theme", "timestamp"],
        Service::Evaluation => ["metric_type", "timestamp"],
        Service::Judge => ["model_id", "query"],
    };
    let (key, value) = match random.once_in(8) {
        true => {
            let value = match random.below(3) {
                0 => json!(*random.pick(&CATEGORIES)),
                1 => json!(*random.pick(&MODELS)),
                _ => json!("2026-01-31T12:01:00.000000"),
            };
            (*random.pick(&own), value)
        }
        false => (key(random), scalar(random)),
    };
    let several = |random: &mut Random| {
        let mut values = vec![value.clone()];
        values.extend(
            (0..random.below(3))
                .map(|_| scalar(random))
                .filter(|other| std::mem::discriminant(other) == std::mem::discriminant(&value)),
        );
        values
    };
    let test = match random.below(11) {
        0 => value,
        1 => json!({ "$eq": value }),
        2 => json!({ "$ne": value }),
        3 => json!({ "$in": several(random) }),
        4 => json!({ "$nin": several(random) }),
        5 => json!({ "$contains": value }),
        6 => json!({ "$not_contains": value }),
        _ => json!({ *random.pick(&["$gt", "$gte", "$lt", "$lte"]): number(random) }),
    };
    json!({ key: test })
}

fn document_filter(random: &mut Random, depth: usize) -> Value {
    if depth > 0 && random.once_in(4) {
        let operator = *random.pick(&["$and", "$or"]);
        let conditions: Vec<Value> =
            (0..2 + random.below(2)).map(|_| document_filter(random, depth - 1)).collect();
        return json!({ operator: conditions });
    }
    match random.below(4) {
        0 => json!({ "$contains": *random.pick(&PARTS) }),
        1 => json!({ "$not_contains": *random.pick(&PARTS) }),
        2 => json!({ "$regex": *random.pick(&PATTERNS) }),
        _ => json!({ "$not_regex": *random.pick(&PATTERNS) }),
    }
}
