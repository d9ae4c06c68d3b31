//! Runs that this process cannot execute now: it lacks a model or a key, or the database failed. Another process may be
//! able to, and this one retries after a delay, or immediately after a model was registered or a run resumed.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

/// The longest delay until a key or a model that another process has registered is detected.
const MAX_DELAY: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct PostponedRuns(HashMap<Uuid, Postponed>);

#[derive(Debug)]
struct Postponed {
    until: Instant,
    wait: Duration,
    reason: String,
    /// How often the database has failed permanently in a row.
    failures: u32,
}

/// Whether the problem of a run may disappear by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Transient,
    Permanent,
}

impl PostponedRuns {
    /// Runs that are not due yet.
    pub(super) fn waiting(&self) -> Vec<Uuid> {
        let now = Instant::now();
        self.0.iter().filter(|(_, postponed)| now < postponed.until).map(|(id, _)| *id).collect()
    }

    /// Records why the run `id` is not executed; returns whether that is new, and its consecutive permanent failures.
    pub(super) fn postpone(
        &mut self,
        id: Uuid,
        failure: Failure,
        reason: String,
        first: Duration,
    ) -> (bool, u32) {
        let entry = self.0.entry(id);
        let is_new = match &entry {
            std::collections::hash_map::Entry::Occupied(before) => before.get().reason != reason,
            std::collections::hash_map::Entry::Vacant(_) => true,
        };
        let postponed = entry.or_insert_with(|| Postponed {
            until: Instant::now(),
            wait: first / 2,
            reason: String::new(),
            failures: 0,
        });
        postponed.wait = (postponed.wait * 2).min(MAX_DELAY);
        postponed.until = Instant::now() + postponed.wait;
        postponed.reason = reason;
        postponed.failures = match failure {
            Failure::Transient => 0,
            Failure::Permanent => postponed.failures + 1,
        };
        (is_new, postponed.failures)
    }

    /// Removes a run that was executed.
    pub(super) fn forget(&mut self, id: Uuid) {
        self.0.remove(&id);
    }

    /// Makes all runs due, after a change.
    pub(super) fn retry_all(&mut self) {
        for postponed in self.0.values_mut() {
            postponed.until = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_after_a_change() {
        let (mut runs, id, first) = (PostponedRuns::default(), Uuid::from_u128(1), Duration::from_secs(1));
        let postpone = |runs: &mut PostponedRuns, failure, reason: &str| {
            runs.postpone(id, failure, reason.to_owned(), first)
        };
        assert_eq!(postpone(&mut runs, Failure::Transient, "no model"), (true, 0));
        assert_eq!(postpone(&mut runs, Failure::Transient, "no model"), (false, 0));
        assert_eq!(postpone(&mut runs, Failure::Permanent, "no table"), (true, 1));
        for failures in 2..8 {
            assert_eq!(postpone(&mut runs, Failure::Permanent, "no table"), (false, failures));
        }
        assert_eq!((runs.0[&id].wait, runs.waiting()), (MAX_DELAY, vec![id]));
        runs.retry_all();
        assert!(runs.waiting().is_empty());
        runs.forget(id);
        assert_eq!(postpone(&mut runs, Failure::Permanent, "no table"), (true, 1));
    }
}
