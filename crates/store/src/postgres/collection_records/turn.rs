//! Large answers are read one after the other, so that few of them are in memory. Of those that wait for their turn, only some
//! keep their connections: small answers find one.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::Collections;
use crate::{
    postgres::{
        bounded::AnswerSize,
        collections::{CollectionError, MAX_RECORDS_BYTES},
        shares::{Holding, Permit},
    },
    storage::StorageError,
};

/// The turn of a request, whose messages share it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Locked while the request waits for it.
    permit: Mutex<Option<Permit>>,
    holding: Holding,
}

impl Turn {
    /// That of a request that holds locks while it reads.
    pub(super) fn with_locks() -> Self {
        Self { holding: Holding::Locks, ..Self::default() }
    }

    pub(super) fn attempt(&self) -> Attempt<'_> {
        Attempt { turn: self, is_given_up: AtomicBool::new(false) }
    }
}

/// An attempt to read an answer that may be large.
#[derive(Debug)]
pub(super) struct Attempt<'t> {
    turn: &'t Turn,
    /// Whether it was given up for a turn.
    is_given_up: AtomicBool,
}

impl Collections {
    /// Waits for the turn of a request whose answer will be large, which has no connection yet.
    ///
    /// # Errors
    /// [`CollectionError::Busy`] when the process uses too much memory.
    pub(super) async fn wait_for(&self, turn: &Turn) -> Result<(), CollectionError> {
        let mut permit = turn.permit.lock().await;
        if permit.is_none() {
            *permit = Some(self.database.begin_large().await.map_err(busy)?);
        }
        Ok(())
    }

    /// Whether `attempt`, which has failed, was given up. If so, the request has its turn now, and can be repeated.
    ///
    /// # Errors
    /// [`CollectionError::Busy`] when the process uses too much memory.
    pub(super) async fn has_given_up(&self, attempt: &Attempt<'_>) -> Result<bool, CollectionError> {
        let is_given_up = attempt.is_given_up.load(Ordering::Relaxed);
        if is_given_up {
            self.wait_for(attempt.turn).await?;
        }
        Ok(is_given_up)
    }

    /// Checks whether an answer may have `bytes`.
    ///
    /// # Errors
    /// [`CollectionError::TooLarge`] if it may not, or has to be given up; [`CollectionError::Busy`] when the process uses too much
    /// memory.
    pub(super) async fn admit(&self, bytes: usize, attempt: &Attempt<'_>) -> Result<(), CollectionError> {
        if bytes > MAX_RECORDS_BYTES {
            return Err(CollectionError::TooLarge);
        }
        if bytes <= AnswerSize::Small.most_bytes() {
            return Ok(());
        }
        // If it is locked, another message of the request waits for it without a connection.
        if let Ok(mut permit) = attempt.turn.permit.try_lock() {
            if permit.is_none() {
                *permit = self.database.begin_large_while(attempt.turn.holding).await.map_err(busy)?;
            }
            if permit.is_some() {
                return Ok(());
            }
        }
        attempt.is_given_up.store(true, Ordering::Relaxed);
        Err(CollectionError::TooLarge)
    }
}

fn busy(error: StorageError) -> CollectionError {
    match error {
        StorageError::Busy => CollectionError::Busy,
        error => CollectionError::Failed { operation: "wait for other large answers", source: error.into() },
    }
}
