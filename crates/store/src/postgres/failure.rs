//! Maps errors of statements to errors of the storage.

use records::Service;

use super::{
    bounded::AnswerTooLarge,
    concise_error::concise,
    connection_fault::ConnectionFault,
    error::{BEYOND_HALF, is_beyond_half, is_read_only, is_shared_memory, missing_privilege},
};
use crate::storage::{ReadOnlyServer, StorageError};

/// The operation that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing(pub(crate) Service);

impl Failing {
    /// Turns a statement's error into that of `operation`, a verb phrase.
    pub(crate) fn to(self, operation: &'static str) -> impl Fn(sqlx::Error) -> StorageError {
        move |error| {
            let error = concise(error);
            if matches!(&error, sqlx::Error::Decode(cause) if cause.is::<AnswerTooLarge>()) {
                StorageError::TooLarge
            } else if is_transient(&error) {
                StorageError::Unavailable { service: self.0, source: connection_problem(error) }
            } else if is_invalid_pattern(&error) {
                StorageError::Unsupported {
                    field: "where_document".to_owned(),
                    reason:
                        "the regular expression is too large for PostgreSQL: use fewer or smaller repetitions"
                            .to_owned(),
                }
            } else if is_shared_memory(&error) {
                let source =
                    crate::Error::SharedMemory { operation: "use the storage's table", source: error };
                StorageError::Failed { operation, source: source.into() }
            } else if is_beyond_half(&error) {
                StorageError::Unsupported { field: "embedding".to_owned(), reason: BEYOND_HALF.to_owned() }
            } else if let Some(remedy) = missing_privilege(&error) {
                let source =
                    crate::Error::Privilege { operation: "use the storage's table", remedy, source: error };
                StorageError::Failed { operation, source: source.into() }
            } else {
                StorageError::Failed { operation, source: error.into() }
            }
        }
    }

    /// The same for an error that already names the operation.
    pub(crate) fn of(self, operation: &'static str, error: crate::Error) -> StorageError {
        use crate::Error;
        match error {
            Error::Connect { .. } | Error::ConnectionLost { .. } => {
                StorageError::Unavailable { service: self.0, source: error.into() }
            }
            Error::ReadOnlyServer { .. } => {
                StorageError::Unavailable { service: self.0, source: ReadOnlyServer.into() }
            }
            Error::Statement { ref source, .. } if is_transient(source) => {
                StorageError::Unavailable { service: self.0, source: error.into() }
            }
            error => StorageError::Failed { operation, source: error.into() },
        }
    }
}

/// A passing error, in our words if the connection failed or the server rejects writes.
pub(crate) fn connection_problem(error: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    if is_read_only(&error) {
        return ReadOnlyServer.into();
    }
    ConnectionFault::at_work(error).map_or_else(Into::into, Into::into)
}

/// The only possible error of a valid regular expression, as ours are: "regular expression is too complex".
const INVALID_REGULAR_EXPRESSION: &str = "2201B";

/// Whether PostgreSQL rejected a regular expression.
pub(crate) fn is_invalid_pattern(error: &sqlx::Error) -> bool {
    code(error).as_deref() == Some(INVALID_REGULAR_EXPRESSION)
}

/// Whether the same statement may succeed later: the server is unreachable, shutting down, starting up or too busy.
///
/// A statement that reached its time-out is included, since it may be faster on an idle server.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    const PASSING: [&str; 10] = [
        "25006", // read only: a standby that was not promoted yet
        "25P03", // idle_in_transaction_session_timeout
        "25P04", // transaction_timeout
        "40001", // serialization_failure
        "40P01", // deadlock_detected
        "53100", // disk_full
        "53200", // out_of_memory
        "53300", // too_many_connections
        "55P03", // lock_not_available
        "57014", // query_canceled: statement_timeout
    ];
    /// Connection exceptions; shut down, crashed, starting up.
    const PASSING_CLASSES: [&str; 2] = ["08", "57P0"];
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        error => code(error).is_some_and(|code| {
            PASSING.contains(&code.as_str()) || PASSING_CLASSES.iter().any(|class| code.starts_with(class))
        }),
    }
}

/// How often a write is tried whose transaction conflicts with another one.
pub(crate) const WRITE_ATTEMPTS: usize = 5;

/// Whether the server ended the transaction because of another one, so that all of it may be repeated at once.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    const CONFLICTS: [&str; 2] = [
        "40001", // serialization_failure
        "40P01", // deadlock_detected
    ];
    code(error).is_some_and(|code| CONFLICTS.contains(&code.as_str()))
}

/// The same for an error of the storage.
fn is_conflict_of_storage(error: &StorageError) -> bool {
    let StorageError::Unavailable { source, .. } = error else { return false };
    match source.downcast_ref::<crate::Error>() {
        Some(crate::Error::Statement { source, .. }) => is_conflict(source),
        _ => source.downcast_ref().is_some_and(is_conflict),
    }
}

/// Performs `write`, all of a transaction, again if another one ended it.
pub(crate) async fn repeated<T, F: Future<Output = Result<T, StorageError>>>(
    write: impl Fn() -> F,
) -> Result<T, StorageError> {
    for _ in 1..WRITE_ATTEMPTS {
        match write().await {
            Err(error) if is_conflict_of_storage(&error) => {}
            written => return written,
        }
    }
    write().await
}

/// Whether an operator's limit ended it, such as `temp_file_limit`.
pub(crate) fn is_beyond_a_limit(error: &sqlx::Error) -> bool {
    const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
    code(error).as_deref() == Some(CONFIGURATION_LIMIT_EXCEEDED)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}
