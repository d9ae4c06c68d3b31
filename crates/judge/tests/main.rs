//! One binary for all tests.

mod agreement;
mod answers;
mod caller;
mod errors;
mod faults;
mod forms;
mod people;
mod refusals;
mod requests;
mod responses;
mod results;
mod rubric;
mod statistics;
mod verdicts;
