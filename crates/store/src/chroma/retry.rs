//! Delays before retries.

use std::time::Duration;

/// With [`FIRST`] and [`LONGEST`], half a minute to a minute in total: enough for a server to restart or a rate
/// limit's window to pass.
pub(crate) const ATTEMPTS: u32 = 8;

const FIRST: Duration = Duration::from_millis(250);

/// Also the maximum delay for a server's `Retry-After`.
const LONGEST: Duration = Duration::from_secs(60);

/// The delay after `attempt` (from 0): the server's `Retry-After`, or a doubling time. `random` in 0..1 spreads the
/// latter over its upper half, so that clients rejected together do not retry together.
pub(crate) fn wait(attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    match retry_after {
        Some(asked) => asked.min(LONGEST),
        None => FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST).mul_f64(0.5 + random / 2.0),
    }
}

/// Uniform in 0..1.
pub(crate) fn random() -> f64 {
    let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
    (bits >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_follow_the_server() {
        let waits: Vec<u128> = (0..ATTEMPTS).map(|attempt| wait(attempt, None, 1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000]);
        assert_eq!(wait(2, None, 0.0), Duration::from_millis(500));
        assert_eq!(wait(40, None, 1.0), LONGEST);
        assert_eq!(wait(0, Some(Duration::from_secs(7)), 0.3), Duration::from_secs(7));
        assert_eq!(wait(0, Some(Duration::from_secs(86_400)), 0.3), LONGEST);
    }
}
