//! One binary for all tests.

mod agreement;
mod caller;
mod errors;
mod faults;
mod forms;
mod people;
mod requests;
mod responses;
mod results;
mod rubric;
mod statistics;
