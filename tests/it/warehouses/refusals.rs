//! What a database refuses, loses and lacks, and what a run makes of it: told, tried again, or left to a person.

use std::net::TcpListener;

use chrono::{Duration, Utc};

use super::*;
use crate::databases::redshift::{Failure, Loss};

const PASSWORD: &str = "a-password-that-nobody-may-see";

/// A stream, a bucket with everything staged, and a pipeline with targets in them.
struct Bench {
    hosted: Hosted,
    bucket: Bucket,
}

impl Bench {
    fn new() -> Self {
        Self { hosted: Hosted::start(&PipelineCopy::new()), bucket: Bucket::new(s3_servers()[0]) }
    }

    fn pipeline(&self, databases: &[&Database]) -> PipelineCopy {
        pipeline(self.hosted.port, &self.bucket, databases)
    }
}

fn put(millstream: &Millstream, records: usize, seed: usize) {
    millstream.json("generate", &["--records", &records.to_string(), "--rate", "0", "--seed", &seed.to_string()]);
}

#[test]
fn commits_that_are_lost_and_transactions_that_collide_load_each_entry_once() {
    let bench = Bench::new();
    let server = redshift(&bench.bucket, Isolation::Serializable);
    let database = Database::redshift("lossy", &server);
    let pipeline = bench.pipeline(&[&database]);
    let (delta, lossy) = (on(&pipeline, "delta"), on(&pipeline, "lossy"));
    put(&delta, 300, 1);
    load(&lossy);
    let troubles: [&dyn Fn(); 5] = [
        &|| server.lose(Loss::BeforeCommit),
        &|| server.lose(Loss::DuringCommit),
        &|| server.lose(Loss::AfterCommit),
        &|| server.fail_next(Failure::SerializableIsolation),
        &|| server.fail_next(Failure::Deadlock),
    ];
    for (seed, trouble) in troubles.into_iter().enumerate() {
        put(&delta, 300, seed + 2);
        // The load of what is new is the next transaction that writes: the tables are there.
        trouble();
        load(&lossy);
    }
    load(&delta);
    is_the_same(&bench.bucket, &database);
    Oracle::of_stream(bench.hosted.port, STREAM).compare(bench.bucket.warehouse().path());
    parse_redshift(&server.statements());
}

#[test]
fn a_database_that_is_away_delays_loading_and_keeps_what_is_staged() {
    let bench = Bench::new();
    let mut database = Database::postgres("postgres");
    // Nobody listens there once it is dropped.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").port();
    let there = std::mem::replace(&mut database.port, nobody);
    let pipeline = bench.pipeline(&[&database]);
    let away = on(&pipeline, "postgres");
    put(&away, 500, 1);
    let said = away.say("run", &["--once"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(&format!("127.0.0.1:{nobody}")), "where it should be: {}", said.stderr);
    database.port = there;
    let pipeline = bench.pipeline(&[&database]);
    let back = on(&pipeline, "postgres");
    let status = back.json("status", &[]);
    assert_eq!((number(&status["records"]), number(&status["loaded_through"])), (500, 0), "{status}");
    assert!(number(&status["waiting"]["rows"]) > 400 && number(&status["waiting"]["files"]) > 4, "{status}");
    load(&back);
    load(&on(&pipeline, "delta"));
    is_the_same(&bench.bucket, &database);
}

#[test]
fn a_column_that_is_new_or_wider_is_made_and_every_other_change_is_refused_with_its_statement() {
    let bench = Bench::new();
    let server = redshift(&bench.bucket, Isolation::Snapshot);
    let databases = [Database::postgres("postgres"), Database::redshift("redshift", &server)];
    let pipeline = bench.pipeline(&databases.iter().collect::<Vec<_>>());
    put(&on(&pipeline, "delta"), 300, 1);
    for target in ["delta", "postgres", "redshift"] {
        load(&on(&pipeline, target));
    }
    let pipeline = pipeline
        .replace(
            "fact_orders.sql",
            "    tip_amount,\n",
            "    tip_amount,\n    delivery_minutes * 60 as delivery_seconds,\n",
        )
        .replace("pipeline.toml", "string(128)", "string(200)");
    for (target, statements) in
        [("postgres", &["\"delivery_seconds\""][..]), ("redshift", &["\"delivery_seconds\"", "TYPE VARCHAR(200)"])]
    {
        let said = on(&pipeline, target).ok("check", &[]);
        assert!(statements.iter().all(|statement| said.contains(statement)), "{said}");
    }
    put(&on(&pipeline, "delta"), 300, 2);
    for target in ["delta", "postgres", "redshift"] {
        let millstream = on(&pipeline, target);
        load(&millstream);
        let counts = millstream.query(
            "select count(*) as orders, count(delivery_seconds) as filled from fact_orders where delivery_minutes is not null",
        );
        let orders =
            millstream.query("select delivery_seconds from fact_orders where delivery_seconds is null limit 1");
        assert_eq!(orders.len(), 1, "{target}: an older row is read");
        let (orders, filled) = (number(&counts[0]["orders"]), number(&counts[0]["filled"]));
        assert!(filled > 0 && filled < orders, "{target}: older rows are null, newer ones filled: {counts:?}");
        assert!(millstream.ok("check", &["--apply"]).contains("no fault found"));
    }
    databases.iter().for_each(|database| drop(is_the_same(&bench.bucket, database)));
    parse_redshift(&server.statements());
    let pipeline = pipeline.replace(
        "fact_orders.sql",
        "    delivery_minutes,\n",
        "    cast(delivery_minutes as bigint) as delivery_minutes,\n",
    );
    for target in ["postgres", "redshift"] {
        for (command, arguments) in [("check", &[][..]), ("run", &["--once"])] {
            let said = on(&pipeline, target).say(command, arguments);
            assert_eq!(said.code, Some(2), "{said:?}");
            let told = ["fact_orders", "delivery_minutes", "ALTER TABLE"];
            assert!(told.iter().all(|word| said.stderr.contains(word)), "{target}: {}", said.stderr);
        }
    }
}

#[test]
fn a_login_is_made_over_verified_tls_and_its_password_is_never_seen() {
    let bench = Bench::new();
    let server = Redshift::start(Options {
        tls: true,
        password: Some(PASSWORD.to_owned()),
        buckets: HashMap::from([objects(&bench.bucket)]),
        ..Options::default()
    });
    let authorities = server.certificate().expect("it speaks TLS");
    let mut database = Database::redshift("guarded", &server);
    database.further.push_str(", tls = \"verify\"");
    let unverified = bench.pipeline(&[&database]);
    database.further.push_str(&format!(", authorities = \"{}\"", authorities.display()));
    let trusted = bench.pipeline(&[&database]);
    put(&on(&trusted, "delta"), 100, 1);
    let with = |pipeline: &PipelineCopy, password: &str| {
        let mut millstream = on(pipeline, "guarded");
        millstream.environment.push(("REDSHIFT_PASSWORD", password.to_owned()));
        millstream.say("run", &["--once"])
    };
    let cases = [(&unverified, PASSWORD, "certificate"), (&trusted, "another-password", "REDSHIFT_PASSWORD")];
    for (pipeline, password, told) in cases {
        let said = with(pipeline, password);
        assert!(said.code != Some(0) && said.stderr.contains(told), "{told}: {said:?}");
        assert!(!said.stderr.contains(password), "{said:?}");
    }
    let said = with(&trusted, PASSWORD);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!format!("{said:?}").contains(PASSWORD));
    assert!(server.statements().iter().all(|statement| !statement.contains(PASSWORD)));
}

#[test]
fn in_a_maintenance_window_reading_goes_on_and_status_tells_until_when_loading_waits() {
    let bench = Bench::new();
    let database = Database::postgres("postgres");
    let hour = |offset: i64| (Utc::now() + Duration::hours(offset)).format("%H:%M").to_string();
    let window = format!("freshness = \"100ms\"\nmaintenance = [\"daily {}-{}\"]", hour(-1), hour(2));
    let pipeline = bench.pipeline(&[&database]);
    let paused = bench.pipeline(&[&database]).replace("pipeline.toml", "freshness = \"100ms\"", &window);
    let waiting = on(&paused, "postgres");
    put(&waiting, 400, 1);
    waiting.json("run", &["--once"]);
    let status = waiting.json("status", &[]);
    assert_eq!((number(&status["records"]), number(&status["loads"])), (400, 0), "{status}");
    assert!(number(&status["loading_paused_until"]) > 0 && number(&status["oldest_waiting_ms"]) > 0, "{status}");
    assert!(waiting.ok("status", &[]).contains("maintenance: no load starts before"));
    assert!(waiting.ok("run", &["--once"]).contains("a maintenance window keeps loads from starting"));
    let said = waiting.ok("dims", &[]);
    assert!(said.contains("maintenance window"), "{said}");
    load(&on(&pipeline, "postgres"));
}
