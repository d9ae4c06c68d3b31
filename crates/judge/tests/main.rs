//! One binary for all tests.

mod agreement;
mod caller;
mod errors;
mod faults;
mod forms;
mod requests;
mod responses;
mod rubric;
mod shared;
