//! Random histories: records, splits, merges, and workers that start, stop and die; then everything is there once.

use super::workers::{Worker, drained, shared};
use super::*;
use crate::runtime::{Dice, Random};

/// Histories, each of its own seed.
const HISTORIES: u64 = 6;

const STEPS: usize = 24;

struct History {
    bench: Bench,
    job: Job,
    dice: Dice,
    workers: [Option<Worker>; 2],
    last: i64,
    started: u64,
}

impl History {
    async fn step(&mut self) {
        let slot = self.dice.below(2) as usize;
        match self.dice.below(12) {
            0..=4 => {
                let more = 1 + i64::from(self.dice.below(40));
                self.bench.orders(self.last + 1..self.last + 1 + more);
                self.last += more;
            }
            5 => self.split().await,
            6 => self.merge().await,
            7 | 8 => self.start(slot),
            9 => {
                if let Some(worker) = self.workers[slot].take() {
                    worker.stop().await.expect("it stops");
                }
            }
            10 => {
                if let Some(worker) = self.workers[slot].take() {
                    worker.kill().await;
                }
            }
            _ => {
                let pause = Duration::from_millis(u64::from(self.dice.below(6_000)));
                self.bench.context.clock.sleep(pause).await;
            }
        }
    }

    fn start(&mut self, slot: usize) {
        self.started += 1;
        let context = Context { random: Random::seeded(self.started), ..self.job.context.clone() };
        self.workers[slot].get_or_insert_with(|| Worker::start(&Job { context, ..self.job.clone() }));
    }

    /// The open shards by their hash keys.
    async fn open(&self) -> Vec<usize> {
        let shards = self.bench.source.shards().await.expect("shards");
        let mut open: Vec<(u128, usize)> = (0..)
            .zip(&shards)
            .filter(|(_, shard)| !shard.closed)
            .map(|(index, shard)| (shard.hashes.first, index))
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, index)| index).collect()
    }

    async fn split(&mut self) {
        let open = self.open().await;
        let chosen = open[self.dice.below(open.len() as u32) as usize];
        if open.len() < 8 {
            self.bench.source.split(chosen).expect("split");
        }
    }

    async fn merge(&mut self) {
        let open = self.open().await;
        if open.len() > 1 {
            let left = self.dice.below(open.len() as u32 - 1) as usize;
            self.bench.source.merge(open[left], open[left + 1]).expect("merged");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_shards_and_workers_every_record_is_there_once_and_in_order() {
    for seed in 0..HISTORIES {
        println!("seed {seed}");
        let bench = shared(3);
        let (job, warehouse) = bench.job().await;
        let mut history = History { bench, job, dice: Dice::seeded(seed), workers: [None, None], last: 0, started: 0 };
        for _ in 0..STEPS {
            history.step().await;
        }
        for worker in history.workers.iter_mut().filter_map(Option::take) {
            worker.drain().await.expect("it runs");
        }
        drained(&history.job).await.expect("it runs");
        history.bench.is_whole_and_in_order(history.last, &warehouse).await;
    }
}
