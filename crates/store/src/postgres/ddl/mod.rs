//! SQL for tables whose names are known at run time only. Each statement is built here, from quoted identifiers,
//! and nowhere else; the tests compare each with a golden file, and the users of this module run it for real.

use records::DistanceSpace;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    table::{BOOKKEEPING_COLUMNS, Presence, Table},
    vector_index::Precision,
};

mod condition;
pub(crate) mod maintenance;
