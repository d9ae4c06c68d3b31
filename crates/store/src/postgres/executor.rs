//! A database as the executor of single statements, each in its own transaction; and statements on a table that may
//! not exist yet.

use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _, TryStreamExt as _},
};
use sqlx::{
    Either, Execute, Executor, PgConnection, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::{Database, relations::has_table, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

impl Database {
    /// Does `work` in a transaction if the database has the table `name`, otherwise nothing: a database created by an
    /// older version gets the table when its schema is updated. Errors are reported as failures of `operation`.
    pub(super) async fn if_table_exists<T: Default>(
        &self,
        name: &str,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        self.in_transaction(async |connection| {
            if !has_table(connection, name).await.during(operation)? {
                return Ok(T::default());
            }
            work(connection).await.during(operation)
        })
        .await
    }
}

impl<'c> Executor<'c> for &'c Database {
    type Database = Postgres;

    /// All rows are read before the transaction ends and then returned.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answer = async move {
            let mut transaction = self.begin_unlimited().await?;
            let answer: Vec<_> = on(&mut transaction).fetch_many(query).try_collect().await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(stream::iter(answer.into_iter().map(Ok)))
        };
        stream::once(answer).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut transaction = self.begin_unlimited().await?;
            let row = on(&mut transaction).fetch_optional(query).await?;
            transaction.commit().await?;
            Ok(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut transaction = self.begin_unlimited().await?;
            let statement = on(&mut transaction).prepare_with(sql, parameters).await?;
            transaction.commit().await?;
            Ok(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut transaction = self.begin_unlimited().await?;
            let described = on(&mut transaction).describe(sql).await?;
            transaction.commit().await?;
            Ok(described)
        })
    }
}
