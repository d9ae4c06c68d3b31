//! A full disk.

use provision::Durability;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use test_support::{PostgresServer, SmallTablespace};

#[tokio::test]
async fn full_tablespace_refuses_rows_until_it_grows() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let Some(mut tablespace) = SmallTablespace::create(&server, "target", 8).await else { return };
    let mut connection = PgConnection::connect(tablespace.url()).await.expect("the database answers");
    connection.execute("create table filling (n int)").await.expect("an empty table fits");
    // About 36 MB, and 7 MB outside of the tablespace.
    let insert = "insert into filling select generate_series(1, 1000000)";
    connection
        .execute("create temporary table elsewhere as select generate_series(1, 200000) as n")
        .await
        .expect("temporary tables are outside of it");
    let error = connection.execute(insert).await.expect_err("there is no space");
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(code.as_deref(), Some("53100"), "{error}");
    tablespace.grow(48);
    connection.execute(insert).await.expect("now it fits");
    let row = connection.fetch_one("select count(*) from filling").await.expect("the table reads");
    assert_eq!(row.get::<i64, _>(0), 1_000_000);
}
