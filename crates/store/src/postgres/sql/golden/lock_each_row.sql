select 1 from "llm_outputs" where id = '00000000-0000-0000-0000-000000000001' for update;
select 1 from "llm_outputs" where id = '00000000-0000-0000-0000-000000000002' for update;
