//! Load on an HTTP service: several connections, each with one request at a time.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests.
    Requests(u64),
}

/// Latencies and failures of the requests.
#[derive(Debug, Default)]
pub struct Load {
    /// Time of each answered request, ascending.
    pub latencies: Vec<Duration>,
    /// The errors of the others.
    pub failures: Vec<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Load {
    /// Answered requests per second.
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency, in milliseconds, that `share` (0 to 1) of the requests do not exceed.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// Sends requests with consecutive numbers from `connections` tasks, each as soon as its last one is answered.
pub async fn drive<R>(
    connections: usize,
    until: Until,
    request: impl Fn(u64) -> R + Clone + Send + 'static,
) -> Load
where
    R: Future<Output = Result<(), String>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (request, next) = (request.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut load = Load::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let is_over = match until {
                    Until::Elapsed(time) => started.elapsed() >= time,
                    Until::Requests(requests) => number >= requests,
                };
                if is_over {
                    return load;
                }
                let sent = Instant::now();
                match request(number).await {
                    Ok(()) => load.latencies.push(sent.elapsed()),
                    Err(failure) => load.failures.push(failure),
                }
            }
        });
    }
    let mut load = Load::default();
    while let Some(part) = tasks.join_next().await {
        let part = part.expect("a request does not panic");
        load.latencies.extend(part.latencies);
        load.failures.extend(part.failures);
    }
    load.elapsed = started.elapsed();
    load.latencies.sort_unstable();
    load
}
