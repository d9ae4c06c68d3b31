//! The services over real HTTP, on real PostgreSQL and with the real model.

mod access;
mod browsers;
mod chroma_api;
mod console;
mod contract;
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
mod panics;
mod refusals;
mod results;
mod runs;
mod search_metrics;
mod search_requests;
mod served;
mod stalled;
mod streams;
mod summaries;
