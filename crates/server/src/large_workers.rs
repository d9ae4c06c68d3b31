//! Threads for what is large: bodies of megabytes and what becomes of them, and answers of as many. Such work is not
//! broken off, so that others of its thread would wait for it; and where processors are few, it would take all of them.
//! These threads are few and of low priority: large requests wait for each other, and small ones for none.

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

/// A body or an answer from so many bytes on is large: a millisecond's work.
pub(crate) const LARGE_BYTES: usize = 128 << 10;

/// What the threads are called.
const NAME: &str = "large";

/// As `nice` has it. Whatever small requests need comes first, and a tenth of a processor remains.
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 10;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads. They end when this is dropped, and all work is done.
#[derive(Debug)]
pub(crate) struct Apart {
    threads: Vec<mpsc::UnboundedSender<Work>>,
    next: AtomicUsize,
}

impl Apart {
    /// Starts one for two processors each.
    pub(crate) fn start() -> Arc<Self> {
        let count = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let threads = (0..count).map(|_| {
            let (sender, work) = mpsc::unbounded_channel();
            // Timers and connections stay with the threads that serve.
            let runtime = Handle::current();
            let thread = thread::Builder::new().name(NAME.to_owned());
            let started = thread.spawn(move || {
                lower_priority();
                runtime.block_on(take_turns(work));
            });
            drop(started.expect("the operating system gives us threads"));
            sender
        });
        Arc::new(Self { threads: threads.collect(), next: AtomicUsize::new(0) })
    }

    /// What `work` comes to, polled by one of the threads in turn with others. Dropping this drops the work.
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
                // Whoever asked may have left meanwhile.
                sender.send(done).ok();
            }
        });
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        assert!(self.threads[next].send(work).is_ok(), "a thread lives as long as it can be sent work");
        match receiver.await.expect("work that is waited for comes to an end") {
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

/// Elsewhere it would concern the whole process.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // Where it may not be changed, all are equal.
    rustix::process::nice(PRIORITY).ok();
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_by_threads_of_its_own_one_after_the_other() {
        let apart = Apart::start();
        let names = (0..20).map(|_| apart.run(async { thread::current().name().map(str::to_owned) }));
        let names = futures_util::future::join_all(names).await;
        assert!(names.iter().all(|name| name.as_deref() == Some(NAME)), "{names:?}");
        // What waits holds nobody up.
        let (sender, receiver) = oneshot::channel();
        let waiting = apart.run(receiver);
        let other = async {
            for _ in 0..apart.threads.len() {
                apart.run(async {}).await;
            }
            sender.send(7)
        };
        let (waited, sent) = tokio::join!(waiting, other);
        assert_eq!((waited, sent), (Ok(7), Ok(())));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_give_way_to_others() {
        let priority = async { rustix::process::getpriority_process(None).expect("it is known") };
        let apart = Apart::start().run(priority).await;
        let ours = rustix::process::getpriority_process(None).expect("it is known");
        assert_eq!(apart, (ours + PRIORITY).min(19));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped() {
        let apart = Apart::start();
        let (held, dropped) = oneshot::channel::<()>();
        {
            let mut work = Box::pin(apart.run(async move {
                let _held = held;
                std::future::pending::<()>().await;
            }));
            assert!(futures_util::poll!(&mut work).is_pending());
        }
        assert!(dropped.await.is_err(), "its sender was dropped");
    }

    #[tokio::test]
    async fn panic_reaches_whoever_waits_and_the_thread_lives_on() {
        let apart = Apart::start();
        for _ in 0..3 {
            let panicked = AssertUnwindSafe(apart.run(async { panic!("on purpose") })).catch_unwind().await;
            assert!(matches!(panicked, Err(panic) if panic.downcast_ref() == Some(&"on purpose")));
        }
        assert_eq!(apart.run(async { 1 }).await, 1);
    }
}
