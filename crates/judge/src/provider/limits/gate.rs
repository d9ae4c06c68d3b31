//! The gate before each model, which limits concurrent calls and pauses them.
//!
//! The limit increases by one for each round of successful calls and halves when the provider signals overload
//! (additive increase, multiplicative decrease, as in TCP). A wait that the provider requests of one caller applies to
//! all. A response to a call that started before the last decrease causes no further decrease, since it reports the
//! same overload.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use records::lock::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::provider::{parameter::RejectedParameters, response_body::ResponseMemory};

/// The gates of all models. Cheap to clone; clones share the gates.
#[derive(Clone, Debug)]
pub struct Gates {
    max_concurrent: NonZeroU32,
    /// The gates created so far; shared by all callers, locked only for a look-up.
    gates: Arc<Mutex<HashMap<Key, Arc<Gate>>>>,
    /// For the responses of all models.
    answers: ResponseMemory,
}

/// Provider and model.
type Key = (String, String);

/// One model's gate.
#[derive(Debug)]
pub struct Gate {
    max_concurrent: f64,
    /// Parameters that the model's server rejects.
    refused: RejectedParameters,
    /// Shared by all callers of the model; never locked across an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Limit of concurrent calls; only its integer part counts.
    limit: f64,
    in_flight: u32,
    /// No call starts before.
    closed_until: Option<Instant>,
    /// Number of decreases of the limit.
    cuts: u64,
}

/// Permission to make one call. Released on drop.
#[derive(Debug)]
pub struct Permit<'g> {
    gate: &'g Gate,
    /// The number of decreases when it was acquired.
    cuts: u64,
}

impl Gates {
    /// Gates that allow at most `max_concurrent` concurrent calls to each model, and start at this limit.
    pub fn new(max_concurrent: NonZeroU32) -> Self {
        Self { max_concurrent, gates: Arc::default(), answers: ResponseMemory::new() }
    }

    /// The gate shared by all callers of `model` at `provider`.
    pub fn gate(&self, provider: &str, model: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        let gate = gates.entry((provider.to_owned(), model.to_owned()));
        gate.or_insert_with(|| Arc::new(Gate::new(self.max_concurrent))).clone()
    }

    /// The memory limit for responses.
    pub(super) fn answers(&self) -> &ResponseMemory {
        &self.answers
    }
}

impl Gate {
    fn new(max_concurrent: NonZeroU32) -> Self {
        let max_concurrent = f64::from(max_concurrent.get());
        let state = State { limit: max_concurrent, in_flight: 0, closed_until: None, cuts: 0 };
        let refused = RejectedParameters::default();
        Self { max_concurrent, refused, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until a call may be made.
    pub async fn enter(&self) -> Permit<'_> {
        loop {
            // Subscribes before it checks, so that it misses no change in between.
            let changed = self.changed.notified();
            let closed_until = {
                let mut state = self.state();
                let closed_until = state.closed_until.filter(|closed_until| *closed_until > Instant::now());
                if closed_until.is_none() && f64::from(state.in_flight) < state.limit.floor() {
                    state.in_flight += 1;
                    // One waiter is woken for each released permit, but several may start after a pause.
                    self.changed.notify_one();
                    return Permit { gate: self, cuts: state.cuts };
                }
                closed_until
            };
            match closed_until {
                Some(closed_until) => tokio::time::sleep_until(closed_until).await,
                None => changed.await,
            }
        }
    }

    /// The known parameters that the model's server rejects.
    pub(super) fn refused(&self) -> &RejectedParameters {
        &self.refused
    }

    /// The current limit of concurrent calls.
    pub fn limit(&self) -> u32 {
        self.state().limit as u32
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Permit<'_> {
    /// Reports that the call succeeded, which increases the limit by its share of one.
    pub fn succeeded(self) {
        let mut state = self.gate.state();
        if self.cuts == state.cuts {
            state.limit = (state.limit + 1.0 / state.limit).min(self.gate.max_concurrent);
        }
        drop(state);
        // In addition to the waiter that replaces this call: the new limit may allow another.
        self.gate.changed.notify_one();
    }

    /// Reports that the provider signalled overload. No call starts for `pause`.
    pub fn slow_down(self, pause: Duration) {
        let mut state = self.gate.state();
        if self.cuts == state.cuts {
            state.limit = (state.limit / 2.0).max(1.0);
            state.cuts += 1;
        }
        state.closed_until = state.closed_until.max(Some(Instant::now() + pause));
        drop(state);
        // Each waiter now waits for the end of the pause independently: if one had to wake another afterwards and was
        // dropped before, the other would sleep forever.
        self.gate.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gate.state().in_flight -= 1;
        self.gate.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gates(max_concurrent: u32) -> Gates {
        Gates::new(NonZeroU32::new(max_concurrent).expect("not zero"))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_stay_within_the_limit() {
        let gate = gates(4).gate("p", "m");
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let begin = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..20 {
            let (gate, now, most) = (gate.clone(), now.clone(), most.clone());
            callers.spawn(async move {
                let permit = gate.enter().await;
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(100 * MS).await;
                now.fetch_sub(1, Ordering::Relaxed);
                permit.succeeded();
            });
        }
        callers.join_all().await;
        assert_eq!(most.load(Ordering::Relaxed), 4);
        assert_eq!(begin.elapsed(), 500 * MS, "20 calls, 4 at a time, without unnecessary waits");
    }

    #[tokio::test(start_paused = true)]
    async fn overload_reported_to_one_caller_slows_all_of_the_model() {
        let gates = gates(8);
        let gate = gates.gate("p", "m");
        let others: Vec<Permit<'_>> = [gate.enter().await, gate.enter().await, gate.enter().await].into();
        gate.enter().await.slow_down(2000 * MS);
        assert_eq!(gate.limit(), 4, "slower after it was told once");
        let begin = Instant::now();
        for permit in others {
            permit.slow_down(1500 * MS);
        }
        assert_eq!(gate.limit(), 4, "calls that had left before say nothing new");
        let first = gate.enter().await;
        assert_eq!(begin.elapsed(), 2000 * MS, "the longest wait counts");
        first.slow_down(10 * MS);
        assert_eq!(gate.limit(), 2, "a call that left since does");
        let begin = Instant::now();
        gates.gate("p", "other").enter().await.succeeded();
        gates.gate("other", "m").enter().await.succeeded();
        assert_eq!(begin.elapsed(), Duration::ZERO, "other models are open");
    }

    #[tokio::test(start_paused = true)]
    async fn limit_is_at_least_one_and_grows_by_one_per_round() {
        let gate = gates(8).gate("p", "m");
        for _ in 0..6 {
            gate.enter().await.slow_down(Duration::ZERO);
        }
        assert_eq!(gate.limit(), 1);
        gate.enter().await.succeeded();
        assert_eq!(gate.limit(), 2, "one call is a round of one");
        let round = [gate.enter().await, gate.enter().await];
        round.into_iter().for_each(Permit::succeeded);
        assert_eq!(gate.state().limit, 2.9, "1 / 2 and 1 / 2.5 more");
        for _ in 0..100 {
            gate.enter().await.succeeded();
        }
        assert_eq!(gate.limit(), 8, "never beyond the most");
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_caller_during_a_pause_does_not_block_others() {
        let gate = gates(1).gate("p", "m");
        let first = gate.enter().await;
        let caller = |gate: Arc<Gate>| tokio::spawn(async move { gate.enter().await.succeeded() });
        let (second, third) = (caller(gate.clone()), caller(gate.clone()));
        sleep(MS).await;
        first.slow_down(100 * MS);
        sleep(50 * MS).await;
        second.abort();
        let third = tokio::time::timeout(1000 * MS, third).await.expect("it has its turn");
        third.expect("it does not panic");
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_caller_releases_its_permit() {
        let gate = gates(1).gate("p", "m");
        let first = gate.enter().await;
        assert!(tokio::time::timeout(10 * MS, gate.enter()).await.is_err(), "it is taken");
        drop(first);
        assert!(tokio::time::timeout(10 * MS, gate.enter()).await.is_ok());
    }
}
