//! The lifecycle of our Chroma server: start, sharing, its crash, our crash, and directories of other versions.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use provision::{ChromaError, ChromaProgram, Consent, ManagedChroma, ManagedChromas};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use test_support::{HttpRequest, chroma_program, folder_digest, sample, write_script};

/// Enough for a slow machine under load.
const TIMEOUT: Duration = Duration::from_secs(60);

const LAUNCHER: &str = env!("CARGO_BIN_EXE_launcher");

/// Set for the child process that runs [`holder`].
const HELD: &str = "PANOPTICON_TEST_HELD_DIRECTORY";

struct Fixture {
    folder: TempDir,
    program: ChromaProgram,
    servers: ManagedChromas,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = ChromaProgram::at(chroma_program(folder.path()), LAUNCHER);
        Self { folder, program, servers: ManagedChromas::default() }
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("persisted")
    }

    fn start(&self, consent: Consent) -> Result<Arc<ManagedChroma>, ChromaError> {
        self.servers.start(&self.program, &self.directory(), consent)
    }
}

fn answers(url: &str) -> bool {
    let port = url.rsplit_once(':').expect("a URL with a port").1.parse().expect("a port");
    HttpRequest::new("GET", "/api/v2/heartbeat", "").send(port).is_ok_and(|answer| answer.status == 200)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < end, "{what} within {TIMEOUT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The server on `directory`, found by its command line.
fn server_process(directory: &Path) -> Option<Pid> {
    let directory = directory.canonicalize().expect("the directory exists");
    let mut processes = fs::read_dir("/proc").expect("processes are listed");
    processes.find_map(|process| {
        let process = process.ok()?.path();
        let command = fs::read(process.join("cmdline")).ok()?;
        let mut words = command.split(|byte| *byte == 0);
        let is_server = words.any(|word| word == b"--path")
            && words.next().is_some_and(|word| word == directory.as_os_str().as_encoded_bytes());
        is_server.then(|| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?))?
    })
}

#[test]
fn one_server_serves_a_directory_and_ends_with_its_last_user() {
    let fixture = Fixture::new();
    let first = fixture.start(Consent::Refused).expect("the server starts");
    let second = fixture.start(Consent::Refused).expect("the server is found");
    assert!(Arc::ptr_eq(&first, &second));
    let url = first.url();
    drop(first);
    assert!(answers(&url));
    drop(second);
    assert!(!answers(&url));
    assert_eq!(server_process(&fixture.directory()), None);
    fixture.start(Consent::Refused).expect("the directory is free, and of this version");
}

#[test]
fn server_that_died_is_restarted_at_its_address() {
    let fixture = Fixture::new();
    let server = fixture.start(Consent::Refused).expect("the server starts");
    let died = server_process(&fixture.directory()).expect("the server runs");
    kill_process(died, Signal::KILL).expect("the server can be killed");
    wait_until("another server runs", || server_process(&fixture.directory()).is_some_and(|pid| pid != died));
    wait_until("it answers", || answers(&server.url()));
}

/// The child process of [`server_ends_with_its_parent_even_after_sigkill`], which runs this test binary with this name as
/// filter: starts a server on the directory that [`HELD`] names, reports it, and waits to be killed. In a run of all tests,
/// [`HELD`] is not set, and it does nothing.
#[test]
fn holder() {
    let Some(directory) = std::env::var_os(HELD) else { return };
    let folder = Path::new(&directory).parent().expect("a folder");
    let program = ChromaProgram::at(folder.join("chroma"), LAUNCHER);
    let _server = ManagedChromas::default()
        .start(&program, Path::new(&directory), Consent::Refused)
        .expect("it starts");
    println!("\nstarted");
    thread::sleep(TIMEOUT);
}

#[test]
fn server_ends_with_its_parent_even_after_sigkill() {
    let fixture = Fixture::new();
    let mut holder = Command::new(std::env::current_exe().expect("this program's path"))
        .args(["--exact", "chroma_server::holder", "--nocapture"])
        .env(HELD, fixture.directory())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the holder runs");
    let output = BufReader::new(holder.stdout.take().expect("its output is piped"));
    assert!(output.lines().any(|line| line.expect("a line") == "started"));
    let error = fixture.start(Consent::Refused).expect_err("the holder has locked the directory");
    assert!(matches!(error, ChromaError::InUse { .. }), "{error}");
    let server = server_process(&fixture.directory()).expect("the server runs");
    holder.kill().expect("the holder can be killed");
    holder.wait().expect("the holder ends");
    // Immediately: starting waits for the end of the other server.
    fixture.start(Consent::Refused).expect("the directory is free");
    assert_ne!(server_process(&fixture.directory()), Some(server));
}

#[test]
fn directory_of_another_version_is_opened_only_with_consent() {
    let fixture = Fixture::new();
    let older = sample("evaluation_storage_data");
    let before = folder_digest(older.path());
    let start = |consent| fixture.servers.start(&fixture.program, older.path(), consent);
    let error = start(Consent::Refused).expect_err("there is no consent");
    assert!(
        error.to_string().contains("written by Chroma 1.0.0 to 1.2.2, and 1.5.9 is installed"),
        "{error}"
    );
    let lock = older.path().join("panopticon.lock");
    fs::remove_file(lock).expect("only the lock was added");
    assert!(before == folder_digest(older.path()), "the directory is unchanged");
    drop(start(Consent::Given).expect("the server starts"));
    start(Consent::Refused).expect("it is of this version now");
}

#[test]
fn missing_program_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = ChromaProgram::find(folder.path().as_os_str(), LAUNCHER).expect_err("nothing there");
    assert!(error.to_string().contains("pip install chromadb"), "{error}");
    chroma_program(folder.path());
    ChromaProgram::find(folder.path().as_os_str(), LAUNCHER).expect("it is there");
}

#[test]
fn server_that_does_not_start_reports_the_reason() {
    let fixture = Fixture::new();
    write_script(
        &fixture.folder.path().join("chroma"),
        "#!/bin/sh\necho first; echo no such option >&2; exit 3\n",
    );
    let error = fixture.start(Consent::Refused).expect_err("it ends at once");
    let text = error.to_string();
    assert!(text.contains("exit status: 3") && text.contains("first; no such option"), "{text}");
}
