//! What a server is: a replica must be a standby of the primary's cluster, and show the same tables.

use std::fmt;

use sqlx::PgConnection;

use crate::postgres::{
    connection_fault::ConnectionFault, failure::is_transient, lsn::Lsn, sql::transaction::begin_look,
    unnamed::on,
};

/// What a server is, and where it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Of the cluster; standbys have that of their primary.
    system: i64,
    is_standby: bool,
    database: String,
    /// The schemas that are searched for tables.
    schemas: Vec<String>,
    /// Up to where it has flushed the log, or replayed it.
    pub(super) position: Option<Lsn>,
    /// Where it inserts the next record; `None` of a standby.
    pub(super) inserts_at: Option<Lsn>,
    pub(super) settings: StandbySettings,
}

/// The settings of a standby that decide what happens where a read and what is replayed conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbySettings {
    /// Whether the primary keeps dead rows that the standby's reads need.
    pub hot_standby_feedback: bool,
    /// How long replaying waits for a read, with its unit; `-1` is forever.
    pub max_standby_streaming_delay: String,
}

/// Why a server is not used as a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) address: String,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NotStandby,
    Cluster {
        found: i64,
        expected: i64,
    },
    Database {
        found: String,
        expected: String,
    },
    Schemas {
        found: Vec<String>,
        expected: Vec<String>,
    },
    /// It does not answer, as it says.
    Unavailable(String),
    /// It rejects the connection for a reason that does not pass.
    Rejected(String),
}

/// Reads what the server of `connection` is, in a transaction of its own.
pub(super) async fn look(connection: &mut PgConnection) -> sqlx::Result<Identity> {
    sqlx::raw_sql(begin_look()).execute(&mut *connection).await?;
    let identity = identify(connection).await?;
    sqlx::raw_sql("commit").execute(connection).await?;
    Ok(identity)
}

/// Reads what the server of `connection` is.
pub(super) async fn identify(connection: &mut PgConnection) -> sqlx::Result<Identity> {
    let row = sqlx::query!(
        r#"
        select
            (select system_identifier from pg_control_system()) as "system!",
            pg_is_in_recovery() as "is_standby!",
            current_database()::text as "database!",
            current_schemas(false)::text[] as "schemas!",
            (
                case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end - '0/0'
            )::bigint as position,
            (case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end - '0/0')::bigint as inserts_at,
            current_setting('hot_standby_feedback')::bool as "hot_standby_feedback!",
            current_setting('max_standby_streaming_delay') as "max_standby_streaming_delay!"
        "#
    )
    .fetch_one(on(connection))
    .await?;
    Ok(Identity {
        system: row.system,
        is_standby: row.is_standby,
        database: row.database,
        schemas: row.schemas,
        position: row.position.map(Lsn::at),
        inserts_at: row.inserts_at.map(Lsn::at),
        settings: StandbySettings {
            hot_standby_feedback: row.hot_standby_feedback,
            max_standby_streaming_delay: row.max_standby_streaming_delay,
        },
    })
}

impl Identity {
    /// Checks that a server is a standby of `primary`.
    pub(super) fn check_standby_of(&self, primary: &Self) -> Result<(), Reason> {
        if self.system != primary.system {
            return Err(Reason::Cluster { found: self.system, expected: primary.system });
        }
        if self.database != primary.database {
            let (found, expected) = (self.database.clone(), primary.database.clone());
            return Err(Reason::Database { found, expected });
        }
        if self.schemas != primary.schemas {
            let (found, expected) = (self.schemas.clone(), primary.schemas.clone());
            return Err(Reason::Schemas { found, expected });
        }
        if !self.is_standby {
            return Err(Reason::NotStandby);
        }
        Ok(())
    }
}

impl Unfit {
    /// Whether it is a wrong server, as opposed to the right one in a state that may pass.
    pub(super) fn is_another_database(&self) -> bool {
        match self.reason {
            Reason::Cluster { .. }
            | Reason::Database { .. }
            | Reason::Schemas { .. }
            | Reason::Rejected(_) => true,
            // After a failover, the promoted replica is still named as one.
            Reason::NotStandby | Reason::Unavailable(_) => false,
        }
    }
}

impl Reason {
    /// Why there is no connection.
    pub(super) fn of_connect(error: sqlx::Error) -> Self {
        // A server that shuts down may close a connection in the middle of an answer.
        let passes = is_transient(&error) || matches!(error, sqlx::Error::Protocol(_));
        let words = ConnectionFault::at_connect(error).to_string();
        if passes { Self::Unavailable(words) } else { Self::Rejected(words) }
    }
}

impl std::error::Error for Unfit {}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used as a replica: {}", self.address, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStandby => f.write_str(
                "it is no standby, but accepts writes: name a standby of the primary, or leave this server out",
            ),
            Self::Cluster { found, expected } => write!(
                f,
                "its cluster has the system identifier {found}, the primary's has {expected}: name a server that was made from the primary, for instance by pg_basebackup"
            ),
            Self::Database { found, expected } => {
                write!(f, "expected database `{expected}`, found `{found}`: name the primary's database")
            }
            Self::Schemas { found, expected } => write!(
                f,
                "its role searches the schemas {}, the primary's searches {}: use the same role, or set its search_path",
                listed(found),
                listed(expected)
            ),
            Self::Unavailable(reason) | Self::Rejected(reason) => f.write_str(reason),
        }
    }
}

fn listed(schemas: &[String]) -> String {
    let quoted: Vec<String> = schemas.iter().map(|schema| format!("`{schema}`")).collect();
    if quoted.is_empty() { "(none)".to_owned() } else { quoted.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_standby_of_the_same_database_is_a_replica() {
        let of = |system, is_standby, database: &str, schema: &str| Identity {
            system,
            is_standby,
            database: database.to_owned(),
            schemas: vec![schema.to_owned()],
            position: None,
            inserts_at: None,
            settings: StandbySettings {
                hot_standby_feedback: true,
                max_standby_streaming_delay: "30s".to_owned(),
            },
        };
        let primary = of(1, false, "evals", "public");
        let check = |server: Identity| server.check_standby_of(&primary).map_err(|reason| reason.to_string());
        assert_eq!(check(of(1, true, "evals", "public")), Ok(()));
        for (server, says) in [
            (of(1, false, "evals", "public"), ["accepts writes", "name a standby"]),
            (of(2, true, "evals", "public"), ["system identifier 2", "pg_basebackup"]),
            (of(1, true, "postgres", "public"), ["expected database `evals`", "found `postgres`"]),
            (of(1, true, "evals", "other"), ["schemas `other`", "use the same role"]),
        ] {
            let error = check(server).expect_err("it is unfit");
            assert!(says.iter().all(|says| error.contains(says)), "{error}");
        }
    }
}
