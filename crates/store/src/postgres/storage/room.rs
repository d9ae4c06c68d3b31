//! Whether the disks of a service's tables have room, without a row that is written.

use records::Service;
use sqlx::PgConnection;

use crate::postgres::{Table, unnamed::on};

/// Results are the judge's too, wherever its outputs are.
const RESULTS: &str = "evaluation_results";

/// Has the server write a temporary file of some hundred kilobytes into each tablespace in which tables and indexes of
/// `service` are. A tablespace may be a disk of its own; the file is gone with the transaction.
///
/// # Errors
/// The server's: that there is no room, most of all.
pub(super) async fn check(connection: &mut PgConnection, service: Service) -> sqlx::Result<()> {
    let tables = match service {
        Service::Judge => vec![Table::of(service).name, RESULTS.to_owned()],
        Service::Query | Service::Evaluation => vec![Table::of(service).name],
    };
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
