//! What Chroma clients see after a migration is what the source's server showed them.

use std::collections::BTreeMap;

use migrate::{
    EditedRows, MigrateOptions, Outcome, Placement, Target, VerifyOptions, WholeSource, migrate_collections,
    undo, verify_collections,
};
use records::{DistanceSpace, Service};
use serde_json::{Value, json};
use store::{
    chroma::{ServerOptions, Source},
    collection_schema::configuration_of,
    postgres::{
        Database, Presence, Table,
        collections::{Compared, Registered},
    },
};
use test_support::{ChromaServer, HttpRequest, TestDatabase, fixture, sample};

use crate::{
    directory::{Directory, entries},
    migrate, one, prepared, quarantining, silent,
};

/// Tenants of the fixtures.
const TENANTS: [&str; 2] = ["default_tenant", "other_tenant"];

/// The descriptions of all collections that a server lists, by id.
fn shown_by(server: &ChromaServer) -> BTreeMap<String, Value> {
    let get = |path: String| {
        let answer = server.send(&HttpRequest::new("GET", &format!("/api/v2/tenants/{path}"), ""));
        serde_json::from_str::<Value>(&answer.text()).expect("an answer is JSON")
    };
    let mut shown = BTreeMap::new();
    for tenant in TENANTS {
        let databases = get(format!("{tenant}/databases"));
        for database in databases.as_array().into_iter().flatten() {
            let name = database["name"].as_str().expect("a name");
            let collections = get(format!("{tenant}/databases/{name}/collections?limit=1000"));
            for mut collection in collections.as_array().expect("a list").clone() {
                let id = collection["id"].as_str().expect("an id").to_owned();
                let parts = collection.as_object_mut().expect("an object");
                parts.retain(|part, _| !matches!(part.as_str(), "log_position" | "version"));
                shown.insert(id, collection);
            }
        }
    }
    shown
}

/// The same of the registry.
async fn registered(test_database: &TestDatabase) -> BTreeMap<String, Value> {
    let rows: Value = one(
        test_database,
        "select coalesce(jsonb_agg(jsonb_build_array(c.id, c.name, d.tenant, d.name, dimension, metadata, schema)), '[]')
        from chroma_collections c join chroma_databases d on d.id = c.database_id",
    )
    .await;
    let parsed =
        |text: &Value| text.as_str().map(|text| serde_json::from_str::<Value>(text).expect("it is JSON"));
    let rows = rows.as_array().expect("a list").iter();
    rows.map(|row| {
        let schema = parsed(&row[6]).expect("there is a schema");
        let shown = json!({
            "id": row[0], "name": row[1], "tenant": row[2], "database": row[3], "dimension": row[4],
            "metadata": parsed(&row[5]), "configuration_json": configuration_of(&schema), "schema": schema,
        });
        (row[0].as_str().expect("an id").to_owned(), shown)
    })
    .collect()
}

pub(crate) fn whole(source: Source) -> WholeSource {
    let template = Table {
        name: String::new(),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: Vec::new(),
        dimension: 1,
        space: DistanceSpace::L2,
        shared: None,
    };
    let collections = source.collections().to_vec();
    let placement = Placement { template, target: Target::OwnTables };
    let empty_databases = source.empty_databases().to_vec();
    let is_selected = Box::new(|_: &_| true);
    WholeSource { source, collections, empty_databases, placement, is_reserved: |_| false, is_selected }
}

async fn migrate_all(database: &Database, source: Source, options: &MigrateOptions) -> migrate::Report {
    migrate_collections(database, whole(source), options, &silent()).await.expect("the run ends")
}

/// Asserts that both show the same collections, each alike.
fn assert_same(found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>, source: &str) {
    for (id, expected) in expected {
        assert_eq!(found.get(id), Some(expected), "{source}: {}", expected["name"]);
    }
}

#[tokio::test]
async fn collections_of_every_version_are_shown_as_chroma_shows_them() {
    for version in ["0.4.24", "0.5.0", "0.5.23", "0.6.3", "1.0.20", "1.5.9"] {
        let (Some(served), Some(read)) = (fixture(version), fixture(version)) else { return };
        let expected = shown_by(&ChromaServer::start(&served.path().join("basic")));
        assert!(
            expected.values().any(|shown| shown["dimension"].is_null()),
            "{version} has one without records"
        );
        let (test_database, database) = prepared().await;
        let open = || Source::open(&read.path().join("basic")).expect("the directory opens");
        let report = migrate_all(&database, open(), &quarantining()).await;
        let found = registered(&test_database).await;
        assert_eq!(found.len(), report.collections.len(), "{version}");
        assert_same(&found, &expected, version);
        let compared =
            verify_collections(&database, whole(open()), VerifyOptions::default(), &silent()).await;
        for collection in compared.expect("it compares").collections {
            assert_eq!(collection.compared, Compared::Equal, "{version}: {}", collection.origin.collection);
        }
        let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("it is undone");
        assert!(!undone.unregistered.collections.is_empty(), "{version}");
        let left: Vec<String> = one(
            &test_database,
            "select array(select name from chroma_collections union select tenant || '.' || name from chroma_databases
            union select name from chroma_tenants order by 1)",
        )
        .await;
        assert_eq!(left, ["default_tenant", "default_tenant.default_database"], "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_of_a_server_are_shown_as_it_shows_them() {
    for is_older in [false, true] {
        let version = if is_older { "1.0.20" } else { "1.5.9" };
        let Some(served) = fixture(version) else { return };
        let folder = served.path().join("basic");
        let server = if is_older { ChromaServer::start_older(&folder) } else { ChromaServer::start(&folder) };
        let mut expected = shown_by(&server);
        expected.retain(|_, shown| shown["tenant"] == "default_tenant");
        let options = ServerOptions::new(server.url());
        let runtime = tokio::runtime::Handle::current();
        let connect = move || Source::connect(&options, runtime).expect("the server answers");
        let source = tokio::task::spawn_blocking(connect).await.expect("it connects");
        let (test_database, database) = prepared().await;
        migrate_all(&database, source, &quarantining()).await;
        let found = registered(&test_database).await;
        for (id, expected) in &mut expected {
            // It has no schemas; ours follows from the configuration.
            if is_older {
                expected["schema"] = found[id]["schema"].clone();
            }
        }
        assert_same(&found, &expected, version);
    }
}

#[tokio::test]
async fn collection_that_a_client_has_changed_here_is_kept_and_reported() {
    let Some(read) = fixture("1.5.9") else { return };
    let (test_database, database) = prepared().await;
    let open = || Source::open(&read.path().join("basic")).expect("the directory opens");
    migrate_all(&database, open(), &quarantining()).await;
    test_database
        .execute(
            "update chroma_collections set metadata = '{\"own\": 1}' where name in ('docs', 'empty_never')",
        )
        .await;
    let of = |report: migrate::Report, name: &str| {
        report.collections.into_iter().find(|one| one.origin.collection == name).expect("it is in the report")
    };
    let verify = async || {
        let report = verify_collections(&database, whole(open()), VerifyOptions::default(), &silent()).await;
        report.expect("it compares")
    };
    for name in ["docs", "empty_never"] {
        let compared = of(verify().await, name);
        let expected = Compared::Different(vec!["metadata"]);
        assert_eq!((compared.outcome(), compared.compared), (Outcome::Different, expected));
        let again = of(migrate_all(&database, open(), &quarantining()).await, name);
        assert_eq!(again.registered, Some(Registered::Edited(vec!["metadata"])));
        assert_eq!(again.outcome(), Outcome::Conflicts);
    }
    let overwriting = MigrateOptions { edited_rows: EditedRows::Overwrite, ..quarantining() };
    let again = of(migrate_all(&database, open(), &overwriting).await, "docs");
    assert_eq!(again.registered, Some(Registered::Updated(vec!["metadata"])));
    assert_eq!(of(verify().await, "docs").compared, Compared::Equal);
}

#[tokio::test]
async fn collection_of_a_service_is_shown_as_its_source_shows_it() {
    let (folder, served) = (sample("query_storage_data"), sample("query_storage_data"));
    let mut expected = shown_by(&ChromaServer::start(served.path()));
    let (test_database, database) = prepared().await;
    // Clients have seen it before it was migrated.
    database.prepare_schema().await.expect("the schema is made");
    database.create_default_tenant().await.expect("it is created");
    database.register_services().await.expect("they are registered");
    let ids = async || -> Vec<String> {
        one(&test_database, "select array_agg(id::text) from chroma_collections where table_name = 'queries'")
            .await
    };
    let before = ids().await;
    let report = migrate(&database, folder.path(), &Table::of(Service::Query)).await;
    assert_eq!(report.registered, Some(Registered::Updated(vec!["configuration"])));
    let after = ids().await;
    assert_eq!(after, expected.keys().filter(|id| after.contains(id)).cloned().collect::<Vec<_>>());
    assert_ne!(before, after);
    let shown = json!({
        "configuration_json": expected.get_mut(&after[0]).expect("it is there")["configuration_json"].take(),
    });
    let schema: String =
        one(&test_database, "select schema from chroma_collections where table_name = 'queries'").await;
    let schema: Value = serde_json::from_str(&schema).expect("it is JSON");
    assert_eq!(configuration_of(&schema), shown["configuration_json"]);
    let is_ordered = "select bool_and(position is not null) from queries";
    assert!(one::<bool>(&test_database, is_ordered).await, "records have the order of the source");

    // Another source's records join them, and the first one describes the collection.
    let other = Directory::with("queries", DistanceSpace::Cosine, &entries(0..3, 384));
    let report = migrate(&database, other.path(), &Table::of(Service::Query)).await;
    assert!(matches!(report.registered, Some(Registered::Refused(_))), "{report:?}");
    assert_eq!((report.outcome(), ids().await), (Outcome::Verified, after));
}
