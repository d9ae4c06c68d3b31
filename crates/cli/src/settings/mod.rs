//! The definitions of all settings. [`Configuration`](crate::configuration::Configuration) has their values.

pub(crate) mod help;
pub(crate) mod table;
mod variable;

pub(crate) use self::variable::{AnyVariable, Optional, Row, Variable};

/// A setting that a command uses and that is invalid or not trusted: an error of usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidSetting(pub(crate) String);
