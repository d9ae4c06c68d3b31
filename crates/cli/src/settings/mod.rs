//! Every setting, and what there is to know of it. [`Configuration`](crate::configuration::Configuration) has the values.

pub(crate) mod help;
pub(crate) mod table;
mod variable;

pub(crate) use self::variable::{Optional, Row, Variable};
