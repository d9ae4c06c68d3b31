//! That the tests' own tools do what they say.

mod chroma_writer;
mod cutting_proxy;
mod database;
mod pg_bouncer;
mod postgres_server;
mod small_tablespace;
mod three_services;
