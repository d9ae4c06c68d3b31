//! Claimed and running tasks of a run, in a lane for each kind, so that neither waits for the other's models.

use std::{collections::VecDeque, time::Duration};

use store::postgres::runs::TaskKind;
use tokio::time::Instant;

use super::{config::RunnerConfig, ready::Ready};

/// Answers that end at nearly the same time make judgements ready together.
const SETTLE: Duration = Duration::from_millis(10);

pub(super) struct Lanes {
    config: RunnerConfig,
    lanes: [Lane; 2],
}

/// Tasks of one kind.
struct Lane {
    kind: TaskKind,
    /// Claimed, not started.
    ready: VecDeque<Ready>,
    under_way: usize,
    /// Before, there is nothing to claim, as far as is known.
    looks_at: Instant,
}

impl Lanes {
    pub(super) fn new(config: RunnerConfig) -> Self {
        let lane = |kind| Lane { kind, ready: VecDeque::new(), under_way: 0, looks_at: Instant::now() };
        Self { config, lanes: [TaskKind::Judgement, TaskKind::Answer].map(lane) }
    }

    /// How many to claim of each kind, so that as many are ready as may be under way; none of a kind of which enough are,
    /// or of which there was none to claim a moment ago. Whoever asks claims them.
    pub(super) fn wanted(&mut self) -> Vec<(TaskKind, usize)> {
        let (now, RunnerConfig { tasks_at_once, poll, .. }) = (Instant::now(), self.config);
        let wanted = |lane: &mut Lane| {
            lane.looks_at = now + poll;
            (lane.kind, 2 * tasks_at_once - lane.ready.len() - lane.under_way)
        };
        let is_hungry = |lane: &&mut Lane| lane.is_hungry(tasks_at_once) && lane.looks_at <= now;
        self.lanes.iter_mut().filter(is_hungry).map(wanted).collect()
    }

    /// When to look for tasks again, if nothing happens before.
    pub(super) fn looks_at(&self) -> Instant {
        let hungry = self.lanes.iter().filter(|lane| lane.is_hungry(self.config.tasks_at_once));
        let of_lanes = hungry.map(|lane| lane.looks_at).min();
        // Whoever has enough for now looks when a task has ended.
        of_lanes.unwrap_or_else(|| Instant::now() + self.config.poll)
    }

    /// Takes in what was claimed of the `wanted`.
    pub(super) fn fill(&mut self, wanted: &[(TaskKind, usize)], claimed: Vec<Ready>) {
        for (kind, wanted) in wanted {
            let found = claimed.iter().filter(|ready| ready.task.work.kind() == *kind).count();
            if found >= *wanted {
                self.lane(*kind).looks_at = Instant::now();
            }
        }
        for ready in claimed {
            self.lane(ready.task.work.kind()).ready.push_back(ready);
        }
    }

    /// The next task to start, if the limit of its kind allows one.
    pub(super) fn next(&mut self) -> Option<(TaskKind, Ready)> {
        let at_once = self.config.tasks_at_once;
        self.lanes.iter_mut().filter(|lane| lane.under_way < at_once).find_map(|lane| {
            let next = lane.ready.pop_front()?;
            lane.under_way += 1;
            Some((lane.kind, next))
        })
    }

    /// A task has ended.
    pub(super) fn ended(&mut self, kind: TaskKind) {
        self.lane(kind).under_way -= 1;
        if kind == TaskKind::Answer {
            let judgements = self.lane(TaskKind::Judgement);
            judgements.looks_at = judgements.looks_at.min(Instant::now() + SETTLE);
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
    fn is_hungry(&self, at_once: usize) -> bool {
        self.ready.len() < at_once / 2
    }
}
