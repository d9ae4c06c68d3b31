//! Work on threads of its own that the end of the process waits for: it has temporary files to remove, or servers to stop.

use std::time::{Duration, Instant};

use crate::lock::{Condvar, Mutex};

static COUNT: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Held by a piece of such work until its end.
#[derive(Debug)]
#[must_use = "work has ended when this is dropped"]
pub struct Unfinished(());

impl Unfinished {
    /// From now on, until it is dropped, the end of the process waits.
    pub fn begin() -> Self {
        *COUNT.lock() += 1;
        Self(())
    }

    /// Waits until no work is unfinished, for `limit` at most, and says whether none is.
    pub fn wait(limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut count = COUNT.lock();
        while *count > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            count = ENDED.wait_timeout(count, left);
        }
        true
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        *COUNT.lock() -= 1;
        ENDED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn end_waits_for_all_that_has_begun_but_not_for_good() {
        assert!(Unfinished::wait(Duration::ZERO));
        let work = [(); 3].map(|()| Unfinished::begin());
        assert!(!Unfinished::wait(Duration::from_millis(10)));
        let ending = thread::spawn(move || drop(work));
        assert!(Unfinished::wait(Duration::from_secs(60)));
        ending.join().expect("it does not panic");
    }
}
