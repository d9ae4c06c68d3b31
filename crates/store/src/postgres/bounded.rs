//! Rows of an answer, of which there are only so many bytes: limits of requests count rows, and each may have megabytes.

use futures_util::{Stream, TryStreamExt as _};
use sqlx::{
    PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    sql::{Bind, service::Statement},
    unnamed::on,
};
use crate::storage::MAX_ANSWER_BYTES;

/// The rows have more bytes than an answer may.
#[derive(Debug, thiserror::Error)]
#[error("the rows have more than {MAX_ANSWER_BYTES} bytes")]
pub(crate) struct Overrun;

/// The rows that `statement` answers.
///
/// # Errors
/// With an [`Overrun`] inside, where there are more bytes than an answer may have.
pub(crate) async fn fetch_answer(
    connection: &mut PgConnection,
    statement: Statement,
) -> sqlx::Result<Vec<PgRow>> {
    within_answer(bound(statement).fetch(on(connection))).await
}

/// All `rows`, on the same condition.
pub(crate) async fn within_answer(
    rows: impl Stream<Item = sqlx::Result<PgRow>> + Unpin,
) -> sqlx::Result<Vec<PgRow>> {
    let (rows, is_whole) = up_to(rows, MAX_ANSWER_BYTES).await?;
    if is_whole { Ok(rows) } else { Err(sqlx::Error::Decode(Overrun.into())) }
}

/// The first of `rows` that have up to `most_bytes` together, one at least; and whether those are all.
pub(crate) async fn up_to(
    mut rows: impl Stream<Item = sqlx::Result<PgRow>> + Unpin,
    most_bytes: usize,
) -> sqlx::Result<(Vec<PgRow>, bool)> {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += bytes_of(&row);
        if bytes > most_bytes && !kept.is_empty() {
            return Ok((kept, false));
        }
        kept.push(row);
    }
    Ok((kept, true))
}

fn bytes_of(row: &PgRow) -> usize {
    let column = |index| row.try_get_raw(index).ok()?.as_bytes().ok().map(<[u8]>::len);
    (0..row.len()).filter_map(column).sum()
}

/// The statement with its values.
pub(crate) fn bound(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    let query = sqlx::query(statement.sql);
    statement.binds.into_iter().fold(query, |query, bind| match bind {
        Bind::Text(text) => query.bind(text),
        Bind::Texts(texts) => query.bind(texts),
        Bind::OptionalTexts(texts) => query.bind(texts),
        Bind::Key(key) => query.bind(key),
        Bind::Keys(keys) => query.bind(keys),
        Bind::Time(time) => query.bind(time),
        Bind::Times(times) => query.bind(times),
        Bind::Whole(number) => query.bind(number),
        Bind::Real(number) => query.bind(number),
        Bind::Reals(numbers) => query.bind(numbers),
    })
}
