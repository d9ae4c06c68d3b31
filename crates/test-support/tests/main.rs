//! That the tests' own tools do what they say.

mod cutting_proxy;
mod postgres_server;
