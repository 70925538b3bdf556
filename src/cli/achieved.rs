//! What `generate` achieved against what was wanted, and why it fell short.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::orders::{Sent, Wanted};
use super::output::{bytes, thousands};

/// Lateness that is worth a word: a twentieth of the time, and a second at least.
const LATE_SHARE: f64 = 0.05;
const LATE_SECONDS: f64 = 1.0;

/// The end of a `generate`.
#[derive(Debug, Serialize)]
pub(super) struct Achieved {
    records: u64,
    kinesis_records: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    kinesis_records_per_second: f64,
    bytes_per_second: f64,
    /// None for as fast as it goes.
    wanted_records_per_second: Option<u64>,
    repeated: u64,
    maybe_doubled: u64,
    /// Why it took longer than the wanted rate asks for; none where it did not.
    fell_short: Option<String>,
}

impl Achieved {
    pub(super) fn new(wanted: Wanted, sent: Sent, seconds: f64) -> Self {
        let rate = |count: u64| if seconds > 0.0 { (count as f64 / seconds).round() } else { 0.0 };
        Self {
            records: sent.records,
            kinesis_records: sent.kinesis_records,
            bytes: sent.bytes,
            seconds,
            records_per_second: rate(sent.records),
            kinesis_records_per_second: rate(sent.kinesis_records),
            bytes_per_second: rate(sent.bytes),
            wanted_records_per_second: (wanted.rate > 0).then_some(wanted.rate),
            repeated: sent.repeated,
            maybe_doubled: sent.maybe_doubled,
            fell_short: fell_short(wanted, sent, seconds),
        }
    }
}

fn fell_short(wanted: Wanted, sent: Sent, seconds: f64) -> Option<String> {
    if wanted.rate == 0 {
        return None;
    }
    let due = sent.records as f64 / wanted.rate as f64;
    let late = seconds - due;
    if late < LATE_SECONDS || late < due * LATE_SHARE {
        return None;
    }
    let most_of_it = |waited: Duration| waited.as_secs_f64() >= late / 2.0;
    let why = if most_of_it(sent.paced) {
        let advice = if wanted.aggregate { "more shards take more" } else { "more shards or --aggregate take more" };
        let waited = sent.paced.as_secs_f64();
        format!(
            "the shards' limits (1,000 Kinesis records and 1 MB a second each) made it wait {waited:.1} s: {advice}"
        )
    } else if most_of_it(sent.backed_off) {
        let (repeated, waited) = (thousands(sent.repeated), sent.backed_off.as_secs_f64());
        format!(
            "the stream refused {repeated} Kinesis records or did not answer, which made it wait {waited:.1} s: \
             others put into it too, or most records have a few keys and go to the same shard"
        )
    } else {
        "this machine and its way to the stream are no faster: larger records, --aggregate or a second `generate` with \
         another --seed bring more"
            .to_owned()
    };
    Some(format!("{late:.1} s later than wanted; {why}"))
}

impl fmt::Display for Achieved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, rate) = (thousands(self.records), thousands(self.records_per_second as u64));
        write!(formatter, "{records} records put in {:.1} s, {rate} records/s", self.seconds)?;
        if let Some(wanted) = self.wanted_records_per_second {
            write!(formatter, " ({} wanted)", thousands(wanted))?;
        }
        let (records, rate) = (thousands(self.kinesis_records), thousands(self.kinesis_records_per_second as u64));
        let (size, speed) = (bytes(self.bytes), bytes(self.bytes_per_second as u64));
        write!(formatter, "\nas {records} Kinesis records, {rate}/s, and {size}, {speed}/s")?;
        if self.repeated > 0 {
            write!(formatter, "\n{} Kinesis records refused at first and put again", thousands(self.repeated))?;
        }
        if self.maybe_doubled > 0 {
            let doubled = thousands(self.maybe_doubled);
            write!(formatter, "\n{doubled} records put again because no answer came: they may be in the stream twice")?;
        }
        match &self.fell_short {
            Some(sentence) => write!(formatter, "\n{sentence}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rate: u64, aggregate: bool) -> Wanted {
        Wanted { records: None, rate, seed: 1, aggregate }
    }

    fn sent(records: u64) -> Sent {
        Sent { records, kinesis_records: records / 10, bytes: records * 100, ..Sent::default() }
    }

    #[test]
    fn rates_stand_against_what_was_wanted() {
        let mut all = sent(10_000);
        (all.repeated, all.maybe_doubled) = (12, 3);
        assert_eq!(
            Achieved::new(wanted(1_000, true), all, 10.0).to_string(),
            "10,000 records put in 10.0 s, 1,000 records/s (1,000 wanted)\n\
             as 1,000 Kinesis records, 100/s, and 976.6 KiB, 97.7 KiB/s\n\
             12 Kinesis records refused at first and put again\n\
             3 records put again because no answer came: they may be in the stream twice"
        );
        let free = Achieved::new(wanted(0, false), sent(10), 0.0).to_string();
        assert_eq!(free, "10 records put in 0.0 s, 0 records/s\nas 1 Kinesis records, 0/s, and 1000 B, 0 B/s");
    }

    #[test]
    fn the_reason_is_what_took_most_of_the_time() {
        let seconds = Duration::from_secs;
        // Paced, backed off, aggregate; the words.
        let cases = [
            (seconds(9), seconds(1), false, "more shards or --aggregate take more"),
            (seconds(9), seconds(1), true, "1 MB a second each) made it wait 9.0 s: more shards take more"),
            (seconds(1), seconds(9), false, "the stream refused 7 Kinesis records or did not answer"),
            (seconds(1), seconds(1), false, "10.0 s later than wanted; this machine and its way"),
        ];
        for (paced, backed_off, aggregate, words) in cases {
            let sent = Sent { paced, backed_off, repeated: 7, ..sent(10_000) };
            let told = Achieved::new(wanted(1_000, aggregate), sent, 20.0).fell_short;
            assert!(told.as_deref().is_some_and(|told| told.contains(words)), "{told:?}");
        }
    }

    #[test]
    fn nobody_is_told_of_what_is_hardly_late() {
        for (rate, records, seconds) in [(1_000, 10_000, 10.9), (1_000, 100_000, 104.0), (0, 10, 100.0), (100, 0, 0.5)]
        {
            let told = Achieved::new(wanted(rate, false), sent(records), seconds).fell_short;
            assert_eq!(told, None, "{records} in {seconds} s");
        }
    }
}
