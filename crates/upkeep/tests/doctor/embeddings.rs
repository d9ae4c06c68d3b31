//! Vectors that no search returns, or that are meaningless.

use store::postgres::Table;
use upkeep::doctor::{EmbeddingComparison, NotExamined, Severity};

use super::{codes, examined, fill_healthy, found, model_of, one};
use crate::{prepared, queries};

#[tokio::test]
async fn each_kind_of_unhealthy_embedding_is_counted() {
    let (test_database, database) = prepared().await;
    fill_healthy(&test_database, 400).await;
    let model = model_of(&test_database).await;
    assert_eq!(codes(&found(&database, &model).await), [""; 0]);

    test_database
        .execute(
            "update queries set embedding = null where query_text in ('row 1', 'row 2');
            update queries set embedding = array_fill(0::real, array[384])::vector where query_text = 'row 3';
            update queries set embedding = (select array_agg(x * 3) from unnest(embedding::real[]) x)::vector
                where query_text in ('row 4', 'row 5', 'row 6');
            update queries set embedding = (select embedding from queries where query_text = 'row 7')
                where query_text in ('row 8', 'row 9', 'row 10', 'row 12');
            -- The same text but for its case, and another category: nothing is odd about the same vector.
            insert into queries (query_text, theme, embedding)
                select upper(query_text), 'other', embedding from queries where query_text = 'row 11'",
        )
        .await;
    let examination = examined(&database, &model_of(&test_database).await).await;
    let health = examination.tables[2].embeddings.clone().expect("it was examined");
    assert_eq!((health.rows, health.share), (401, 1.0));
    assert_eq!((health.missing, health.zero, health.other_lengths(), health.shared), (2, 1, 3, 5));
    let (shortest, longest) = health.lengths.expect("there are vectors");
    assert!((shortest - 1.0).abs() < 1e-3 && (longest - 3.0).abs() < 1e-2, "{shortest} to {longest}");
    let findings = found(&database, &model_of(&test_database).await).await;
    let expected = [
        ("embeddings_missing", "2 of 401 rows have no vector"),
        ("embeddings_zero", "1 of 401 rows has a zero vector"),
        ("embeddings_unnormalised", "3 of 401 rows have a vector whose norm is not 1"),
        ("embeddings_shared", "5 of 401 rows have exactly the same vector as a row with another text"),
    ];
    assert_eq!(codes(&findings), expected.map(|(code, _)| code));
    for (code, what) in expected {
        let finding = one(&findings, code);
        assert!(finding.what.starts_with(what), "{finding:?}");
        assert_eq!((finding.table.as_deref(), finding.severity), (Some("queries"), Severity::Warning));
    }
}

#[tokio::test]
async fn vectors_that_do_not_match_their_texts_are_found_in_a_sample() {
    let (test_database, database) = prepared().await;
    fill_healthy(&test_database, 200).await;
    let model = model_of(&test_database).await;
    // Half of the rows, as if another normalizing model had embedded them or their texts had been edited.
    test_database
        .execute(
            "update queries set embedding = l2_normalize(
                (select array_agg(x order by n desc) from unnest(embedding::real[]) with ordinality as v(x, n))::vector
            ) where substr(md5(query_text), 1, 1) < '8'",
        )
        .await;
    let examination = examined(&database, &model).await;
    let recognised = examination.tables[2].recognised.clone().expect("it was examined");
    let Some(EmbeddingComparison { compared: 32, foreign }) = recognised else { panic!("{recognised:?}") };
    assert!((4..=28).contains(&foreign), "about half of them: {foreign}");
    let findings = found(&database, &model).await;
    assert_eq!(codes(&findings), ["embeddings_of_another_model"]);
    let without = upkeep::doctor::examine(&database, None).await.expect("the database can be asked");
    assert_eq!(without.tables[2].recognised, Err(NotExamined::NoModel));
}

#[tokio::test]
async fn other_collections_may_have_any_norm_but_not_mixed_ones() {
    let (test_database, database) = prepared().await;
    let table = Table { name: "articles".to_owned(), dimension: 3, ..queries() };
    test_database
        .execute(&format!(
            "create table articles (like queries including all);
            alter table articles alter embedding type vector(3);
            insert into articles (query_text, theme, embedding)
                select 'a' || n, 'b', array[2 + random(), random(), random()]::vector from generate_series(1, 200) n;
            insert into migration_jobs values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't', 'd', 'c',
                's', 'articles', '{}', 'complete', gen_random_uuid(), true, 0, 0, 0, null, now(), now())",
            table.definition()
        ))
        .await;
    let model = model_of(&test_database).await;
    assert_eq!(codes(&found(&database, &model).await), [""; 0]);
    test_database
        .execute("update articles set embedding = l2_normalize(embedding) where query_text < 'a5'")
        .await;
    let findings = found(&database, &model).await;
    assert_eq!(codes(&findings), ["embeddings_mixed"]);
    assert_eq!(findings[0].table.as_deref(), Some("articles"));
}
