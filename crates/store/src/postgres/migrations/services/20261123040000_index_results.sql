-- What is looked for in the metadata of results.
--
-- Column result_metadata is of type json, as the old services made it, and so may hold what jsonb cannot: the character
-- NUL, half of a surrogate pair, numbers without end. Such a row has no metadata for those who search; an index on a
-- plain cast would refuse to keep it.
--
-- The indexes are not here: they are built while the table is in use.

create or replace function panopticon_metadata(given json) returns jsonb
language plpgsql immutable strict
as $$
begin
    return given::jsonb;
exception
    when data_exception or program_limit_exceeded then
        return null;
end
$$;
