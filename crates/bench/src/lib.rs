//! Benchmarks of Panopticon beside named rivals. They are in `benches/`, the Python rivals in `rivals/`; this library
//! is empty so far.
