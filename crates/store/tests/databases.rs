//! Databases created by others: with any encoding, with pgvector in any schema, and with tables of our names.

use std::time::Duration;

use records::Service;
use sqlx::Connection as _;
use store::{
    Error,
    postgres::{
        Access, Build, Database, PostgresStorage, RegisteredModel, Table, Vectors, is_own_relation,
        searches::ReplayedSearch,
        vector_index::{IndexChange, IndexDefinition, IndexKind, Precision},
        write::Batch,
    },
    storage::{Atomicity, Selection, Storage as _, StorageError},
};
use test_support::TestDatabase;

use crate::{
    adoption::{OLD_SCHEMA, with_user},
    at_angle, begin, nearest_to, record,
    storage_postgres::new_record,
    write,
};

const LATIN1: &str = "template template0 encoding 'LATIN1' locale_provider libc lc_collate 'C' lc_ctype 'C'";
const SQL_ASCII: &str =
    "template template0 encoding 'SQL_ASCII' locale_provider libc lc_collate 'C' lc_ctype 'C'";

async fn connect(test_database: &TestDatabase) -> Database {
    Database::connect(&test_database.url()).await.expect("the database answers")
}

/// Everything in the database that is not the system's own.
async fn relations(test_database: &TestDatabase) -> Vec<String> {
    let mut connection = test_database.connection().await;
    sqlx::query_scalar(
        "select relname::text || ' ' || relkind::text from pg_class
        where relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')
        order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the catalog reads")
}

#[tokio::test]
async fn unsuitable_encodings_are_rejected_before_anything_is_created() {
    // Tables of the old services make no difference: an invalid text would break every response that contains it.
    for (options, encoding, schema) in
        [(LATIN1, "LATIN1", ""), (SQL_ASCII, "SQL_ASCII", ""), (SQL_ASCII, "SQL_ASCII", OLD_SCHEMA)]
    {
        let test_database = TestDatabase::create_as(options).await;
        test_database.execute(schema).await;
        let before = relations(&test_database).await;
        let database = connect(&test_database).await;
        let made = [
            database.check_session(),
            database.prepare_schema().await,
            database.prepare_bookkeeping().await,
            database.describe().await.map(drop),
        ];
        for result in made {
            let error = result.expect_err("the encoding is refused");
            assert!(
                matches!(&error, Error::Encoding { encoding: found, .. } if found == encoding),
                "{error}"
            );
        }
        assert_eq!(relations(&test_database).await, before, "{encoding}");
    }
}

#[tokio::test]
async fn vectors_are_stored_indexed_and_found_where_the_extension_is_in_a_schema_of_its_own() {
    let test_database = TestDatabase::create().await;
    let schema = r#""Odd ""schema"".x""#;
    test_database.execute(&format!("create schema {schema}; create extension vector schema {schema}")).await;
    let database = connect(&test_database).await;
    assert!(matches!(database.session().vectors, Vectors::Elsewhere { .. }), "{:?}", database.session());
    database.prepare_service(Service::Query).await.expect("the schema is made");
    database.prepare_schema().await.expect("and found again");
    let queries = PostgresStorage::new(database.clone(), Service::Query);
    queries.check().await.expect("the table fits");
    let new = new_record(Service::Query, "a", 10);
    queries.insert(&[new], Atomicity::AllOrNothing).await.expect("a record is stored");
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let records: Vec<_> =
        (0..40).map(|n| record(Service::Query, &format!("r{n}"), at_angle(n as f32 / 40.0))).collect();
    write(&database, &table, &job, &records).await;
    for (name, precision) in [("full", Precision::Full), ("half", Precision::Half)] {
        let definition =
            IndexDefinition { kind: IndexKind::Hnsw { m: 4, ef_construction: 16, ef_insert: 16 }, precision };
        for build in [Build::Concurrently, Build::Alone] {
            let changes = [IndexChange::Build { name: name.to_owned(), definition }];
            database
                .change_indexes(&table, 41, &changes, build, &|_, _| {})
                .await
                .expect("the index is built");
            let observed = database.observe_indexes(&table).await.expect("the table is observed");
            assert!(observed.indexes.iter().any(|index| index.name == name && index.is_searched()));
            let hits = queries.search(&nearest_to(at_angle(0.1), Selection::default(), 3)).await;
            assert_eq!(hits.expect("the search runs").len(), 3);
            let search = ReplayedSearch { embedding: at_angle(0.2).into(), selection: Selection::default() };
            let replay = database.replay(&table, &search, 5, Duration::from_secs(30)).await;
            assert_eq!(replay.expect("it is made again").found.len(), 5);
            let changes = [IndexChange::Drop { name: name.to_owned() }];
            database.change_indexes(&table, 41, &changes, build, &|_, _| {}).await.expect("it is dropped");
        }
    }
}

#[tokio::test]
async fn schema_that_the_role_may_not_use_and_types_that_hide_ours_are_refused() {
    let test_database = TestDatabase::create().await;
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    test_database
        .execute(&format!(
            "create schema extensions; create extension vector schema extensions;
            create role {role} login password 'pw'; grant create on schema public to {role}"
        ))
        .await;
    let url = with_user(&test_database.url(), &role);
    let database = Database::connect(&url).await.expect("the database answers");
    let error = database.prepare_schema().await.expect_err("the schema is closed to the role");
    let Error::ExtensionForbidden { schema, grant } = &error else { panic!("{error}") };
    assert_eq!(schema, "extensions");
    test_database.execute(grant).await;
    database.prepare_schema().await.expect("the grant was what it took");
    database.close().await;
    test_database.execute(&format!("drop owned by {role}; drop role {role}")).await;

    test_database.execute("create table public.halfvec (id int)").await;
    let error = connect(&test_database).await.check_session().expect_err("the type is hidden");
    assert!(matches!(&error, Error::ExtensionHidden { by, .. } if by == "public"), "{error}");
}

#[tokio::test]
async fn relation_names_of_the_schema_are_reserved() {
    let test_database = TestDatabase::create().await;
    let database = connect(&test_database).await;
    for service in Service::ALL {
        database.prepare_service(service).await.expect("the schema is made");
    }
    let relations = relations(&test_database).await;
    assert!(relations.len() > 30, "{relations:?}");
    for relation in relations {
        let (name, _) = relation.rsplit_once(' ').expect("a name and a kind");
        assert!(is_own_relation(name), "{name}");
        let table =
            Table { name: name.to_owned(), text_column: "other".to_owned(), ..Table::of(Service::Query) };
        let error = database.table_state(&table).await.expect_err("it is taken");
        assert!(matches!(error, Error::OwnTable { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn foreign_relations_with_our_names_are_rejected_without_changes() {
    let test_database = TestDatabase::create().await;
    let database = connect(&test_database).await;
    let foreign = [
        ("models", "create table models (id serial primary key, name text)", "drop table models"),
        ("runs", "create table runs (id uuid primary key, name text)", "drop table runs"),
        ("run_tasks", "create view run_tasks as select 1 as run_id", "drop view run_tasks"),
        (
            "maintenance_actions",
            "create materialized view maintenance_actions as select 1 as id",
            "drop materialized view maintenance_actions",
        ),
        (
            "run_workers",
            "create table run_workers (run_id uuid) partition by hash (run_id)",
            "drop table run_workers",
        ),
        ("run_attempts", "create sequence run_attempts", "drop sequence run_attempts"),
        ("models", "create domain models as int", "drop domain models"),
        ("runs", "create type runs as enum ('a')", "drop type runs"),
        ("migration_jobs", "create type migration_jobs as (a int)", "drop type migration_jobs"),
        ("queries", "create type queries as range (subtype = int)", "drop type queries"),
        ("queries", "create view queries as select gen_random_uuid() as id", "drop view queries"),
        (
            "evaluation_results",
            "create view evaluation_results as select '1' as id",
            "drop view evaluation_results",
        ),
        (
            "evaluation_results",
            "create table evaluation_results (id varchar primary key)",
            "drop table evaluation_results",
        ),
        ("_sqlx_migrations", "create table _sqlx_migrations (id int)", "drop table _sqlx_migrations"),
        (
            "models",
            "create table models (id int, name text, provider text, is_judge_compatible boolean,
            created_at timestamp)",
            "drop table models",
        ),
    ];
    for (name, create, drop) in foreign {
        test_database.execute(create).await;
        let before = relations(&test_database).await;
        let error = database.prepare_schema().await.expect_err(name);
        assert!(matches!(&error, Error::ForeignTable { table, .. } if table == name), "{name}: {error}");
        assert_eq!(relations(&test_database).await, before, "{name}");
        test_database.execute(drop).await;
    }
    database.prepare_schema().await.expect("nothing conflicts");
    test_database.execute("create type articles as enum ('a')").await;
    let articles = Table { name: "articles".to_owned(), ..Table::of(Service::Query) };
    let error = database.table_state(&articles).await.expect_err("a type conflicts");
    assert!(error.to_string().contains("articles") && matches!(&error, Error::Schema { .. }), "{error}");
    test_database.execute("drop table models; create table models (id serial primary key, name text)").await;
    let error = database.prepare_schema().await.expect_err("ours was replaced");
    assert!(matches!(&error, Error::ForeignTable { table, .. } if table == "models"), "{error}");
}

#[tokio::test]
async fn separate_schema_avoids_conflicts_with_foreign_tables() {
    let test_database = TestDatabase::create().await;
    test_database
        .execute(
            "create extension vector; create table models (id serial primary key, name text);
            create schema panopticon",
        )
        .await;
    let url = format!("{}?options=-csearch_path%3Dpanopticon,public", test_database.url());
    let database = Database::connect(&url).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is made beside");
    database.prepare_schema().await.expect("and found again");
    let mut connection = test_database.connection().await;
    let columns: i64 = sqlx::query_scalar(
        "select count(*) from pg_attribute where attrelid = 'public.models'::regclass and attnum > 0",
    )
    .fetch_one(&mut connection)
    .await
    .expect("the catalog reads");
    assert_eq!(columns, 2);
    connection.close().await.expect("the connection closes");
}

#[tokio::test]
async fn hidden_rows_and_missing_privileges_are_detected_before_rows_are_read() {
    let test_database = TestDatabase::create().await;
    connect(&test_database).await.prepare_schema().await.expect("the schema is made");
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    test_database
        .execute(&format!(
            "create role {role} login password 'pw';
            grant select on migration_jobs, migration_rejects, migration_replaced, migration_groups,
                migration_group_jobs to {role};
            grant select (id, query_text) on queries to {role}"
        ))
        .await;
    let url = with_user(&test_database.url(), &role);
    let database = Database::connect(&url).await.expect("the database answers");
    let table = Table::of(Service::Query);
    let check = async |access| database.check_access(&table, access).await;
    let error = check(Access::Read).await.expect_err("columns are not all");
    assert!(
        matches!(&error, Error::TablePrivilege { grant, .. } if grant.starts_with("grant select on")),
        "{error}"
    );
    test_database.execute(&format!("grant select on queries to {role}")).await;
    check(Access::Read).await.expect("all rows can be read");
    let error = check(Access::Write).await.expect_err("none can be written");
    assert!(
        matches!(&error, Error::TablePrivilege { privileges, .. } if privileges == "insert into"),
        "{error}"
    );
    test_database.execute(&format!("grant insert on queries to {role}")).await;
    check(Access::Write).await.expect("rows can be written");
    for hidden in ["queries", "migration_jobs"] {
        test_database
            .execute(&format!(
                "alter table {hidden} enable row level security; create policy all_rows on {hidden} using (true)"
            ))
            .await;
        let error = check(Access::Read).await.expect_err("a policy decides");
        assert!(matches!(&error, Error::HiddenRows { table, .. } if table == hidden), "{error}");
        assert_eq!(database.tables_with_hidden_rows().await.expect("the catalog reads"), [hidden]);
        test_database.execute(&format!("alter table {hidden} disable row level security")).await;
    }
    for hidden in ["evaluation_results", "runs", "models"] {
        let policy = format!("alter table {hidden} enable row level security");
        test_database.execute(&policy).await;
        assert_eq!(database.tables_with_hidden_rows().await.expect("the catalog reads"), [hidden]);
        test_database.execute(&policy.replace("enable", "disable")).await;
    }
    assert!(database.tables_with_hidden_rows().await.expect("the catalog reads").is_empty());
    database.close().await;
    test_database.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn builds_without_enough_shared_memory_are_retried_without_parallel_workers() {
    let test_database = TestDatabase::create().await;
    let database = connect(&test_database).await;
    database.prepare_schema().await.expect("the schema is made");
    // The message of a server whose /dev/shm is too small for a parallel build.
    test_database
        .execute(
            r#"create function refuse() returns event_trigger language plpgsql as $$ begin
                if current_setting('max_parallel_maintenance_workers')::int > 0 then
                    raise exception 'could not resize shared memory segment "/PostgreSQL.1" to 98048576 bytes: No space left on device'
                        using errcode = 'disk_full';
                end if;
            end $$;
            create event trigger refuse on ddl_command_start when tag in ('CREATE INDEX', 'REINDEX')
                execute function refuse()"#,
        )
        .await;
    let table = Table::of(Service::Query);
    let definition = IndexDefinition {
        kind: IndexKind::Hnsw { m: 4, ef_construction: 16, ef_insert: 16 },
        precision: Precision::Full,
    };
    for (name, build) in [("alone", Build::Alone), ("beside", Build::Concurrently)] {
        let changes = [IndexChange::Build { name: name.to_owned(), definition }];
        database.change_indexes(&table, 1, &changes, build, &|_, _| {}).await.expect("the index is built");
        database.rebuild_index(&table, 1, (name, definition), &|_, _| {}).await.expect("it is rebuilt");
    }
    database.build_other_indexes(&table, 1, Build::Alone, &|_, _| {}).await.expect("they are built");
    database.ensure_service_indexes(Service::Judge).await.expect("they are built");
    let observed = database.observe_indexes(&table).await.expect("the table is observed");
    assert_eq!(observed.indexes.iter().filter(|index| index.is_searched()).count(), 2);

    test_database
        .execute(
            r#"create or replace function refuse() returns event_trigger language plpgsql as $$ begin
                raise exception 'could not resize shared memory segment "/PostgreSQL.1" to 1 bytes'
                    using errcode = 'disk_full';
            end $$"#,
        )
        .await;
    let changes = [IndexChange::Build { name: "never".to_owned(), definition }];
    let error = database.change_indexes(&table, 1, &changes, Build::Alone, &|_, _| {}).await;
    let error = error.expect_err("not even without workers").to_string();
    assert!(error.contains("--shm-size=1g") && error.contains("shm_size: 1g"), "{error}");
}

#[tokio::test]
async fn components_beyond_half_precision_are_detected() {
    let test_database = TestDatabase::create().await;
    let database = connect(&test_database).await;
    database.prepare_schema().await.expect("the schema is made");
    let table = Table::of(Service::Query);
    for (component, exceeds) in [
        ("1", false),
        ("65504", false),
        ("-65519", false),
        ("65520", true),
        ("-181168.05", true),
        ("3e38", true),
    ] {
        test_database
            .execute(&format!(
                "truncate queries; insert into queries (query_text, theme, embedding) values
                    ('none', 't', null),
                    ('long', 't', array_fill(60000, array[384])::vector),
                    ('one', 't', (array_fill(1.0, array[383]) || array[{component}]::numeric[])::real[]::vector)"
            ))
            .await;
        let found = database.exceeds_half_precision(&table).await.expect("every vector is looked at");
        assert_eq!(found, exceeds, "{component}");
        let mut connection = test_database.connection().await;
        let cast =
            sqlx::query("select embedding::halfvec(384) from queries").fetch_all(&mut connection).await;
        assert_eq!(cast.is_err(), exceeds, "{component}: as pgvector says");
    }
    // Too small: all, or enough of them to matter.
    for (vector, exceeds) in [
        ("array_fill(0, array[384])", false),
        ("array_fill(1e-8, array[384])", true),
        ("array_fill(-1e-45, array[384])", true),
        ("array_fill(6.1e-5, array[384])", true),
        ("array_fill(6.2e-5, array[384])", false),
        ("array_fill(0, array[383]) || array[6.2e-5]::numeric[]", false),
        ("array_fill(0, array[383]) || array[-1e-5]::numeric[]", true),
        ("array_fill(1e-6, array[383]) || array[1e-3]::numeric[]", true),
        ("array_fill(1e-6, array[383]) || array[2e-3]::numeric[]", false),
        ("array_fill(1e-30, array[383]) || array[3e38]::numeric[]", true),
    ] {
        test_database
            .execute(&format!(
                "truncate queries; insert into queries (query_text, theme, embedding) values
                    ('none', 't', null),
                    ('plain', 't', array_fill(0.05, array[384])::vector),
                    ('one', 't', ({vector})::real[]::vector)"
            ))
            .await;
        let found = database.exceeds_half_precision(&table).await.expect("every vector is looked at");
        assert_eq!(found, exceeds, "{vector}");
        let mut connection = test_database.connection().await;
        let stored: Vec<f32> =
            sqlx::query_scalar("select embedding::real[] from queries where query_text = 'one'")
                .fetch_one(&mut connection)
                .await
                .expect("a vector");
        assert_eq!(Precision::Half.holds(&stored), !exceeds, "{vector}");
        assert!(Precision::Full.holds(&stored), "{vector}");
    }
    // A search for a vector that the index cannot hold uses an exact scan.
    test_database
        .execute(
            "update queries set embedding = array_fill(60000, array[384])::vector where query_text = 'one'",
        )
        .await;
    let definition = IndexDefinition {
        kind: IndexKind::Hnsw { m: 4, ef_construction: 16, ef_insert: 16 },
        precision: Precision::Half,
    };
    let changes = [IndexChange::Build { name: "half".to_owned(), definition }];
    database.change_indexes(&table, 3, &changes, Build::Alone, &|_, _| {}).await.expect("the index is built");
    let queries = PostgresStorage::new(database.clone(), Service::Query);
    let mut far = at_angle(0.0);
    far[0] = 1e6;
    let hits = queries.search(&nearest_to(far.clone(), Selection::default(), 1)).await;
    assert_eq!(hits.expect("the search runs").len(), 1);
    let mut new = new_record(Service::Query, "far", 1);
    new.embedding = far.into();
    let error = queries.insert(&[new], Atomicity::AllOrNothing).await.expect_err("the index cannot hold it");
    assert!(matches!(&error, StorageError::Unsupported { field, .. } if field == "embedding"), "{error:?}");
}

/// The driver appends the line of PostgreSQL's source text.
#[tokio::test]
async fn errors_have_only_the_words_of_the_server() {
    let test_database = TestDatabase::create().await;
    let database = connect(&test_database).await;
    let url = test_database.url();
    let missing =
        format!("{}dbname=none", if url.contains('?') { format!("{url}&") } else { format!("{url}?") });
    let connect = Database::connect(&missing).await.map(drop).expect_err("there is no such database");
    let search = PostgresStorage::new(database.clone(), Service::Query)
        .search(&nearest_to(at_angle(0.0), Selection::default(), 1))
        .await
        .map(drop)
        .expect_err("there is no table");
    let statement = database.running_runs(&[], 1).await.map(drop).expect_err("there is no table");
    let errors: [Box<dyn std::error::Error>; 3] = [Box::new(connect), Box::new(search), Box::new(statement)];
    for error in errors {
        let chain = records::error_chain(&*error);
        assert!(!chain.contains(" at line ") && chain.contains("does not exist"), "{chain}");
    }
}

/// A trigger that raises a message of any length, and a value that is repeated in one.
#[tokio::test]
async fn long_messages_of_the_server_are_truncated_with_a_mark() {
    let test_database = TestDatabase::create().await;
    let database = connect(&test_database).await;
    database.prepare_schema().await.expect("the schema is made");
    test_database
        .execute(
            "create function refuse() returns trigger language plpgsql as $$ begin
                raise exception '%', 'never: ' || repeat('ü', 2000000) using
                    detail = repeat('d', 1000000), hint = repeat('h', 1000000),
                    constraint = repeat('c', 100000), table = repeat('t', 100000);
            end $$;
            create trigger refuse before insert or update or delete on queries
                for each statement execute function refuse();
            create trigger refuse before insert on models for each row execute function refuse()",
        )
        .await;
    let check = |error: &(dyn std::error::Error + 'static), debug: String| {
        let chain: Vec<String> =
            std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
        assert!(chain.iter().all(|words| words.len() < 4_000), "{:?}", chain.iter().map(String::len));
        let chain = chain.join(": ");
        assert!(chain.contains("never: üü") && chain.contains("(cut: "), "{chain}");
        assert!(records::error_chain(error).contains("(cut: "), "{chain}");
        assert!(debug.len() < 16_000, "{} bytes", debug.len());
    };
    let model = RegisteredModel {
        id: "m".to_owned(),
        name: "m".to_owned(),
        provider: "p".to_owned(),
        is_judge_compatible: true,
    };
    let error = database.register_model(&model).await.expect_err("a trigger refuses it");
    check(&error, format!("{error:?}"));
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let error = storage.delete(&["x".to_owned()]).await.expect_err("a trigger refuses it");
    check(&error, format!("{error:?}"));
    let table = Table::of(Service::Query);
    let job = begin(&database, &table).await;
    let mut batch = Batch::default();
    batch.new.push(&record(Service::Query, "x", at_angle(0.0)), job.run_id);
    let error = database.write(&table, &job, &batch).await.err().expect("a trigger refuses it");
    assert!(matches!(error, Error::Row { .. }), "{error}");
    check(&error, format!("{error:?}"));
    let refused = database.refused_rows(&table, &batch).await.expect("the row is named");
    assert!(refused.iter().all(|(_, said)| said.contains("(cut: ") && said.len() < 4_000));
    assert_eq!(refused.len(), 1);
}
