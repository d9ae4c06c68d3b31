//! The services over real HTTP, on real PostgreSQL and with the real model.

mod browsers;
mod contract;
mod doors;
mod evaluations;
mod exports;
mod extended;
mod faulty;
mod full_disk;
mod gateway;
mod large;
mod names;
mod odd_rows;
mod odd_runs;
mod operation;
mod poison;
mod refusals;
mod results;
mod runs;
mod served;
mod streams;
mod summaries;
mod watched;
