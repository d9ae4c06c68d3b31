select count(*),
    count(*) filter (where "output_text" is null),
    count(*) filter (where "theme" is null),
    count(*) filter (where "model_id" is null),
    count(*) filter (where "query" is null),
    count(*) filter (where "created_at" is null),
    count(*) filter (where (created_at < '0001-01-01' or created_at >= '10000-01-01')),
    count(*) filter (where jsonb_path_exists(metadata, 'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))')),
    count(*) filter (where jsonb_path_exists(metadata, 'strict $.**{100 to last} ? (@.type() == "array" || @.type() == "object")'))
from "llm_outputs" tablesample system ($1);
