//! That the tests' own tools do what they say.

mod postgres_server;
