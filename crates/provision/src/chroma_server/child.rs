//! The lifecycle of the child: start, output, supervision, restart, stop.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader, PipeReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use records::lock::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{ChromaError, ChromaProgram, parent};

/// Enough for a slow machine under load that imports Python's packages and migrates a directory; usually 2 s.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// The port is free when it is chosen, but another process may take it before the server binds it.
const START_ATTEMPTS: u32 = 3;
/// Interval between checks of a child.
const PAUSE: Duration = Duration::from_millis(50);
/// A server that has not ended by then is killed; SQLite survives that.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Delays before a server that died is restarted: they double, and start again after a server that lived long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Longer than the answer to a heartbeat.
const HEARTBEAT_BYTES: u64 = 1_000;
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// Enough lines for the end of a Python traceback.
const TAIL_LINES: usize = 5;
/// Time to read the output of a child after its end.
const TAIL_TIMEOUT: Duration = Duration::from_secs(1);

/// A thread that owns the child, and stops it when this value is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    port: u16,
    /// `None` when dropped, which tells the thread to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How to start the child.
struct Launch {
    program: PathBuf,
    launcher: PathBuf,
    directory: PathBuf,
    /// The lock of the directory, which each child has as its standard input.
    lock: File,
}

/// A child, and the last lines that it printed.
struct Running {
    child: Child,
    /// Shared with `reader`.
    tail: Arc<Mutex<VecDeque<String>>>,
    /// The thread that reads the output of the child, and ends with it.
    reader: JoinHandle<()>,
}

impl Watch {
    /// Starts the server and a thread that watches it. Returns when the server answers.
    pub(super) fn start(program: &ChromaProgram, directory: &Path, lock: File) -> Result<Self, ChromaError> {
        let spawn_error = |source| ChromaError::Spawn { program: program.path().to_owned(), source };
        // The child runs in another folder.
        let absolute = std::path::absolute(program.path()).map_err(spawn_error)?;
        let launcher = program.launcher.clone();
        let launch = Launch { program: absolute, launcher, directory: directory.to_owned(), lock };
        let (stop, stopped) = mpsc::channel();
        let (started, start) = mpsc::channel();
        // The child ends with the thread that starts it, so this thread must be the same throughout.
        let watched = move || match launch.first_start(&stopped) {
            Ok((running, port)) => {
                let sent = started.send(Ok(port));
                sent.expect("the starter waits for the result");
                watch(&launch, running, port, &stopped);
            }
            Err(error) => started.send(Err(error)).expect("the starter waits for the result"),
        };
        let thread =
            thread::Builder::new().name("chroma-watch".to_owned()).spawn(watched).map_err(spawn_error)?;
        match start.recv().expect("the thread sends one result before it ends") {
            Ok(port) => Ok(Self { port, stop: Some(stop), thread: Some(thread) }),
            Err(error) => {
                thread.join().expect("the thread that watches does not panic");
                Err(error)
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            !matches!(ended, Some(Err(_))) || thread::panicking(),
            "the thread that watches does not panic"
        );
    }
}

impl Launch {
    fn first_start(&self, stopped: &Receiver<()>) -> Result<(Running, u16), ChromaError> {
        let mut attempt = 1;
        loop {
            let port =
                free_port().map_err(|source| ChromaError::Spawn { program: self.program.clone(), source })?;
            let mut running = self.spawn(port)?;
            let reason = match running.wait_until_ready(port, stopped) {
                Ok(()) => return Ok((running, port)),
                Err(reason) => reason,
            };
            running.stop();
            let tail = running.tail();
            let is_taken = tail.to_lowercase().contains("address already in use");
            if !is_taken || attempt == START_ATTEMPTS {
                return Err(ChromaError::Start { directory: self.directory.clone(), reason, tail });
            }
            attempt += 1;
        }
    }

    fn spawn(&self, port: u16) -> Result<Running, ChromaError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ChromaError::NotInstalled,
            _ => ChromaError::Spawn { program: self.program.clone(), source },
        };
        let (output, printed) = io::pipe().map_err(failed)?;
        let mut command = parent::command(&self.launcher, &self.program);
        command
            .arg("run")
            .arg("--path")
            .arg(&self.directory)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            // Chroma 0.x writes a log, `chroma.log`, into the folder where it runs.
            .current_dir(&self.directory)
            // Chroma 0.x sends telemetry by default.
            .env("ANONYMIZED_TELEMETRY", "False")
            .stdin(self.lock.try_clone().map_err(failed)?)
            .stdout(printed.try_clone().map_err(failed)?)
            .stderr(printed);
        // In a separate process group, so that Ctrl-C does not end it before us.
        let child = command.process_group(0).spawn().map_err(failed)?;
        // It has copies of the write end, which would keep the pipe open.
        drop(command);
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let lines = Arc::clone(&tail);
        let reader = thread::Builder::new().name("chroma-output".to_owned());
        let reader = reader.spawn(move || keep_tail(output, &lines)).map_err(failed)?;
        Ok(Running { child, tail, reader })
    }
}

/// Restarts the server whenever it has died, until `stopped`.
fn watch(launch: &Launch, mut running: Running, port: u16, stopped: &Receiver<()>) {
    let mut wait = FIRST_WAIT;
    loop {
        let begin = Instant::now();
        let ended = loop {
            if is_stopped(stopped, PAUSE) {
                return running.stop();
            }
            match running.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) => {}
                Err(error) => break error.to_string(),
            }
        };
        log::warn!(
            "the Chroma server on `{}` ended ({ended}): {}; restarting it",
            launch.directory.display(),
            running.tail()
        );
        if begin.elapsed() >= LONG_LIFE {
            wait = FIRST_WAIT;
        }
        running = loop {
            if is_stopped(stopped, wait) {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
            match launch.spawn(port) {
                Ok(running) => break running,
                Err(error) => log::warn!("{error}; retrying in {} ms", wait.as_millis()),
            }
        };
    }
}

/// Waits up to `wait` for the request to stop.
fn is_stopped(stopped: &Receiver<()>, wait: Duration) -> bool {
    stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
}

impl Running {
    fn wait_until_ready(&mut self, port: u16, stopped: &Receiver<()>) -> Result<(), String> {
        let end = Instant::now() + START_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Err(format!("it ended with {status}")),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            if ["v2", "v1"].iter().any(|api| has_heartbeat(port, api)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("it did not answer within {} s", START_TIMEOUT.as_secs()));
            }
            if is_stopped(stopped, PAUSE) {
                return Err("the caller no longer waits for it".to_owned());
            }
        }
    }

    fn stop(&mut self) {
        let end = Instant::now() + STOP_TIMEOUT;
        let is_alive = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if is_alive(&mut self.child)
            && let Err(error) = kill_process_group(Pid::from_child(&self.child), Signal::TERM)
        {
            log::warn!("failed to stop the Chroma server: {error}");
        }
        while is_alive(&mut self.child) && Instant::now() < end {
            thread::sleep(PAUSE);
        }
        // Has no effect on a child that has ended.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            log::warn!("failed to end the Chroma server: {error}");
        }
    }

    /// The last lines of a child that has ended.
    fn tail(&self) -> String {
        // A process that the child has started may keep the output open.
        let end = Instant::now() + TAIL_TIMEOUT;
        while !self.reader.is_finished() && Instant::now() < end {
            thread::sleep(PAUSE);
        }
        let lines = self.tail.lock();
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn keep_tail(output: PipeReader, tail: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(output).split(b'\n') {
        // A broken pipe ends the output.
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        log::debug!("chroma: {line}");
        if !line.is_empty() {
            let mut tail = tail.lock();
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
}

fn has_heartbeat(port: u16, api: &str) -> bool {
    let ask = || -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, HEARTBEAT_TIMEOUT)?;
        stream.set_read_timeout(Some(HEARTBEAT_TIMEOUT))?;
        write!(stream, "GET /api/{api}/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(HEARTBEAT_BYTES).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("nanosecond heartbeat"))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
