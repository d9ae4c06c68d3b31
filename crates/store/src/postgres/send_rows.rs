//! Writes encoded rows: by COPY, or a few by INSERT.
//!
//! sqlx 0.9.0 does not set TCP_NODELAY (transact-rs/sqlx#4335), so over TCP, the message that ends a COPY waits until the
//! server has acknowledged the one with the rows, for which it takes 40 ms. An INSERT is a single message. Its parameters are
//! the fields that COPY would get, read by the same functions of the server; only vectors are sent as arrays of the same
//! components, since the driver would have to look up their type.

use sqlx::{
    Encode, PgConnection, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, types::Oid},
};

use super::{
    concise_error::concise,
    copy_format::{TRAILER, encoded_fields, write_real_array},
    sql::encoded_rows::RowTarget,
    unnamed::on,
};

/// Bytes per message, so that the driver's buffer stays small.
const SEND_BYTES: usize = 1 << 18;

/// Maximum number of fields for an INSERT. The server needs longer for each than in a COPY.
const MAX_INSERTED_FIELDS: usize = 1_000;

/// Writes `rows`, in the format of COPY without the trailer, into `target`. Returns how many of them the server has written.
pub(super) async fn send_rows(
    connection: &mut PgConnection,
    target: &RowTarget<'_>,
    rows: &[u8],
) -> sqlx::Result<u64> {
    if rows.len() <= SEND_BYTES
        && let Some(fields) = encoded_fields(rows, MAX_INSERTED_FIELDS)
    {
        return match fields.is_empty() {
            true => Ok(0),
            false => insert(connection, target, &fields).await.map_err(concise),
        };
    }
    copy(connection, &target.copy(), rows).await.map_err(concise)
}

async fn copy(connection: &mut PgConnection, statement: &str, rows: &[u8]) -> sqlx::Result<u64> {
    let mut copy = connection.copy_in_raw(statement).await?;
    for piece in rows.chunks(SEND_BYTES).chain([TRAILER]) {
        copy.send(piece).await?;
    }
    copy.finish().await
}

async fn insert(
    connection: &mut PgConnection,
    target: &RowTarget<'_>,
    fields: &[Option<&[u8]>],
) -> sqlx::Result<u64> {
    let mut statement = sqlx::query(target.insert(fields.len() / target.fields()));
    for (place, field) in fields.iter().enumerate() {
        let is_vector = target.is_vector(place % target.fields());
        statement = statement.bind(Field { bytes: *field, is_vector });
    }
    Ok(statement.execute(on(connection)).await?.rows_affected())
}

/// An encoded field.
struct Field<'f> {
    /// `None` is NULL.
    bytes: Option<&'f [u8]>,
    is_vector: bool,
}

impl Type<Postgres> for Field<'_> {
    /// That of the column or the cast.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Field<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match self.bytes {
            None => return Ok(IsNull::Yes),
            Some(vector) if self.is_vector => {
                write_real_array(buffer, vector).ok_or("a vector is not encoded as pgvector reads it")?;
            }
            Some(bytes) => buffer.extend(bytes),
        }
        Ok(IsNull::No)
    }
}
