//! Names that databases of users have.

use expect_test::expect_file;

use crate::prepared;

#[tokio::test]
async fn tables_and_columns_keep_their_names_and_types() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is made");
    database.prepare_bookkeeping().await.expect("the schema is made");
    let columns = test_database
        .texts(
            "select relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end
            from pg_attribute join pg_class on pg_class.oid = attrelid
            where relkind = 'r' and relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped
            order by relname::text collate \"C\", attnum",
        )
        .await;
    expect_file!["names/tables.txt"].assert_eq(&(columns.join("\n") + "\n"));
    let indexes = test_database
        .texts(
            "select indexrelid::regclass::text from pg_index join pg_class on pg_class.oid = indrelid
            where relnamespace = 'public'::regnamespace order by indexrelid::regclass::text collate \"C\"",
        )
        .await;
    expect_file!["names/indexes.txt"].assert_eq(&(indexes.join("\n") + "\n"));
}
