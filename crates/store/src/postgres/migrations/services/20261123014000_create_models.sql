-- The models that somebody registered, or used before anybody did. Those that Panopticon knows by itself have no row;
-- a row stands before what is known of its id.
--
-- id          what the provider calls it
-- provider    openai, anthropic or google: whose form of requests it takes
-- created_at  when it was registered first, UTC

create table if not exists models (
    id text primary key,
    name text not null,
    provider text not null,
    is_judge_compatible boolean not null,
    created_at timestamp not null default (now() at time zone 'utc')
);
