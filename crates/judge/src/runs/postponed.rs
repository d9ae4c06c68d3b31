//! Runs that this process cannot work on now: it lacks a model or a key, or the database failed. Another process may be able
//! to, and this one tries again after a wait, or at once when a model was registered or a run resumed.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

/// A key or a model that another process has registered is noticed by then.
const LONGEST: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct PostponedRuns(HashMap<Uuid, Postponed>);

#[derive(Debug)]
struct Postponed {
    until: Instant,
    wait: Duration,
    reason: String,
    /// How often the database has failed in a row in a way that does not pass.
    failures: u32,
}

/// Whether what is wrong with a run may be over by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    Passing,
    Lasting,
}

impl PostponedRuns {
    /// Those that it is too early for.
    pub(super) fn waiting(&self) -> Vec<Uuid> {
        let now = Instant::now();
        self.0.iter().filter(|(_, postponed)| now < postponed.until).map(|(id, _)| *id).collect()
    }

    /// Notes why the run `id` is not worked on; whether that is new, and how often in a row it failed lastingly.
    pub(super) fn postpone(
        &mut self,
        id: Uuid,
        failing: Failing,
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
        postponed.wait = (postponed.wait * 2).min(LONGEST);
        postponed.until = Instant::now() + postponed.wait;
        postponed.reason = reason;
        postponed.failures = match failing {
            Failing::Passing => 0,
            Failing::Lasting => postponed.failures + 1,
        };
        (is_new, postponed.failures)
    }

    /// The run was worked on.
    pub(super) fn forget(&mut self, id: Uuid) {
        self.0.remove(&id);
    }

    /// Something has changed: all may be tried again.
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
    fn waits_double_up_to_the_longest_and_end_when_something_changes() {
        let (mut runs, id, first) = (PostponedRuns::default(), Uuid::from_u128(1), Duration::from_secs(1));
        let postpone = |runs: &mut PostponedRuns, failing, reason: &str| {
            runs.postpone(id, failing, reason.to_owned(), first)
        };
        assert_eq!(postpone(&mut runs, Failing::Passing, "no model"), (true, 0));
        assert_eq!(postpone(&mut runs, Failing::Passing, "no model"), (false, 0));
        assert_eq!(postpone(&mut runs, Failing::Lasting, "no table"), (true, 1));
        for failures in 2..8 {
            assert_eq!(postpone(&mut runs, Failing::Lasting, "no table"), (false, failures));
        }
        assert_eq!((runs.0[&id].wait, runs.waiting()), (LONGEST, vec![id]));
        runs.retry_all();
        assert!(runs.waiting().is_empty());
        runs.forget(id);
        assert_eq!(postpone(&mut runs, Failing::Lasting, "no table"), (true, 1));
    }
}
