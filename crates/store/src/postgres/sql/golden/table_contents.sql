select count(*) as rows, coalesce(sum(hashtextextended((contents.*)::text, 0)), 0)::text as digest
from only "odd ""schema"""."odd ""name""" contents;
