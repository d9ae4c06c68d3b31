//! The memory limit of the process. Each kind of large data has its own limit; only the resident memory shows their sum,
//! including copies and buffers.

use std::{fs, time::Duration};

use rustix::param::page_size;
use tokio::time::{Instant, sleep};

use crate::memory_budget::MemoryExhausted;

/// How long a large operation waits for memory.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The resident memory above which the process begins no large operation. Unlimited by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLimit(Option<usize>);

impl MemoryLimit {
    /// A limit in bytes. Below the memory of the idle process, no large operation ever begins.
    pub const fn bytes(bytes: usize) -> Self {
        Self(Some(bytes))
    }

    /// Whether a large operation may begin.
    ///
    /// # Errors
    /// When the process uses more memory than the limit.
    pub fn check(self) -> Result<(), MemoryExhausted> {
        match (self.0, self.0.and_then(|_| resident_bytes())) {
            (Some(limit), Some(bytes)) if bytes >= limit => Err(MemoryExhausted),
            _ => Ok(()),
        }
    }

    /// Waits until a large operation may begin.
    ///
    /// # Errors
    /// When the memory stays above the limit for ten seconds.
    pub async fn wait(self) -> Result<(), MemoryExhausted> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.check() {
                Err(MemoryExhausted) if Instant::now() < end => sleep(PAUSE).await,
                checked => return checked,
            }
        }
    }
}

/// `None` if the system does not report it.
fn resident_bytes() -> Option<usize> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: usize = pages.split(' ').nth(1)?.parse().ok()?;
    resident.checked_mul(page_size())
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nothing_large_begins_above_the_limit() {
        assert_eq!(MemoryLimit::default().wait().await, Ok(()));
        assert_eq!(MemoryLimit::bytes(usize::MAX).wait().await, Ok(()));
        assert_eq!(MemoryLimit::bytes(1).check(), Err(MemoryExhausted), "any process has more");
        let waits = tokio::time::timeout(PAUSE, MemoryLimit::bytes(1).wait()).await;
        assert!(waits.is_err(), "others may release theirs: {waits:?}");
    }
}
