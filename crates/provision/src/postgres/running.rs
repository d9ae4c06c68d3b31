//! What `postmaster.pid` says of a running server.

use std::{fs, path::Path};

use rustix::process::{Pid, test_kill_process};

use crate::error::{Error, FileContext as _};

/// The port of the server that runs on the cluster in `data`, if one runs and is ready.
///
/// After SIGKILL of the server the file stays behind with a process that is gone or, after a restart of the
/// machine, with somebody else's process; a port that nobody answers at tells the two apart from a live server.
pub(crate) fn port_of_running_server(data: &Path) -> Result<Option<u16>, Error> {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    // Lines: process id, data folder, start time, port, socket folder, listen address, shared memory, status.
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    if !is_alive(lines.first().copied()) || lines.get(7) != Some(&"ready") {
        return Ok(None);
    }
    let port = lines.get(3).and_then(|line| line.parse().ok()).ok_or(Error::PidFile { path })?;
    let answers = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    Ok(answers.then_some(port))
}

/// Whether the process lives that `postmaster.pid` names, ready or not.
pub(crate) fn is_postmaster_alive(data: &Path) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid"));
    text.is_ok_and(|text| {
        let id = text.lines().next().map(str::trim);
        is_alive(id) && !id.is_some_and(is_zombie)
    })
}

/// The port of a server that was killed, which nobody may have taken since.
pub(crate) fn last_port(data: &Path) -> Option<u16> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().nth(3)?.trim().parse().ok()
}

fn is_alive(id: Option<&str>) -> bool {
    let id = id.and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
    id.is_some_and(|id| test_kill_process(id) != Err(rustix::io::Errno::SRCH))
}

/// Makes a start possible where the killed server's process lingers as a zombie: in a container whose first
/// process reaps nothing that is for ever, and PostgreSQL takes the zombie for a live server.
///
/// PostgreSQL holds a `postmaster.pid` of its own grandparent's id for stale (`CreateLockFile` in miscinit.c; the
/// grandparent is us, through `pg_ctl`) and then checks by the shared memory named in the file that no back end
/// of the old server still lives. Naming ourselves keeps that check, which removing the file would lose.
pub(crate) fn take_over_from_zombie(data: &Path) -> Result<(), Error> {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let Some((pid, rest)) = text.split_once('\n') else { return Ok(()) };
    if !is_zombie(pid.trim()) {
        return Ok(());
    }
    fs::write(&path, format!("{}\n{rest}", std::process::id())).during("rewrite", path)
}

/// Whether proc_pid_stat(5) gives the state `Z`; the name before it may hold blanks and parentheses.
fn is_zombie(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid).join("stat")) else { return false };
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('Z'))
}
