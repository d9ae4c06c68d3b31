//! Work that takes milliseconds and does not yield.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs such work here, while another thread takes over this one's other tasks. On a runtime with one thread there is
/// no other, and they wait.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_meanwhile() {
        let (sender, receiver) = mpsc::channel();
        let work = tokio::spawn(async move { in_place(|| receiver.recv()) });
        // On the only worker this would wait for the work, which waits for it.
        tokio::spawn(async move { sender.send(7) }).await.expect("it runs").expect("the work receives");
        assert_eq!(work.await.expect("it runs"), Ok(7));
    }

    #[tokio::test]
    async fn single_thread_does_it_too() {
        assert_eq!(in_place(|| 7), 7);
    }
}
