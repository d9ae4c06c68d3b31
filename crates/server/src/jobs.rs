//! Work that the console starts and that outlasts its request: one job after the other, each with its progress.
//!
//! Jobs are known only to the process that carries them out, until it ends. What they do can be repeated: a job that was
//! interrupted is started again, as the command of the same name would be.

use std::{
    collections::VecDeque, error::Error, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration,
};

use futures_util::FutureExt as _;
use judge::runs::Shutdown;
use records::{error_chain, lock, panic_message, shortened, timestamp};
use serde::{Serialize, Serializer};
use time::PrimitiveDateTime;
use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

/// Jobs that wait at most: people start them one by one.
const MOST_WAITING: usize = 16;
/// Jobs that are remembered.
const KEPT: usize = 30;
/// Lines of a job that are kept, the newest ones, and the characters of each.
const KEPT_LINES: usize = 100;
const LINE_CHARACTERS: usize = 500;

/// How long a job that watches the shutdown itself may take to record where it ended.
const GRACE: Duration = Duration::from_secs(2);

type BoxError = Box<dyn Error + Send + Sync>;
/// What a job does, and what it says at its end.
type Work = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

/// The jobs of a process.
pub(crate) struct Jobs {
    sender: mpsc::Sender<(Progress, Work)>,
    /// Held by the task that carries them out.
    receiver: Mutex<mpsc::Receiver<(Progress, Work)>>,
    board: Arc<Board>,
}

/// What is known of the jobs.
struct Board {
    /// Newest first. Shared by the jobs and the pages that show them; locked briefly.
    jobs: lock::Mutex<VecDeque<JobState>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

/// What a job does to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Subject {
    /// The section of the console to which it belongs.
    pub(crate) area: &'static str,
    /// Such as `tune`.
    pub(crate) action: &'static str,
    /// Such as the name of a table.
    pub(crate) of: String,
}

/// A job as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JobState {
    #[serde(serialize_with = "as_text")]
    pub(crate) id: Uuid,
    #[serde(flatten)]
    pub(crate) subject: Subject,
    pub(crate) stage: Stage,
    #[serde(serialize_with = "written")]
    pub(crate) asked_at: PrimitiveDateTime,
    /// The current step: how much of it is done.
    pub(crate) step: Option<Step>,
    /// What it has reported, oldest first.
    pub(crate) lines: VecDeque<String>,
    /// How many older lines are left out.
    pub(crate) older_lines: u64,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Another job is in progress.
    Waiting,
    /// In progress.
    Running,
    /// It has succeeded.
    Done { result: String },
    /// It has failed. What it had completed stays.
    Failed { reason: String },
    /// The process was stopped. What it had completed stays.
    Interrupted,
}

/// How much of a step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// Reports the progress of a job.
#[derive(Clone)]
pub(crate) struct Progress {
    id: Uuid,
    board: Arc<Board>,
}

/// Too many jobs wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooManyJobs(pub(crate) usize);

impl Jobs {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let board = Board { jobs: lock::Mutex::default(), changes: watch::Sender::new(0) };
        Self { sender, receiver: Mutex::new(receiver), board: Arc::new(board) }
    }

    /// Has a job done soon. If the same one waits or runs, that one is meant: a form was sent twice.
    ///
    /// # Errors
    /// When too many jobs wait.
    pub(crate) fn start<F>(
        &self,
        subject: Subject,
        work: impl FnOnce(Progress) -> F,
    ) -> Result<Uuid, TooManyJobs>
    where
        F: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        let full = |_| TooManyJobs(MOST_WAITING);
        let place = self.sender.try_reserve().map_err(full)?;
        let mut jobs = self.board.jobs.lock();
        if let Some(same) = jobs.iter().find(|job| job.is_unfinished() && job.subject == subject) {
            return Ok(same.id);
        }
        let progress = Progress { id: Uuid::new_v4(), board: self.board.clone() };
        jobs.push_front(JobState {
            id: progress.id,
            subject,
            stage: Stage::Waiting,
            asked_at: timestamp::now(),
            step: None,
            lines: VecDeque::new(),
            older_lines: 0,
        });
        while jobs.len() > KEPT && jobs.back().is_some_and(|job| !job.is_unfinished()) {
            jobs.pop_back();
        }
        drop(jobs);
        let id = progress.id;
        let work = work(progress.clone());
        place.send((progress, Box::pin(work)));
        self.board.changed();
        Ok(id)
    }

    /// The jobs of an area, newest first.
    pub(crate) fn of(&self, area: &str) -> Vec<JobState> {
        self.board.jobs.lock().iter().filter(|job| job.subject.area == area).cloned().collect()
    }

    /// Counts changes of the jobs.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.board.changes.subscribe()
    }

    /// Carries out jobs until `shutdown`, which interrupts the job in progress; those that wait are not begun.
    pub(crate) async fn carry_out(&self, shutdown: &Shutdown) {
        let mut receiver = self.receiver.lock().await;
        loop {
            let received = tokio::select! {
                received = receiver.recv() => received,
                () = shutdown.begun() => return,
            };
            // This process has a sender.
            let Some((progress, work)) = received else { return };
            progress.change(|job| job.stage = Stage::Running);
            let mut work = AssertUnwindSafe(work).catch_unwind();
            let ended = tokio::select! {
                ended = &mut work => Some(ended),
                () = shutdown.begun() => tokio::time::timeout(GRACE, work).await.ok(),
            };
            let stage = match ended {
                Some(Ok(Ok(result))) => Stage::Done { result },
                Some(Ok(Err(error))) => Stage::Failed { reason: error_chain(&*error) },
                Some(Err(panic)) => {
                    Stage::Failed { reason: format!("it panicked: {}", panic_message(panic)) }
                }
                None => Stage::Interrupted,
            };
            if let Stage::Failed { reason } = &stage {
                tracing::warn!(job.id = %progress.id, error = reason, "a job of the console has failed");
            }
            progress.change(|job| {
                job.stage = stage;
                job.step = None;
            });
        }
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl JobState {
    pub(crate) fn is_unfinished(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Running)
    }
}

impl Board {
    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Progress {
    /// A line, such as the step that begins.
    pub(crate) fn line(&self, line: &str) {
        let line = shortened(line, LINE_CHARACTERS).into_owned();
        self.change(|job| {
            job.step = None;
            job.lines.push_back(line);
            if job.lines.len() > KEPT_LINES {
                job.lines.pop_front();
                job.older_lines += 1;
            }
        });
    }

    /// How much of the step is done.
    pub(crate) fn at(&self, done: u64, total: u64) {
        self.change(|job| job.step = Some(Step { done, total }));
    }

    fn change(&self, change: impl FnOnce(&mut JobState)) {
        // A finished job may have been forgotten.
        if let Some(job) = self.board.jobs.lock().iter_mut().find(|job| job.id == self.id) {
            change(job);
        }
        self.board.changed();
    }
}

fn as_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn written<S: Serializer>(time: &PrimitiveDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&timestamp::format(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(of: &str) -> Subject {
        Subject { area: "quality", action: "tune", of: of.to_owned() }
    }

    async fn ended(jobs: &Jobs, id: Uuid) -> JobState {
        let mut changes = jobs.changes();
        loop {
            let found = jobs.of("quality").into_iter().find(|job| job.id == id).expect("it is remembered");
            if !found.is_unfinished() {
                return found;
            }
            changes.changed().await.expect("the board is there");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_are_done_one_after_the_other_and_keep_their_ends() {
        let (jobs, shutdown) = (Arc::new(Jobs::new()), Shutdown::default());
        let good = jobs.start(subject("a"), |progress| async move {
            progress.line("first");
            progress.at(1, 2);
            Ok("well".to_owned())
        });
        let bad = jobs.start(subject("b"), |_| async { Err("no disk".into()) });
        let odd = jobs.start(subject("c"), |_| async { panic!("broken") });
        let (good, bad, odd) = (good.expect("a place"), bad.expect("a place"), odd.expect("a place"));
        let again = jobs.start(subject("c"), |_| async { panic!("a form was sent twice") });
        assert_eq!(again.expect("a place"), odd);
        assert!(jobs.of("quality").iter().all(JobState::is_unfinished) && jobs.of("other").is_empty());
        let (worker, stop) = (jobs.clone(), shutdown.clone());
        let working = tokio::spawn(async move { worker.carry_out(&stop).await });
        let first = ended(&jobs, good).await;
        assert_eq!(first.stage, Stage::Done { result: "well".to_owned() });
        assert_eq!((first.lines, first.step), (VecDeque::from(["first".to_owned()]), None));
        assert_eq!(ended(&jobs, bad).await.stage, Stage::Failed { reason: "no disk".to_owned() });
        let reason = "it panicked: broken".to_owned();
        assert_eq!(ended(&jobs, odd).await.stage, Stage::Failed { reason });
        let endless = jobs.start(subject("d"), |_| std::future::pending()).expect("a place");
        let mut changes = jobs.changes();
        while jobs.of("quality")[0].stage != Stage::Running {
            changes.changed().await.expect("the board is there");
        }
        shutdown.begin();
        assert_eq!(ended(&jobs, endless).await.stage, Stage::Interrupted);
        working.await.expect("it ends");
    }

    #[test]
    fn waiting_jobs_and_lines_are_bounded() {
        let jobs = Jobs::new();
        for number in 0..MOST_WAITING {
            jobs.start(subject(&number.to_string()), |_| async { Ok(String::new()) }).expect("a place");
        }
        assert!(jobs.start(subject("more"), |_| async { Ok(String::new()) }).is_err());
        let progress = Progress { id: jobs.of("quality")[0].id, board: jobs.board.clone() };
        for number in 0..KEPT_LINES + 5 {
            progress.line(&number.to_string());
        }
        let job = &jobs.of("quality")[0];
        assert_eq!((job.lines.len(), job.older_lines, job.lines[0].as_str()), (KEPT_LINES, 5, "5"));
    }
}
