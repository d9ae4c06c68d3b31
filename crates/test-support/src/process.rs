//! Processes that end with the test, even if it is killed, and their ports and folders.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use url::Url;

/// A child of the test's process, with a guard that ends it if the test is killed.
pub(crate) struct OwnedProcess {
    child: Child,
    guard: Guard,
    ending: Signal,
}

impl OwnedProcess {
    /// Starts `command`. The signal `ending` ends it; if the test is killed, `folder` is then removed.
    pub(crate) fn spawn(command: &mut Command, ending: Signal, folder: &Path) -> Self {
        // In a separate process group, so that Ctrl-C does not affect it and the guard.
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("{} runs: {error}", command.get_program().display()));
        let script = r#"kill -"$1" "$2"
            for _ in $(seq 100); do kill -0 "$2" || break; sleep 0.1; done
            rm -rf "$3""#;
        let (signal, pid) = (ending.as_raw().to_string(), child.id().to_string());
        let guard = Guard::new(script, &[signal.as_ref(), pid.as_ref(), folder.as_os_str()]);
        Self { child, guard, ending }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Sends `signal` and waits for the end of the process.
    pub(crate) fn end_with(mut self, signal: Signal) {
        // A process that ended by itself may have been waited for already; its id may belong to another process.
        if self.is_alive() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
        }
        // Before the child's id can be reused.
        self.guard.release();
        self.child.wait().expect("a child can be waited for");
    }

    /// Ends it with the signal `ending`.
    pub(crate) fn end(self) {
        let ending = self.ending;
        self.end_with(ending);
    }
}

/// Runs a shell script if the test's process dies before it releases the guard.
pub(crate) struct Guard {
    shell: Child,
}

impl Guard {
    /// The script gets `arguments` as `$1` and so on.
    pub(crate) fn new(script: &str, arguments: &[&OsStr]) -> Self {
        let shell = Command::new("sh")
            .arg("-c")
            // Only this process has the other end of the pipe: no child inherits it.
            .arg(format!("read -r released || {{ {script}\n}}"))
            .arg("sh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .expect("sh runs");
        Self { shell }
    }

    /// The script will not run.
    pub(crate) fn release(mut self) {
        let mut input = self.shell.stdin.take().expect("standard input is piped");
        // A guard that was killed is released too.
        let _ = input.write_all(b"released\n");
        drop(input);
        self.shell.wait().expect("a child can be waited for");
    }
}

/// The URL of a local server, with another port.
pub(crate) fn with_port(url: &Url, port: u16) -> Url {
    let mut url = url.clone();
    url.set_host(Some("127.0.0.1")).expect("a server's URL takes a host");
    url.set_port(Some(port)).expect("a URL with a host takes a port");
    url
}

/// A port that was free a moment ago; another program may take it.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("the listener has an address").port()
}

/// A temporary folder that servers of other accounts can pass through to their folders.
pub(crate) fn passable_folder(parent: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o711)).tempdir_in(parent)
}

/// Runs `command`; returns its output, or why it failed.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(format!("{name}: {}: {errors}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Writes the executable `script` to `path`. Another process writes it: in this one, a child that another test is just
/// starting would inherit the open file, and running the script would fail with "Text file busy".
pub fn write_script(path: &Path, script: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", r#"cat >"$1" && chmod 755 "$1""#, "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh runs");
    writer.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("the script is sent");
    assert!(writer.wait().expect("sh can be waited for").success(), "{} is written", path.display());
}
