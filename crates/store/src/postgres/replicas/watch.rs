//! Looks at the primary and its replicas again and again: whether they answer, what they are, and where they are in the log.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::{
    Replica, Replicas, Unfit,
    identity::{Identity, Reason, identify},
};
use crate::postgres::sql::transaction::begin_look;

/// From one look to the next. Each is a statement on each server; the lag is known to this precision.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that takes longer counts as unavailable.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at least, however many reads fail.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);

/// Looks at all of them until they are dropped.
pub(super) async fn watch(replicas: Weak<Replicas>, look_now: Arc<Notify>) {
    loop {
        tokio::time::sleep(LEAST_INTERVAL).await;
        // A time-out is the usual case.
        tokio::time::timeout(INTERVAL, look_now.notified()).await.ok();
        let Some(replicas) = replicas.upgrade() else { return };
        look(&replicas).await;
    }
}

/// Looks at the primary and at the replicas whose rest is over, and returns the unfit ones.
pub(super) async fn look(replicas: &Replicas) -> Vec<Unfit> {
    let now = Instant::now();
    let awake = replicas.all.iter().filter(|replica| !replica.rests_beyond(now));
    let looks = join_all(awake.map(|replica| look_at(replicas, replica)));
    // An unavailable primary is what it was.
    let (_, found) = tokio::join!(look_at_primary(replicas), looks);
    found.into_iter().filter_map(Result::err).collect()
}

/// Reads what the primary is, and where it is in the log.
pub(super) async fn look_at_primary(replicas: &Replicas) -> sqlx::Result<()> {
    let known = replicas.known.get();
    let identified = tokio::time::timeout(ANSWERS_WITHIN, identify_primary(replicas)).await;
    let identity = identified.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    if let Some(inserts_at) = identity.inserts_at {
        replicas.known.correct(known, inserts_at);
        if let Some(position) = identity.position {
            replicas.positions.lock().add(Instant::now(), position);
        }
    }
    *replicas.identity.lock() = Some(identity);
    Ok(())
}

async fn identify_primary(replicas: &Replicas) -> sqlx::Result<Identity> {
    let mut transaction = replicas.primary.begin(None, begin_look()).await?;
    let identity = identify(&mut transaction).await?;
    transaction.commit().await?;
    Ok(identity)
}

async fn look_at(replicas: &Replicas, replica: &Replica) -> Result<(), Unfit> {
    let looked = tokio::time::timeout(ANSWERS_WITHIN, replica.identify()).await.unwrap_or_else(|_| {
        Err(Reason::Unavailable(format!("it does not answer within {} s", ANSWERS_WITHIN.as_secs())))
    });
    let checked = looked.and_then(|identity| {
        let primary = replicas.identity.lock();
        // Without the primary, the replicas are what they were when it was seen last.
        primary.as_ref().map_or(Ok(()), |primary| identity.check_standby_of(primary))?;
        Ok(identity)
    });
    let identity = match checked {
        Ok(identity) => identity,
        Err(reason) => {
            replica.fail(&reason.to_string());
            return Err(Unfit { address: replica.address.clone(), reason });
        }
    };
    replica.note_settings(identity.settings);
    let Some(replayed) = identity.position else {
        replica.is_fit(None);
        return Ok(());
    };
    replica.note_replayed(replayed);
    let lag = replicas.positions.lock().lag(Instant::now(), replayed);
    match lag {
        Some(lag) if lag.time > replicas.max_lag => {
            let reason = format!(
                "it is {} s ({} bytes of the log) behind the primary, more than the limit of {} s",
                lag.time.as_secs(),
                lag.bytes,
                replicas.max_lag.as_secs()
            );
            replica.lag_too_far(lag, &reason);
        }
        lag => replica.is_fit(lag),
    }
    Ok(())
}
