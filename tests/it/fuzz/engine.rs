//! The loop of a fuzz target: inputs that begin as good ones and are changed blindly, for a while.
//!
//! Owns mutation, time, the record of what was found, and its shortest form. There is no feedback by coverage, which
//! stable Rust has not: good seeds and a dictionary of the format's own words take its place. Everything follows from
//! one number, which is printed.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How long each target runs in CI, and in the long mode (`MILLSTREAM_LONG=1`); `MILLSTREAM_FUZZ_SECONDS` overrides both.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(600);

/// An input that takes longer is a find.
const SLOW: Duration = Duration::from_secs(10);

/// One that takes longer than this would never end: the process does, and leaves the input.
const HUNG: Duration = Duration::from_secs(90);

/// Different finds, and finds in all, after which a target stops.
const ENOUGH: usize = 5;
const ENOUGH_ALIKE: u32 = 500;

/// What shortening a find may take.
const SHORTENING: Duration = Duration::from_secs(20);

/// What is fuzzed, and from what.
pub(super) struct Target<'a> {
    /// Its name, and its folder's in `corpus`.
    pub(super) name: &'static str,
    /// Good inputs, beside those of the corpus.
    pub(super) seeds: Vec<Vec<u8>>,
    /// Words that the format gives a meaning.
    pub(super) dictionary: &'a [&'a str],
    /// An input is not made longer.
    pub(super) longest: usize,
}

/// An input and what was wrong with it.
struct Find {
    input: Vec<u8>,
    words: String,
}

impl Target<'_> {
    /// Executes inputs until the time is over. An `Err`, a panic, and an input that takes very long are finds.
    ///
    /// # Panics
    /// With what was found, and where the inputs are kept.
    pub(super) fn run(self, mut execute: impl FnMut(&[u8]) -> Result<(), String>) {
        let (seed, time) = (number_of("MILLSTREAM_FUZZ_SEED").unwrap_or_else(rand::random), time());
        let (mut mutator, mut executions) = (Mutator::new(&self, seed), 0_u64);
        let watched = Watched::new(self.name);
        let (mut finds, mut alike): (BTreeMap<String, Find>, _) = (BTreeMap::new(), 0);
        let started = Instant::now();
        while finds.len() < ENOUGH
            && alike < ENOUGH_ALIKE
            && (started.elapsed() < time || executions < mutator.seeds.len() as u64)
        {
            let input = match mutator.seeds.get(usize::try_from(executions).unwrap_or(usize::MAX)) {
                Some(seed) => seed.clone(),
                None => mutator.next(),
            };
            executions += 1;
            if let Err(words) = watched.judge(&input, &mut execute) {
                alike += 1;
                finds.entry(kind_of(&words)).or_insert(Find { input, words });
            }
        }
        for find in finds.values_mut() {
            let kind = kind_of(&find.words);
            let fails = |input: &[u8]| watched.judge(input, &mut execute).is_err_and(|words| kind_of(&words) == kind);
            find.input = shortened(std::mem::take(&mut find.input), fails);
        }
        let seconds = started.elapsed().as_secs_f64();
        let line = format!(
            "fuzz {}: {executions} executions in {seconds:.1} s, {} finds, seed {seed}",
            self.name,
            finds.len()
        );
        println!("{line}");
        append(&folder().join("report.txt"), &line);
        let told: Vec<String> =
            finds.values().map(|find| format!("{}\n  {}", find.words, keep(self.name, &find.input))).collect();
        assert!(told.is_empty(), "{line}\n{}", told.join("\n"));
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn time() -> Duration {
    let long = std::env::var("MILLSTREAM_LONG").is_ok_and(|value| value == "1");
    number_of("MILLSTREAM_FUZZ_SECONDS").map_or(if long { LONG } else { SHORT }, Duration::from_secs)
}

/// Where inputs that did harm, and the figures of all runs, are kept.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn append(path: &Path, line: &str) {
    use std::io::Write;
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).expect("written");
}

/// Keeps an input, and gives its path: put it into the target's corpus once it is mended.
fn keep(name: &str, input: &[u8]) -> String {
    let sum = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let path = folder().join(format!("{name}-{sum:016x}"));
    fs::write(&path, input).expect("written");
    path.display().to_string()
}

/// Sentences that differ in numbers and quoted values alone are one find.
fn kind_of(words: &str) -> String {
    words
        .split(['"', '`', '\''])
        .step_by(2)
        .collect::<String>()
        .chars()
        .filter(|letter| !letter.is_ascii_digit())
        .take(160)
        .collect()
}

/// The input under way, and since when.
type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// An execution that somebody watches.
struct Watched {
    current: Current,
}

impl Watched {
    /// A thread looks whether an execution ends at all.
    fn new(name: &'static str) -> Self {
        let current: Current = Arc::default();
        let seen = Arc::downgrade(&current);
        std::thread::spawn(move || {
            while let Some(current) = seen.upgrade() {
                if let Some((since, input)) = current.lock().expect("no one panics with it").as_ref()
                    && since.elapsed() > HUNG
                {
                    eprintln!("fuzz {name}: no end after {HUNG:?} with {}", keep(name, input));
                    std::process::abort();
                }
                drop(current);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Self { current }
    }

    fn judge(&self, input: &[u8], execute: &mut impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let started = Instant::now();
        *self.current.lock().expect("no one panics with it") = Some((started, input.to_vec()));
        let outcome = catch_unwind(AssertUnwindSafe(|| execute(input)));
        *self.current.lock().expect("no one panics with it") = None;
        match outcome {
            Ok(Ok(())) if started.elapsed() > SLOW => Err(format!("it takes {:?}", started.elapsed())),
            Ok(outcome) => outcome,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(format!("panic: {}", text.unwrap_or("of no text")))
            }
        }
    }
}

/// The input with as much taken out of it as it fails without.
fn shortened(mut input: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let (mut size, started) = (input.len() / 2, Instant::now());
    while size > 0 && started.elapsed() < SHORTENING {
        let mut start = 0;
        while start < input.len() && started.elapsed() < SHORTENING {
            let end = input.len().min(start + size);
            let shorter = [&input[..start], &input[end..]].concat();
            if fails(&shorter) { input = shorter } else { start = end }
        }
        size /= 2;
    }
    input
}

/// Makes inputs of seeds.
struct Mutator {
    seeds: Vec<Vec<u8>>,
    dictionary: Vec<Vec<u8>>,
    longest: usize,
    dice: ChaCha8Rng,
}

impl Mutator {
    fn new(target: &Target<'_>, seed: u64) -> Self {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fuzz/corpus").join(target.name);
        let entries = fs::read_dir(corpus).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        let kept = paths.iter().map(|path| fs::read(path).expect("a file of the corpus"));
        let seeds: Vec<Vec<u8>> = kept.chain(target.seeds.iter().cloned()).collect();
        assert!(!seeds.is_empty(), "a target starts from something");
        let dictionary = target.dictionary.iter().map(|word| word.as_bytes().to_vec()).collect();
        Self { seeds, dictionary, longest: target.longest, dice: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn next(&mut self) -> Vec<u8> {
        let mut input = self.seeds.choose(&mut self.dice).expect("one at least").clone();
        for _ in 0..1 << self.dice.random_range(0..4) {
            self.change(&mut input);
        }
        input.truncate(self.longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.dice.random_range(0..=input.len());
        let end = at + self.dice.random_range(0..=(input.len() - at).min(64));
        match self.dice.random_range(0..10) {
            0 if at < input.len() => input[at] ^= 1 << self.dice.random_range(0..8),
            1 if at < input.len() => input[at] = self.dice.random(),
            2 if at < input.len() => {
                input[at] = input[at].wrapping_add(*[1, 255, 128].choose(&mut self.dice).expect("one of three"));
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                let times = if self.dice.random_ratio(1, 20) { 200 } else { self.dice.random_range(1..4) };
                drop(input.splice(at..at, part.repeat(times)));
            }
            5 => {
                let bytes: Vec<u8> = (0..self.dice.random_range(1..9)).map(|_| self.dice.random()).collect();
                drop(input.splice(at..at, bytes));
            }
            6 => {
                let donor = self.seeds.choose(&mut self.dice).expect("one at least").clone();
                let from = self.dice.random_range(0..=donor.len());
                let through = from + self.dice.random_range(0..=(donor.len() - from).min(256));
                drop(input.splice(at..end, donor[from..through].iter().copied()));
            }
            7 => {
                let number: u32 = *[0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff]
                    .choose(&mut self.dice)
                    .expect("one of eight");
                let bytes = if self.dice.random() { number.to_be_bytes() } else { number.to_le_bytes() };
                let width = self.dice.random_range(1..=4).min(input.len() - at);
                input[at..at + width].copy_from_slice(&bytes[..width]);
            }
            8 if end < input.len() => input.truncate(end),
            _ => {
                if let Some(word) = self.dictionary.choose(&mut self.dice) {
                    let until = if self.dice.random() { at } else { end };
                    drop(input.splice(at..until, word.iter().copied()));
                }
            }
        }
    }
}

#[test]
fn a_find_is_told_with_its_shortest_input_and_the_same_seed_makes_the_same_inputs() {
    let target = || Target { name: "engine", seeds: vec![b"hello world".to_vec()], dictionary: &["x"], longest: 64 };
    let inputs = |seed| {
        let mut mutator = Mutator::new(&target(), seed);
        (0..200).map(|_| mutator.next()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
    let refuse =
        |input: &[u8]| if input.contains(&b'x') { Err(format!("{} bytes with an x", input.len())) } else { Ok(()) };
    let told = catch_unwind(|| target().run(refuse)).expect_err("the dictionary has an x");
    let told = told.downcast_ref::<String>().expect("words");
    let path = told.lines().last().expect("a path").trim();
    assert_eq!(fs::read(path).expect("kept"), b"x", "{told}");
    fs::remove_file(path).expect("removed");
}
