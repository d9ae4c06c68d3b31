//! The statements that begin transactions, and their settings.

use std::time::Duration;

use uuid::Uuid;

use super::{Sql, condition::Bind, statement::Statement, trusted};

/// How a transaction begins.
pub(crate) struct Begin {
    /// The message that begins it, with its settings.
    pub(crate) message: Sql,
    /// With Citus, a second message with the settings that apply on the workers too: Citus sends it there as a whole.
    pub(crate) settings: Option<Sql>,
}

impl From<Sql> for Begin {
    fn from(message: Sql) -> Self {
        Self { message, settings: None }
    }
}

impl Begin {
    fn new(
        begin: &str,
        limits: &StatementLimits,
        (of_session, settings): (&[Sql], &[Sql]),
        last: Option<&str>,
    ) -> Self {
        let (with_begin, after): (_, &[Sql]) =
            if limits.has_citus { (&[] as &[Sql], settings) } else { (settings, &[]) };
        let mut message = format!("{begin}; {}", all_settings(limits, of_session, with_begin));
        if let Some(last) = last {
            message.push_str("; ");
            message.push_str(last);
        }
        let after: Vec<&str> = after.iter().map(|setting| setting.0.as_str()).collect();
        Self {
            message: trusted(reaching_shards(limits, message)),
            settings: (!after.is_empty()).then(|| trusted(after.join("; "))),
        }
    }
}

/// Begins a transaction whose statements have the `limits`, with `settings` that are local to it.
pub(crate) fn begin(limits: &StatementLimits, of_session: &[Sql], settings: &[Sql]) -> Begin {
    Begin::new("begin", limits, (of_session, settings), None)
}

/// Adds to a message that begins a transaction that later settings apply on the workers too. Must be last.
fn reaching_shards(limits: &StatementLimits, mut begin: String) -> String {
    if limits.has_citus {
        begin.push_str(
            "; set local citus.explain_all_tasks = on; set local citus.propagate_set_commands = 'local'",
        );
    }
    begin
}

/// The same for a transaction that changes nothing. On a replica, it returns what [`REPLAYED`] does.
pub(crate) fn begin_read(
    limits: &StatementLimits,
    (of_session, settings): (&[Sql], &[Sql]),
    on: ReadOn,
) -> Begin {
    Begin::new("begin read only", limits, (of_session, settings), (on == ReadOn::Replica).then_some(REPLAYED))
}

/// The kind of server on which a read is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOn {
    /// The server that accepts writes.
    Primary,
    /// A standby, which may lag behind.
    Replica,
}

/// Commits, and returns a position that is not before the commit's, as its distance from `0/0`; null on a standby. Replicas are
/// only sent what is flushed, so they may reach the position at which the next record is inserted much later.
pub(crate) const COMMIT_AND_LOCATE: &str = "commit; select (case
    when pg_is_in_recovery() then null
    when current_setting('synchronous_commit') = 'off' then pg_current_wal_insert_lsn()
    else pg_current_wal_flush_lsn()
end - '0/0')::bigint";

/// Returns up to which position a standby has replayed the log, as its distance from `0/0`; null if it is no standby. The
/// snapshots of later statements contain all of that.
pub(crate) const REPLAYED: &str =
    "select case when pg_is_in_recovery() then (pg_last_wal_replay_lsn() - '0/0')::bigint end as replayed";

/// [`REPLAYED`] as the first of the statements that are [sent at once](at_once).
pub(crate) fn replayed() -> Statement {
    Statement { sql: trusted(REPLAYED.to_owned()), binds: Vec::new(), most_bytes: None }
}

/// Begins a transaction that looks at the state of a server.
pub(crate) fn begin_look() -> Sql {
    trusted("begin read only; set local statement_timeout = 3000".to_owned())
}

/// Begins a transaction without time-outs, regardless of the role's settings, in one message; it ends if the client
/// disconnects. With `looking`, it is read-only and has this statement time-out.
pub(crate) fn begin_unlimited(
    limits: &StatementLimits,
    of_session: &[Sql],
    looking: Option<Duration>,
) -> Sql {
    trusted(reaching_shards(limits, unlimited("begin", limits, of_session, looking)))
}

/// Begins a transaction that changes nothing and has one snapshot for as long as it lasts, in which values are written as
/// texts in one way, whatever the role's settings say.
pub(crate) fn begin_snapshot(limits: &StatementLimits, of_session: &[Sql]) -> Sql {
    let begin = "begin isolation level repeatable read read only";
    let texts = "set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; set local intervalstyle = 'postgres'; set local bytea_output = 'hex'; set local extra_float_digits = 1";
    trusted(reaching_shards(limits, format!("{}; {texts}", unlimited(begin, limits, of_session, None))))
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

/// Makes the server return `word`, whether it rejects writes, and whether a transaction was begun before.
pub(crate) fn echo(word: Uuid) -> Sql {
    trusted(format!(
        "select '{word}', current_setting('transaction_read_only') = 'on', now() <> statement_timestamp()"
    ))
}

/// Rolls a transaction back and then makes the server return the same.
pub(crate) fn roll_back_and_echo(word: Uuid) -> Sql {
    trusted(format!("rollback; {}", echo(word).0))
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
    /// Whether the database has Citus, whose workers do not get settings unless it is told so.
    pub(crate) has_citus: bool,
}

/// How often the server checks the client's connection.
const LOOK_FOR_CLIENT: &str = "set local client_connection_check_interval = 500";

/// Sets that in a transaction of its own, which fails if the server does not support the check.
pub(crate) fn look_for_client() -> Sql {
    trusted(format!("begin; {LOOK_FOR_CLIENT}; rollback"))
}

fn all_settings(limits: &StatementLimits, of_session: &[Sql], settings: &[Sql]) -> String {
    let StatementLimits { statement_ms, lock_ms, looks_for_client, .. } = limits;
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
pub(crate) fn begin_replay(limits: &StatementLimits, timeout_ms: i32, of_session: &[Sql]) -> Sql {
    let mut statements = format!(
        "begin isolation level repeatable read read only; set local statement_timeout = {timeout_ms}; set local max_parallel_workers_per_gather = 0"
    );
    for setting in of_session {
        statements.push_str("; ");
        statements.push_str(&setting.0);
    }
    trusted(reaching_shards(limits, statements))
}

/// Statements with their values and local settings as text for one message, which is one transaction: one round trip
/// instead of four.
pub(crate) fn at_once<'s>(
    limits: &StatementLimits,
    (of_session, settings): (&[Sql], &[Sql]),
    statements: impl IntoIterator<Item = &'s Statement>,
) -> Sql {
    let mut all = all_settings(limits, of_session, settings);
    for statement in statements {
        all.push_str("; ");
        write_statement(&mut all, statement);
    }
    trusted(all)
}

/// Statements with their values as text for one message in a transaction.
pub(crate) fn all_of(statements: &[Statement]) -> Sql {
    let mut all = String::new();
    for statement in statements {
        all.push_str(if all.is_empty() { "" } else { "; " });
        write_statement(&mut all, statement);
    }
    trusted(all)
}

/// `statements`, and the end of their transaction, as one message.
pub(crate) fn and_commit(statements: Sql) -> Sql {
    trusted(format!("{}; commit", statements.0))
}

/// Writes a statement with its values in the place of placeholders. What is in quotes has none.
fn write_statement(all: &mut String, statement: &Statement) {
    let (mut rest, mut quote) = (statement.sql.0.as_str(), None);
    while let Some(place) = rest.find(['\'', '"', '$']) {
        let sign = rest.as_bytes()[place];
        let (before, after) = (&rest[..place], &rest[place + 1..]);
        all.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = after[..digits].parse::<usize>().ok().filter(|_| sign == b'$' && quote.is_none());
        let Some(bind) = number.and_then(|number| statement.binds.get(number.checked_sub(1)?)) else {
            match quote {
                None if sign != b'$' => quote = Some(sign),
                Some(open) if open == sign => quote = None,
                _ => {}
            }
            all.push(char::from(sign));
            rest = after;
            continue;
        };
        rest = &after[digits..];
        if let Bind::Reals(values) = bind {
            // In pgvector's notation, which is parsed faster than an array.
            rest = rest.strip_prefix("::real[]").expect("vectors are arrays");
            write_vector(all, values);
        } else {
            write_value(all, bind);
        }
    }
    all.push_str(rest);
}

fn write_vector(all: &mut String, values: &[f32]) {
    let vector = serde_json::to_string(values).expect("numbers are JSON");
    all.push('\'');
    all.push_str(&vector);
    all.push('\'');
}

fn write_value(all: &mut String, bind: &Bind) {
    match bind {
        Bind::Whole(value) => all.push_str(&value.to_string()),
        Bind::Real(value) => all.push_str(&value.to_string()),
        Bind::Key(key) => all.push_str(&format!("'{key}'::uuid")),
        Bind::Keys(keys) => {
            let keys: Vec<String> = keys.iter().map(Uuid::to_string).collect();
            all.push_str(&format!("'{{{}}}'::uuid[]", keys.join(",")));
        }
        Bind::Text(text) => {
            write_text(all, text);
            all.push_str("::text");
        }
        Bind::Texts(texts) | Bind::Objects(texts) => {
            all.push_str("array[");
            for (place, text) in texts.iter().enumerate() {
                all.push_str(if place > 0 { "," } else { "" });
                write_text(all, text);
            }
            all.push_str("]::text[]");
        }
        Bind::Reals(_) | Bind::OptionalTexts(_) | Bind::Time(_) | Bind::Times(_) => {
            unreachable!("no such statement is sent at once")
        }
    }
}

/// A text as a constant in which every character that could end it is its bytes in hexadecimal digits.
fn write_text(all: &mut String, text: &str) {
    all.push_str("E'");
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b' '
            | b'"'
            | b'{'
            | b'}'
            | b':'
            | b','
            | b'.'
            | b'_' => {
                all.push(char::from(byte));
            }
            _ => all.push_str(&format!("\\x{byte:02x}")),
        }
    }
    all.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::sql::set_probes;

    #[test]
    fn limits_are_set_with_the_message_that_begins() {
        assert_eq!(
            begin(&limits(false), &[], &[set_probes(5)]).message.0,
            "begin; set local statement_timeout = 30000; set local lock_timeout = 5000; set local ivfflat.probes = 5"
        );
        assert_eq!(
            begin(&limits(true), &[], &[]).message.0,
            "begin; set local statement_timeout = 30000; set local lock_timeout = 5000; set local client_connection_check_interval = 500"
        );
    }

    #[test]
    fn read_on_a_replica_begins_with_what_it_has_replayed() {
        let begin = |on| begin_read(&limits(false), (&[], &[set_probes(5)]), on).message.0;
        let on_primary = "begin read only; set local statement_timeout = 30000; set local lock_timeout = 5000; set local ivfflat.probes = 5";
        assert_eq!(begin(ReadOn::Primary), on_primary);
        assert_eq!(begin(ReadOn::Replica), format!("{on_primary}; {REPLAYED}"));
    }

    #[test]
    fn settings_of_searches_are_a_message_of_their_own_with_citus() {
        let limits = StatementLimits { has_citus: true, ..limits(false) };
        let Begin { message, settings } = begin(&limits, &[], &[set_probes(5), set_probes(6)]);
        assert_eq!(
            message.0,
            "begin; set local statement_timeout = 30000; set local lock_timeout = 5000; set local citus.explain_all_tasks = on; set local citus.propagate_set_commands = 'local'"
        );
        let settings = settings.expect("there are settings");
        assert_eq!(settings.0, "set local ivfflat.probes = 5; set local ivfflat.probes = 6");
        let last = "set local citus.propagate_set_commands = 'local'";
        for begin in [
            begin_unlimited(&limits, &[set_probes(5)], Some(Duration::from_secs(1))),
            begin_snapshot(&limits, &[set_probes(5)]),
            begin_replay(&limits, 5, &[set_probes(5)]),
            begin(&limits, &[set_probes(5)], &[]).message,
            begin_read(&limits, (&[], &[]), ReadOn::Replica).message,
        ] {
            assert!(begin.0.ends_with(last) && begin.0.matches(last).count() == 1, "{}", begin.0);
        }
    }

    #[test]
    fn values_are_constants_that_no_text_can_end() {
        let check = |sql: &str, binds: Vec<Bind>, expected: &str| {
            let statement = Statement { sql: trusted(sql.to_owned()), binds, most_bytes: None };
            let sent = at_once(&limits(false), (&[], &[]), [&statement]).0;
            let (_, sent) = sent.rsplit_once("5000; ").expect("settings come first");
            assert_eq!(sent, expected);
        };
        let text = |text: &str| Bind::Text(text.to_owned());
        check(
            r#"select "a$1", '$1', $2, "b""$1", $1 from t"#,
            vec![text("it's $2\\"), Bind::Whole(-5)],
            r#"select "a$1", '$1', -5, "b""$1", E'it\x27s \x242\x5c'::text from t"#,
        );
        check(
            "$1::real[]::vector, $11, $2, $12",
            [vec![Bind::Reals(vec![1.0, -0.0]), Bind::Keys(Vec::new())], vec![Bind::Whole(0); 8]]
                .concat()
                .into_iter()
                .chain([Bind::Texts(vec!["ä".to_owned(), "\n".to_owned()]), Bind::Key(Uuid::nil())])
                .collect(),
            "'[1.0,-0.0]'::vector, array[E'\\xc3\\xa4',E'\\x0a']::text[], '{}'::uuid[], '00000000-0000-0000-0000-000000000000'::uuid",
        );
    }

    fn limits(looks_for_client: bool) -> StatementLimits {
        StatementLimits { statement_ms: 30_000, lock_ms: 5_000, looks_for_client, has_citus: false }
    }
}
