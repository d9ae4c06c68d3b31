//! Truncates PostgreSQL's messages: a trigger may raise a message of any length, and messages and details repeat
//! values of rows. Also drops the line that the driver appends to a message, which is one of PostgreSQL's source text.
//!
//! Every error of a statement passes through here, so that no log, response, terminal or row contains more.

use std::{borrow::Cow, error::Error as StdError, fmt};

use records::cut_short;
use sqlx::{
    error::{DatabaseError, ErrorKind},
    postgres::PgDatabaseError,
};

/// Maximum number of characters of a message. With our own text it is within the limit of [`records::error_chain`].
const MESSAGE_CHARACTERS: usize = 1_500;

/// `error` with only the server's message, which says so if it is truncated. The rest is freed.
pub(crate) fn concise(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Database(error) if error.try_downcast_ref::<PgDatabaseError>().is_some() => {
            sqlx::Error::Database(Box::new(ConciseError::of(&*error)))
        }
        sqlx::Error::Protocol(error) => {
            sqlx::Error::Protocol(cut_short(&error, MESSAGE_CHARACTERS).into_owned())
        }
        error => error,
    }
}

/// The code of internal errors. Citus's COPY reports an error of a worker with this code and the worker's message, and Citus
/// reports with it that a shard has moved.
const INTERNAL: &str = "XX000";

/// The code of an error of which only the message arrived.
fn reported(message: &str) -> Option<&'static str> {
    const REPORTED: [(&str, &str); 12] = [
        ("duplicate key value violates unique constraint", "23505"),
        ("violates not-null constraint", "23502"),
        ("violates check constraint", "23514"),
        ("violates foreign key constraint", "23503"),
        ("violates exclusion constraint", "23P01"),
        ("out of range for type halfvec", "22003"),
        ("index row size", "54000"),
        ("deadlock detected", "40P01"),
        ("involved in a distributed deadlock", "40P01"),
        ("could not serialize access", "40001"),
        // The table has just been distributed.
        ("could not find valid entry for shard", "40001"),
        ("canceling statement due to lock timeout", "55P03"),
    ];
    REPORTED.iter().find(|(text, _)| message.contains(text)).map(|(_, code)| *code)
}

/// The kind of an error with this code.
fn kind(code: &str) -> ErrorKind {
    match code {
        "23505" => ErrorKind::UniqueViolation,
        "23502" => ErrorKind::NotNullViolation,
        "23514" => ErrorKind::CheckViolation,
        "23503" => ErrorKind::ForeignKeyViolation,
        _ => ErrorKind::Other,
    }
}

/// The parts of an error that are used or shown.
#[derive(Debug)]
struct ConciseError {
    message: String,
    code: Option<String>,
    table: Option<String>,
    constraint: Option<String>,
    kind: ErrorKind,
    is_transient_in_connect_phase: bool,
}

impl ConciseError {
    fn of(error: &dyn DatabaseError) -> Self {
        let name = |name: &str| cut_short(name, MESSAGE_CHARACTERS).into_owned();
        let reported = error.code().filter(|code| code == INTERNAL).and_then(|_| reported(error.message()));
        Self {
            message: name(error.message()),
            code: reported.map(str::to_owned).or_else(|| error.code().map(Cow::into_owned)),
            table: error.table().map(name),
            constraint: error.constraint().map(name),
            kind: reported.map_or_else(|| error.kind(), kind),
            is_transient_in_connect_phase: error.is_transient_in_connect_phase(),
        }
    }
}

impl fmt::Display for ConciseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for ConciseError {}

impl DatabaseError for ConciseError {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.code.as_deref().map(Cow::Borrowed)
    }

    fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    fn kind(&self) -> ErrorKind {
        // It cannot be cloned.
        match self.kind {
            ErrorKind::UniqueViolation => ErrorKind::UniqueViolation,
            ErrorKind::ForeignKeyViolation => ErrorKind::ForeignKeyViolation,
            ErrorKind::NotNullViolation => ErrorKind::NotNullViolation,
            ErrorKind::CheckViolation => ErrorKind::CheckViolation,
            ErrorKind::ExclusionViolation => ErrorKind::ExclusionViolation,
            _ => ErrorKind::Other,
        }
    }

    fn is_transient_in_connect_phase(&self) -> bool {
        self.is_transient_in_connect_phase
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }
}
