  select page, count(*) filter (where page is not null) from fact_clicks group by page order by 1 desc nulls last ;
select E'it\'s \x41\t\\', 'a''b', 'a\b', '''', "page" as "a""b" from fact_clicks order by 5
select U&'\0041\+000042', X'1F', B'101', N'n'
select 1::numeric(10, 2), cast('7' as varchar(3)), '2026-01-02'::date, interval '1 day 2 hours', date '2026-03-04'
select extract(year from date '2026-01-02'), date_trunc('month', timestamp '2026-05-06 07:08:09') at time zone 'UTC'
select position('b' in 'abc'), substring('abcdef' from 2 for 3), substring('abcdef', 2), overlay('abc' placing 'x' from 2)
select trim(both 'x' from 'xax'), trim(leading 'x' from 'xa'), trim(' a '), ltrim('  a')
select 2 ^ 3 * 4 + 5 % 3 - -6, -(-2), not true or true and false, 7 / 2, 7 / 2.0, |/ 16, @ 5
select -2 ^ 2, 1 - (2 - 3), 1 = 1 is true, not 1 = 2, 'a' || 'b' || 'c' like 'a%', 2 * 3 in (6, 7)
select 'a' like 'A', 'a' ilike 'A', 'a%' like 'a!%' escape '!', 'ab' similar to '(a|b)+', 'ab' ~ '^a', 'b' !~* 'A'
select 1 between 0 and 2, 1 not between 2 and 0, null is distinct from 1, null is null, true is not false
select case when page is null then 'none' else page end, case page when 'a' then 1 end from fact_clicks order by 1, 2
select array[1, 2, 3], (array[1, 2, 3])[2], (array[1, 2, 3])[2:3], array(select 1), (1, 2) = (1, 2)
select 1 = any(array[1, 2]), 1 <> all(array[2, 3]), 1 in (select 1), exists (select 1), 3 > some(array[1])
select '{"a": [1, {"b": null}]}'::jsonb -> 'a' -> 1 ->> 'b', '{"a": 1}'::jsonb @> '{}', '{"a":1}'::jsonb ? 'a', '{"a":{"b":2}}'::json #>> '{a,b}'
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select sum(i), max(i) from n
with a as materialized (select 1 as x), b as not materialized (select 2 as y) select x, y from a cross join b
(select 1 as a union select 2) intersect select 2 except all select 3 order by 1
values (1, 'a'), (2, null) order by 1 desc limit 1 offset 1
select * from (values (1, 'a'), (2, 'b')) as v(n, t) join (values (1)) as w(n) using (n)
select * from (values (1)) as v(n) left join (values (1)) as w(m) on v.n = w.m full join (values (2)) x(k) on true
select * from (values (1)) as v(n) natural join (values (1)) as w(n)
select g, g.*, h from generate_series(1, 3) as g, lateral (select g * 2 as h) as i order by 1
select * from unnest(array[1, 2], array['a', 'b']) with ordinality as u(n, t, o)
select row_number() over (order by n), sum(n) over w, lag(n, 1, 0) over (order by n), first_value(n) over (partition by n % 2 order by n rows between 1 preceding and current row) from generate_series(1, 4) n window w as (order by n desc)
select string_agg(t, ',' order by t desc), count(distinct t), array_agg(t order by t) from (values ('a'), ('b')) v(t)
select percentile_cont(0.5) within group (order by n) from generate_series(1, 4) as n
select a, b, count(*), grouping(a) from (values (1, 2)) v(a, b) group by grouping sets ((a, b), (a), ()) order by 1, 2
select a, count(*) from (values (1, 2)) v(a, b) group by rollup (a, b) order by 1, 2
select a from (values (1), (2)) v(a) group by a having count(*) > 0 and sum(a) <> 3 order by a desc fetch first 1 rows only
select distinct on (a) a, b from (values (1, 2), (1, 3)) v(a, b) order by a, b desc
select all n from generate_series(1, 2) as n order by n asc nulls first limit all offset 0 rows
select coalesce(null, 1), nullif(1, 2), greatest(1, 2), least(1, 2), 1.5e3, .5, 5.
select t."page" collate "C", (t).page, t is null from fact_clicks t where t.page >= '' order by t.page, 2, 3
select current_date = current_date, localtimestamp is not null, current_user <> '', current_schema
select timestamp '2026-01-01 00:00:00' - interval '3' hour, timestamptz '2026-01-01' at time zone 'Europe/Rome'
show search_path
