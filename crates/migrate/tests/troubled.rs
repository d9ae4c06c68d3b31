//! Trouble: records that cannot be held, rows in the way, damage on the way, wrong sources.

use std::path::Path;

use migrate::{Error, Outcome, RejectReason, Source};
use records::Service;
use rusqlite::Connection;
use store::postgres::ServiceTable;
use test_support::sample;

use crate::{migrate, prepared, sample_name, try_migrate};

/// Runs statements on the Chroma database of a copy of the sample.
fn change(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join("chroma.sqlite3")).expect("the copy opens");
    connection.execute_batch(sql).expect("the copy changes");
}

#[tokio::test]
async fn record_that_cannot_be_held_is_named_with_its_reason_and_the_rest_arrives() {
    let (_test_database, database) = prepared().await;
    let folder = sample(sample_name(Service::Query));
    change(
        folder.path(),
        "update embedding_metadata set string_value = 'a' || char(0) || 'b' where key = 'chroma:document' and id = 3;
         delete from embedding_metadata where key = 'chroma:document' and id = 5;
         insert into embedding_metadata (id, key, float_value) values (7, 'limit', 9e999);
         insert into embedding_metadata (id, key, int_value) values (9, 'bad' || char(0) || 'key', 1);",
    );
    let report = migrate(&database, Service::Query, folder.path()).await;
    assert_eq!(report.outcome(), Outcome::Rejected);
    let mut reasons: Vec<&str> = report.copied.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["missing_document", "non_finite_metadata", "nul_in_key", "nul_in_text"]);
    assert!(
        report.copied.rejects.iter().all(|reject| reject.source_id.len() == 36),
        "each is named by its id"
    );
    assert_eq!(report.copied.written + 4, report.copied.source_records);
    assert_eq!(report.verification.matched, report.copied.written);
    let stored = database.count_rows(ServiceTable::of(Service::Query)).await.expect("the rows are counted");
    assert_eq!(stored, report.copied.written);
}

#[tokio::test]
async fn vectors_that_are_lost_in_chroma_are_reported_and_nothing_is_embedded_again() {
    let (_test_database, database) = prepared().await;
    let folder = sample(sample_name(Service::Evaluation));
    change(folder.path(), "delete from embeddings_queue where seq_id <= 2");
    let report = migrate(&database, Service::Evaluation, folder.path()).await;
    assert_eq!(report.copied.rejects.len(), 2);
    assert!(report.copied.rejects.iter().all(|reject| reject.reason == RejectReason::MissingEmbedding));
}

#[tokio::test]
async fn row_edited_in_postgres_is_a_conflict_and_stays() {
    let (test_database, database) = prepared().await;
    let folder = sample(sample_name(Service::Query));
    migrate(&database, Service::Query, folder.path()).await;
    let id = "3f231762-1288-55bc-9925-9eeb8ff7544c";
    test_database.execute(&format!("update queries set query_text = 'edited' where id = '{id}'")).await;
    let report = migrate(&database, Service::Query, folder.path()).await;
    assert_eq!(report.outcome(), Outcome::Conflicts);
    assert_eq!(report.copied.conflicts, [id]);
    assert_ne!(report.verification.digest_source, report.verification.digest_target);
    let text: String = sqlx::query_scalar("select query_text from queries where id = $1::uuid")
        .bind(id)
        .fetch_one(&mut test_database.connection().await)
        .await
        .expect("the row is there");
    assert_eq!(text, "edited");
}

#[tokio::test]
async fn comparison_finds_what_was_changed_or_lost_on_the_way() {
    let (test_database, database) = prepared().await;
    // Stands for anything between us and the disk that does not store what it was given.
    test_database
        .execute(
            "create function damage() returns trigger language plpgsql as $$ begin
                if new.theme = 'law' then return null; end if;
                if new.theme = 'energy' then new.metadata := jsonb_set(new.metadata, '{theme}', '1'); end if;
                if new.theme = 'cooking' then
                    new.embedding := (select array_agg(-x)::vector from unnest(new.embedding::real[]) x);
                end if;
                return new;
            end $$;
            create trigger damage before insert on queries for each row execute function damage();",
        )
        .await;
    let folder = sample(sample_name(Service::Query));
    let report = migrate(&database, Service::Query, folder.path()).await;
    assert_eq!(report.outcome(), Outcome::Different);
    assert_eq!(report.verification.missing.len(), 6, "six queries about law");
    let parts = |part: &str| report.verification.different.iter().filter(|d| d.parts == [part]).count();
    assert_eq!((parts("metadata"), parts("embedding")), (6, 6));
    assert_eq!(report.verification.different.len(), 12);
}

#[tokio::test]
async fn copy_that_fails_at_its_end_leaves_the_table_as_it_was() {
    let (test_database, database) = prepared().await;
    test_database
        .execute(
            "create function refuse() returns trigger language plpgsql as
                $$ begin if new.theme = 'law' then raise 'disk full'; end if; return new; end $$;
            create trigger refuse before insert on queries for each row execute function refuse();",
        )
        .await;
    let folder = sample(sample_name(Service::Query));
    let error = try_migrate(&database, Service::Query, folder.path()).await.expect_err("the insert fails");
    assert!(matches!(error, Error::Store { table: "queries", .. }), "{error}");
    let table = ServiceTable::of(Service::Query);
    assert_eq!(database.count_rows(table).await.expect("the rows are counted"), 0);
    test_database.execute("drop trigger refuse on queries").await;
    assert_eq!(migrate(&database, Service::Query, folder.path()).await.outcome(), Outcome::Verified);
}

#[test]
fn source_without_the_collection_names_those_it_has() {
    let folder = sample(sample_name(Service::Query));
    let error = Source::open(folder.path(), Service::Judge).err().expect("there is no such collection");
    let message = error.to_string();
    assert!(message.contains("`llm_outputs`"), "{message}");
    assert!(message.contains("default_tenant/default_database/queries"), "{message}");
}

#[test]
fn collection_name_in_two_databases_is_refused_with_both() {
    let folder = sample(sample_name(Service::Query));
    change(
        folder.path(),
        "insert into databases (id, name, tenant_id) values ('1', 'other', 'default_tenant');
         insert into collections (id, name, database_id)
         values ('67e55044-10b1-426f-9247-bb680e5fe0c8', 'queries', '1');",
    );
    let error = Source::open(folder.path(), Service::Query).err().expect("the name is ambiguous");
    let message = error.to_string();
    for name in ["default_tenant/default_database/queries", "default_tenant/other/queries"] {
        assert!(message.contains(name), "{message}");
    }
}
