//! The services over real HTTP, on real PostgreSQL and with the real model.

mod contract;
mod doors;
mod evaluations;
mod exports;
mod extended;
mod gateway;
mod operation;
mod refusals;
mod results;
mod runs;
mod served;
mod summaries;
mod watched;
