//! Exit codes and hints for sources that cannot be read.

use super::hint::{hint, of_directory};
use crate::exit::{ExitCode, Failure};

impl From<provision::ChromaError> for Failure {
    fn from(error: provision::ChromaError) -> Self {
        use provision::ChromaError;
        let code = match error {
            ChromaError::NotInstalled
            | ChromaError::TooOld { .. }
            | ChromaError::NeedsConsent { .. }
            | ChromaError::Unreadable { .. } => ExitCode::Usage,
            ChromaError::InUse { .. } => ExitCode::Refused,
            ChromaError::Spawn { .. } | ChromaError::File { .. } | ChromaError::Start { .. } => {
                ExitCode::Failed
            }
        };
        let hint = match &error {
            ChromaError::Unreadable { source, .. } => of_directory(source),
            _ => None,
        };
        Self::new(code, hint, error)
    }
}

impl From<store::chroma::SourceError> for Failure {
    fn from(error: store::chroma::SourceError) -> Self {
        Self::usage_with_hint(hint(&error), error)
    }
}
