select left(output_text, $2::int) as output_text, octet_length(output_text) as output_bytes, left(query_text, $2::int) as query_text
from evaluation_results
where left("query_id", 200) = left($1, 200) and (length($1) < 200 or "query_id" = $1)
    and output_text is not null
order by "timestamp" desc nulls last, id desc
limit 1;
