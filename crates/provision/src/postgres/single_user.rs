//! SQL on a cluster whose server does not run, by a single-user back end: it makes and changes roles without anybody's
//! password, and no start of the server ever finds a cluster that is not finished.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use super::{account::Account, binaries::Binaries};
use crate::{error::Error, program::last_lines};

/// Superuser of a cluster that only we use, whom no command is by default.
pub(crate) const SUPERUSER: &str = "panopticon_superuser";

/// Whom commands and their users are: it owns the databases, may make others, and reads the server's statistics.
pub(crate) const ROLE: &str = "panopticon";

/// The cluster that is to be worked on, and as whom.
pub(crate) struct SingleUser<'s> {
    pub(crate) binaries: &'s Binaries,
    pub(crate) account: &'s Account,
    /// PostgreSQL's data folder.
    pub(crate) data: &'s Path,
}

/// Passwords, of hexadecimal digits, that roles get.
pub(crate) struct Passwords<'p> {
    pub(crate) role: &'p str,
    pub(crate) superuser: &'p str,
}

impl SingleUser<'_> {
    /// Makes a new cluster's role, its database, and pgvector in every database that is made from now on.
    pub(crate) fn set_up(&self, database: &str, password: &str) -> Result<(), Error> {
        let role = format!("create role {ROLE} login createdb in role pg_monitor password '{password}'");
        let database = format!("create database {database} owner {ROLE}");
        self.run("template1", &["create extension vector", &role, &database]).map(drop)
    }

    /// Has a cluster of an earlier version, whose one role was a superuser, use the same two roles as a new one: the
    /// superuser gets another name, and everything of its that is not the system's a new owner. May be done again.
    pub(crate) fn demote(&self, passwords: &Passwords<'_>) -> Result<(), Error> {
        let roles = include_str!("demote_roles.sql")
            .replace(":superuser_password", passwords.superuser)
            .replace(":role_password", passwords.role);
        self.run("template1", &["create extension if not exists vector", &roles])?;
        // Names in hexadecimal, since the back end prints values without quoting them.
        let list = "select encode(convert_to(datname, 'UTF8'), 'hex') as name from pg_database where datallowconn and not datistemplate";
        for database in printed_names(&self.run("template1", &[list])?) {
            self.run(&database, &[include_str!("demote_owner.sql")])?;
        }
        Ok(())
    }

    /// Runs `statements`, of which none may have an empty line, in `database` and gives what the back end prints.
    pub(crate) fn run(&self, database: &str, statements: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(self.binaries.program("postgres"));
        command.args(["--single", "-j", "-D"]).arg(self.data).arg(database);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| Error::Spawn { program: "postgres --single".into(), source };
        let mut child = self.account.run(&mut command).spawn().map_err(failed)?;
        let mut input = child.stdin.take().expect("standard input is piped");
        let written = statements.iter().try_for_each(|statement| {
            input.write_all(statement.trim_end().trim_end_matches(';').as_bytes())?;
            input.write_all(b";\n\n")
        });
        drop(input);
        let output = child.wait_with_output().map_err(failed)?;
        // A single-user back end exits 0 even when a statement failed, but says so.
        let printed = String::from_utf8_lossy(&output.stderr);
        let has_failed = printed.contains("ERROR:") || printed.contains("FATAL:");
        if !output.status.success() || has_failed {
            let mut reasons =
                printed.lines().filter(|line| line.contains("ERROR:") || line.contains("FATAL:"));
            let reason = reasons.next().map_or_else(|| last_lines(&output.stderr, 3), str::to_owned);
            let program = "postgres --single".into();
            return Err(Error::Program { program, status: output.status, output: reason });
        }
        written.map_err(failed)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The values of the column `name`, in hexadecimal, in lines such as `1: name = "6162" (typeid = 25, …)`.
fn printed_names(printed: &str) -> Vec<String> {
    let value = |line: &str| {
        let hex = line.split_once("name = \"")?.1.split_once('"')?.0;
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        rest.is_empty().then(|| String::from_utf8(bytes?).ok()).flatten()
    };
    printed.lines().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_what_a_single_user_back_end_prints() {
        let printed = "backend> \t 1: name\t(typeid = 25, len = -1, typmod = -1, byval = f)\n\t----\n\t 1: name = \"70612022\"\t(typeid = 25, len = -1, typmod = -1, byval = f)\n\t----\nbackend> ";
        assert_eq!(printed_names(printed), ["pa \""]);
    }
}
