select count(*)
from evaluation_results
where left("theme", 200) = left($1, 200) and (length($1) < 200 or "theme" = $1);
