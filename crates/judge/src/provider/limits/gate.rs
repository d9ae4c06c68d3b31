//! The gate before each model: how many calls are under way at once, and when the next may go.
//!
//! The number grows by one for each round of calls that succeed and halves when the provider says that it is too much
//! (additive increase, multiplicative decrease, as in TCP). What it says to one caller holds for all: until the wait is
//! over, nobody goes. Answers to calls that had left before the number was last halved do not halve it again, since
//! they tell the same news.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use records::lock::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::provider::{answers::AnswerRoom, parameter::Refused};

/// The gates of all models. Cheap to clone; clones are the same gates.
#[derive(Clone, Debug)]
pub struct Gates {
    max_concurrent: NonZeroU32,
    /// The gates made so far; shared by all callers, locked only to look one up.
    gates: Arc<Mutex<HashMap<Key, Arc<Gate>>>>,
    /// For the answers of all models.
    answers: AnswerRoom,
}

/// Provider and model.
type Key = (String, String);

/// One model's gate.
#[derive(Debug)]
pub struct Gate {
    max_concurrent: f64,
    /// What the model's server does not take.
    refused: Refused,
    /// Shared by all callers of the model; never locked across an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Calls that may be under way at once; its whole part counts.
    limit: f64,
    under_way: u32,
    /// Nobody goes before.
    opens: Option<Instant>,
    /// How many times the limit was halved.
    cuts: u64,
}

/// Leave to make one call. Given back when it is dropped.
#[derive(Debug)]
pub struct Permit<'g> {
    gate: &'g Gate,
    /// The cuts there had been when it was given.
    cuts: u64,
}

impl Gates {
    /// Gates that let at most `max_concurrent` calls to one model be under way at once, and begin with as many.
    pub fn new(max_concurrent: NonZeroU32) -> Self {
        Self { max_concurrent, gates: Arc::default(), answers: AnswerRoom::new() }
    }

    /// The gate that all callers of `model` at `provider` share.
    pub fn gate(&self, provider: &str, model: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        let gate = gates.entry((provider.to_owned(), model.to_owned()));
        gate.or_insert_with(|| Arc::new(Gate::new(self.max_concurrent))).clone()
    }

    /// The memory for answers.
    pub(super) fn answers(&self) -> &AnswerRoom {
        &self.answers
    }
}

impl Gate {
    fn new(max_concurrent: NonZeroU32) -> Self {
        let max_concurrent = f64::from(max_concurrent.get());
        let state = State { limit: max_concurrent, under_way: 0, opens: None, cuts: 0 };
        let refused = Refused::default();
        Self { max_concurrent, refused, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until a call may be made.
    pub async fn enter(&self) -> Permit<'_> {
        loop {
            // Listens before it looks, so that no change is missed between.
            let changed = self.changed.notified();
            let opens = {
                let mut state = self.state();
                let opens = state.opens.filter(|opens| *opens > Instant::now());
                if opens.is_none() && f64::from(state.under_way) < state.limit.floor() {
                    state.under_way += 1;
                    // One is woken for each place that is given back, but more have room once a pause is over.
                    self.changed.notify_one();
                    return Permit { gate: self, cuts: state.cuts };
                }
                opens
            };
            match opens {
                Some(opens) => tokio::time::sleep_until(opens).await,
                None => changed.await,
            }
        }
    }

    /// What the model's server does not take, as far as is known.
    pub(super) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// How many calls may be under way at once at the moment.
    pub fn limit(&self) -> u32 {
        self.state().limit as u32
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Permit<'_> {
    /// The call succeeded. The limit grows by its share of one.
    pub fn succeeded(self) {
        let mut state = self.gate.state();
        if self.cuts == state.cuts {
            state.limit = (state.limit + 1.0 / state.limit).min(self.gate.max_concurrent);
        }
        drop(state);
        // Beside the one who takes this call's place, for whom there may be room now.
        self.gate.changed.notify_one();
    }

    /// The provider said that it is too much. Nobody goes for `pause`.
    pub fn slow_down(self, pause: Duration) {
        let mut state = self.gate.state();
        if self.cuts == state.cuts {
            state.limit = (state.limit / 2.0).max(1.0);
            state.cuts += 1;
        }
        state.opens = state.opens.max(Some(Instant::now() + pause));
        drop(state);
        // Whoever waits for a place now waits for the opening, each by itself: were one to wake another afterwards, and
        // be dropped before, the other would sleep forever.
        self.gate.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gate.state().under_way -= 1;
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
    async fn no_more_calls_are_under_way_than_may_be() {
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
        assert_eq!(begin.elapsed(), 500 * MS, "20 calls, 4 at a time: nobody waits without need");
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_caller_is_told_holds_for_all_of_the_model() {
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
    async fn the_limit_never_closes_the_gate_and_grows_by_one_a_round() {
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
    async fn a_caller_that_is_dropped_while_the_gate_is_closed_strands_no_other() {
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
    async fn a_caller_that_is_dropped_gives_its_place_back() {
        let gate = gates(1).gate("p", "m");
        let first = gate.enter().await;
        assert!(tokio::time::timeout(10 * MS, gate.enter()).await.is_err(), "it is taken");
        drop(first);
        assert!(tokio::time::timeout(10 * MS, gate.enter()).await.is_ok());
    }
}
