select count(*),
    count(*) filter (where ("timestamp" < '0001-01-01' or "timestamp" >= '10000-01-01')),
    count(*) filter (where score in ('NaN', 'Infinity', '-Infinity')),
    count(*) filter (where (result_metadata is not null and panopticon_metadata(result_metadata) is null))
from "evaluation_results" tablesample system ($1);
