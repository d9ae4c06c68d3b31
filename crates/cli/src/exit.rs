//! Exit codes, the same for every command, and the errors that choose them. See docs/reference/exit-codes.md.

use std::process;

use records::cut_short;

use crate::{output::visible, remedy, settings::InvalidSetting};

/// Characters of one cause. Ours are shorter; what has more repeats what came from outside.
const CAUSE_CHARACTERS: usize = 16_000;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// Complete and verified.
    Complete = 0,
    /// Failed; run again.
    Failed = 1,
    /// Wrong arguments or configuration, or a source that cannot be read.
    Usage = 2,
    /// Finished, but records were rejected, are missing, have no vector, or cannot be shown exactly; or judgements of a
    /// run have no result.
    Rejected = 3,
    /// A comparison found a difference.
    Different = 4,
    /// Refused: the table or its indexes are locked by another process, or edited rows conflict.
    Refused = 5,
    /// `doctor` found errors or warnings, or `index apply` or `index tune` measured a recall below the target.
    Unhealthy = 6,
    /// Interrupted by a signal: 128 + SIGINT, as in shells.
    Interrupted = 130,
    /// The reader of standard output closed it early: 128 + SIGPIPE, as in shells. Not a failure, but not 0 either,
    /// which would mean that every record was printed.
    BrokenPipe = 141,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// The error of a command, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    error: anyhow::Error,
    /// What to do about it, where that is not in the message.
    hint: Option<String>,
}

impl Failure {
    /// With a hint for the user, if the message has none.
    pub(crate) fn new(code: ExitCode, hint: Option<String>, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), hint }
    }

    /// The user's input or configuration is at fault.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: ExitCode::Usage, error: error.into(), hint: None }
    }

    /// As [`usage`](Self::usage), with a hint.
    pub(crate) fn usage_with_hint(hint: Option<String>, error: impl Into<anyhow::Error>) -> Self {
        Self { hint, ..Self::usage(error) }
    }

    /// Another process conflicts.
    pub(crate) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { code: ExitCode::Refused, error: error.into(), hint: None }
    }

    /// Adds `context` in front of the cause.
    pub(crate) fn context(self, context: String) -> Self {
        Self { error: self.error.context(context), ..self }
    }

    /// The chain of causes on one line.
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

    /// Prints the error and its hint on standard error.
    pub(crate) fn print(self) -> ExitCode {
        // Names from a source may contain escape sequences.
        eprintln!("error: {}", visible(&self.message()));
        if let Some(hint) = self.hint() {
            eprintln!("hint: {}", visible(hint));
        }
        self.code
    }
}

/// An error and all of its causes on one line, with their remedies.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut last) = (String::new(), String::new());
    for error in std::iter::successors(Some(error), |error| error.source()) {
        // Drivers put line breaks into their messages, and repeat their cause.
        let cause =
            cut_short(&error.to_string(), CAUSE_CHARACTERS).split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || !last.ends_with(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            // Most errors have no remedy on the command line.
            text = format!("{text}{colon}{cause}{}", remedy::of(error).unwrap_or_default());
            last = cause;
        } else if let Some(remedy) = remedy::of(error) {
            text.push_str(&remedy);
        }
    }
    text
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let code = if error.is::<InvalidSetting>() { ExitCode::Usage } else { ExitCode::Failed };
        Self { code, error, hint: None }
    }
}

impl From<InvalidSetting> for Failure {
    fn from(error: InvalidSetting) -> Self {
        Self::usage(error)
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
            | Error::ModelWritten { .. }
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
            StorageError::Unavailable { .. } | StorageError::Busy => ExitCode::Failed,
            // An incompatible storage is a usage error.
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
        | Error::NewerSchema { .. }
        | Error::NoTable { .. }
        | Error::NotAdopted { .. }
        | Error::NotDistributable { .. }
        | Error::Replica { .. }
        | Error::Privilege { .. }
        | Error::ReadOnlyServer { .. }
        | Error::OutdatedStandby { .. }
        | Error::NotVacuumed { .. } => ExitCode::Usage,
        Error::Locked { .. }
        | Error::IndexesLocked { .. }
        | Error::TakenOver { .. }
        | Error::DeletedMeanwhile { .. }
        | Error::Referenced { .. } => ExitCode::Refused,
        Error::Connect { .. }
        | Error::ConnectionLost { .. }
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
    fn causes_of_any_length_are_cut_in_words() {
        let error = anyhow::anyhow!("x".repeat(2 << 20)).context("y".repeat(1 << 20));
        let text = chain(error.as_ref());
        assert!(text.len() < 40_000 && text.matches("(cut: ").count() == 2, "{} bytes", text.len());
    }

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
