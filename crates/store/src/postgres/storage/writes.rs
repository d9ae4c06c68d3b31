//! Checks whether the tables of a service accept writes, without writing rows.

use records::Service;
use sqlx::PgConnection;

use crate::postgres::{own_tables, unnamed::on};

/// The problem of the tables of `service`, if any: a missing table or column, or one that the role may not read or insert
/// into.
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
    if refusing.is_none() {
        return missing_column(connection, service).await;
    }
    Ok(refusing.map(|table| match table {
        table if table.is_missing => format!("table `{}` is missing", table.name),
        table if table.is_unreadable => {
            format!("the role may not read table `{}`: grant select on it", table.name)
        }
        table => format!("the role may not add rows to table `{}`: grant insert on it", table.name),
    }))
}

async fn missing_column(connection: &mut PgConnection, service: Service) -> sqlx::Result<Option<String>> {
    let (tables, columns): (Vec<String>, Vec<String>) = own_tables::columns_of(service).into_iter().unzip();
    let missing = sqlx::query!(
        r#"select
            needed.table_name as "table_name!",
            needed.column_name as "column_name!",
            attnum is null as "is_missing!"
        from unnest($1::text[], $2::text[]) with ordinality as needed(table_name, column_name, place)
        left join pg_attribute on attrelid = to_regclass(quote_ident(needed.table_name))
            and attname::text = needed.column_name
            and attnum > 0
            and not attisdropped
        where attnum is null or not has_column_privilege(attrelid, attnum, 'select')
        order by place
        limit 1"#,
        &tables,
        &columns
    )
    .fetch_optional(on(connection))
    .await?;
    Ok(missing.map(|missing| {
        let (table, column) = (missing.table_name, missing.column_name);
        match missing.is_missing {
            true => format!("column `{column}` of table `{table}` is missing"),
            false => {
                format!("the role may not read column `{column}` of table `{table}`: grant select on it")
            }
        }
    }))
}

/// Makes the server write a temporary file of some hundred kilobytes into each tablespace with tables or indexes of
/// `service`. A tablespace may be a separate disk; the file is deleted with the transaction.
///
/// # Errors
/// The server's error, most likely that the disk is full.
pub(super) async fn check_disk_space(connection: &mut PgConnection, service: Service) -> sqlx::Result<()> {
    let tables = own_tables::tables_of(service);
    // Except in the database's default tablespace, the server rejects temporary files if the role may not create
    // objects.
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
        // An array larger than `work_mem` spills to a temporary file.
        sqlx::raw_sql("set local work_mem = '64kB'; select count(*) from generate_series(1, 20000)")
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
