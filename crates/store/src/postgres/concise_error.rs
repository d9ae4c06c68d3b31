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
        Self {
            message: name(error.message()),
            code: error.code().map(Cow::into_owned),
            table: error.table().map(name),
            constraint: error.constraint().map(name),
            kind: error.kind(),
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
