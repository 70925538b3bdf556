//! What wrong input gets: a sentence with the file, the place and what to do, exit code 2, and nothing written.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use crate::command::{Millstream, PipelineCopy};

/// Every command that would write refuses, with the words, and writes nothing.
fn is_refused(broken: PipelineCopy, words: &[&str]) {
    let millstream = Millstream::over(broken.pipeline.clone());
    for command in ["check", "run", "dims", "stream", "generate", "demo"] {
        let said = millstream.say(command, &[]);
        assert_eq!(said.code, Some(2), "{command}: {said:?}");
        for word in words {
            assert!(said.stderr.contains(word), "{command} does not say {word:?}: {}", said.stderr);
        }
        assert_eq!(said.stdout, "", "{command}");
        let left = fs::read_dir(millstream.data.path()).expect("the folder").count();
        assert_eq!(left, 0, "{command} has written something");
    }
}

#[test]
fn a_misspelt_key() {
    let broken = PipelineCopy::new().replace("pipeline.toml", "[source]\nstream", "[source]\nstraem");
    is_refused(broken, &["pipeline.toml:", "straem", "did you mean", "stream"]);
}

#[test]
fn sql_that_does_not_parse() {
    let broken = PipelineCopy::new().replace("fact_orders.sql", "from events", "frm events");
    is_refused(broken, &["fact_orders.sql:"]);
}

#[test]
fn an_unknown_column() {
    let broken = PipelineCopy::new().replace("fact_orders.sql", "customer_id", "custmer_id");
    is_refused(broken, &["fact_orders.sql:", "custmer_id", "customer_id"]);
}

#[test]
fn a_key_that_the_sql_does_not_yield() {
    let broken = PipelineCopy::new().replace("pipeline.toml", "key = [\"order_id\"]", "key = [\"order_number\"]");
    is_refused(broken, &["order_number", "fact_orders"]);
}

#[test]
fn a_missing_dimension_file() {
    is_refused(
        PipelineCopy::new().remove("dims/dimCustomers.csv"),
        &["pipeline.toml:", "dims/dimCustomers.csv", "does not exist"],
    );
}

#[test]
fn a_dimension_file_without_an_expected_column() {
    let broken = PipelineCopy::new().replace("dims/dimRestaurants.csv", "CuisineType", "Kitchen");
    is_refused(broken, &["dims/dimRestaurants.csv", "CuisineType", "dim_restaurants"]);
}

#[test]
fn all_faults_in_one_go() {
    let broken = PipelineCopy::new()
        .replace("pipeline.toml", "[source]\nstream", "[source]\nshrads = 4\nstream")
        .replace("dim_restaurants.sql", "from file", "frm file")
        .remove("dims/dimDeliveryRiders.csv");
    is_refused(broken, &["shrads", "dim_restaurants.sql:", "dims/dimDeliveryRiders.csv"]);
}

#[test]
fn a_folder_that_is_no_pipeline() {
    let millstream = Millstream::over(PathBuf::from("no/such/folder"));
    let said = millstream.say("run", &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("no/such/folder") && said.stderr.contains("pipeline.toml"), "{}", said.stderr);
}

#[test]
fn a_data_folder_that_belongs_to_another_pipeline_or_stream() {
    let renamed = PipelineCopy::new().replace("pipeline.toml", "name = \"food_delivery\"", "name = \"other\"");
    let moved = PipelineCopy::new().replace("pipeline.toml", "incoming-food-order-data", "another-stream");
    let mut millstream = Millstream::new();
    millstream.ok("dims", &[]);
    for (broken, word) in [(renamed, "other"), (moved, "another-stream")] {
        millstream.pipeline = broken.pipeline.clone();
        for command in ["run", "check", "status"] {
            let said = millstream.say(command, &[]);
            assert_eq!(said.code, Some(2), "{command}: {said:?}");
            for expected in ["belongs to the pipeline food_delivery", "incoming-food-order-data", word, "--data"] {
                assert!(said.stderr.contains(expected), "{command} does not say {expected:?}: {}", said.stderr);
            }
        }
    }
}

#[test]
fn a_port_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let millstream = Millstream::new();
    for command in ["stream", "run", "check"] {
        let said = millstream.say(command, &["--port", &port]);
        assert_eq!(said.code, Some(2), "{command}: {said:?}");
        assert!(said.stderr.contains(&port) && said.stderr.contains("--port"), "{command}: {}", said.stderr);
        let left = fs::read_dir(millstream.data.path()).expect("the folder").count();
        assert_eq!(left, 0, "{command} has written something");
    }
}

#[test]
fn looking_at_data_that_is_not_there() {
    let millstream = Millstream::new();
    for command in ["status", "audit", "rejects"] {
        let said = millstream.say(command, &[]);
        assert_eq!(said.code, Some(2), "{command}: {said:?}");
        assert!(said.stderr.contains("there is no data in"), "{command}: {}", said.stderr);
    }
}

#[test]
fn a_target_that_the_pipeline_lacks() {
    let said = Millstream::new().say("run", &["--target", "moon"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("no target moon") && said.stderr.contains("local"), "{}", said.stderr);
}

#[test]
fn a_statement_that_would_change_something() {
    let millstream = Millstream::new();
    millstream.ok("dims", &[]);
    for (sql, word) in [("drop table fact_orders", "reads"), ("select nonsense from fact_orders", "nonsense")] {
        let said = millstream.say("query", &[sql]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
}

#[test]
fn a_key_that_is_changed_under_the_rows() {
    let mut millstream = Millstream::new();
    millstream.ok("dims", &[]);
    let changed =
        PipelineCopy::new().replace("pipeline.toml", "key = [\"order_id\"]", "key = [\"order_id\", \"order_status\"]");
    millstream.pipeline = changed.pipeline.clone();
    for command in ["run", "check"] {
        let said = millstream.say(command, &["--once"][..usize::from(command == "run")]);
        assert_eq!(said.code, Some(2), "{command}: {said:?}");
        for word in ["fact_orders", "[order_id]", "[order_id, order_status]"] {
            assert!(said.stderr.contains(word), "{command} does not say {word:?}: {}", said.stderr);
        }
    }
}

#[test]
fn a_column_that_the_warehouse_has_in_another_type() {
    let mut millstream = Millstream::new();
    millstream.ok("dims", &[]);
    let entries = || fs::read_dir(millstream.data.path().join("lake/journal")).expect("the journal").count();
    let before = entries();
    let rating = "cast(restaurant_rating as double) as restaurant_rating";
    let changed = PipelineCopy::new().replace("dim_restaurants.sql", "restaurant_rating", rating);
    let pipeline = changed.pipeline.clone();
    let said = Millstream::say(&Millstream::over(pipeline.clone()), "check", &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let old = std::mem::replace(&mut millstream.pipeline, pipeline);
    let said = millstream.say("run", &["--once"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("dim_restaurants") && said.stderr.contains("restaurant_rating"), "{}", said.stderr);
    millstream.pipeline = old;
    let after = fs::read_dir(millstream.data.path().join("lake/journal")).expect("the journal").count();
    assert_eq!(after, before, "nothing was staged");
}

#[test]
fn a_column_that_the_warehouse_does_not_have_is_added() {
    let mut millstream = Millstream::new();
    millstream.ok("dims", &[]);
    let changed = PipelineCopy::new().replace("dim_restaurants.sql", "from file", ", 1 as stars from file");
    millstream.pipeline = changed.pipeline.clone();
    let stars = |millstream: &Millstream| {
        millstream.query("select count(*) as all, count(stars) as filled from dim_restaurants")
    };
    millstream.json("run", &["--once"]);
    assert_eq!(
        stars(&millstream)[0],
        serde_json::json!({ "all": 50, "filled": 50 }),
        "the changed SQL reads its file anew"
    );
    assert_eq!(millstream.json("audit", &[])["clean"], true);
}

#[test]
fn a_folder_that_holds_other_things() {
    let millstream = Millstream::new();
    fs::write(millstream.data.path().join("letters.txt"), "dear").expect("written");
    for command in ["run", "dims", "stream", "check"] {
        let said = millstream.say(command, &[]);
        assert_eq!(said.code, Some(2), "{command}: {said:?}");
        assert!(said.stderr.contains("letters.txt") && said.stderr.contains("--data"), "{}", said.stderr);
    }
    assert_eq!(fs::read_dir(millstream.data.path()).expect("the folder").count(), 1);
}
