//! Prompts, verdicts and fingerprints.

use std::time::Duration;

use expect_test::expect;
use judge::{
    parse::{Scale, Unread, Winner},
    provider::{Completion, Content, Error, Rejection, ResponseReservation},
    rubric::{
        AnswerForm, BeyondScale, DEFAULT_SCALE, Inputs, Judge, Mode, Outputs, Placeholder, Rubric,
        RubricError, Score, Unreadable, Verdict, fingerprint::Fingerprint, pairwise,
    },
};
use reqwest::header::HeaderMap;
use time::OffsetDateTime;

fn inputs() -> Inputs<'static> {
    Inputs { query: "What is {output}?", outputs: Outputs::One("A placeholder."), reference: None }
}

fn pointwise(text: &str) -> Result<Rubric, RubricError> {
    Rubric::pointwise(text, DEFAULT_SCALE, AnswerForm::Json)
}

#[test]
fn placeholders_are_replaced_and_nothing_else_changes() {
    let text = "Q: {query}\nA: {{ output }}\nGood: {{reference}}. \
                Say {\"score\": 8} or {} or {x} or {{y}} or {Output}.";
    let rubric = Rubric::pointwise(text, DEFAULT_SCALE, AnswerForm::AsRubricSays).expect("a rubric");
    assert!(rubric.has_placeholders());
    assert_eq!(rubric.unknown_names(), ["Output", "x", "y"]);
    let prompt = rubric.prompt(&Inputs { reference: Some("{query}"), ..inputs() }).expect("a prompt");
    let expected = "Q: What is {output}?\nA: A placeholder.\nGood: {query}. \
                    Say {\"score\": 8} or {} or {x} or {{y}} or {Output}.";
    assert_eq!(prompt, expected);
    assert_eq!(rubric.schema(), None);
}

#[test]
fn rubric_without_placeholders_is_used_as_in_the_old_services() {
    let rubric = pointwise("Is it polite?").expect("a rubric");
    assert!(!rubric.has_placeholders());
    expect![[r#"
        Is it polite?

        Query:
        What is {output}?

        Output:
        A placeholder.

        Answer with a JSON object and nothing else: {"rationale": "why, in one or two sentences", "score": a number from 1 to 10}"#]]
    .assert_eq(&rubric.prompt(&inputs()).expect("a prompt"));
    let scale = Scale { min: 0.0, max: 5.0 };
    let rubric = Rubric::pointwise("Is it polite?", scale, AnswerForm::AsRubricSays).expect("a rubric");
    let prompt = rubric.prompt(&inputs()).expect("a prompt");
    let end = "\n\nRate the output from 0 to 5. Answer with the number and nothing else.";
    assert!(prompt.ends_with(end), "{prompt}");
}

#[test]
fn schema_has_the_rationale_first() {
    expect![[r#"{"additionalProperties":false,"properties":{"rationale":{"type":"string"},"score":{"type":"number"}},"required":["rationale","score"],"type":"object"}"#]]
        .assert_eq(&pointwise("Is it polite?").expect("a rubric").schema().expect("a schema").to_string());
    let pairwise = Rubric::pairwise("Which is more polite?", AnswerForm::Json).expect("a rubric");
    expect![[r#"{"additionalProperties":false,"properties":{"rationale":{"type":"string"},"winner":{"enum":["A","B","tie"],"type":"string"}},"required":["rationale","winner"],"type":"object"}"#]]
        .assert_eq(&pairwise.schema().expect("a schema").to_string());
}

#[test]
fn rubrics_that_cannot_be_used_name_the_placeholder() {
    let text = |result: Result<_, RubricError>| match result {
        Ok(()) => panic!("it is refused"),
        Err(error) => error.to_string(),
    };
    let error = |text: &str| pointwise(text).expect_err(text);
    assert_eq!(error(" \n"), RubricError::Empty);
    assert_eq!(error("Is {query} answered?"), RubricError::Missing(Placeholder::Output));
    let foreign = RubricError::Foreign { found: Placeholder::OutputA, mode: Mode::Pointwise };
    assert_eq!(error("Is {output_a} good?"), foreign);
    expect!["the rubric has the placeholder {output_a}, which a pointwise rubric does not support: use {query}, {output}, {reference}"]
        .assert_eq(&text(Err(foreign)));
    expect!["the rubric lacks the placeholder {output}: without it the judge does not see it"]
        .assert_eq(&text(Err(error("Is {query} answered?"))));
    let pair = |text: &str| Rubric::pairwise(text, AnswerForm::Json).expect_err(text);
    assert_eq!(pair("Is {output_a} good?"), RubricError::Missing(Placeholder::OutputB));
    assert!(matches!(pair("Is {output} good?"), RubricError::Foreign { found: Placeholder::Output, .. }));
    let with_reference = pointwise("Is {output} like {reference}?").expect("a rubric");
    assert_eq!(with_reference.prompt(&inputs()), Err(RubricError::NoReference));
    let two = Inputs { outputs: Outputs::Two("1", "2"), ..inputs() };
    assert_eq!(
        pointwise("Good?").expect("a rubric").prompt(&two),
        Err(RubricError::Outputs(Mode::Pointwise))
    );
    for (min, max) in [(1.0, 1.0), (5.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
        let rubric = Rubric::pointwise("Good?", Scale { min, max }, AnswerForm::Json);
        assert!(matches!(rubric, Err(RubricError::Scale { .. })), "{min} to {max}");
    }
}

#[test]
fn pairs_are_shown_in_both_orders() {
    let rubric =
        Rubric::pairwise("{query}: {output_a} or {output_b}?", AnswerForm::AsRubricSays).expect("a rubric");
    let prompts = pairwise::prompts(&rubric, "Q", ("1", "2"), None).expect("prompts");
    assert_eq!((&prompts.in_order[..], &prompts.swapped[..]), ("Q: 1 or 2?", "Q: 2 or 1?"));
    let rubric = Rubric::pairwise("Which is better?", AnswerForm::Json).expect("a rubric");
    let prompts = pairwise::prompts(&rubric, "Q", ("1", "2"), Some("3")).expect("prompts");
    expect![[r#"
        Which is better?

        Query:
        Q

        Reference answer:
        3

        Output A:
        2

        Output B:
        1

        Answer with a JSON object and nothing else: {"rationale": "why, in one or two sentences", "winner": "A", "B" or "tie"}"#]]
    .assert_eq(&prompts.swapped);
}

fn completion(content: Content) -> Completion {
    Completion {
        content,
        model: "m".into(),
        provider_id: None,
        finish_reason: "stop".into(),
        usage: None,
        latency: Duration::ZERO,
        memory: ResponseReservation::default(),
    }
}

#[test]
fn only_complete_texts_are_measurements() {
    let read = |content| Verdict::of_score(&completion(content), DEFAULT_SCALE, BeyondScale::Keep);
    let text = |text: &str| read(Content::Text(text.into()));
    let given = |value, is_out_of_range| Verdict::Given(Score { value, is_out_of_range });
    assert_eq!(text(r#"{"rationale": "It is 9 of 10.", "score": 7}"#), given(7.0, false));
    assert_eq!(text("11"), given(11.0, true));
    assert_eq!(text("7 8"), Verdict::Unparsed(Unreadable::Pair));
    assert_eq!(text("It is good."), Verdict::Unparsed(Unreadable::Text(Unread::NoVerdict)));
    assert_eq!(read(Content::Truncated("8".into())), Verdict::Unparsed(Unreadable::Truncated));
    assert_eq!(read(Content::ToolCall("8".into())), Verdict::Unparsed(Unreadable::ToolCall));
    assert_eq!(read(Content::Empty), Verdict::Unparsed(Unreadable::Text(Unread::Empty)));
    assert_eq!(read(Content::Refused("8".into())), Verdict::Refused);
    assert_eq!(read(Content::Filtered("8".into())), Verdict::Refused);
    let clamped =
        Verdict::of_score(&completion(Content::Text("11".into())), DEFAULT_SCALE, BeyondScale::Clamp);
    assert_eq!(clamped, given(10.0, true), "the flag stays");
    let winner = |text: &str| Verdict::of_winner(&completion(Content::Text(text.into())));
    assert_eq!(winner(r#"{"rationale": "B is longer.", "winner": "A"}"#), Verdict::Given(Winner::A));
    assert_eq!(winner(r#"{"rationale": "Equal.", "winner": "tie"}"#), Verdict::Given(Winner::Tie));
    let rejected = |code: &str| Error::Rejected {
        address: "a".into(),
        rejection: Rejection::read(
            400,
            &HeaderMap::new(),
            format!(r#"{{"error": {{"code": "{code}"}}}}"#).as_bytes(),
            OffsetDateTime::UNIX_EPOCH,
        ),
    };
    assert_eq!(Verdict::<Score>::of_error(&rejected("content_filter")), Verdict::Refused);
    assert_eq!(Verdict::<Score>::of_error(&rejected("unsupported_value")), Verdict::Failed);
    assert_eq!(winner("Hm."), Verdict::Unparsed(Unreadable::Text(Unread::NoVerdict)));
}

fn judge() -> Judge {
    Judge {
        provider: "openai".into(),
        model: "gpt-4o".into(),
        version: None,
        temperature: Some(0.7),
        max_tokens: Some(256),
        seed: None,
        system: None,
        is_held_to_schema: true,
    }
}

#[test]
fn request_of_a_judge_matches_its_fingerprint() {
    let rubric = pointwise("Is it polite?").expect("a rubric");
    let request = judge().request(&rubric, "P".into());
    assert_eq!((request.temperature, request.max_tokens), (Some(0.7), Some(256)));
    assert_eq!(request.json_schema, rubric.schema());
    let free = Judge { is_held_to_schema: false, ..judge() };
    assert_eq!(free.request(&rubric, "P".into()).json_schema, None);
}

/// Computed independently, with Python's hashlib and struct, from the table in the module's documentation.
#[test]
fn fingerprint_matches_the_documentation() {
    let rubric = pointwise("Is {output} a good answer to {query}?").expect("a rubric");
    let inputs = Inputs { query: "Wie geht’s?", outputs: Outputs::One("Gut."), reference: None };
    let fingerprint = Fingerprint::of(&judge(), &rubric, &inputs, 0);
    expect!["3a7feafe2de98892f16038eabbc56f8e1a8e2fbccbad2094bd645d69dd14e93b"]
        .assert_eq(&fingerprint.to_string());
}

#[test]
fn everything_that_determines_a_judgement_changes_its_fingerprint() {
    let rubric = |text| pointwise(text).expect("a rubric");
    let text = "Is it good?";
    let two = |first, second| Inputs { query: "Q", outputs: Outputs::Two(first, second), reference: None };
    let one = |query, output, reference| Inputs { query, outputs: Outputs::One(output), reference };
    let of = |judge: &Judge, rubric: &Rubric, inputs: &Inputs<'_>| Fingerprint::of(judge, rubric, inputs, 0);
    let base = one("Q", "A", None);
    let other_scale = Scale { min: 1.0, max: 5.0 };
    let pair = Rubric::pairwise(text, AnswerForm::Json).expect("a rubric");
    let mut all = vec![
        of(&judge(), &rubric(text), &base),
        Fingerprint::of(&judge(), &rubric(text), &base, 1),
        of(&judge(), &rubric("Is it bad?"), &base),
        of(&judge(), &Rubric::pointwise(text, other_scale, AnswerForm::Json).expect("a rubric"), &base),
        of(&judge(), &Rubric::pointwise(text, DEFAULT_SCALE, AnswerForm::AsRubricSays).expect("one"), &base),
        of(&judge(), &rubric(text), &one("QA", "", None)),
        of(&judge(), &rubric(text), &one("", "QA", None)),
        of(&judge(), &rubric(text), &one("Q", "A", Some(""))),
        of(&judge(), &pair, &two("A", "B")),
        of(&judge(), &pair, &two("B", "A")),
        of(&Judge { provider: "azure".into(), ..judge() }, &rubric(text), &base),
        of(&Judge { model: "gpt-4".into(), ..judge() }, &rubric(text), &base),
        of(&Judge { version: Some("1".into()), ..judge() }, &rubric(text), &base),
        of(&Judge { temperature: None, ..judge() }, &rubric(text), &base),
        of(&Judge { temperature: Some(0.0), ..judge() }, &rubric(text), &base),
        of(&Judge { max_tokens: Some(255), ..judge() }, &rubric(text), &base),
        of(&Judge { seed: Some(1), ..judge() }, &rubric(text), &base),
        of(&Judge { system: Some(String::new()), ..judge() }, &rubric(text), &base),
        of(&Judge { is_held_to_schema: false, ..judge() }, &rubric(text), &base),
    ];
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}
