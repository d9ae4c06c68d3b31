//! Tests of the test tools.

mod chroma_writer;
mod cutting_proxy;
mod database;
mod pg_bouncer;
mod postgres_cluster;
mod postgres_server;
mod small_tablespace;
mod three_services;
