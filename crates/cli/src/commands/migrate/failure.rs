//! Exit codes and hints for errors of a migration.

use crate::{
    exit::{ExitCode, Failure, store_code},
    source,
};

/// The exit code of a migration's error, and a hint.
pub(super) fn of_migration(error: &migrate::Error) -> (ExitCode, Option<String>) {
    use migrate::Error;
    let code = match error {
        Error::Source(_)
        | Error::Dimension { .. }
        | Error::UnknownRun { .. }
        | Error::AlreadyUndone { .. }
        | Error::NewerVersion { .. } => ExitCode::Usage,
        Error::Unfinished(_)
        | Error::OtherMapping(_)
        | Error::Overlap { .. }
        | Error::Served { .. }
        | Error::LaterRuns { .. }
        | Error::Damaged { .. } => ExitCode::Refused,
        Error::Store { source, .. } | Error::Database(source) => store_code(source),
        Error::Incomplete { .. } | Error::SourceChanged { .. } | Error::Embed { .. } => ExitCode::Failed,
    };
    let hint = match error {
        Error::Source(source) => source::hint(source),
        _ => None,
    };
    (code, hint)
}

impl From<migrate::Error> for Failure {
    fn from(error: migrate::Error) -> Self {
        let (code, hint) = of_migration(&error);
        Self::new(code, hint, error)
    }
}
