//! Vector indexes of real PostgreSQL databases, one for each test: planned, built beside traffic, swapped, measured.

mod after_copy;
mod applying;
mod crashes;
mod maintenance;
