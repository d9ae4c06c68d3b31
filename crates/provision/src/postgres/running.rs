//! The state of a server, from `postmaster.pid`.

use std::{
    fs,
    io::ErrorKind,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, test_kill_process};

use super::{
    account::{Account, read_untrusted},
    socket::{socket, socket_lock},
};
use crate::error::{Error, FileContext as _};

/// The address on which a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// On a Unix socket in this folder.
    Socket(PathBuf),
    /// On this port of 127.0.0.1.
    Loopback(u16),
}

impl Address {
    /// Whether a server accepts connections there.
    fn answers(&self) -> bool {
        match self {
            Self::Socket(folder) => UnixStream::connect(socket(folder)).is_ok(),
            Self::Loopback(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
        }
    }
}

/// Whether a server runs on the cluster in `data`, is ready, and answers on the socket in `folder`.
pub(crate) fn answers_on_socket(data: &Path, folder: &Path) -> Result<bool, Error> {
    Ok(ready_lines(data)?.is_some() && Address::Socket(folder.to_owned()).answers())
}

/// The port of the server that runs on the cluster in `data`, if one runs, is ready and listens on a port.
///
/// After SIGKILL of the server, the file remains and names a process that has ended or, after a restart of the machine,
/// an unrelated one. A port on which nothing answers distinguishes these from a live server.
pub(crate) fn port_of_running_server(data: &Path) -> Result<Option<u16>, Error> {
    let Some(lines) = ready_lines(data)? else { return Ok(None) };
    // A server that listens only on its socket has a port in the file too, which may be another server's.
    if lines.get(5).is_none_or(String::is_empty) {
        return Ok(None);
    }
    let path = data.join("postmaster.pid");
    let port = lines.get(3).and_then(|line| line.parse().ok()).ok_or(Error::PidFile { path })?;
    Ok(Address::Loopback(port).answers().then_some(port))
}

/// The lines of `postmaster.pid` if it exists and its process is alive and ready: process id, data folder, start time, port,
/// socket folder, listen address, shared memory, status.
fn ready_lines(data: &Path) -> Result<Option<Vec<String>>, Error> {
    let path = data.join("postmaster.pid");
    let text = match read_untrusted(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.during("read", path)?,
    };
    let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    let is_ready = is_alive(lines.first().map(String::as_str)) && lines.get(7).is_some_and(|s| s == "ready");
    Ok(is_ready.then_some(lines))
}

/// Whether the process that `postmaster.pid` names is alive, ready or not.
pub(crate) fn is_postmaster_alive(data: &Path) -> bool {
    let text = read_untrusted(&data.join("postmaster.pid"));
    text.is_ok_and(|text| {
        let id = text.lines().next().map(str::trim);
        is_alive(id) && !id.is_some_and(is_zombie)
    })
}

/// The port of a server that was killed. It is tried first, since it may still be free.
pub(crate) fn last_port(data: &Path) -> Option<u16> {
    let text = read_untrusted(&data.join("postmaster.pid")).ok()?;
    text.lines().nth(3)?.trim().parse().ok()
}

fn is_alive(id: Option<&str>) -> bool {
    let id = id.and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
    id.is_some_and(|id| test_kill_process(id) != Err(rustix::io::Errno::SRCH))
}

/// Makes a start possible if the killed server's process remains as a zombie, as in a container whose first process never
/// reaps: PostgreSQL would take the zombie for a live server.
///
/// PostgreSQL treats a lock file with its own grandparent's id as stale (`CreateLockFile` in miscinit.c; the grandparent is
/// this process, through `pg_ctl`), and then checks the shared memory named in `postmaster.pid` for live backends of the old
/// server. Writing our own id keeps that check, which removing the file would lose.
pub(crate) fn take_over_from_zombie(
    data: &Path,
    socket_folder: Option<&Path>,
    account: &Account,
) -> Result<(), Error> {
    take_over_lock_file(&data.join("postmaster.pid"), account)?;
    socket_folder.map_or(Ok(()), |folder| take_over_lock_file(&socket_lock(folder), account))
}

fn take_over_lock_file(path: &Path, account: &Account) -> Result<(), Error> {
    let Ok(text) = read_untrusted(path) else { return Ok(()) };
    let Some((pid, rest)) = text.split_once('\n') else { return Ok(()) };
    if !is_zombie(pid.trim()) {
        return Ok(());
    }
    account.write(path, &format!("{}\n{rest}", std::process::id()))
}

/// Whether proc_pid_stat(5) has the state `Z`; the name before it may contain spaces and parentheses.
fn is_zombie(pid: &str) -> bool {
    // The file belongs to another account, which may have written a path there.
    if pid.parse::<u32>().is_err() {
        return false;
    }
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid).join("stat")) else { return false };
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn file_that_cannot_be_read_is_an_error_and_does_not_mean_that_no_server_runs() {
        let data = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(port_of_running_server(data.path()).expect("nothing is there"), None);
        assert!(!answers_on_socket(data.path(), data.path()).expect("nothing is there"));
        symlink("elsewhere", data.path().join("postmaster.pid")).expect("a link is made");
        port_of_running_server(data.path()).expect_err("links are not followed");
        answers_on_socket(data.path(), data.path()).expect_err("links are not followed");
    }
}
