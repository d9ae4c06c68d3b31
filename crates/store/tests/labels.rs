//! Labels: what people say of answers.

use records::timestamp;
use serde_json::json;
use sqlx::Connection as _;
use store::{
    StoredTime,
    postgres::{
        Database, EvaluationResult, JudgedKind, LabelOutcome, LabelSelection, LabelVerdict, LabelWinner,
        LabelledQuery, ResultSelection, StoredLabel, label_item,
    },
    storage::StorageError,
};
use time::{Duration, macros::datetime};
use uuid::Uuid;

use crate::prepared;

/// A score by `annotator`, `minute` minutes after noon.
fn score(number: u128, annotator: &str, query: &str, score: Option<f64>, minute: i64) -> StoredLabel {
    StoredLabel {
        id: Uuid::from_u128(number),
        annotator: annotator.to_owned(),
        query: LabelledQuery::Id(query.to_owned()),
        metric: Some("quality".to_owned()),
        verdict: LabelVerdict::Score { model: "m".to_owned(), score },
        labelled_at: (datetime!(2026-01-31 12:00) + Duration::minutes(minute)).into(),
    }
}

fn preference(number: u128, models: [&str; 2], winner: LabelWinner, minute: i64) -> StoredLabel {
    let [first, second] = models.map(str::to_owned);
    let verdict = LabelVerdict::Preference { first, second, winner: Some(winner) };
    StoredLabel { verdict, ..score(number, "ann", "q0", None, minute) }
}

async fn listed(database: &Database, selection: &LabelSelection) -> Vec<u128> {
    let (labels, is_whole) = database.labels(selection, 100).await.expect("they are listed");
    assert!(is_whole);
    labels.into_iter().map(|label| label.id.as_u128()).collect()
}

#[tokio::test]
async fn newer_label_replaces_the_older_one_until_it_is_withdrawn() {
    let (_test_database, database) = prepared().await;
    let labels = [
        score(1, "ann", "q0", Some(7.0), 0),
        score(2, "ann", "q0", Some(4.0), 1),
        score(3, "bob", "q0", Some(9.0), 0),
        preference(4, ["m", "n"], LabelWinner::A, 2),
        preference(5, ["n", "m"], LabelWinner::Tie, 3),
        score(6, "ann", "q1", None, 4),
        // Brought in later, but said earlier.
        score(7, "bob", "q0", Some(1.0), -1),
    ];
    let outcomes = database.store_labels(&labels).await.expect("they are stored");
    assert_eq!(outcomes, [LabelOutcome::Stored; 7]);
    let all = LabelSelection::default();
    assert_eq!(listed(&database, &all).await, [5, 2, 3], "one for each annotator and item");
    let found = database.labels(&all, 100).await.expect("they are listed").0;
    assert_eq!((&found[0], &found[1]), (&labels[4], &labels[1]), "as they were stored");
    let items: Vec<_> = [&labels[0], &labels[3], &labels[5]].map(StoredLabel::item).into();
    let mut of_ann = database.labelled_items("ann", &items).await.expect("they are found");
    of_ann.sort_by_key(|(item, _)| items.iter().position(|one| one == item));
    assert_eq!(of_ann, [(items[0], None), (items[1], None), (items[2], Some(labels[5].labelled_at))]);
    assert_eq!(database.labelled_items("bob", &items).await.expect("they are found"), [(items[0], None)]);
    let last = database.last_labels("ann", 2).await.expect("they are listed");
    assert_eq!(last, [labels[5].clone(), labels[4].clone()], "skipped items too");

    let now = StoredTime::from(timestamp::now());
    let withdraw = async |id: u128, annotator: Option<&str>| {
        database.withdraw_label(Uuid::from_u128(id), annotator, now).await.expect("the statement works")
    };
    assert!(!withdraw(2, Some("bob")).await, "it is of another annotator");
    assert!(withdraw(2, Some("ann")).await);
    assert!(!withdraw(2, Some("ann")).await, "twice is once");
    assert!(!withdraw(99, None).await);
    assert_eq!(listed(&database, &all).await, [5, 3, 1], "the earlier one counts again");
    assert!(withdraw(1, None).await && withdraw(6, Some("ann")).await);
    assert_eq!(listed(&database, &all).await, [5, 3]);
    let of_ann = database.labelled_items("ann", &items).await.expect("they are found");
    assert_eq!(of_ann, [(items[1], None)]);

    let of = |annotator: &str| LabelSelection { annotator: Some(annotator.to_owned()), ..all.clone() };
    assert_eq!(listed(&database, &of("bob")).await, [3]);
    assert_eq!(listed(&database, &of("b\0b")).await, [] as [u128; 0]);
    let other_metric = LabelSelection { metric: Some("other".to_owned()), ..all.clone() };
    assert_eq!(listed(&database, &other_metric).await, [] as [u128; 0]);
    let (first, is_whole) = database.labels(&all, 1).await.expect("they are listed");
    assert_eq!((first.len(), is_whole), (1, false));
    let after = LabelSelection { after: Some((first[0].labelled_at, first[0].id)), ..all };
    assert_eq!(listed(&database, &after).await, [3]);
}

#[tokio::test]
async fn storing_labels_again_changes_nothing_and_other_ones_with_their_ids_are_conflicts() {
    let (_test_database, database) = prepared().await;
    let labels = [score(1, "ann", "q0", Some(7.0), 0), score(2, "ann", "q1", Some(-0.5), 0)];
    let twice = [labels[0].clone(), labels[1].clone(), labels[0].clone()];
    let outcomes = database.store_labels(&twice).await.expect("they are stored");
    assert_eq!(outcomes, [LabelOutcome::Stored, LabelOutcome::Stored, LabelOutcome::Unchanged]);
    let later = StoredLabel { labelled_at: datetime!(2027-01-01 0:00).into(), ..labels[0].clone() };
    let other = StoredLabel { id: labels[1].id, ..labels[0].clone() };
    let outcomes = database.store_labels(&[later, other, score(3, "ann", "q2", Some(1.0), 0)]).await;
    let expected = [LabelOutcome::Unchanged, LabelOutcome::Conflict, LabelOutcome::Stored];
    assert_eq!(outcomes.expect("they are stored"), expected);
    let (stored, _) = database.labels(&LabelSelection::default(), 10).await.expect("they are listed");
    assert_eq!(stored.len(), 3);
    assert!(labels.iter().all(|label| stored.contains(label)), "{stored:?}");
    let nothing = database.store_labels(&[]).await.expect("nothing is stored");
    assert_eq!(nothing, []);
}

#[tokio::test]
async fn odd_labels_are_refused_before_any_is_stored() {
    let (test_database, database) = prepared().await;
    let good = score(1, "ann", "q0", Some(7.0), 0);
    let scored = |score| LabelVerdict::Score { model: "m".to_owned(), score: Some(score) };
    let odd = [
        ("score", StoredLabel { verdict: scored(f64::NAN), ..good.clone() }),
        ("score", StoredLabel { verdict: scored(f64::INFINITY), ..good.clone() }),
        ("annotator", StoredLabel { annotator: " \t".to_owned(), ..good.clone() }),
        ("annotator", StoredLabel { annotator: "ä".repeat(101), ..good.clone() }),
        ("annotator", StoredLabel { annotator: "a\0".to_owned(), ..good.clone() }),
        ("query_id", StoredLabel { query: LabelledQuery::Id("q".repeat(4097)), ..good.clone() }),
        ("evaluation_prompt_id", StoredLabel { metric: Some("m".repeat(4097)), ..good.clone() }),
        ("model", preference(1, ["m", "n\0"], LabelWinner::A, 0)),
        ("model_b", preference(1, ["m", "m"], LabelWinner::A, 0)),
    ];
    for (expected, label) in odd {
        let refused = database.store_labels(&[good.clone(), label]).await;
        let Err(StorageError::Refused { field, .. }) = &refused else { panic!("{expected}: {refused:?}") };
        assert_eq!(field, expected);
    }
    let longest = StoredLabel {
        annotator: "ä".repeat(100),
        query: LabelledQuery::Digest([7; 16]),
        metric: None,
        verdict: scored(f64::MAX),
        ..good
    };
    database.store_labels(std::slice::from_ref(&longest)).await.expect("it is stored");
    let (stored, _) = database.labels(&LabelSelection::default(), 10).await.expect("they are listed");
    assert_eq!(stored, [longest]);
    // Another program cannot store what no label is.
    let mut connection = test_database.connection().await;
    for values in [
        "null, null, 'm', null, 1, null",
        "'q', null, 'm', null, 'NaN', null",
        "'q', null, 'm', null, 'infinity', null",
        "'q', null, 'm', 'n', 1, null",
        "'q', null, 'm', null, null, 'a'",
        "'q', null, 'm', 'n', null, 'c'",
        "null, '\\x00', 'm', null, 1, null",
    ] {
        let statement = format!(
            "insert into labels (id, annotator, item, query_id, query_digest, model_a, model_b, score, winner, labelled_at)
            values (gen_random_uuid(), 'x', '\\x00', {values}, now())"
        );
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await;
        assert!(refused.is_err(), "{values}");
    }
    connection.close().await.expect("it closes");
}

fn result(id: &str, model: &str, text: Option<&str>) -> EvaluationResult {
    EvaluationResult {
        id: id.to_owned(),
        query_id: Some("q0".to_owned()),
        query_text: Some("Why?".to_owned()),
        output_text: text.map(str::to_owned),
        model_id: Some(model.to_owned()),
        theme: Some("physics".to_owned()),
        evaluation_prompt_id: Some("quality".to_owned()),
        evaluation_prompt: Some("Is it good?".to_owned()),
        score: Some(3.0),
        judge_model: Some("judge".to_owned()),
        timestamp: Some(datetime!(2026-01-31 12:00).into()),
        result_metadata: Some(json!({})),
    }
}

#[tokio::test]
async fn judged_answers_are_listed_by_id_and_those_that_cannot_be_labelled_left_out() {
    let (_test_database, database) = prepared().await;
    let pair = |opponent: &str| {
        Some(json!({"mode": "pairwise", "opponent": opponent, "opponent_output_id": "o", "run_id": "run"}))
    };
    let stored = [
        result("b", "m", Some("answer of m")),
        EvaluationResult { result_metadata: pair("n"), ..result("c", "m", Some("aä\u{1F600}")) },
        EvaluationResult { result_metadata: pair("m"), ..result("d", "m", Some("")) },
        EvaluationResult { query_id: None, result_metadata: None, ..result("a", "m", Some("old")) },
        result("unanswered", "m", None),
        result("long", &"m".repeat(4097), Some("x")),
        EvaluationResult { query_id: None, query_text: None, ..result("no query", "m", Some("x")) },
        EvaluationResult { model_id: None, ..result("no model", "m", Some("x")) },
        EvaluationResult { theme: None, ..result("e", "n", Some("answer of n")) },
    ];
    database.insert_evaluation_results(&stored).await.expect("they are stored");
    let all = ResultSelection::default();
    let items = database.judged_items(&all, None, 100).await.expect("they are listed");
    let ids: Vec<&str> = items.iter().map(|item| item.result_id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    // SHA-256 of "Why?".
    let LabelledQuery::Digest(digest) = items[0].query else { panic!("{items:?}") };
    assert_eq!(digest[..4], [0x5d, 0x8a, 0x99, 0x5a], "{digest:x?}");
    assert_eq!((&items[1].kind, &items[3].kind), (&JudgedKind::Alone, &JudgedKind::Incomplete));
    assert_eq!(items[2].kind, JudgedKind::Paired { opponent: "n".to_owned() });
    let rest = database.judged_items(&all, Some("b"), 1).await.expect("they are listed");
    assert_eq!(rest, items[2..3]);
    let of_theme = ResultSelection { theme: Some("physics".to_owned()), ..all.clone() };
    assert_eq!(database.judged_items(&of_theme, None, 100).await.expect("they are listed").len(), 4);

    let answer = database.judged_answer("c", 2).await.expect("it is read").expect("it is there");
    assert_eq!((answer.item, answer.text.as_str(), answer.text_bytes), (items[2].clone(), "aä", 7));
    assert_eq!(
        (answer.opponent_output_id.as_deref(), answer.run_id.as_deref(), answer.query_text.as_deref()),
        (Some("o"), Some("run"), Some("Wh"))
    );
    for id in ["unanswered", "long", "no query", "no model", "nowhere", "a\0"] {
        assert_eq!(database.judged_answer(id, 9).await.expect("the statement works"), None, "{id}");
    }
    let of_query = ResultSelection { query_id: Some("q0".to_owned()), ..all };
    let of_n = ResultSelection { model_id: Some("n".to_owned()), ..of_query.clone() };
    let newest = database.newest_answer(&of_n, 6).await.expect("it is read").expect("it is there");
    assert_eq!((newest.text.as_str(), newest.text_bytes), ("answer", 11));
    let none = ResultSelection { query_id: Some("q1".to_owned()), ..of_query };
    assert_eq!(database.newest_answer(&none, 6).await.expect("it is read"), None);
    let item = label_item(&items[1].query, items[1].metric.as_deref(), (&items[1].model, None));
    assert_eq!(item, score(1, "ann", "q0", Some(1.0), 0).item(), "a label of it has the same item");
}
