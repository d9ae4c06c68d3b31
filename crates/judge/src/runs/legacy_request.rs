//! The text of a request for a run that the first version hashed: Rust's `Debug` of its structs with their names at
//! that time. Runs of that version have such a digest, with which a retry of their request is compared. Not used for
//! anything else; it must never change.

use std::fmt::Write as _;

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
    // Types of the standard library, of `uuid`, `time`, `serde_json` and `regex_syntax` use their own `Debug`.
    format!(
        "WantedRun {{ id: {id:?}, name: {name:?}, queries: {queries}, mode: {mode}, models: {models:?}, \
         judges: {judges:?}, evaluation_prompt_ids: {evaluation_prompt_ids:?}, repeats: {repeats:?}, \
         uses_cache: {uses_cache:?}, temperature: {temperature:?}, metadata: {metadata:?}, \
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
    let mut list = "[".to_owned();
    for (index, value) in values.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(list, "{separator}{}", text(value)).expect("writing to a string");
    }
    list.push(']');
    list
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
                    format!("Compare({comparison}, {number:?})")
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
        Scalar::Number(number) => format!("Number({number:?})"),
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
    use crate::runs::request_digest::tests::{full, least};

    #[test]
    fn text_equals_that_of_the_first_version() {
        expect![[r#"WantedRun { id: 00000000-0000-0000-0000-000000000007, name: None, queries: Ids(["q1", "q2"]), mode: Pointwise, models: [("gpt-4o", None)], judges: [("gpt-4", None)], evaluation_prompt_ids: ["m1"], repeats: 1, uses_cache: true, temperature: None, metadata: {}, budget: RunBudget { requests: None, tokens: None, cost_usd: None, wall_time_s: None } }"#]].assert_eq(&text(&least()));
        expect![[r#"WantedRun { id: 00000000-0000-0000-0000-000000000007, name: Some("spring"), queries: Selected { selection: Selection { category: Some("physics"), model_id: None, filter: Some(And([Key { key: "a", test: Equal(Text("x")) }, Key { key: "b", test: NotEqual(Bool(true)) }, Or([Key { key: "c", test: Compare(Greater, Number(1)) }, Key { key: "c", test: Compare(LessOrEqual, Number(-0.5)) }]), Key { key: "d", test: In([Text("p"), Text("q\"é")]) }, Key { key: "e", test: NotIn([Number(Number(1)), Number(Number(2))]) }, Key { key: "f", test: Contains(Number(Number(3.0))) }, Key { key: "g", test: NotContains(Text("z")) }, Key { key: "h", test: Compare(GreaterOrEqual, Number(2)) }, Key { key: "i", test: Compare(Less, Number(1e+300)) }])), document: Some(Or([Test(Contains("sky")), Test(NotContains("sea")), And([Test(Regex(Pattern { text: "^a[bc]+\\d{2}|x$", parsed: Alternation([Concat([Look(Start), Literal("a"), Repetition(Repetition { min: 1, max: None, greedy: true, sub: Class({'b'..='c'}) }), Repetition(Repetition { min: 2, max: Some(2), greedy: true, sub: Class({'0'..='9', '٠'..='٩', '۰'..='۹', '߀'..='߉', '०'..='९', '০'..='৯', '੦'..='੯', '૦'..='૯', '୦'..='୯', '௦'..='௯', '౦'..='౯', '೦'..='೯', '൦'..='൯', '෦'..='෯', '๐'..='๙', '໐'..='໙', '༠'..='༩', '၀'..='၉', '႐'..='႙', '០'..='៩', '᠐'..='᠙', '᥆'..='᥏', '᧐'..='᧙', '᪀'..='᪉', '᪐'..='᪙', '᭐'..='᭙', '᮰'..='᮹', '᱀'..='᱉', '᱐'..='᱙', '꘠'..='꘩', '꣐'..='꣙', '꤀'..='꤉', '꧐'..='꧙', '꧰'..='꧹', '꩐'..='꩙', '꯰'..='꯹', '０'..='９', '𐒠'..='𐒩', '𐴰'..='𐴹', '𐵀'..='𐵉', '𑁦'..='𑁯', '𑃰'..='𑃹', '𑄶'..='𑄿', '𑇐'..='𑇙', '𑋰'..='𑋹', '𑑐'..='𑑙', '𑓐'..='𑓙', '𑙐'..='𑙙', '𑛀'..='𑛉', '𑛐'..='𑛣', '𑜰'..='𑜹', '𑣠'..='𑣩', '𑥐'..='𑥙', '𑯰'..='𑯹', '𑱐'..='𑱙', '𑵐'..='𑵙', '𑶠'..='𑶩', '𑽐'..='𑽙', '𖄰'..='𖄹', '𖩠'..='𖩩', '𖫀'..='𖫉', '𖭐'..='𖭙', '𖵰'..='𖵹', '𜳰'..='𜳹', '𝟎'..='𝟿', '𞅀'..='𞅉', '𞋰'..='𞋹', '𞓰'..='𞓹', '𞗱'..='𞗺', '𞥐'..='𞥙', '🯰'..='🯹'}) })]), Concat([Literal("x"), Look(End)])]) })), Test(NotRegex(Pattern { text: "(?i)q.?", parsed: Concat([Class({'Q'..='Q', 'q'..='q'}), Repetition(Repetition { min: 0, max: Some(1), greedy: true, sub: Class({'\0'..='\t', '\u{b}'..='\u{10ffff}'}) })]) }))])])), from: Some(2026-01-31 12:00:00.5), before: Some(2026-02-01 0:00:00.0) }, limit: 25 }, mode: Pairwise, models: [("gpt-4o", None), ("mine", Some("openai"))], judges: [("gpt-4", None)], evaluation_prompt_ids: ["m1", "m2"], repeats: 3, uses_cache: false, temperature: Some(0.25), metadata: {"a\n": Number(-7), "z": Object {"l": Array [Number(1), Number(2.5), String("t"), Bool(true)], "n": Null}}, budget: RunBudget { requests: Some(100), tokens: None, cost_usd: Some(1.5), wall_time_s: Some(60) } }"#]].assert_eq(&text(&full()));
    }
}
