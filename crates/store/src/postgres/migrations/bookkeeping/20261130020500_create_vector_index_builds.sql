-- How HNSW indexes were built. `reindex` builds with an index's option `ef_construction`, and later inserts use it too:
-- once an index is built, the option is lowered, so that inserts remain cheap, and no longer tells how it was built.
--
-- build            the file of the index: another build of the index has another one
-- ef_construction  the option when that file was built
create table vector_index_builds (
    table_name text not null,
    build bigint not null,
    ef_construction integer not null,
    constraint vector_index_builds_pkey primary key (table_name, build)
);
