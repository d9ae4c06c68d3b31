//! Threads that compute the stages of a computation together.
//!
//! Threads claim work in small chunks, so a delayed thread delays the others by at most one chunk, and no thread waits for a
//! late helper. A thread that finds no chunk spins for some microseconds and then sleeps.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};
use std::{hint, io, mem};

use records::lock::{Condvar, Mutex};

use crate::priority::lower_priority;

/// Polls before a thread without work sleeps: 10 to 20 µs, about a chunk of a short text. Not more, because on a busy
/// machine the other thread may need this core.
const SPINS: u32 = 1000;

/// Stage that a job enters when one of its chunks panics.
const PANICKED: u32 = u32::MAX;

/// A computation in stages, each a number of chunks that may run in any order and at once. A stage begins
/// when all chunks of the one before have ended, and sees what they wrote.
pub(crate) trait Stages: Send + Sync {
    /// The number of stages.
    fn stages(&self) -> u32;
    /// The number of chunks of `stage`, at least 1.
    fn chunks(&self, stage: u32) -> u32;
    /// Computes one chunk. Called once for each.
    fn run(&self, stage: u32, chunk: u32);
}

/// Helper threads, asleep until there is a job. Dropping the team joins them.
pub(crate) struct Team {
    board: Arc<Board>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads`, including the caller of `run`.
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        Self::begin(threads, || {})
    }

    /// The same, with helpers of low priority.
    pub(crate) fn patient(threads: usize) -> io::Result<Self> {
        Self::begin(threads, lower_priority)
    }

    fn begin(threads: usize, prepare: fn()) -> io::Result<Self> {
        let mut team = Self { board: Arc::default(), helpers: Vec::new() };
        for number in 1..threads {
            let board = Arc::clone(&team.board);
            let helper = thread::Builder::new().name(format!("embed-{number}")).spawn(move || {
                prepare();
                board.help();
            })?;
            team.helpers.push(helper);
        }
        Ok(team)
    }

    /// Threads that work on a job, including the caller.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs all stages of `work` on the calling thread and on the helpers that are free.
    ///
    /// # Panics
    ///
    /// When a chunk panics on any thread.
    pub(crate) fn run(&self, work: Arc<dyn Stages>) {
        let widest = (0..work.stages()).map(|stage| work.chunks(stage)).max().unwrap_or(0);
        let invited = self.helpers.len().min(widest.saturating_sub(1) as usize);
        let job = Arc::new(Job::new(work));
        if invited > 0 {
            self.board.lock().jobs.extend((0..invited).map(|_| Arc::clone(&job)));
            for _ in 0..invited {
                self.board.posted.notify_one();
            }
        }
        let completed = job.take_part();
        if invited > 0 {
            self.board.lock().jobs.retain(|posted| !Arc::ptr_eq(posted, &job));
        }
        assert!(completed, "no chunk of a job panics");
    }

    /// `of(0)` … `of(count - 1)`, computed by the team, one at a time on each thread.
    pub(crate) fn map<T, F>(&self, count: usize, of: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(usize) -> T + Send + Sync + 'static,
    {
        if count <= 1 {
            return (0..count).map(of).collect();
        }
        let map = Arc::new(Map { of, results: (0..count).map(|_| Mutex::new(None)).collect() });
        self.run(map.clone());
        let result = |slot: &Mutex<Option<T>>| slot.lock().take();
        map.results.iter().map(|slot| result(slot).expect("every chunk has run")).collect()
    }
}

/// The single stage of `Team::map`.
struct Map<T, F> {
    of: F,
    /// A slot for each chunk, written by the thread that runs it.
    results: Vec<Mutex<Option<T>>>,
}

impl<T: Send, F: Fn(usize) -> T + Send + Sync> Stages for Map<T, F> {
    fn stages(&self) -> u32 {
        1
    }

    fn chunks(&self, _: u32) -> u32 {
        self.results.len() as u32
    }

    fn run(&self, _: u32, chunk: u32) {
        let result = (self.of)(chunk as usize);
        *self.results[chunk as usize].lock() = Some(result);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.board.lock().closed = true;
        self.board.posted.notify_all();
        for helper in self.helpers.drain(..) {
            helper.join().expect("helpers catch the panics of jobs");
        }
    }
}

/// The jobs for helpers.
#[derive(Default)]
struct Board {
    /// Shared by the callers of `run` and the helpers.
    jobs: Mutex<Jobs>,
    posted: Condvar,
}

#[derive(Default)]
struct Jobs {
    /// A job is listed once for each helper that it invites.
    jobs: VecDeque<Arc<Job>>,
    closed: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock()
    }

    fn help(&self) {
        while let Some(job) = self.next_job() {
            // The thread that called `run` reports a panic; this one continues with the next job.
            panic::catch_unwind(AssertUnwindSafe(|| job.take_part())).ok();
        }
    }

    /// Waits for a job; `None` when the team is dropped.
    fn next_job(&self) -> Option<Arc<Job>> {
        let mut board = self.lock();
        loop {
            if board.closed {
                return None;
            }
            if let Some(job) = board.jobs.pop_front() {
                return Some(job);
            }
            board = self.posted.wait(board);
        }
    }
}

struct Job {
    work: Arc<dyn Stages>,
    /// The stage in the upper half, the next chunk to claim in the lower.
    cursor: AtomicU64,
    /// Chunks of the stage that have ended.
    ended: AtomicU32,
    sleepers: AtomicU32,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Job {
    fn new(work: Arc<dyn Stages>) -> Self {
        Self {
            work,
            cursor: AtomicU64::new(0),
            ended: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Claims and runs chunks until all stages have ended; false when a chunk panicked.
    fn take_part(&self) -> bool {
        let stages = self.work.stages();
        loop {
            let claim = self.cursor.load(SeqCst);
            let (stage, chunk) = ((claim >> 32) as u32, claim as u32);
            if stage >= stages {
                return stage != PANICKED;
            }
            let chunks = self.work.chunks(stage);
            if chunk >= chunks {
                self.wait_while(stage);
            } else if self.cursor.compare_exchange(claim, claim + 1, SeqCst, SeqCst).is_ok() {
                let unless_ended = EnterOnDrop { job: self, stage: PANICKED };
                self.work.run(stage, chunk);
                mem::forget(unless_ended);
                if self.ended.fetch_add(1, SeqCst) + 1 == chunks {
                    self.ended.store(0, SeqCst);
                    self.enter(stage + 1);
                }
            }
        }
    }

    fn enter(&self, stage: u32) {
        self.cursor.store(u64::from(stage) << 32, SeqCst);
        // A sleeper increments `sleepers` before its last check of the cursor. So either it sees this stage, or it is counted
        // here, and the lock is free only once it waits.
        if self.sleepers.load(SeqCst) > 0 {
            drop(self.sleep.lock());
            self.wake.notify_all();
        }
    }

    fn wait_while(&self, stage: u32) {
        let passed = || (self.cursor.load(SeqCst) >> 32) as u32 != stage;
        for _ in 0..SPINS {
            if passed() {
                return;
            }
            hint::spin_loop();
        }
        let mut asleep = self.sleep.lock();
        self.sleepers.fetch_add(1, SeqCst);
        while !passed() {
            asleep = self.wake.wait(asleep);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

/// Moves a job to a stage when a chunk unwinds.
struct EnterOnDrop<'a> {
    job: &'a Job,
    stage: u32,
}

impl Drop for EnterOnDrop<'_> {
    fn drop(&mut self) {
        self.job.enter(self.stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50 stages; each chunk checks that the stage before is complete.
    struct Count {
        ended: Vec<AtomicU32>,
        panics: bool,
    }

    impl Stages for Count {
        fn stages(&self) -> u32 {
            self.ended.len() as u32
        }
        fn chunks(&self, stage: u32) -> u32 {
            1 + stage % 7
        }
        fn run(&self, stage: u32, _: u32) {
            assert!(!(self.panics && stage == 20), "an intended panic");
            if stage > 0 {
                assert_eq!(self.ended[stage as usize - 1].load(SeqCst), self.chunks(stage - 1));
            }
            self.ended[stage as usize].fetch_add(1, SeqCst);
        }
    }

    fn count(panics: bool) -> Arc<Count> {
        Arc::new(Count { ended: (0..50).map(|_| AtomicU32::new(0)).collect(), panics })
    }

    #[test]
    fn stages_run_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads).unwrap();
            for _ in 0..200 {
                let work = count(false);
                team.run(work.clone());
                assert_eq!(work.ended[49].load(SeqCst), work.chunks(49));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_remains_usable() {
        let team = Team::new(3).unwrap();
        for _ in 0..20 {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| team.run(count(true))));
            assert!(outcome.is_err());
        }
        team.run(count(false));
    }
}
