//! SQL on a cluster whose server is not running, by a single-user backend: it creates and changes roles without a password,
//! and the server never starts on an unfinished cluster.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use super::{account::Account, binaries::Binaries};
use crate::{error::Error, program::last_lines};

/// The superuser of a private cluster, which no command uses by default.
pub(crate) const SUPERUSER: &str = "panopticon_superuser";

/// The role of commands and users: it owns the databases, may create others, and reads the server's statistics.
pub(crate) const ROLE: &str = "panopticon";

/// A cluster, and the account to work as.
pub(crate) struct SingleUser<'s> {
    pub(crate) binaries: &'s Binaries,
    pub(crate) account: &'s Account,
    /// PostgreSQL's data folder.
    pub(crate) data: &'s Path,
}

/// The passwords of the roles, in hexadecimal digits.
pub(crate) struct Passwords<'p> {
    pub(crate) role: &'p str,
    pub(crate) superuser: &'p str,
}

impl SingleUser<'_> {
    /// Creates the role and the database of a new cluster, and pgvector in every database created from now on.
    pub(crate) fn set_up(&self, database: &str, password: &str) -> Result<(), Error> {
        let role = format!("create role {ROLE} login createdb in role pg_monitor password '{password}'");
        let database = format!("create database {database} owner {ROLE}");
        self.run("template1", &["create extension vector", &role, &database]).map(drop)
    }

    /// Converts a cluster of an earlier version, whose only role was a superuser, to the two roles of a new one: the
    /// superuser is renamed, and its objects, except system objects, get a new owner. Idempotent.
    pub(crate) fn demote(&self, passwords: &Passwords<'_>) -> Result<(), Error> {
        let roles = include_str!("demote_roles.sql")
            .replace(":superuser_password", passwords.superuser)
            .replace(":role_password", passwords.role);
        self.run("template1", &["create extension if not exists vector", &roles])?;
        // Names in hexadecimal, since the backend prints values without quoting them.
        let list = "select encode(convert_to(datname, 'UTF8'), 'hex') as name from pg_database where datallowconn and not datistemplate";
        for database in printed_names(&self.run("template1", &[list])?) {
            self.run(&database, &[include_str!("demote_owner.sql")])?;
        }
        Ok(())
    }

    /// Runs `statements`, none of which may have an empty line, in `database`; returns the output of the backend.
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
        // A single-user backend exits with 0 even if a statement failed, but prints the error.
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
    fn names_are_read_from_the_output_of_a_single_user_backend() {
        let printed = "backend> \t 1: name\t(typeid = 25, len = -1, typmod = -1, byval = f)\n\t----\n\t 1: name = \"70612022\"\t(typeid = 25, len = -1, typmod = -1, byval = f)\n\t----\nbackend> ";
        assert_eq!(printed_names(printed), ["pa \""]);
    }
}
