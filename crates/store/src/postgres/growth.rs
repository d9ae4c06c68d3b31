//! How much the tables of collections have grown since they were last looked at: one that has become large needs indexes
//! soon, but not while a client still fills it, which would be much slower with them.

use std::{collections::HashMap, time::Duration};

use records::lock::Mutex;
use tokio::{sync::Notify, time::Instant};

/// New rows that may make a vector index worthwhile: as many as an exact scan is fast for.
const MANY_ROWS: u64 = 10_000;
/// How long nothing is added before a table counts as filled.
const PAUSE: Duration = Duration::from_secs(10);
/// Tables that are counted. With more, counting begins again, and the tables wait for the next round of maintenance.
const MOST_TABLES: usize = 10_000;

/// The growth of tables in this process.
#[derive(Debug, Default)]
pub struct Growth {
    /// By table: new rows, and when the last ones were added. Locked only briefly.
    tables: Mutex<HashMap<String, (u64, Instant)>>,
    /// Notified when a table has grown by many rows.
    has_grown: Notify,
}

impl Growth {
    /// `rows` were added to `table`.
    pub(crate) fn add(&self, table: &str, rows: u64) {
        if rows == 0 {
            return;
        }
        let mut tables = self.tables.lock();
        if tables.len() >= MOST_TABLES && !tables.contains_key(table) {
            tables.clear();
        }
        let now = Instant::now();
        let grown = match tables.get_mut(table) {
            Some((grown, at)) => {
                (*grown, *at) = (grown.saturating_add(rows), now);
                *grown
            }
            None => {
                tables.insert(table.to_owned(), (rows, now));
                rows
            }
        };
        drop(tables);
        if grown >= MANY_ROWS {
            self.has_grown.notify_one();
        }
    }

    /// Waits until a table has grown by many rows, and nothing is added to it for some seconds.
    pub async fn settled(&self) {
        loop {
            let due = self.due();
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                return;
            }
            tokio::select! {
                () = self.has_grown.notified() => {}
                () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }

    /// When the first of the tables that have grown is filled; if it is, those that are filled are forgotten.
    fn due(&self) -> Option<Instant> {
        let mut tables = self.tables.lock();
        let due = tables.values().filter(|(rows, _)| *rows >= MANY_ROWS).map(|(_, at)| *at + PAUSE).min()?;
        let now = Instant::now();
        if due <= now {
            tables.retain(|_, (rows, at)| *rows < MANY_ROWS || *at + PAUSE > now);
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn table_settles_once_after_it_has_grown_and_nothing_is_added() {
        let growth = Growth::default();
        growth.add("few", MANY_ROWS - 1);
        tokio::time::advance(2 * PAUSE).await;
        assert!(growth.settled().now_or_never().is_none(), "it is small");
        let began = Instant::now();
        let filled = async {
            for _ in 0..4 {
                growth.add("many", MANY_ROWS / 4);
                tokio::time::sleep(PAUSE / 2).await;
            }
        };
        tokio::join!(growth.settled(), filled);
        assert_eq!(began.elapsed(), 3 * PAUSE / 2 + PAUSE);
        assert!(growth.settled().now_or_never().is_none(), "it was reported");
        growth.add("few", 1);
        let began = Instant::now();
        growth.settled().await;
        assert_eq!(began.elapsed(), PAUSE);
    }
}
