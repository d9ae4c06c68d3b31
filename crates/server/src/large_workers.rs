//! Threads for large request bodies and responses. Work on megabytes does not yield, so on a serving thread it would
//! delay every other request, and on a machine with few cores it would take all of them. These threads are few and
//! have low priority: large requests wait for each other, and small ones do not wait for large ones.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tracing::Instrument as _;

/// A body or response of at least this size is large: it takes about a millisecond of work.
pub(crate) const LARGE_BYTES: usize = 128 << 10;

/// Name of the threads.
const NAME: &str = "large";

/// The `nice` value. Under load, it leaves these threads about a tenth of a core.
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 10;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads. They end when this is dropped and all work is done.
#[derive(Debug)]
pub(crate) struct LargeWorkers {
    threads: Vec<mpsc::UnboundedSender<Work>>,
    next: AtomicUsize,
}

impl LargeWorkers {
    /// Starts one thread per two cores.
    pub(crate) fn start() -> Arc<Self> {
        let count = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let threads = (0..count).map(|_| {
            let (sender, work) = mpsc::unbounded_channel();
            // Timers and connections stay on the serving threads.
            let runtime = Handle::current();
            let thread = thread::Builder::new().name(NAME.to_owned());
            let started = thread.spawn(move || {
                lower_priority();
                runtime.block_on(take_turns(work));
            });
            drop(started.expect("the operating system starts a thread"));
            sender
        });
        Arc::new(Self { threads: threads.collect(), next: AtomicUsize::new(0) })
    }

    /// Runs `work` on one of the threads and returns its result. Dropping the future drops the work.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (mut sender, receiver) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let work = AssertUnwindSafe(work).catch_unwind().in_current_span();
        let work = Box::pin(async move {
            let done = tokio::select! {
                biased;
                () = sender.closed() => None,
                done = work => Some(done),
            };
            if let Some(done) = done {
                // The caller may have been dropped meanwhile.
                sender.send(done).ok();
            }
        });
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        assert!(self.threads[next].send(work).is_ok(), "a thread lives as long as its sender");
        match receiver.await.expect("work whose caller waits is not dropped") {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        }
    }
}

async fn take_turns(mut arriving: mpsc::UnboundedReceiver<Work>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            work = arriving.recv() => match work {
                Some(work) => under_way.push(work),
                None => break,
            },
            Some(()) = under_way.next() => {}
        }
    }
    while under_way.next().await.is_some() {}
}

/// On other systems the priority applies to the whole process.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // Where the system forbids this, the threads keep their priority.
    rustix::process::nice(PRIORITY).ok();
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_separate_threads_and_waiting_tasks_do_not_block() {
        let large_workers = LargeWorkers::start();
        let names = (0..20).map(|_| large_workers.run(async { thread::current().name().map(str::to_owned) }));
        let names = futures_util::future::join_all(names).await;
        assert!(names.iter().all(|name| name.as_deref() == Some(NAME)), "{names:?}");
        // A waiting task does not block the others.
        let (sender, receiver) = oneshot::channel();
        let waiting = large_workers.run(receiver);
        let other = async {
            for _ in 0..large_workers.threads.len() {
                large_workers.run(async {}).await;
            }
            sender.send(7)
        };
        let (waited, sent) = tokio::join!(waiting, other);
        assert_eq!((waited, sent), (Ok(7), Ok(())));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_have_low_priority() {
        let priority = async { rustix::process::getpriority_process(None).expect("it is known") };
        let lowered = LargeWorkers::start().run(priority).await;
        let ours = rustix::process::getpriority_process(None).expect("it is known");
        assert_eq!(lowered, (ours + PRIORITY).min(19));
    }

    #[tokio::test]
    async fn work_is_dropped_with_its_caller() {
        let large_workers = LargeWorkers::start();
        let (held, dropped) = oneshot::channel::<()>();
        {
            let mut work = Box::pin(large_workers.run(async move {
                let _held = held;
                std::future::pending::<()>().await;
            }));
            assert!(futures_util::poll!(&mut work).is_pending());
        }
        assert!(dropped.await.is_err(), "its sender was dropped");
    }

    #[tokio::test]
    async fn panic_reaches_the_caller_and_the_thread_survives() {
        let large_workers = LargeWorkers::start();
        for _ in 0..3 {
            let panicked =
                AssertUnwindSafe(large_workers.run(async { panic!("on purpose") })).catch_unwind().await;
            assert!(matches!(panicked, Err(panic) if panic.downcast_ref() == Some(&"on purpose")));
        }
        assert_eq!(large_workers.run(async { 1 }).await, 1);
    }
}
