//! libpq's environment variables, which are the user's settings for other servers than ours.

use std::process::Command;

/// All of them: libpq's own (of PostgreSQL 18 and before), and those of its programs.
pub const LIBPQ_VARIABLES: [&str; 45] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGCHANNELBINDING",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PGOPTIONS",
    "PGAPPNAME",
    "PGSSLMODE",
    "PGREQUIRESSL",
    "PGSSLNEGOTIATION",
    "PGSSLCOMPRESSION",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCERTMODE",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLSNI",
    "PGREQUIREPEER",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGMINPROTOCOLVERSION",
    "PGMAXPROTOCOLVERSION",
    "PGGSSENCMODE",
    "PGKRBSRVNAME",
    "PGGSSLIB",
    "PGGSSDELEGATION",
    "PGCONNECT_TIMEOUT",
    "PGCLIENTENCODING",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
    "PGDATESTYLE",
    "PGTZ",
    "PGGEQO",
    "PGLOCALEDIR",
    "PGOAUTHDEBUG",
    "PGDATA",
    "PG_GRANDPARENT_PID",
];

/// In which a program of ours hands libpq's variables, passwords among them, on to itself.
pub const LIBPQ_HANDED_ON: &str = "PANOPTICON_LIBPQ";

/// Keeps libpq's variables from `command`: they are meant for other servers, nonsense in them stops PostgreSQL's programs,
/// and the account that runs these may read their environment.
pub(crate) fn without_libpq(command: &mut Command) -> &mut Command {
    for name in LIBPQ_VARIABLES.into_iter().chain([LIBPQ_HANDED_ON]) {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_neither_the_variables_nor_what_was_handed_on() {
        let mut command = Command::new("postgres");
        command.env("PGPASSWORD", "secret").env(LIBPQ_HANDED_ON, "1 [[\"PGPASSWORD\",\"secret\"]]");
        without_libpq(&mut command);
        assert!(command.get_envs().all(|(_, value)| value.is_none()), "{command:?}");
    }
}
