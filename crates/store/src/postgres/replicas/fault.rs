//! Whose fault a failed read is.

use crate::{postgres::connection_fault::ConnectionFault, storage::StorageError};

/// Whose fault a failed read on a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request's: it would fail on the primary too.
    Request,
    /// The replica's, and only for this read: replayed changes conflicted with it, for instance. The primary answers it.
    Read,
    /// The replica's: it cannot answer. The primary answers until it can.
    Replica,
    /// Of the connection, or there was none in time: a look at the replica shows whether it is unavailable or busy.
    Connection,
}

/// The error of a read.
pub(crate) trait ReadFailure {
    /// Whose fault it is, if a replica answered so.
    fn fault(&self) -> Fault;
}

impl ReadFailure for StorageError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { source, .. } | Self::Failed { source, .. } => fault_of(&**source),
            Self::Refused { .. } | Self::Unsupported { .. } | Self::TooLarge | Self::Busy => Fault::Request,
        }
    }
}

impl ReadFailure for sqlx::Error {
    fn fault(&self) -> Fault {
        match self {
            Self::Io(_)
            | Self::Tls(_)
            | Self::Protocol(_)
            | Self::PoolTimedOut
            | Self::PoolClosed
            | Self::WorkerCrashed
            | Self::BeginFailed => Fault::Connection,
            error => {
                let state = error.as_database_error().and_then(|error| error.code());
                state.as_deref().map_or(Fault::Request, of_state)
            }
        }
    }
}

/// Whose fault the cause of a failed operation is.
pub(crate) fn fault_of(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Fault {
    if source.is::<ConnectionFault>() {
        return Fault::Connection;
    }
    if let Some(error) = source.downcast_ref::<sqlx::Error>() {
        return error.fault();
    }
    match source.downcast_ref::<crate::Error>() {
        Some(crate::Error::Statement { source, .. }) => source.fault(),
        Some(crate::Error::ConnectionLost { .. } | crate::Error::Connect { .. }) => Fault::Connection,
        _ => Fault::Request,
    }
}

/// Of an answer with this SQLSTATE.
fn of_state(state: &str) -> Fault {
    match state {
        // serialization_failure, which a standby reports for a conflict with recovery; lock_not_available: replayed changes
        // lock tables too.
        "40001" | "40P01" | "55P03" | "53100" | "53200" => Fault::Read,
        // Too many connections.
        "53300" => Fault::Replica,
        // Connection exceptions; shut down, crashed, starting up, its database dropped; system and internal errors.
        _ if ["08", "57P0", "58", "XX"].iter().any(|class| state.starts_with(class)) => Fault::Replica,
        _ => Fault::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_of_the_read_and_lost_connections_of_the_replica() {
        for state in ["40001", "55P03"] {
            assert_eq!(of_state(state), Fault::Read, "{state}");
        }
        for state in ["08006", "57P01", "57P02", "57P03", "57P04", "58030", "XX001", "53300"] {
            assert_eq!(of_state(state), Fault::Replica, "{state}");
        }
        // Time-outs, division by zero, invalid regular expressions, missing tables, missing privileges.
        for state in ["57014", "22012", "2201B", "42P01", "42501"] {
            assert_eq!(of_state(state), Fault::Request, "{state}");
        }
    }

    #[test]
    fn fault_is_found_below_the_errors_of_storages() {
        let timed_out = || Box::new(sqlx::Error::PoolTimedOut);
        let failed = StorageError::Failed { operation: "read", source: timed_out() };
        assert_eq!(failed.fault(), Fault::Connection);
        let error = crate::Error::Statement { operation: "read", source: sqlx::Error::RowNotFound };
        assert_eq!(fault_of(&error), Fault::Request);
        assert_eq!(StorageError::TooLarge.fault(), Fault::Request);
    }
}
