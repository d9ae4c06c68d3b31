//! Contestants that run as separate processes.

use std::{
    env, fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use wait4::Wait4 as _;

/// Output and resource use of a finished program.
pub struct Finished {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its wall-clock time.
    pub seconds: f64,
    /// Its peak resident memory, in MiB.
    pub peak_rss_mb: f64,
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be run.
pub fn run_measured(command: &mut Command) -> Result<Finished> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("failed to run `{name}`"))?;
    let mut stderr = child.stderr.take().context("no standard error")?;
    let stderr = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let mut stdout = Vec::new();
    child.stdout.take().context("no standard output")?.read_to_end(&mut stdout)?;
    let stderr = stderr.join().expect("reading does not panic")?;
    let used = child.wait4().with_context(|| format!("failed to wait for `{name}`"))?;
    Ok(Finished {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        code: used.status.code(),
        seconds: started.elapsed().as_secs_f64(),
        peak_rss_mb: used.rusage.maxrss as f64 / f64::from(1 << 20),
    })
}

/// Processor time that the process `pid` and its descendants have used so far, those that ended included.
///
/// # Errors
/// When the process is gone.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may have any character: utime, stime, cutime and cstime are fields 14 to 17 of proc(5).
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
    let ticks = ticks.collect::<Result<Vec<_>, _>>()?.iter().sum::<u64>();
    let mut seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    for child in children(pid)? {
        // A child that has just ended is counted in its parent's times by the next call.
        seconds += cpu_seconds(child).unwrap_or(0.0);
    }
    Ok(seconds)
}

/// The memory of the process `pid` and its descendants, in MiB, with shared pages divided among their users. `None` if
/// the kernel does not report it.
pub fn shared_memory_mb(pid: u32) -> Option<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let own = line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0;
    // A process that has just ended has none.
    Some(own + children(pid).ok()?.into_iter().filter_map(shared_memory_mb).sum::<f64>())
}

/// The running children of the process `pid`.
///
/// # Errors
/// When it is gone.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    // Children are listed by the thread that started them; when it ends, they move to another.
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let listed = fs::read_to_string(thread?.path().join("children")).unwrap_or_else(|_| String::new());
        children.extend(listed.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(children)
}

/// Runs a script of `rivals/` with `PANOPTICON_BENCH_PYTHON` (default `python3`); returns its last line.
///
/// # Errors
/// When it cannot be run or fails.
pub fn run_rival(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let python = env::var_os("PANOPTICON_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(script);
    let output = Command::new(&python).arg(script).args(arguments).envs(environment.iter().copied()).output();
    let output = output.with_context(|| format!("failed to run `{}`", python.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "the rival failed; check that `{}` has the packages of rivals/requirements.txt: {stderr}",
            python.display()
        );
    }
    // Scripts that write a directory print nothing; callers parse the line of all others, and fail without one.
    Ok(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned())
}
