//! The version and settings of a server that affect the results and the speed of searches.

use serde::Serialize;
use sqlx::PgConnection;

use super::{Database, Session, own_tables, unnamed::on, vector_index::machine_bytes};
use crate::{Error, postgres::error::StatementContext as _};

const OPERATION: &str = "read the facts of the server";

/// A server and a database on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFacts {
    /// Host, port and database, without credentials.
    pub address: String,
    /// The database.
    pub database: String,
    /// The role of the connection.
    pub role: String,
    /// PostgreSQL's version, such as `18.6`.
    pub postgresql: String,
    /// The same as in `server_version_num`, such as 180006.
    pub postgresql_number: i32,
    /// pgvector's version in the database; `None` while the extension is not created.
    pub pgvector: Option<String>,
    /// The version of the pgvector package on the server, whose library is the one in use; `None` without the package.
    pub pgvector_package: Option<String>,
    /// The database as seen by our session.
    pub session: Session,
    /// Other extensions of the database and their versions, by name.
    pub extensions: Vec<(String, String)>,
    /// Relevant settings of this session.
    pub settings: Vec<ServerSetting>,
    /// Whether the server can compile statements (`jit`).
    pub can_compile: bool,
    /// Memory of the machine, if the server seems to run on this one.
    pub machine_bytes: Option<u64>,
    /// Size limit of `/dev/shm`, if the server seems to run on this machine.
    pub shared_memory_bytes: Option<u64>,
    /// Whether it is a standby, which is read-only.
    pub is_standby: bool,
    /// Whether the role can see the activity of other roles' sessions.
    pub sees_sessions: bool,
    /// Log tables that the role may not read, by name.
    pub unreadable: Vec<String>,
    /// The oldest open transaction in this database that the role can see and that keeps VACUUM from removing rows.
    pub oldest_transaction: Option<OpenTransaction>,
}

/// A setting of the server in our session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSetting {
    /// Its name.
    pub name: String,
    /// Its value, with its unit if it has one.
    pub value: String,
    /// The same in bytes, if it is an amount of memory.
    pub bytes: Option<u64>,
    /// The source of the value.
    pub source: SettingSource,
}

/// The source of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// `alter database … set`.
    Database,
    /// `alter role … set`.
    Role,
    /// `alter role … in database … set`.
    RoleInDatabase,
    /// The server's command line or environment, which files do not override.
    CommandLine,
    /// The connection's own options.
    Connection,
    /// A file or the default.
    Server,
}

/// An open transaction of another session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenTransaction {
    /// The session's process on the server.
    pub pid: i32,
    /// Its role.
    pub role: String,
    /// How long it has been open.
    pub seconds: u64,
}

impl ServerFacts {
    /// The setting `name`, if it exists.
    pub fn setting(&self, name: &str) -> Option<&ServerSetting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

impl Database {
    /// Reads the facts of the server without changing anything. A server or pgvector that is too old is not an error.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn server_facts(&self) -> Result<ServerFacts, Error> {
        self.in_transaction(async |connection| {
        let server = sqlx::query!(
            r#"
            select
                current_database()::text as "database!",
                current_user::text as "role!",
                split_part(current_setting('server_version'), ' ', 1) as "version!",
                current_setting('server_version_num')::int as "number!",
                (select extversion from pg_extension where extname = 'vector') as pgvector,
                (select default_version from pg_available_extensions where name = 'vector') as package,
                pg_jit_available() as "can_compile!",
                pg_is_in_recovery() as "is_standby!",
                pg_has_role(current_user, 'pg_read_all_stats', 'usage') as "sees_sessions!",
                array(
                    select name
                    from unnest($1::text[]) as name
                    where to_regclass(name) is not null and not has_table_privilege(to_regclass(name)::oid, 'select')
                    order by name
                ) as "unreadable!"
            "#,
            &own_tables::kept_names()
        )
        .fetch_one(on(connection))
        .await
        .during(OPERATION)?;
        let extensions = sqlx::query!(
            r#"
            select extname as "name!", extversion as "version!"
            from pg_extension
            where extname not in ('vector', 'plpgsql')
            order by extname
            "#
        )
        .fetch_all(on(connection))
        .await
        .during(OPERATION)?;
        Ok(ServerFacts {
            address: self.address().to_owned(),
            database: server.database,
            role: server.role,
            postgresql: server.version,
            postgresql_number: server.number,
            pgvector: server.pgvector,
            pgvector_package: server.package,
            session: self.session(),
            extensions: extensions.into_iter().map(|one| (one.name, one.version)).collect(),
            settings: settings(connection).await?,
            can_compile: server.can_compile,
            machine_bytes: machine_bytes(self),
            shared_memory_bytes: if self.is_local() { shared_memory_bytes() } else { None },
            is_standby: server.is_standby,
            sees_sessions: server.sees_sessions,
            unreadable: server.unreadable,
            oldest_transaction: oldest_transaction(connection).await?,
        })}).await
    }
}

async fn settings(connection: &mut PgConnection) -> Result<Vec<ServerSetting>, Error> {
    let rows = sqlx::query!(
        r#"
        select
            name as "name!",
            current_setting(name) as "value!",
            case
                when unit in ('B', 'kB', '8kB', 'MB') and setting not like '-%'
                then pg_size_bytes(current_setting(name))
            end as bytes,
            source as "source!"
        from pg_settings
        where name in (
            'autovacuum', 'dynamic_shared_memory_type', 'effective_cache_size', 'fsync', 'full_page_writes', 'jit', 'jit_above_cost',
            'maintenance_work_mem', 'max_parallel_maintenance_workers', 'random_page_cost', 'seq_page_cost',
            'shared_buffers', 'track_counts', 'work_mem'
        )
        order by name
        "#
    )
    .fetch_all(on(connection))
    .await
    .during("read the server's settings")?;
    Ok(rows
        .into_iter()
        .map(|row| ServerSetting {
            name: row.name,
            value: row.value,
            bytes: row.bytes.map(i64::unsigned_abs),
            source: match row.source.as_str() {
                "database" => SettingSource::Database,
                "user" => SettingSource::Role,
                "database user" => SettingSource::RoleInDatabase,
                "command line" | "environment variable" => SettingSource::CommandLine,
                "client" | "session" => SettingSource::Connection,
                _ => SettingSource::Server,
            },
        })
        .collect())
}

/// The size limit of `/dev/shm`, in which PostgreSQL's processes share memory (`dynamic_shared_memory_type` `posix`);
/// `None` if it is only limited by the machine's memory.
fn shared_memory_bytes() -> Option<u64> {
    shared_memory_limit(&std::fs::read_to_string("/proc/mounts").ok()?)
}

/// The same from the lines of `/proc/mounts`, of which the last one counts.
fn shared_memory_limit(mounts: &str) -> Option<u64> {
    let options = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(1) == Some("/dev/shm")).then(|| fields.nth(1)).flatten()
    })?;
    let size = options.split(',').find_map(|option| option.strip_prefix("size="))?;
    let number: u64 = size.trim_end_matches(['k', 'm', 'g']).parse().ok()?;
    let unit = match size.as_bytes().last() {
        Some(b'k') => 1 << 10,
        Some(b'm') => 1 << 20,
        Some(b'g') => 1 << 30,
        _ => 1,
    };
    number.checked_mul(unit)
}

async fn oldest_transaction(connection: &mut PgConnection) -> Result<Option<OpenTransaction>, Error> {
    let oldest = sqlx::query!(
        r#"
        select
            pid as "pid!",
            coalesce(usename, '')::text as "role!",
            greatest(extract(epoch from clock_timestamp() - xact_start), 0)::bigint as "seconds!"
        from pg_stat_activity
        where datname = current_database()
            and pid <> pg_backend_pid()
            and xact_start is not null
            and (backend_xmin is not null or backend_xid is not null)
            and backend_type = 'client backend'
        order by xact_start
        limit 1
        "#
    )
    .fetch_optional(on(connection))
    .await
    .during("look for open transactions")?;
    Ok(oldest.map(|oldest| OpenTransaction {
        pid: oldest.pid,
        role: oldest.role,
        seconds: oldest.seconds.unsigned_abs(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_of_shared_memory_is_that_of_the_last_mount() {
        let docker = "overlay / overlay rw 0 0\nshm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k,inode64 0 0\n";
        assert_eq!(shared_memory_limit(docker), Some(64 << 20));
        let remounted = format!("tmpfs /dev/shm tmpfs rw,nosuid 0 0\n{docker}");
        assert_eq!(shared_memory_limit(&remounted), Some(64 << 20));
        assert_eq!(shared_memory_limit("tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n"), None);
        assert_eq!(shared_memory_limit("tmpfs /dev/shm tmpfs rw,size=99999999999999999999k 0 0\n"), None);
        assert_eq!(shared_memory_limit(""), None);
    }
}
