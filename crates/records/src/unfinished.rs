//! Work on background threads that the process waits for before it exits: it has temporary files to remove, or servers
//! to stop.

use std::time::{Duration, Instant};

use crate::lock::{Condvar, Mutex};

static COUNT: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Held by such work until its end.
#[derive(Debug)]
#[must_use = "work has ended when this is dropped"]
pub struct Unfinished(());

impl Unfinished {
    /// Makes the exit of the process wait until this is dropped.
    pub fn begin() -> Self {
        *COUNT.lock() += 1;
        Self(())
    }

    /// Waits until no work is unfinished, for at most `limit`; returns whether none is.
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
    fn exit_waits_for_unfinished_work_up_to_the_limit() {
        assert!(Unfinished::wait(Duration::ZERO));
        let work = [(); 3].map(|()| Unfinished::begin());
        assert!(!Unfinished::wait(Duration::from_millis(10)));
        let ending = thread::spawn(move || drop(work));
        assert!(Unfinished::wait(Duration::from_secs(60)));
        ending.join().expect("it does not panic");
    }
}
