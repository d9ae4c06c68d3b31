select to_regclass('evaluation_results') is not null
    and to_regprocedure('panopticon_metadata(json)') is not null;
