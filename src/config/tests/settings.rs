//! The sections that stand once.

use super::*;

#[test]
fn a_start_is_a_word_or_an_instant() {
    let cases = [
        ("\"trim_horizon\"", Start::TrimHorizon),
        ("\"latest\"", Start::Latest),
        ("\"2024-03-01T00:00:00.5Z\"", Start::Time(1_709_251_200_500)),
        ("2024-03-01T00:00:00.5Z", Start::Time(1_709_251_200_500)),
        ("2024-03-01 01:00-01:00", Start::Time(1_709_258_400_000)),
        ("1969-12-31T23:59:59Z", Start::Time(-1000)),
    ];
    for (text, expected) in cases {
        let pipeline = sound(&BASE.replace("[source]", &format!("[source]\nstart = {text}")));
        assert_eq!(pipeline.source.start, expected, "{text}");
    }
}

#[test]
fn durations_and_sizes_have_units() {
    let ages = [("1ms", 1), ("500ms", 500), ("2s", 2000), (" 2 s ", 2000), ("1m", 60_000), ("1h", 3_600_000)];
    for (text, millis) in ages {
        let pipeline = sound(&format!("{BASE}[batch]\nmax_age = \"{text}\"\n"));
        assert_eq!(pipeline.batch.max_age, Duration::from_millis(millis), "{text}");
    }
    let sizes = [("1", 1), ("1_000", 1000), ("\"2KiB\"", 2048), ("\"3 MiB\"", 3 << 20), ("\"1GiB\"", 1 << 30)];
    for (text, bytes) in sizes {
        let pipeline = sound(&format!("{BASE}[batch]\nmax_bytes = {text}\n"));
        assert_eq!(pipeline.batch.max_bytes, bytes, "{text}");
    }
}

#[test]
fn how_a_stream_is_read_is_said_under_source() {
    let with = |lines: &str| BASE.replace("stream = \"orders\"", &format!("stream = \"orders\"\n{lines}"));
    let text = with("fan_out = \"millstream\"\non_loss = \"continue\"\nstall_after = \"30s\"");
    let source = read(folder(&text).path()).pipeline.expect("a pipeline").source;
    let expected = (Some("millstream".to_owned()), OnLoss::Continue, Duration::from_secs(30));
    assert_eq!((source.fan_out, source.on_loss, source.stall_after), expected);
    let wrong = faults(&folder(&with("fan_out = \"a b\"\non_loss = \"skip\"\nstall_after = \"0s\"")));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    for (fault, words) in wrong.iter().zip(["not a consumer name", "expected \"stop\" or \"continue\"", "from 1s"]) {
        assert!(fault.contains(words), "{fault}");
    }
}
