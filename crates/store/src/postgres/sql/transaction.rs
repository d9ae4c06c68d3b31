//! The statements that begin transactions, and their settings.

use std::time::Duration;

use uuid::Uuid;

use super::{Sql, condition::Bind, statement::Statement, trusted};

/// Begins a transaction whose statements have the `limits`, with `settings` that are local to it, in one message.
pub(crate) fn begin(limits: &StatementLimits, of_session: &[Sql], settings: &[Sql]) -> Sql {
    trusted(format!("begin; {}", all_settings(limits, of_session, settings)))
}

/// Begins a transaction without time-outs, regardless of the role's settings, in one message; it ends if the client
/// disconnects. With `looking`, it is read-only and has this statement time-out.
pub(crate) fn begin_unlimited(
    limits: &StatementLimits,
    of_session: &[Sql],
    looking: Option<Duration>,
) -> Sql {
    trusted(unlimited("begin", limits, of_session, looking))
}

/// Begins a transaction that changes nothing and has one snapshot for as long as it lasts, in which values are written as
/// texts in one way, whatever the role's settings say.
pub(crate) fn begin_snapshot(limits: &StatementLimits, of_session: &[Sql]) -> Sql {
    let begin = "begin isolation level repeatable read read only";
    let texts = "set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; set local intervalstyle = 'postgres'; set local bytea_output = 'hex'; set local extra_float_digits = 1";
    trusted(format!("{}; {texts}", unlimited(begin, limits, of_session, None)))
}

fn unlimited(begin: &str, limits: &StatementLimits, of_session: &[Sql], looking: Option<Duration>) -> String {
    // Not every server has all of these settings.
    let mut statements = format!(
        "{begin}; select set_config(name, '0', true)
from unnest(array['statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout']) as name
where current_setting(name, true) <> '0'"
    );
    let looks_for_client = limits.looks_for_client.then(|| LOOK_FOR_CLIENT.to_owned());
    let looking = looking.map(|timeout| {
        let timeout_ms = timeout.as_millis();
        format!("set local transaction_read_only = on; set local statement_timeout = {timeout_ms}")
    });
    let of_session = of_session.iter().map(|setting| setting.0.clone());
    for setting in looks_for_client.into_iter().chain(of_session).chain(looking) {
        statements.push_str("; ");
        statements.push_str(&setting);
    }
    statements
}

/// Makes the server return `word`.
pub(crate) fn echo(word: Uuid) -> Sql {
    trusted(format!("select '{word}'"))
}

/// Rolls a transaction back and then makes the server return `word`.
pub(crate) fn roll_back_and_echo(word: Uuid) -> Sql {
    trusted(format!("rollback; select '{word}'"))
}

/// Limits of the statements of services.
#[derive(Clone, Debug)]
pub(crate) struct StatementLimits {
    /// After so long.
    pub(crate) statement_ms: i32,
    /// After so long a wait for a lock.
    pub(crate) lock_ms: i32,
    /// When the server detects that the client has disconnected, if it can.
    pub(crate) looks_for_client: bool,
}

/// How often the server checks the client's connection.
const LOOK_FOR_CLIENT: &str = "set local client_connection_check_interval = 500";

/// Sets that in a transaction of its own, which fails if the server does not support the check.
pub(crate) fn look_for_client() -> Sql {
    trusted(format!("begin; {LOOK_FOR_CLIENT}; rollback"))
}

fn all_settings(limits: &StatementLimits, of_session: &[Sql], settings: &[Sql]) -> String {
    let StatementLimits { statement_ms, lock_ms, looks_for_client } = limits;
    let mut statements =
        format!("set local statement_timeout = {statement_ms}; set local lock_timeout = {lock_ms}");
    if *looks_for_client {
        statements.push_str("; ");
        statements.push_str(LOOK_FOR_CLIENT);
    }
    for setting in of_session.iter().chain(settings) {
        statements.push_str("; ");
        statements.push_str(&setting.0);
    }
    statements
}

/// Begins a read-only transaction with one snapshot, without parallel workers, and with the statement time-out
/// `timeout_ms`.
pub(crate) fn begin_replay(timeout_ms: i32, of_session: &[Sql]) -> Sql {
    let mut statements = format!(
        "begin isolation level repeatable read read only; set local statement_timeout = {timeout_ms}; set local max_parallel_workers_per_gather = 0"
    );
    for setting in of_session {
        statements.push_str("; ");
        statements.push_str(&setting.0);
    }
    trusted(statements)
}

/// A statement whose values are all numbers, with its local settings, as text for one message, which is one
/// transaction: one round trip instead of four.
pub(crate) fn at_once(
    limits: &StatementLimits,
    (of_session, settings): (&[Sql], &[Sql]),
    statement: Statement,
) -> Sql {
    let mut sql = statement.sql.0;
    // The last one first, since `$1` is a prefix of `$10`.
    for (place, bind) in statement.binds.iter().enumerate().rev() {
        let placeholder = format!("${}", place + 1);
        sql = match bind {
            Bind::Whole(value) => sql.replace(&placeholder, &value.to_string()),
            Bind::Real(value) => sql.replace(&placeholder, &value.to_string()),
            Bind::Reals(values) => {
                // In pgvector's notation, which is parsed faster than an array.
                let vector = serde_json::to_string(values).expect("numbers are JSON");
                sql.replace(&format!("{placeholder}::real[]"), &format!("'{vector}'"))
            }
            _ => unreachable!("texts are never part of a statement"),
        };
    }
    trusted(format!("{}; {sql}", all_settings(limits, of_session, settings)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::sql::set_probes;

    #[test]
    fn limits_are_set_with_the_message_that_begins() {
        assert_eq!(
            begin(&limits(false), &[], &[set_probes(5)]).0,
            "begin; set local statement_timeout = 30000; set local lock_timeout = 5000; set local ivfflat.probes = 5"
        );
        assert_eq!(
            begin(&limits(true), &[], &[]).0,
            "begin; set local statement_timeout = 30000; set local lock_timeout = 5000; set local client_connection_check_interval = 500"
        );
    }

    fn limits(looks_for_client: bool) -> StatementLimits {
        StatementLimits { statement_ms: 30_000, lock_ms: 5_000, looks_for_client }
    }
}
