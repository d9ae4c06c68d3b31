//! Tests of the crate `judge`.

mod agreement;
mod forms;
