//! The definitions of all settings. [`Configuration`](crate::configuration::Configuration) has their values.

pub(crate) mod help;
pub(crate) mod table;
mod variable;

pub(crate) use self::variable::{AnyVariable, Optional, Row, Variable};
