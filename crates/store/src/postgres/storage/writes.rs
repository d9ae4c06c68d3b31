//! Whether the tables of a service take writes, without a row that is written.

use records::Service;
use sqlx::PgConnection;

use crate::postgres::{own_tables, unnamed::on};

/// What is amiss with the tables of `service`: one that is not there, or that the role may not read or add rows to.
///
/// # Errors
/// The server's.
pub(super) async fn refusal(connection: &mut PgConnection, service: Service) -> sqlx::Result<Option<String>> {
    let tables = own_tables::tables_of(service);
    let refusing = sqlx::query!(
        r#"select
            name as "name!",
            relation is null as "is_missing!",
            not coalesce(has_any_column_privilege(relation, 'select'), false) as "is_unreadable!"
        from unnest($1::text[]) as name, to_regclass(quote_ident(name)) as relation
        where relation is null
            or not has_any_column_privilege(relation, 'select')
            or not has_any_column_privilege(relation, 'insert')
        order by name
        limit 1"#,
        &tables
    )
    .fetch_optional(on(connection))
    .await?;
    Ok(refusing.map(|table| match table {
        table if table.is_missing => format!("table `{}` is missing", table.name),
        table if table.is_unreadable => {
            format!("the role may not read table `{}`: grant select on it", table.name)
        }
        table => format!("the role may not add rows to table `{}`: grant insert on it", table.name),
    }))
}

/// Has the server write a temporary file of some hundred kilobytes into each tablespace in which tables and indexes of
/// `service` are. A tablespace may be a disk of its own; the file is gone with the transaction.
///
/// # Errors
/// The server's: that there is no room, most of all.
pub(super) async fn room(connection: &mut PgConnection, service: Service) -> sqlx::Result<()> {
    let tables = own_tables::tables_of(service);
    // The server refuses temporary files where the role may create nothing, but for the database's own tablespace.
    let spaces = sqlx::query_scalar!(
        r#"with relation as (
            select c.oid, c.reltablespace from unnest($1::text[]) as name join pg_class c on c.oid = to_regclass(name)
        )
        select distinct quote_ident(s.spcname) as "name!"
        from (
            select reltablespace from relation
            union
            select i.reltablespace from relation join pg_index on indrelid = relation.oid join pg_class i on i.oid = indexrelid
        ) as used
        join pg_database d on d.datname = current_database()
        join pg_tablespace s on s.oid = coalesce(nullif(used.reltablespace, 0), d.dattablespace)
        where s.oid = d.dattablespace or has_tablespace_privilege(s.oid, 'create')
        order by 1"#,
        &tables
    )
    .fetch_all(on(connection))
    .await?;
    for space in spaces {
        sqlx::query_scalar!("select set_config('temp_tablespaces', $1, true)", space)
            .fetch_one(on(connection))
            .await?;
        // A list that is larger than the memory for it goes to a temporary file.
        sqlx::raw_sql("set local work_mem = '64kB'; select count(*) from generate_series(1, 20000)")
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
