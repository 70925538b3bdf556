//! `kill -9` of `run` at random moments: nothing is lost, nothing comes twice.

use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::command::Millstream;
use crate::oracle::Oracle;

const STREAM: &str = "incoming-food-order-data";
const KILLS: u32 = 12;
const RECORDS: u64 = 6_000;

/// The moments are drawn from a seed that a failing run names, and that can be given back.
fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MILLSTREAM_TEST_SEED={seed}");
    seed
}

/// Starts `run` and kills it after a moment; gives whether it had still been at work.
fn run_and_kill(millstream: &Millstream, moment: Duration) -> bool {
    let mut running = millstream.start("run", &[]);
    thread::sleep(moment);
    let at_work = !running.has_ended();
    running.kill();
    at_work
}

fn is_whole(millstream: &Millstream) {
    millstream.json("run", &["--once"]);
    let audit = millstream.json("audit", &[]);
    assert_eq!(audit["clean"], true, "{audit}");
    assert_eq!(audit["waiting"], 0, "{audit}");
    let (_host, port) = millstream.host_stream();
    let oracle = Oracle::of_stream(port, STREAM);
    assert_eq!(oracle.records(), RECORDS);
    oracle.compare(&millstream.data.path().join("warehouse"));
    let status = millstream.json("status", &[]);
    assert_eq!(status["records"], RECORDS, "each record is journaled once");
}

#[test]
fn a_run_killed_again_and_again_over_one_stream_leaves_the_oracles_star_schema() {
    let mut moments = ChaCha8Rng::seed_from_u64(seed());
    let millstream = Millstream::new();
    {
        let (_host, _port) = millstream.host_stream();
        let records = RECORDS.to_string();
        // Arriving while the kills happen: some fall into reading, some into staging, some into loading.
        let mut generating = millstream.start("generate", &["--records", &records, "--rate", "600"]);
        for _ in 0..KILLS {
            let moment = Duration::from_millis(moments.random_range(50..2_500));
            assert!(run_and_kill(&millstream, moment), "run ended by itself after {moment:?}");
        }
        crate::command::until("putting all records", || generating.has_ended().then_some(()));
    }
    is_whole(&millstream);
}

#[test]
fn a_run_that_hosts_the_stream_itself_loses_nothing_either() {
    let mut moments = ChaCha8Rng::seed_from_u64(seed());
    let millstream = Millstream::new();
    millstream.json("generate", &["--records", &RECORDS.to_string(), "--rate", "0"]);
    for _ in 0..KILLS {
        let moment = Duration::from_millis(moments.random_range(50..2_500));
        assert!(run_and_kill(&millstream, moment), "run ended by itself after {moment:?}");
    }
    is_whole(&millstream);
}
