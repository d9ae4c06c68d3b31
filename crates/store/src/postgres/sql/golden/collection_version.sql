select (select xmin::text from chroma_collections where id = $1) as version;
