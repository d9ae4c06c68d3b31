//! The wait before a retry.

use std::time::Duration;

/// When and how often to retry.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Attempts after the first; 0 disables retries. 6 retries with the waits below take at least a minute in total.
    pub max_retries: u32,
    /// The wait after the first failure. It doubles with each failure.
    pub first: Duration,
    /// The longest wait without a hint of the provider.
    pub longest: Duration,
    /// The longest hint of a provider that is followed; a longer one ends the call. If it is less than a minute, limits
    /// per minute end calls; if it is more than an hour, a run that has used its daily quota hangs.
    pub longest_asked: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            max_retries: 6,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
            longest_asked: Duration::from_secs(600),
        }
    }
}

impl Backoff {
    /// The wait after failed attempt `attempt`, from 1, with the provider's hint `after`; none if there should be no
    /// further attempt.
    pub(super) fn wait(&self, attempt: u32, after: Option<Duration>) -> Option<Duration> {
        let is_over = attempt > self.max_retries || after.is_some_and(|after| after > self.longest_asked);
        (!is_over).then(|| self.jittered(attempt, after, random()))
    }

    /// How long to pause all calls: the provider's hint, up to [`Self::longest_asked`], otherwise half of the wait of
    /// the failed caller, so that calls continue at the lower limit.
    pub(super) fn pause(&self, attempt: u32, after: Option<Duration>) -> Duration {
        match after {
            Some(after) => after.min(self.longest_asked),
            None => self.doubled(attempt).mul_f64(0.5),
        }
    }

    /// The longer of hint and doubled wait: a hint that repeatedly proves too short is not followed. `random` in 0..1
    /// spreads callers that were rejected at the same time: waits without a hint over their upper half, hints over an
    /// additional tenth, never less.
    fn jittered(&self, attempt: u32, after: Option<Duration>, random: f64) -> Duration {
        let own = self.doubled(attempt).mul_f64(0.5 + random / 2.0);
        match after {
            Some(after) => own.max(after.mul_f64(1.0 + random / 10.0)),
            None => own,
        }
    }

    fn doubled(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// Uniform in 0..1.
fn random() -> f64 {
    let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
    (bits >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_a_limit_with_jitter() {
        let backoff = Backoff { longest: 20 * SECOND, ..Backoff::default() };
        let waits = |random| (1..9).map(move |attempt| backoff.jittered(attempt, None, random).as_millis());
        assert_eq!(waits(1.0).collect::<Vec<_>>(), [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
        assert_eq!(waits(0.0).next(), Some(250));
        assert_eq!(backoff.jittered(40, None, 1.0), 20 * SECOND);
    }

    #[test]
    fn wait_is_at_least_the_hint() {
        let backoff = Backoff::default();
        assert_eq!(backoff.jittered(1, Some(21 * SECOND), 0.0), 21 * SECOND);
        assert_eq!(backoff.jittered(1, Some(20 * SECOND), 1.0), 22 * SECOND);
        assert_eq!(backoff.jittered(4, Some(SECOND / 100), 1.0), 4 * SECOND, "it was too short three times");
    }

    #[test]
    fn attempts_are_counted() {
        let none = Backoff { max_retries: 0, ..Backoff::default() };
        assert_eq!(none.wait(1, None), None);
        assert_eq!(none.wait(1, Some(SECOND)), None);
        let two = Backoff { max_retries: 2, ..Backoff::default() };
        assert!(two.wait(2, None).is_some());
        assert_eq!(two.wait(3, None), None);
        assert_eq!(two.wait(1, Some(two.longest_asked + SECOND)), None, "a day is not waited for");
    }
}
