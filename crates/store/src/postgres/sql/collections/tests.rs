use expect_test::{ExpectFile, expect_file};
use serde_json::Number;

use super::*;
use crate::{
    postgres::{Column, ColumnType, Presence, SharedTable},
    storage::{Comparison, DocumentTest, Scalar, Test},
};

fn table() -> Table {
    let published = Column {
        key: "year".to_owned(),
        name: "published".to_owned(),
        column_type: ColumnType::BigInt,
        default: None,
    };
    Table {
        name: "odd \"name\"".to_owned(),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: vec![published],
        dimension: 2,
        space: DistanceSpace::Cosine,
        shared: None,
    }
}

fn check(statement: Result<Statement, StorageError>, expected: &ExpectFile) {
    let statement = statement.expect("PostgreSQL can do it");
    expected.assert_eq(&format!("{};\n", statement.sql.0));
}

#[test]
fn statements_are_the_golden_ones() {
    let table = &table();
    let filter = RecordFilter::Or(vec![
        RecordFilter::Key { key: "a".to_owned(), test: Test::Compare(Comparison::Greater, Number::from(1)) },
        RecordFilter::Key {
            key: "b".to_owned(),
            test: Test::NotIn((0..20).map(|n| Scalar::Number(n.into())).collect()),
        },
        RecordFilter::And(vec![]),
        RecordFilter::Document(DocumentTest::NotContains("x".to_owned())),
    ]);
    let keys = [Uuid::from_u128(1)];
    let rows = Rows { keys: Some(&keys), filter: Some(&filter) };
    let all = Rows { keys: None, filter: None };
    let parts = RecordParts { document: true, metadata: true, uri: true, embedding: true };
    let embedding = &Embedding::from(vec![1.0, 2.0]);
    let changed = ChangedRow {
        key: Uuid::from_u128(1),
        text: None,
        columns: vec![Some("7".to_owned())],
        metadata: None,
        uri: None,
        embedding: Some(embedding),
        is_escaped: false,
    };
    let plain = |sql: Sql| Ok(Statement { sql, binds: Vec::new(), most_bytes: None });
    check(
        plain(add_collection_columns(std::slice::from_ref(&table.name))),
        &expect_file!["../golden/add_collection_columns.sql"],
    );
    check(
        plain(trusted(collection_rows(table).copy())),
        &expect_file!["../golden/copy_collection_records.sql"],
    );
    check(plain(trusted(positioned_rows(table).copy())), &expect_file!["../golden/copy_in_positions.sql"]);
    check(
        Ok(lock_collection_records(table, keys.to_vec())),
        &expect_file!["../golden/lock_collection_records.sql"],
    );
    check(
        Ok(change_collection_records(table, &[changed])),
        &expect_file!["../golden/change_collection_records.sql"],
    );
    check(
        Ok(sample_collection_records(table, (10, 120))),
        &expect_file!["../golden/sample_collection_records.sql"],
    );
    let of_service = Table::of(records::Service::Query);
    check(
        Ok(sample_collection_records(&of_service, (10, 120))),
        &expect_file!["../golden/sample_service_records.sql"],
    );
    check(
        list_collection_records(table, rows, parts, (Some(1), 2)),
        &expect_file!["../golden/list_collection_records.sql"],
    );
    check(
        Ok(collection_records(table, keys.to_vec(), RecordParts::default())),
        &expect_file!["../golden/collection_records.sql"],
    );
    check(Ok(count_collection_records(table)), &expect_file!["../golden/count_collection_records.sql"]);
    check(Ok(rows_of_clients(table)), &expect_file!["../golden/rows_of_clients.sql"]);
    check(
        delete_collection_records(table, all, Some(1)),
        &expect_file!["../golden/delete_collection_records.sql"],
    );
    check(
        nearest_collection_records(table, rows, (embedding, 5), Some(100)),
        &expect_file!["../golden/nearest_collection_records.sql"],
    );
    check(
        nearest_records(table, None, (3, embedding, 5), parts, NearestBy::Exact),
        &expect_file!["../golden/nearest_records.sql"],
    );
    check(
        nearest_records(table, Some(&filter), (0, embedding, 5), parts, NearestBy::ExactUpTo(9)),
        &expect_file!["../golden/nearest_records_up_to.sql"],
    );
    check(
        nearest_records(table, None, (0, embedding, 5), parts, NearestBy::Index(Precision::Full)),
        &expect_file!["../golden/nearest_records_by_index.sql"],
    );
    check(Ok(collection_version(Uuid::nil())), &expect_file!["../golden/collection_version.sql"]);
    check(
        nearest_collection_records_by_index(table, None, (embedding, 5), Precision::Half),
        &expect_file!["../golden/nearest_collection_records_by_index.sql"],
    );
}

#[test]
fn statements_about_a_shared_table_name_the_collection() {
    let shared = SharedTable { column: "of".to_owned(), id: Uuid::from_u128(7), name: "docs".to_owned() };
    let table = &Table { shared: Some(shared), ..table() };
    let rows = Rows { keys: None, filter: None };
    let embedding = &Embedding::from(vec![1.0, 2.0]);
    let statements = [
        list_collection_records(table, rows, RecordParts::default(), (Some(1), 2)),
        Ok(sample_collection_records(table, (10, 120))),
        Ok(count_collection_records(table)),
        Ok(delete_collection(table)),
        delete_collection_records(table, rows, None),
        delete_collection_records(table, rows, Some(1)),
        nearest_collection_records(table, rows, (embedding, 5), None),
        nearest_collection_records_by_index(table, None, (embedding, 5), Precision::Full),
        Ok(rows_of_clients(table)),
        Ok(has_rows_of_others(table, vec![Uuid::nil()])),
    ];
    for statement in statements {
        let Statement { sql, binds, .. } = statement.expect("PostgreSQL can do it");
        let place = binds.iter().position(|bind| matches!(bind, Bind::Text(name) if name == "docs"));
        let place = place.expect("the name is a value") + 1;
        assert!(sql.0.contains(&format!("\"of\" = ${place}")), "{}", sql.0);
    }
    check(
        Ok(Statement { sql: trusted(collection_rows(table).copy()), binds: Vec::new(), most_bytes: None }),
        &expect_file!["../golden/copy_records_of_shared_table.sql"],
    );
}
