//! Claimed and running tasks of a run, in a lane for each kind, so that neither waits for the other's models.

use std::{collections::VecDeque, time::Duration};

use store::postgres::runs::TaskKind;
use tokio::time::Instant;

use super::{config::RunnerConfig, ready::Ready};

/// Delay before claiming judgements, so that answers that end at nearly the same time are claimed together.
const JUDGEMENT_DELAY: Duration = Duration::from_millis(10);

pub(super) struct Lanes {
    config: RunnerConfig,
    lanes: [Lane; 2],
}

/// Tasks of one kind.
struct Lane {
    kind: TaskKind,
    /// Claimed, not started.
    ready: VecDeque<Ready>,
    running: usize,
    /// When to claim again; nothing can be claimed before, as far as is known.
    next_claim: Instant,
}

impl Lanes {
    pub(super) fn new(config: RunnerConfig) -> Self {
        let lane = |kind| Lane { kind, ready: VecDeque::new(), running: 0, next_claim: Instant::now() };
        Self { config, lanes: [TaskKind::Judgement, TaskKind::Answer].map(lane) }
    }

    /// How many tasks of each kind to claim, so that as many are ready as may run concurrently; none of a kind with
    /// enough tasks, or for which a recent claim found none. The caller must claim them.
    pub(super) fn wanted(&mut self) -> Vec<(TaskKind, usize)> {
        let (now, RunnerConfig { tasks_at_once, poll, .. }) = (Instant::now(), self.config);
        let wanted = |lane: &mut Lane| {
            lane.next_claim = now + poll;
            (lane.kind, 2 * tasks_at_once - lane.ready.len() - lane.running)
        };
        let needs_tasks = |lane: &&mut Lane| lane.needs_tasks(tasks_at_once) && lane.next_claim <= now;
        self.lanes.iter_mut().filter(needs_tasks).map(wanted).collect()
    }

    /// When to claim again, unless an event requires it earlier.
    pub(super) fn next_claim(&self) -> Instant {
        let hungry = self.lanes.iter().filter(|lane| lane.needs_tasks(self.config.tasks_at_once));
        let of_lanes = hungry.map(|lane| lane.next_claim).min();
        // A lane with enough tasks claims again when one of them ends.
        of_lanes.unwrap_or_else(|| Instant::now() + self.config.poll)
    }

    /// Adds the tasks that were claimed for `wanted`.
    pub(super) fn fill(&mut self, wanted: &[(TaskKind, usize)], claimed: Vec<Ready>) {
        for (kind, wanted) in wanted {
            let found = claimed.iter().filter(|ready| ready.task.work.kind() == *kind).count();
            if found >= *wanted {
                self.lane(*kind).next_claim = Instant::now();
            }
        }
        for ready in claimed {
            self.lane(ready.task.work.kind()).ready.push_back(ready);
        }
    }

    /// The next task to start, if the limit of its kind allows one.
    pub(super) fn next(&mut self) -> Option<(TaskKind, Ready)> {
        let at_once = self.config.tasks_at_once;
        self.lanes.iter_mut().filter(|lane| lane.running < at_once).find_map(|lane| {
            let next = lane.ready.pop_front()?;
            lane.running += 1;
            Some((lane.kind, next))
        })
    }

    /// Records that a task has ended.
    pub(super) fn ended(&mut self, kind: TaskKind) {
        self.lane(kind).running -= 1;
        if kind == TaskKind::Answer {
            let judgements = self.lane(TaskKind::Judgement);
            judgements.next_claim = judgements.next_claim.min(Instant::now() + JUDGEMENT_DELAY);
        }
    }

    /// Drops tasks that have not started.
    pub(super) fn clear(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.ready.clear());
    }

    fn lane(&mut self, kind: TaskKind) -> &mut Lane {
        self.lanes.iter_mut().find(|lane| lane.kind == kind).expect("there is a lane for each kind")
    }
}

impl Lane {
    /// Whether to claim more.
    fn needs_tasks(&self, at_once: usize) -> bool {
        self.ready.len() < at_once / 2
    }
}
