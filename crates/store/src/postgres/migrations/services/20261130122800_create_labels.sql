-- What people say of answers. Of several labels of one annotator for one item, the last that is not withdrawn counts; the
-- earlier ones stay. Times are UTC.
--
-- id            chosen by the client or derived from the label, so that storing it twice is harmless
-- annotator     the name that the annotator gave
-- item          digest of query, metric, and model or pair of models: what the label is about
-- query_id      the query's id; null if the query is known only by its text
-- query_digest  the first 16 bytes of the SHA-256 of its text, if it has no id
-- model_a       the model of the answer, or of the one that was shown first
-- model_b       the model of the answer that was shown second; null for a score
-- score         of one answer; null if it was skipped
-- winner        of two answers: a, b or tie; null if they were skipped
-- withdrawn_at  when the annotator took it back
create table labels (
    id uuid not null,
    annotator text not null,
    item bytea not null,
    query_id text,
    query_digest bytea,
    evaluation_prompt_id text,
    model_a text not null,
    model_b text,
    score float,
    winner text,
    labelled_at timestamp not null,
    withdrawn_at timestamp,
    constraint labels_pkey primary key (id),
    constraint labels_query_check check (query_id is not null or coalesce(octet_length(query_digest), 0) = 16),
    constraint labels_score_check check (score is null or model_b is null and score > '-infinity' and score < 'infinity'),
    constraint labels_winner_check check (winner is null or model_b is not null and winner in ('a', 'b', 'tie'))
);
create index labels_item_idx on labels (item);
create index labels_labelled_at_idx on labels (labelled_at, id);
