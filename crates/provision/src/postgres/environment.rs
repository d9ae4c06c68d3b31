//! libpq's environment variables, which are the user's settings for other servers, not for ours.

use std::process::Command;

/// All of libpq's variables (up to PostgreSQL 18), and those of PostgreSQL's programs.
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

/// The variable in which `panopticon` passes libpq's variables, including passwords, to itself when it is executed again.
pub const LIBPQ_HANDED_ON: &str = "PANOPTICON_LIBPQ";

/// Removes libpq's variables from the environment of `command`: they apply to other servers, invalid values stop
/// PostgreSQL's programs, and the account that runs these programs can read their environment.
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
    fn programs_do_not_get_the_variables_of_libpq() {
        let mut command = Command::new("postgres");
        command.env("PGPASSWORD", "secret").env(LIBPQ_HANDED_ON, "1 [[\"PGPASSWORD\",\"secret\"]]");
        without_libpq(&mut command);
        assert!(command.get_envs().all(|(_, value)| value.is_none()), "{command:?}");
    }
}
