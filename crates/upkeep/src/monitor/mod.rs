//! Watches what searches find and how long they take, and says when they get worse.
//!
//! A [`Monitor`] makes a pass each few minutes. It reads what was counted of the process's searches, keeps some of their
//! vectors, makes a few again beside exact ones ([`measure`]), and writes all that into `vector_search_history`. What is
//! wrong follows from the history alone ([`events`]), so that every process sees the same, and a new one goes on where
//! the last one was.

mod measure;

pub use measure::{Measurement, Pace, measure, searches_for_rows};
