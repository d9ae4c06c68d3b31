//! Limits the bytes of an answer: the limits of requests count rows, each of which may have megabytes.
//!
//! Most answers are small. So a statement first omits the texts if they exceed a small limit, and a large answer is
//! requested again when a permit for large answers is free ([`Database::begin_large`](super::Database::begin_large)):
//! it keeps neither rows nor a connection while it waits, and small answers do not wait for it.

use futures_util::{Stream, TryStreamExt as _};
use sqlx::{
    PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    sql::{Bind, statement::Statement},
    unnamed::on,
};
use crate::storage::MAX_ANSWER_BYTES;

/// The permitted size of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerSize {
    /// Small answers, which need no permit.
    Small,
    /// All answers, with a permit.
    Large,
}

impl AnswerSize {
    pub(crate) fn most_bytes(self) -> usize {
        match self {
            Self::Small => 256 << 10,
            Self::Large => MAX_ANSWER_BYTES,
        }
    }
}

/// The rows have more bytes than an answer may.
#[derive(Debug, thiserror::Error)]
#[error("the rows have more than {most_bytes} bytes")]
pub(crate) struct AnswerTooLarge {
    most_bytes: usize,
}

/// The rows that `statement` returns.
///
/// # Errors
/// With an [`AnswerTooLarge`] inside if the rows exceed the limit.
pub(crate) async fn fetch_answer(
    connection: &mut PgConnection,
    statement: &Statement,
    size: AnswerSize,
) -> sqlx::Result<Vec<PgRow>> {
    let most_bytes = size.most_bytes();
    let rows = within_answer(bound(statement.within(most_bytes)).fetch(on(connection)), size).await?;
    match of_weight(rows, most_bytes) {
        Ok(rows) => Ok(rows),
        Err(1) if size == AnswerSize::Large => {
            bound(statement.within(usize::MAX)).fetch_all(on(connection)).await
        }
        Err(_) => Err(too_large(most_bytes)),
    }
}

/// The rows, or their number if PostgreSQL omitted their texts.
pub(crate) fn of_weight(rows: Vec<PgRow>, most_bytes: usize) -> Result<Vec<PgRow>, usize> {
    // Statements without a size limit do not have this column.
    let bytes = rows.first().and_then(|row| row.try_get::<i64, _>("bytes").ok());
    let is_left_out =
        bytes.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > most_bytes));
    if is_left_out { Err(rows.len()) } else { Ok(rows) }
}

/// All `rows`, if they are within the limit.
///
/// # Errors
/// As for [`fetch_answer`].
pub(crate) async fn within_answer(
    rows: impl Stream<Item = sqlx::Result<PgRow>> + Unpin,
    size: AnswerSize,
) -> sqlx::Result<Vec<PgRow>> {
    let most_bytes = size.most_bytes();
    let (rows, is_whole) = up_to(rows, most_bytes).await?;
    if is_whole { Ok(rows) } else { Err(too_large(most_bytes)) }
}

pub(crate) fn too_large(most_bytes: usize) -> sqlx::Error {
    sqlx::Error::Decode(AnswerTooLarge { most_bytes }.into())
}

/// The first of `rows` with up to `most_bytes` in total, at least one; and whether those are all.
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

/// The bytes of the columns of a row.
pub(crate) fn bytes_of(row: &PgRow) -> usize {
    let column = |index| row.try_get_raw(index).ok()?.as_bytes().ok().map(<[u8]>::len);
    (0..row.len()).filter_map(column).sum()
}

/// The statement with its values.
pub(crate) fn bound(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    let query = sqlx::query(statement.sql);
    statement.binds.into_iter().fold(query, |query, bind| match bind {
        Bind::Text(text) => query.bind(text),
        Bind::Texts(texts) | Bind::Objects(texts) => query.bind(texts),
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

/// Runs `statement` in the transaction of `connection`.
pub(crate) async fn fetch(connection: &mut PgConnection, statement: Statement) -> sqlx::Result<Vec<PgRow>> {
    bound(statement).fetch_all(on(connection)).await
}
