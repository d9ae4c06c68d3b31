alter table "odd ""name"""
    add column if not exists position bigint,
    add column if not exists is_escaped boolean;
alter table "odd ""name""" alter column position set default nextval('chroma_positions');
