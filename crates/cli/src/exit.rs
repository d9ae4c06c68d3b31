//! How a command ends. The codes are the same for every command and listed in docs/reference/exit-codes.md.

use std::process;

use crate::{output::visible, remedy};

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// Complete and verified.
    Complete = 0,
    /// Something failed on the way; run again.
    Failed = 1,
    /// Wrong arguments or configuration, or a source that cannot be read.
    Usage = 2,
    /// Finished, but records were rejected, are missing, have no vector, or cannot be shown exactly; or judgements of a
    /// run are no measurement.
    Rejected = 3,
    /// A comparison found a difference.
    Different = 4,
    /// Refused: another process holds the table or its indexes, or rows edited since are in the way.
    Refused = 5,
    /// `doctor` found errors or warnings.
    Unhealthy = 6,
    /// Interrupted by a signal, as shells count it.
    Interrupted = 130,
    /// Whoever read standard output went away before the end, as shells count SIGPIPE. Not a failure; but not 0,
    /// which would say that every record was printed.
    BrokenPipe = 141,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// A command that could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    error: anyhow::Error,
    /// What to do about it, where that is not in the message.
    hint: Option<String>,
}

impl Failure {
    /// With a hint what to do about it, where that is not in the message.
    pub(crate) fn new(code: ExitCode, hint: Option<String>, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), hint }
    }

    /// The user's input or configuration is at fault.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: ExitCode::Usage, error: error.into(), hint: None }
    }

    /// As [`usage`](Self::usage), with what to do about it.
    pub(crate) fn usage_with_hint(hint: Option<String>, error: impl Into<anyhow::Error>) -> Self {
        Self { hint, ..Self::usage(error) }
    }

    /// Another process is in the way.
    pub(crate) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { code: ExitCode::Refused, error: error.into(), hint: None }
    }

    /// The same failure, with what was being done in front of its cause.
    pub(crate) fn context(self, context: String) -> Self {
        Self { error: self.error.context(context), ..self }
    }

    /// The whole chain of causes on one line.
    pub(crate) fn message(&self) -> String {
        chain(self.error.as_ref())
    }

    /// The exit code of this failure.
    pub(crate) fn code(&self) -> ExitCode {
        self.code
    }

    /// What to do about it, where that is not in the message.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Says on standard error what went wrong.
    pub(crate) fn print(self) -> ExitCode {
        // Names out of a source may hold escape sequences.
        eprintln!("error: {}", visible(&self.message()));
        if let Some(hint) = self.hint() {
            eprintln!("hint: {}", visible(hint));
        }
        self.code
    }
}

/// An error and all of its causes on one line, with what helps.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut last) = (String::new(), String::new());
    for error in std::iter::successors(Some(error), |error| error.source()) {
        // Drivers put line breaks into their messages; a line that is one can be searched for. And they repeat their
        // cause.
        let cause = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || !last.ends_with(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            // Most errors have no remedy on the command line.
            text = format!("{text}{colon}{cause}{}", remedy::of(error).unwrap_or_default());
            last = cause;
        }
    }
    text
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: ExitCode::Failed, error, hint: None }
    }
}

impl From<provision::Error> for Failure {
    fn from(error: provision::Error) -> Self {
        use provision::Error;
        let code = match error {
            Error::NoDataDir
            | Error::NoPip { .. }
            | Error::Platform { .. }
            | Error::ClusterVersion { .. }
            | Error::VersionFile { .. }
            | Error::NoAccount
            | Error::OtherOwner { .. }
            | Error::OthersWrite { .. }
            | Error::NotRegularFile { .. }
            | Error::NotFolder { .. }
            | Error::SocketFolder { .. }
            | Error::Unreachable { .. } => ExitCode::Usage,
            Error::EarlierVersion { .. } => ExitCode::Refused,
            _ => ExitCode::Failed,
        };
        Self { code, error: error.into(), hint: None }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self { code: store_code(&error), error: error.into(), hint: None }
    }
}

impl From<store::storage::StorageError> for Failure {
    fn from(error: store::storage::StorageError) -> Self {
        use store::storage::StorageError;
        let code = match &error {
            StorageError::Refused { .. } | StorageError::Unsupported { .. } | StorageError::TooLarge => {
                ExitCode::Usage
            }
            StorageError::Unavailable { .. } => ExitCode::Failed,
            // A store that does not fit is for its owner to change.
            StorageError::Failed { source, .. } => {
                source.downcast_ref::<store::Error>().map_or(ExitCode::Failed, store_code)
            }
        };
        Self { code, error: error.into(), hint: None }
    }
}

impl From<upkeep::doctor::ExamineError> for Failure {
    fn from(error: upkeep::doctor::ExamineError) -> Self {
        use upkeep::doctor::ExamineError;
        let code = match &error {
            ExamineError::Store(source) => store_code(source),
            ExamineError::Embed { .. } => ExitCode::Failed,
        };
        Self { code, error: error.into(), hint: None }
    }
}

impl From<upkeep::Error> for Failure {
    fn from(error: upkeep::Error) -> Self {
        let upkeep::Error::Store { source, .. } = &error;
        Self { code: store_code(source), error: error.into(), hint: None }
    }
}

pub(crate) fn store_code(error: &store::Error) -> ExitCode {
    use store::Error;
    match error {
        Error::Url { .. }
        | Error::Unsendable { .. }
        | Error::ServerVersion { .. }
        | Error::ExtensionUnavailable { .. }
        | Error::CreateExtension { .. }
        | Error::ExtensionVersion { .. }
        | Error::ExtensionForbidden { .. }
        | Error::ExtensionHidden { .. }
        | Error::Encoding { .. }
        | Error::ForeignTable { .. }
        | Error::OwnTable { .. }
        | Error::HiddenRows { .. }
        | Error::TablePrivilege { .. }
        | Error::Schema { .. }
        | Error::NoTable { .. }
        | Error::NotAdopted { .. }
        | Error::Privilege { .. }
        | Error::NotVacuumed { .. } => ExitCode::Usage,
        Error::Locked { .. } | Error::IndexesLocked { .. } | Error::TakenOver { .. } => ExitCode::Refused,
        Error::Connect { .. }
        | Error::Migrate { .. }
        | Error::Row { .. }
        | Error::SharedMemory { .. }
        | Error::BeyondHalf { .. }
        | Error::Kept { .. }
        | Error::CopyFormat
        | Error::Replay { .. }
        | Error::Statement { .. } => ExitCode::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_never_change() {
        use ExitCode::{
            BrokenPipe, Complete, Different, Failed, Interrupted, Refused, Rejected, Unhealthy, Usage,
        };
        let codes =
            [Complete, Failed, Usage, Rejected, Different, Refused, Unhealthy, Interrupted, BrokenPipe];
        assert_eq!(codes.map(|code| code as u8), [0, 1, 2, 3, 4, 5, 6, 130, 141]);
    }
}
