use super::*;
use crate::error::ErrorKind;

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Redshift];

fn refused(dialect: Dialect, sql: &str) -> String {
    match Question::read(dialect, sql) {
        Ok(question) => panic!("{sql}: sent as {question:?}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
            assert!(error.to_string().starts_with("nothing was sent: "), "{error}");
            error.to_string()
        }
    }
}

#[test]
fn questions_are_let_through() {
    for sql in [
        "SELECT 1",
        "  select * from t ;  ",
        "-- a note\nSELECT 1",
        "with a as (select 1 as x) select * from a",
        "(SELECT 1) UNION (SELECT 2)",
        "values (1), (2)",
        "SHOW search_path",
        "SHOW TABLES FROM SCHEMA dev.public",
        "show all;",
        "show timezone",
        "explain select 1",
        "explain analyze select 1",
        "SELECT 'x; DROP TABLE t', \"into\", 'it''s; into' FROM t -- ; DROP",
        "SELECT intolerance FROM t",
        "select a, count(*) filter_ from t group by a having count(*) > 1 order by 1 limit 3",
        "select row_number() over (partition by a order by b) from t",
        "select cast(a as varchar(10)), a::numeric(10, 2), extract(year from d) from t",
    ] {
        for dialect in BOTH {
            Question::read(dialect, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
    for sql in [
        "explain (analyze, buffers) select 1",
        "select * from generate_series(1, 10) as g(n)",
        "select distinct on (a) a, b from t order by a, b",
        "select j -> 'a' ->> 'b' from t where j @> '{}'",
        "select E'it\\'s', 'a\\' from t",
    ] {
        Question::read(Dialect::Postgres, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[test]
fn what_is_more_than_one_question_or_none_is_refused() {
    for (sql, words) in [
        ("", "it asks for nothing"),
        (" ; ", "it asks for nothing"),
        ("-- SELECT 1", "it asks for nothing"),
        ("SELECT 1; DROP TABLE t", "it holds 2 statements"),
        ("show all; drop table t", "it holds 2 statements"),
        ("SELECT 'a'; --\n DROP TABLE t", "it holds 2 statements"),
        ("/* SELECT 1", "cannot be read"),
        ("select (1", "cannot be read"),
        ("'select'", "cannot be read"),
        ("DROP TABLE t", "it holds DROP"),
        ("/* x */ delete from t", "it holds DELETE"),
        ("insert into t select 1", "it holds INSERT"),
        ("update t set a = 1", "it holds UPDATE"),
        ("truncate t", "it holds TRUNCATE"),
        ("create table t as select 1", "it holds CREATE"),
        ("call p()", "it holds CALL"),
        ("set role postgres", "it holds SET"),
        ("begin", "it holds BEGIN"),
        ("copy t from '/a'", "it holds COPY"),
        ("copy (select 1) to '/a'", "it holds COPY"),
        ("explain delete from t", "it holds DELETE"),
        ("explain analyze insert into t values (1)", "it holds INSERT"),
        ("SELECT * INTO copy FROM t", "INTO makes a table"),
        ("select 1 union select * into x from t", "INTO makes a table"),
        ("with a as (select 1 as x) select * into b from a", "INTO makes a table"),
        ("select a, (select 1 from t for update) from t", "FOR UPDATE locks rows"),
        ("select * from t for share", "FOR SHARE locks rows"),
    ] {
        for dialect in BOTH {
            let told = refused(dialect, sql);
            assert!(told.contains(words), "{sql}: {told}");
        }
    }
    for (sql, words) in [
        ("copy (select 1) to program 'touch /tmp/x'", "COPY"),
        ("with gone as (delete from t returning *) select * from gone", "it holds DELETE"),
        ("with a as (with b as (update t set a = 1 returning 1) select * from b) select * from a", "it holds UPDATE"),
        ("select * from (with a as (insert into t values (1) returning 1) select * from a) s", "it holds INSERT"),
        ("do $$ begin end $$", "dollars"),
        ("notify a", "it holds NOTIFY"),
        ("prepare a as select 1", "it holds PREPARE"),
        ("execute a", "it holds EXECUTE"),
        ("explain execute a", "it holds EXECUTE"),
        ("lock table t", "it holds LOCK"),
        ("vacuum", "it holds VACUUM"),
    ] {
        let told = refused(Dialect::Postgres, sql);
        assert!(told.contains(words) || told.contains("cannot be read"), "{sql}: {told}");
    }
}

#[test]
fn what_a_server_may_read_in_another_way_is_refused_or_taken_out() {
    // Each of these is one statement to one reader and two to another.
    for (dialect, sql) in [
        (Dialect::Postgres, "select $$a$$ ; drop table t; select $$b$$"),
        (Dialect::Postgres, "select 1 +/* ' */ ; drop table t; -- '"),
        (Dialect::Postgres, "select 1 <-- ' \n ; drop table t; -- '"),
        (Dialect::Redshift, "select 'a\\' , '; drop table t; --'"),
        (Dialect::Redshift, "select 'a\\'' ; drop table t; --'"),
        (Dialect::Redshift, "select $$ ' $$ ; drop table t; -- '"),
        // The server joins the texts with the escapes of the first, and its dollars and names have more letters.
        (Dialect::Postgres, "select E'a'\n'\\' , ' , pg_sleep(1) as y --'"),
        (Dialect::Postgres, "select $€$, ' $€$, pg_sleep(1) as y --'"),
        (Dialect::Postgres, "select U&\"pg\\005fread\\005ffile\"('PG_VERSION')"),
        (Dialect::Postgres, "select u&\"pg!005fread!005ffile\" UESCAPE '!' ('PG_VERSION')"),
    ] {
        refused(dialect, sql);
    }
    for (sql, sent) in [
        ("select 1 -- two\r; drop table t", "SELECT 1"),
        ("/* a */select/*\n*/1", "SELECT 1"),
        ("select '--', \"/*\" -- ä", "SELECT '--', \"/*\""),
        ("show/* ; */\"a\"\"b\" -- all", "show \"a\"\"b\"  "),
    ] {
        let question = Question::read(Dialect::Redshift, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(question.sql, sent);
    }
    let nested = Question::read(Dialect::Postgres, "/* a /* b */ c */ select 1").expect("a question");
    assert_eq!(nested.sql, "SELECT 1");
    // A server that does not nest comments, or does, is sent none.
    let told = Question::read(Dialect::Redshift, "/* /* */ select 1 -- */ ; drop table t").expect("a question");
    assert!(!told.sql.contains("drop"), "{told:?}");
    for dialect in BOTH {
        refused(dialect, "show x E'a\\'; drop table t; --'");
    }
}

#[test]
fn what_would_read_otherwise_once_it_is_written_anew_is_refused() {
    for sql in ["select - -1", "select 2 + - + 1", "select @ -1", "select 1 - - - 1"] {
        assert!(refused(Dialect::Postgres, sql).contains("two signs follow each other in "), "{sql}");
    }
    for (sql, sent) in [
        ("select -(-1), 1 - -1", "SELECT -(-1), 1 - -1"),
        ("select 'a\\''b', '\\'", "SELECT 'a\\''b', '\\'"),
        ("select 'it''s', '''', 'a''''b', \"a\"\"b\" from t", "SELECT 'it''s', '''', 'a''''b', \"a\"\"b\" FROM t"),
        ("select E'it\\'s \\x41\\n\\\\'", "SELECT E'it\\'s A\\n\\\\'"),
    ] {
        assert_eq!(Question::read(Dialect::Postgres, sql).expect("a question").sql, sent);
    }
}

#[test]
fn a_text_that_reads_as_another_statement_than_the_one_that_was_looked_at_is_not_sent() {
    for dialect in BOTH {
        let looked_at = Read::new(dialect, "select a from t where not b").and_then(|read| read.statement());
        let written = |sql: &str| written_anew(dialect, looked_at.as_ref().expect("a statement"), sql.to_owned());
        assert_eq!(
            written("SELECT a FROM t WHERE NOT b").map(|question| question.sql).as_deref(),
            Ok("SELECT a FROM t WHERE NOT b")
        );
        for sql in [
            "DELETE FROM t",
            "SELECT a INTO u FROM t WHERE NOT b",
            "SELECT a FROM t WHERE NOT b FOR UPDATE",
            "SELECT a FROM t WHERE NOT b; DROP TABLE t",
            "SELECT a FROM t WHERE b",
            "SELECT a, f() FROM t WHERE NOT b",
            "SELECT a FROM t WHERE",
            "",
        ] {
            assert_eq!(written(sql), Err(Refusal::Rewritten(sql.to_owned())));
        }
    }
}

/// What the server is asked about the functions of a statement.
fn asked(dialect: Dialect, sql: &str) -> Option<String> {
    let question = Question::read(dialect, sql).expect("a question");
    question.volatile_query(&SqlTarget { dialect, schema: "Food".to_owned() })
}

#[test]
fn the_server_is_asked_about_every_name_that_may_be_a_function_s() {
    let sql = "with a as (select pg_read_file('x') as f) select a.f, (a).g, (select lo_export(1, '/y')), a.\"H\", \
               sum(Set_Config('a', 'b', true)::int) over (order by \"Odd\"\"One\"()), substr('a', 1), ceil(1.5) from a, \
               pg_ls_dir('.') as d, lateral dblink /* */ ('c', 'd') as e(f int), s.t where pg_catalog.pg_sleep(1) is null \
               and random() < 1 and LÉAK() = 1 order by (array[a])[1].i, \"S\" . nextval('s') limit pg_backend_pid()";
    let told = asked(Dialect::Postgres, sql).expect("asked");
    let bare = told.split("AND n.nspname IN ('pg_catalog', 'Food', 'food')").next().expect("the bare names");
    for name in
        "Odd\"One ceil dblink lo_export lÉak léak pg_backend_pid pg_ls_dir pg_read_file random set_config substr sum"
            .split(' ')
    {
        assert!(bare.contains(&format!("'{name}'")), "{name}: {told}");
    }
    for part in [
        "p.proname IN ('nextval') AND n.nspname IN ('S')",
        "p.proname IN ('pg_sleep') AND n.nspname IN ('pg_catalog')",
        "p.proname IN ('H', 'f', 'g', 'i', 't') AND n.nspname IN ('pg_catalog', 'Food', 'food') AND p.pronargs > 0 AND \
         p.pronargs - p.pronargdefaults <= 1",
        "AND NOT (n.nspname = 'pg_catalog' AND p.proname IN ('bernoulli', ",
        "part.oid IN (a.aggtransfn, ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let simple = asked(Dialect::Redshift, "select f(1)").expect("asked");
    assert!(simple.contains("p.proname IN ('f')") && !simple.contains("pg_aggregate"), "{simple}");
    let dotted = asked(Dialect::Redshift, "select t.f from t").expect("asked");
    assert!(
        dotted.contains("AND p.pronargs = 1") && !dotted.contains("pronargdefaults"),
        "it has no such column: {dotted}"
    );
    for sql in ["select 1", "show all"] {
        assert_eq!(asked(Dialect::Postgres, sql), None, "{sql}");
    }
    for sql in
        ["select * from crosstab('select 1') as a(b int)", "select query_to_xml('delete from t', true, true, '')"]
    {
        assert!(refused(Dialect::Postgres, sql).contains("as a text"), "{sql}");
    }
}

#[test]
fn a_statement_of_any_depth_is_read_or_refused() {
    let deep = |open: &str, close: &str, times: usize| format!("select {}1{}", open.repeat(times), close.repeat(times));
    for sql in [
        deep("(", ")", 100_000),
        deep("case when true then ", " end", 3_000),
        deep("(select ", ")", 3_000),
        deep("not ", "", 3_000),
        deep("- ", "", 3_000),
        format!("select 1{}", " and true".repeat(9_000)),
        format!("select 1{}", " union all select 1".repeat(3_000)),
        format!("select 1{}", " + 1".repeat(100_000)),
        format!("select 1{}", "::int".repeat(3_000)),
    ] {
        let _ = Question::read(Dialect::Postgres, &sql);
    }
    let told = refused(Dialect::Redshift, &format!("select 1\nwhere true{}", " and true".repeat(3_000)));
    assert!(told.contains("at line 2 a chain of over 1000"), "{told}");
    let list = format!("select 1 in ({}1)", "1,".repeat(9_000));
    Question::read(Dialect::Postgres, &list).expect("a long list is not deep");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_fall(sql in "[a-z'\"\\\\/*;\\-$() \n\rä]{0,60}") {
        for dialect in BOTH {
            let _ = Question::read(dialect, &sql);
        }
    }

    #[test]
    fn comments_are_not_sent_and_texts_are_as_they_were(
        before in "[a-z ,\n]{0,20}", comment in "[a-z' \"ä*]{0,20}", after in "[a-z ,\n]{0,20}",
    ) {
        let typed = format!("select '{before}'/*{}*/, \"a\" -- {comment}\n, '{after}'", comment.replace('*', ""));
        let question = Question::read(Dialect::Postgres, &typed).expect("a question");
        proptest::prop_assert_eq!(question.sql, format!("SELECT '{before}', \"a\", '{after}'"));
    }
}
