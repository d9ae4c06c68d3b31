//! The text of a request for a run that the first version hashed: Rust's `Debug` of its structs with their names at
//! that time. Runs of that version have such a digest, with which a retry of their request is compared. Not used for
//! anything else; it must never change.

use serde_json::{Map, Number, Value};
use store::storage::{Comparison, DocumentFilter, DocumentTest, Filter, Pattern, Scalar, Selection, Test};

use super::{
    plan::{RunBudget, RunMode},
    request::{NamedModel, RunQueries, RunRequest},
};

pub(super) fn text(wanted: &RunRequest) -> String {
    let RunRequest {
        id,
        name,
        queries,
        mode,
        models,
        judges,
        evaluation_prompt_ids,
        repeats,
        uses_cache,
        temperature,
        metadata,
        budget,
    } = wanted;
    let mode = match mode {
        RunMode::Pointwise => "Pointwise",
        RunMode::Pairwise => "Pairwise",
    };
    let RunBudget { requests, tokens, cost_usd, wall_time_s } = budget;
    let queries = queries_text(queries);
    let [models, judges] = [models, judges].map(|models| named(models));
    let metadata = object_text(metadata);
    // Types of the standard library, of `uuid`, `time` and `regex_syntax` use their own `Debug`.
    format!(
        "WantedRun {{ id: {id:?}, name: {name:?}, queries: {queries}, mode: {mode}, models: {models:?}, \
         judges: {judges:?}, evaluation_prompt_ids: {evaluation_prompt_ids:?}, repeats: {repeats:?}, \
         uses_cache: {uses_cache:?}, temperature: {temperature:?}, metadata: {metadata}, \
         budget: RunBudget {{ requests: {requests:?}, tokens: {tokens:?}, cost_usd: {cost_usd:?}, \
         wall_time_s: {wall_time_s:?} }} }}"
    )
}

/// As pairs, which they were in the first version.
fn named(models: &[NamedModel]) -> Vec<(&String, &Option<String>)> {
    models.iter().map(|NamedModel { id, provider }| (id, provider)).collect()
}

fn queries_text(queries: &RunQueries) -> String {
    match queries {
        RunQueries::Ids(ids) => format!("Ids({ids:?})"),
        RunQueries::Selected { selection, limit } => {
            let Selection { category, model_id, filter, document, from, before } = selection;
            let filter = option(filter.as_ref(), filter_text);
            let document = option(document.as_ref(), document_text);
            format!(
                "Selected {{ selection: Selection {{ category: {category:?}, model_id: {model_id:?}, \
                 filter: {filter}, document: {document}, from: {from:?}, before: {before:?} }}, limit: {limit:?} }}"
            )
        }
    }
}

fn option<T>(value: Option<&T>, text: fn(&T) -> String) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({})", text(value)))
}

fn list<T>(values: &[T], text: fn(&T) -> String) -> String {
    format!("[{}]", joined(values, text))
}

fn joined<T>(values: &[T], text: fn(&T) -> String) -> String {
    values.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// As `serde_json` wrote a map whose keys are ordered.
fn object_text(entries: &Map<String, Value>) -> String {
    let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    format!("{{{}}}", joined(&entries, |(key, value)| format!("{key:?}: {}", value_text(value))))
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "Null".to_owned(),
        Value::Bool(value) => format!("Bool({value:?})"),
        Value::Number(number) => number_text(number),
        Value::String(text) => format!("String({text:?})"),
        Value::Array(values) => format!("Array {}", list(values, value_text)),
        Value::Object(entries) => format!("Object {}", object_text(entries)),
    }
}

/// As `serde_json` wrote a number before its `arbitrary_precision` kept the digits that were sent: integers of 64 bits,
/// else the nearest double.
fn number_text(number: &Number) -> String {
    let sent = number.as_str();
    let is_integer = sent.parse::<u64>().is_ok() || sent != "-0" && sent.parse::<i64>().is_ok();
    let text = match number.as_f64() {
        Some(double) if !is_integer => double_text(double),
        // That version rejected numbers beyond all doubles.
        _ => sent.to_owned(),
    };
    format!("Number({text})")
}

/// The shortest digits that are read as `double`; with an exponent below 1e-5 and from 1e16 on.
fn double_text(double: f64) -> String {
    if double == 0.0 || (1e-5..1e16).contains(&double.abs()) {
        let text = double.to_string();
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    let text = format!("{double:e}");
    if double.abs() < 1.0 { text } else { text.replace('e', "e+") }
}

fn filter_text(filter: &Filter) -> String {
    match filter {
        Filter::And(filters) => format!("And({})", list(filters, filter_text)),
        Filter::Or(filters) => format!("Or({})", list(filters, filter_text)),
        Filter::Key { key, test } => {
            let test = match test {
                Test::Equal(value) => format!("Equal({})", scalar_text(value)),
                Test::NotEqual(value) => format!("NotEqual({})", scalar_text(value)),
                Test::Compare(comparison, number) => {
                    let comparison = match comparison {
                        Comparison::Greater => "Greater",
                        Comparison::GreaterOrEqual => "GreaterOrEqual",
                        Comparison::Less => "Less",
                        Comparison::LessOrEqual => "LessOrEqual",
                    };
                    format!("Compare({comparison}, {})", number_text(number))
                }
                Test::In(values) => format!("In({})", list(values, scalar_text)),
                Test::NotIn(values) => format!("NotIn({})", list(values, scalar_text)),
                Test::Contains(value) => format!("Contains({})", scalar_text(value)),
                Test::NotContains(value) => format!("NotContains({})", scalar_text(value)),
            };
            format!("Key {{ key: {key:?}, test: {test} }}")
        }
    }
}

fn scalar_text(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Bool(value) => format!("Bool({value:?})"),
        Scalar::Number(number) => format!("Number({})", number_text(number)),
        Scalar::Text(text) => format!("Text({text:?})"),
    }
}

fn document_text(filter: &DocumentFilter) -> String {
    match filter {
        DocumentFilter::And(filters) => format!("And({})", list(filters, document_text)),
        DocumentFilter::Or(filters) => format!("Or({})", list(filters, document_text)),
        DocumentFilter::Test(test) => {
            let test = match test {
                DocumentTest::Contains(part) => format!("Contains({part:?})"),
                DocumentTest::NotContains(part) => format!("NotContains({part:?})"),
                DocumentTest::Regex(pattern) => format!("Regex({})", pattern_text(pattern)),
                DocumentTest::NotRegex(pattern) => format!("NotRegex({})", pattern_text(pattern)),
            };
            format!("Test({test})")
        }
    }
}

/// It depends on the `Debug` of `regex_syntax` and on its Unicode tables, as that version did: rebuilding both here would
/// take more code than the few retries are worth. If the tests below fail after an update of that crate, keep the former
/// version as a second dependency (`regex-syntax-0-8 = { package = "regex-syntax", version = "=0.8.12" }`) and use it here
/// alone. Digests of later versions have only the text of a pattern.
fn pattern_text(pattern: &Pattern) -> String {
    // It was validated when it was parsed.
    let parsed =
        regex_syntax::parse(pattern.as_str()).map_or_else(|_| String::new(), |parsed| format!("{parsed:?}"));
    format!("Pattern {{ text: {:?}, parsed: {parsed} }}", pattern.as_str())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::runs::request_digest::{
        sha256,
        tests::{full, least},
    };

    /// What `serde_json` 1.0.154 with `float_roundtrip` alone, which the first version had, writes of each.
    const NUMBERS: &[(&str, &str)] = &[
        ("0", "Number(0)"),
        ("-0", "Number(-0.0)"),
        ("-0.0", "Number(-0.0)"),
        ("0e5", "Number(0.0)"),
        ("1e2", "Number(100.0)"),
        ("1E2", "Number(100.0)"),
        ("0.10", "Number(0.1)"),
        ("1.50", "Number(1.5)"),
        ("2.0", "Number(2.0)"),
        ("18446744073709551615", "Number(18446744073709551615)"),
        ("18446744073709551616", "Number(1.8446744073709552e+19)"),
        ("-9223372036854775808", "Number(-9223372036854775808)"),
        ("-9223372036854775809", "Number(-9.223372036854776e+18)"),
        ("1e15", "Number(1000000000000000.0)"),
        ("1e16", "Number(1e+16)"),
        ("1e17", "Number(1e+17)"),
        ("123456789012345680", "Number(123456789012345680)"),
        ("1234567890123456.0", "Number(1234567890123456.0)"),
        ("12345678901234567.5", "Number(1.2345678901234568e+16)"),
        ("1e21", "Number(1e+21)"),
        ("1.5e300", "Number(1.5e+300)"),
        ("1e300", "Number(1e+300)"),
        ("-1e-7", "Number(-1e-7)"),
        ("0.001", "Number(0.001)"),
        ("0.0001", "Number(0.0001)"),
        ("0.00001", "Number(0.00001)"),
        ("0.000012345", "Number(0.000012345)"),
        ("1.2345e-5", "Number(0.000012345)"),
        ("1e-5", "Number(0.00001)"),
        ("1e-6", "Number(1e-6)"),
        ("1.25e-6", "Number(1.25e-6)"),
        ("5e-324", "Number(5e-324)"),
        ("4.9e-325", "Number(0.0)"),
        ("1e-400", "Number(0.0)"),
        ("1.7976931348623157e308", "Number(1.7976931348623157e+308)"),
        ("0.1000000000000000055511151231257827", "Number(0.1)"),
        ("123456789.125", "Number(123456789.125)"),
        ("100000000000000000000000", "Number(1e+23)"),
        ("9007199254740993", "Number(9007199254740993)"),
        ("9007199254740993.0", "Number(9007199254740992.0)"),
        ("2.2250738585072014e-308", "Number(2.2250738585072014e-308)"),
        ("1e-10", "Number(1e-10)"),
        ("12e-10", "Number(1.2e-9)"),
        ("1e22", "Number(1e+22)"),
        ("123e20", "Number(1.23e+22)"),
        ("9.5e15", "Number(9500000000000000.0)"),
        ("9.5e16", "Number(9.5e+16)"),
        ("99999999999999990", "Number(99999999999999990)"),
        ("99999999999999990.0", "Number(9.999999999999998e+16)"),
    ];

    #[test]
    fn numbers_equal_those_of_the_first_version() {
        for (sent, expected) in NUMBERS {
            let number: Number = serde_json::from_str(sent).expect("a number");
            assert_eq!(number_text(&number), *expected, "{sent}");
        }
    }

    #[test]
    fn numbers_in_metadata_and_filters_are_those_of_the_first_version() {
        let metadata =
            r#"{"z": [1e2, null, true, "a\"\n\u00e9"], "e": {}, "f": [], "a": {"n": {"b": 1.50}}}"#;
        let filter =
            r#"{"$and": [{"k": 0.10}, {"k": {"$gt": 18446744073709551616}}, {"k": {"$in": [1E2, -0]}}]}"#;
        let [metadata, filter] =
            [metadata, filter].map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        let metadata = object_text(metadata.as_object().expect("an object"));
        expect![[r#"{"a": Object {"n": Object {"b": Number(1.5)}}, "e": Object {}, "f": Array [], "z": Array [Number(100.0), Null, Bool(true), String("a\"\né")]}"#]].assert_eq(&metadata);
        let filter = filter_text(&Filter::from_json(&filter).expect("a filter"));
        expect![[r#"And([Key { key: "k", test: Equal(Number(Number(0.1))) }, Key { key: "k", test: Compare(Greater, Number(1.8446744073709552e+19)) }, Key { key: "k", test: In([Number(Number(100.0)), Number(Number(-0.0))]) }])"#]].assert_eq(&filter);
    }

    /// Every kind of node of a parsed pattern, and the Unicode tables that patterns commonly use.
    #[test]
    fn patterns_equal_those_of_the_first_version() {
        let short = [r"(?P<n>a)|(b)+?", r"(?:)", r"^\b\B(?m:^x$)(?R)\A\z", r"[^a-c]{2,5}?x{3,}", "é日"];
        let texts: Vec<String> =
            short.iter().map(|text| pattern_text(&Pattern::new(text).expect(text))).collect();
        expect![[r#"
            Pattern { text: "(?P<n>a)|(b)+?", parsed: Alternation([Capture(Capture { index: 1, name: Some("n"), sub: Literal("a") }), Repetition(Repetition { min: 1, max: None, greedy: false, sub: Capture(Capture { index: 2, name: None, sub: Literal("b") }) })]) }
            Pattern { text: "(?:)", parsed: Empty }
            Pattern { text: "^\\b\\B(?m:^x$)(?R)\\A\\z", parsed: Concat([Look(Start), Look(WordUnicode), Look(WordUnicodeNegate), Look(StartLF), Literal("x"), Look(EndLF), Look(Start), Look(End)]) }
            Pattern { text: "[^a-c]{2,5}?x{3,}", parsed: Concat([Repetition(Repetition { min: 2, max: Some(5), greedy: false, sub: Class({'\0'..='`', 'd'..='\u{10ffff}'}) }), Repetition(Repetition { min: 3, max: None, greedy: true, sub: Literal("x") })]) }
            Pattern { text: "é日", parsed: Literal("é日") }"#]].assert_eq(&texts.join("\n"));
        let tables = [r"\w", r"\s", r"\d", r"\p{L}", r"\p{Lu}", r"\p{Greek}", r"\p{Emoji}", "(?i)ſßK"];
        let digests: Vec<String> = tables
            .iter()
            .map(|text| sha256(&pattern_text(&Pattern::new(text).expect(text)))[..16].to_owned())
            .collect();
        expect!["8dbde22fa64fc53f e7b3730744c25fe8 c74537c03a712a4e d481017e3da49489 4eec85c7c305a786 54f012433e64a576 2a1ea9baf1af10c5 925f0496616791da"].assert_eq(&digests.join(" "));
    }

    #[test]
    fn text_equals_that_of_the_first_version() {
        expect![[r#"WantedRun { id: 00000000-0000-0000-0000-000000000007, name: None, queries: Ids(["q1", "q2"]), mode: Pointwise, models: [("gpt-4o", None)], judges: [("gpt-4", None)], evaluation_prompt_ids: ["m1"], repeats: 1, uses_cache: true, temperature: None, metadata: {}, budget: RunBudget { requests: None, tokens: None, cost_usd: None, wall_time_s: None } }"#]].assert_eq(&text(&least()));
        expect![[r#"WantedRun { id: 00000000-0000-0000-0000-000000000007, name: Some("spring"), queries: Selected { selection: Selection { category: Some("physics"), model_id: None, filter: Some(And([Key { key: "a", test: Equal(Text("x")) }, Key { key: "b", test: NotEqual(Bool(true)) }, Or([Key { key: "c", test: Compare(Greater, Number(1)) }, Key { key: "c", test: Compare(LessOrEqual, Number(-0.5)) }]), Key { key: "d", test: In([Text("p"), Text("q\"é")]) }, Key { key: "e", test: NotIn([Number(Number(1)), Number(Number(2))]) }, Key { key: "f", test: Contains(Number(Number(3.0))) }, Key { key: "g", test: NotContains(Text("z")) }, Key { key: "h", test: Compare(GreaterOrEqual, Number(2)) }, Key { key: "i", test: Compare(Less, Number(1e+300)) }])), document: Some(Or([Test(Contains("sky")), Test(NotContains("sea")), And([Test(Regex(Pattern { text: "^a[bc]+\\d{2}|x$", parsed: Alternation([Concat([Look(Start), Literal("a"), Repetition(Repetition { min: 1, max: None, greedy: true, sub: Class({'b'..='c'}) }), Repetition(Repetition { min: 2, max: Some(2), greedy: true, sub: Class({'0'..='9', '٠'..='٩', '۰'..='۹', '߀'..='߉', '०'..='९', '০'..='৯', '੦'..='੯', '૦'..='૯', '୦'..='୯', '௦'..='௯', '౦'..='౯', '೦'..='೯', '൦'..='൯', '෦'..='෯', '๐'..='๙', '໐'..='໙', '༠'..='༩', '၀'..='၉', '႐'..='႙', '០'..='៩', '᠐'..='᠙', '᥆'..='᥏', '᧐'..='᧙', '᪀'..='᪉', '᪐'..='᪙', '᭐'..='᭙', '᮰'..='᮹', '᱀'..='᱉', '᱐'..='᱙', '꘠'..='꘩', '꣐'..='꣙', '꤀'..='꤉', '꧐'..='꧙', '꧰'..='꧹', '꩐'..='꩙', '꯰'..='꯹', '０'..='９', '𐒠'..='𐒩', '𐴰'..='𐴹', '𐵀'..='𐵉', '𑁦'..='𑁯', '𑃰'..='𑃹', '𑄶'..='𑄿', '𑇐'..='𑇙', '𑋰'..='𑋹', '𑑐'..='𑑙', '𑓐'..='𑓙', '𑙐'..='𑙙', '𑛀'..='𑛉', '𑛐'..='𑛣', '𑜰'..='𑜹', '𑣠'..='𑣩', '𑥐'..='𑥙', '𑯰'..='𑯹', '𑱐'..='𑱙', '𑵐'..='𑵙', '𑶠'..='𑶩', '𑽐'..='𑽙', '𖄰'..='𖄹', '𖩠'..='𖩩', '𖫀'..='𖫉', '𖭐'..='𖭙', '𖵰'..='𖵹', '𜳰'..='𜳹', '𝟎'..='𝟿', '𞅀'..='𞅉', '𞋰'..='𞋹', '𞓰'..='𞓹', '𞗱'..='𞗺', '𞥐'..='𞥙', '🯰'..='🯹'}) })]), Concat([Literal("x"), Look(End)])]) })), Test(NotRegex(Pattern { text: "(?i)q.?", parsed: Concat([Class({'Q'..='Q', 'q'..='q'}), Repetition(Repetition { min: 0, max: Some(1), greedy: true, sub: Class({'\0'..='\t', '\u{b}'..='\u{10ffff}'}) })]) }))])])), from: Some(2026-01-31 12:00:00.5), before: Some(2026-02-01 0:00:00.0) }, limit: 25 }, mode: Pairwise, models: [("gpt-4o", None), ("mine", Some("openai"))], judges: [("gpt-4", None)], evaluation_prompt_ids: ["m1", "m2"], repeats: 3, uses_cache: false, temperature: Some(0.25), metadata: {"a\n": Number(-7), "z": Object {"l": Array [Number(1), Number(2.5), String("t"), Bool(true)], "n": Null}}, budget: RunBudget { requests: Some(100), tokens: None, cost_usd: Some(1.5), wall_time_s: Some(60) } }"#]].assert_eq(&text(&full()));
    }
}
