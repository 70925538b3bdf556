//! The wrappers' rows of the table: compression, envelopes, records that the source could not take apart.

use std::io::{self, Read as _, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::batch::Damage;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compressed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.include_checksum(true).expect("a checksum");
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compressed")
}

fn envelope(messages: &[&str]) -> String {
    let event = |message: &&str| json!({"id": "37", "timestamp": 1_795_176_000_000_u64, "message": message});
    of_log_events(&json!(messages.iter().map(event).collect::<Vec<_>>()).to_string())
}

fn of_log_events(log_events: &str) -> String {
    format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"orders","logStream":"a/b",
            "subscriptionFilters":["all"],"logEvents":{log_events}}}"#
    )
}

/// Events' x, then the rejects' reasons and payloads, of a record with this payload.
fn told(payload: &[u8]) -> (Vec<String>, Vec<(String, Vec<u8>)>) {
    let decoded = decode(&[field("x", "integer")], payload);
    account(&decoded).expect("accounted for");
    let rejects = decoded.rejects.iter().map(|reject| (reject.reason.clone(), reject.payload.to_vec()));
    (shown(&decoded.events, "x"), rejects.collect())
}

fn refused(reason: &str, payload: impl AsRef<[u8]>) -> (String, Vec<u8>) {
    (reason.to_owned(), payload.as_ref().to_vec())
}

#[test]
fn compressed_payloads_are_read_as_what_they_hold() {
    let two = b"{\"x\":1}\n{\"x\":2}";
    let (first, second) = two.split_at(10);
    let payloads = [
        gzip(two),
        zstd(two),
        gzip(b"[{\"x\":1},{\"x\":2}]"),
        gzip(&gzip(two)),
        gzip(&zstd(two)),
        zstd(&gzip(two)),
        // Members and frames are cut anywhere: together they are one text.
        [gzip(first), gzip(second)].concat(),
        [zstd(first), zstd(second), zstd(b"")].concat(),
        gzip(&[gzip(first), gzip(b""), gzip(second)].concat()),
        gzip(b"\xEF\xBB\xBF{\"x\":1}{\"x\":2}"),
    ];
    for payload in payloads {
        assert_eq!(told(&payload), (vec!["1".into(), "2".into()], vec![]), "{payload:x?}");
    }
    let broken = told(&gzip(b"{\"x\":1}\n{\"x\":\n{\"x\":3}"));
    assert_eq!(broken, (vec!["1".into(), "3".into()], vec![refused("not_json", "{\"x\":")]));
    assert_eq!(told(&zstd(b"{ no")), (vec![], vec![refused("not_json", "{ no")]));
}

#[test]
fn the_batch_holds_the_text_that_origins_point_into_and_the_other_records_as_they_were() {
    let wrapped = [gzip(b" {\"x\":1}"), b"{\"x\":2}".to_vec(), envelope(&["{\"x\":3}"]).into_bytes(), gzip(b"no")];
    let raw = batch(&wrapped.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let decoded = decode_all(&[field("x", "integer")], raw.clone());
    let kept: Vec<&[u8]> = decoded.raw.records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(kept, [b" {\"x\":1}", wrapped[1].as_slice(), b"{\"x\":3}", &wrapped[3]]);
    let same = |record: usize| decoded.raw.records[record].payload.as_ptr() == raw.records[record].payload.as_ptr();
    assert!(same(1), "a plain record's bytes are not copied");
    assert_eq!(decoded.raw.records[2].position, raw.records[2].position);
    assert_eq!(decoded.origins[0], crate::batch::Origin { record: 0, index: 0, start: 1, end: 8 });
    assert_eq!(shown(&decoded.events, "_sequence"), ["100", "101", "102"]);

    let untouched = batch(&[b"{\"x\":1}", &gzip(b"")[..12], &gzip(b"no"), b"{\"owner\":\"me\",\"x\":2}"]);
    let decoded = decode_all(&[field("x", "integer")], untouched.clone());
    assert!(is_the_same(&decoded.raw, &untouched), "no row points into anything else");
    assert_eq!((shown(&decoded.events, "x").len(), reasons(&decoded)), (2, vec!["damaged_gzip", "not_json"]));
}

#[test]
fn damaged_streams_are_one_reject_of_the_original_bytes() {
    let event = b"{\"x\":1,\"text\":\"something to compress, something to compress\"}";
    for (reason, whole) in [("damaged_gzip", gzip(event)), ("damaged_zstd", zstd(event))] {
        let mut damaged: Vec<Vec<u8>> = (4..whole.len()).map(|length| whole[..length].to_vec()).collect();
        let mut last = whole.clone();
        *last.last_mut().expect("bytes") ^= 1;
        damaged.extend([last, [&whole[..], b"more"].concat(), [&whole[..], &whole[..9]].concat()]);
        for payload in damaged {
            assert_eq!(told(&payload), (vec![], vec![refused(reason, &payload)]), "{} bytes", payload.len());
            assert_eq!(told(&gzip(&payload)), (vec![], vec![refused(reason, gzip(&payload))]), "in gzip");
        }
    }
    let decoded = decode(&[field("x", "integer")], b"\x28\xB5\x2F\xFD");
    assert!(decoded.rejects[0].message.contains("cut off or damaged"), "{}", decoded.rejects[0].message);
}

#[test]
fn a_zstd_frame_that_wants_a_dictionary_or_too_large_a_window_is_refused() {
    let dictionary = b"{\"x\":1,\"text\":\"all of this stands in the dictionary and nowhere else\"}";
    let mut compressor = ::zstd::bulk::Compressor::with_dictionary(3, dictionary).expect("a compressor");
    let payload = compressor.compress(dictionary).expect("compressed");
    assert!(payload.len() < dictionary.len() / 2, "it refers to the dictionary");
    assert_eq!(told(&payload), (vec![], vec![refused("damaged_zstd", &payload)]));

    // A frame without content that declares a window of 2^27 or 2^28 bytes.
    let frame = |window_log: u8| [0x28, 0xB5, 0x2F, 0xFD, 0, (window_log - 10) << 3, 1, 0, 0];
    assert_eq!(told(&frame(28)), (vec![], vec![refused("damaged_zstd", frame(28))]));
    assert_eq!(told(&[&frame(27)[..], &zstd(b"{\"x\":1}")].concat()), (vec!["1".into()], vec![]));
}

#[test]
fn what_says_nothing_once_it_is_unwrapped_keeps_its_original_bytes() {
    let large = format!("{{\"x\":{}", (0..200_000).map(|number| number.to_string()).collect::<String>());
    let contents: [(&str, &[u8]); 5] = [
        ("empty_payload", b""),
        ("empty_payload", b" \n "),
        ("empty_payload", b"[]"),
        ("invalid_utf8", b"\xff\xfe\x00{\x00\n\xff"),
        ("not_json", large.as_bytes()),
    ];
    for (reason, content) in contents {
        for payload in [gzip(content), zstd(content)] {
            assert_eq!(told(&payload), (vec![], vec![refused(reason, &payload)]));
        }
    }
    let thrice = gzip(&gzip(&zstd(b"{\"x\":1}")));
    assert_eq!(told(&thrice), (vec![], vec![refused("wrapped_too_often", &thrice)]));
}

#[test]
fn a_bomb_is_refused_and_its_neighbours_stay() {
    let zeros = || io::repeat(0).take(70 << 20);
    let mut gzipped = GzEncoder::new(Vec::new(), Compression::fast());
    io::copy(&mut zeros(), &mut gzipped).expect("compressed");
    let mut zstandard = ::zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    io::copy(&mut zeros(), &mut zstandard).expect("compressed");
    let bombs = [gzipped.finish().expect("a bomb"), zstandard.finish().expect("a bomb")];
    let nested = gzip(&bombs[1]);
    let payloads = [&bombs[0], b"{\"x\":1}".as_slice(), &bombs[1], &gzip(b"{\"x\":2}"), &nested];
    let decoded = decode_all(&[field("x", "integer")], batch(&payloads));
    assert_eq!(shown(&decoded.events, "x"), ["1", "2"]);
    assert_eq!(reasons(&decoded), ["too_large_unwrapped"; 3]);
    for (reject, payload) in decoded.rejects.iter().zip([&bombs[0], &bombs[1], &nested]) {
        assert_eq!(reject.payload, payload);
    }
}

#[test]
fn the_messages_of_an_envelope_are_payloads_of_their_own() {
    let messages = [
        "{\"x\":1}",
        "{\"x\":2}\n  {\"x\":3}\n",
        "START RequestId: 7",
        "[{\"x\":4},{\"x\":\"?\"},",
        "{\"x\":5",
        "\u{feff}  {\"x\":6,\"text\":\"\\ud83d\\ude00 é \\\" 😀\"}",
        "",
        "{\"x\":7,}\n{\"x\":8}",
        "{\"x\":9} ",
    ];
    let text = envelope(&messages);
    let rejects = vec![
        refused("not_json", messages[2]),
        refused("wrong_type", "{\"x\":\"?\"}"),
        refused("not_json", ""),
        refused("not_json", messages[4]),
        refused("empty_payload", ""),
        refused("not_json", "{\"x\":7,}"),
    ];
    let events: Vec<String> = [1, 2, 3, 4, 6, 8, 9].map(|x: i32| x.to_string()).to_vec();
    for payload in [text.clone().into_bytes(), gzip(text.as_bytes()), zstd(&gzip(text.as_bytes()))] {
        assert_eq!(told(&payload), (events.clone(), rejects.clone()));
    }
    let decoded = decode(&[field("x", "integer")], text.as_bytes());
    assert_eq!(shown(&decoded.events, "_index"), ["0", "1", "2", "4", "8", "11", "12"]);
}

#[test]
fn an_envelope_may_be_escaped_spaced_and_ordered_in_any_way() {
    let surrogates = r#"{"logEvents":[{"message":"{\"x\":1,\"t\":\"\ud83d\ude00\"}","id":"1","timestamp":1}],"owner":"a",
        "logGroup":"b","logStream":"c","messageType":"DATA_MESSAGE","x":5,"new":{"key":[{}]}}"#;
    let escaped = r#" { "owner" : "a" ,"message\u0054ype":"DATA\u005fMESSAGE","logGroup":"","logStream":"",
        "logEvents":[ {"\u006dessage":"\u007b\u0022x\u0022:1}","extractedFields":{"x":"9","message":"no"}} ] } "#;
    let policy = of_log_events(r#"[{"message":"{\"x\":1}"}]"#).replacen('{', r#"{"policyLevel":"ACCOUNT","#, 1);
    for payload in [surrogates, escaped, &policy, &format!("\u{feff}{policy}")] {
        assert_eq!(told(payload.as_bytes()), (vec!["1".into()], vec![]), "{payload}");
    }
}

#[test]
fn a_log_event_without_a_sound_message_is_a_reject_alone() {
    let good = r#"{"message":"{\"x\":1}"}"#;
    let cases = [
        ("no_message", r#"{"id":"1"}"#, None),
        ("no_message", r#"{"message":{"x":2}}"#, None),
        ("no_message", r#"{"message":null}"#, None),
        ("no_message", "{}", None),
        ("no_message", "7", None),
        ("no_message", r#"["message"]"#, None),
        ("duplicate_key", r#"{"message":"{}","message":"{}"}"#, None),
        ("duplicate_key", r#"{"message":"{}","message":"{}","message":"{}"}"#, None),
        ("lone_surrogate", r#"{"message":"{\"x\":2,\"t\":\"\ud83d\"}"}"#, Some(r#"{\"x\":2,\"t\":\"\ud83d\"}"#)),
        ("not_json", r#"{"message":"{\"x\":2,\"t\":\"\u0000\"}"}"#, Some("{\"x\":2,\"t\":\"\0\"}")),
        ("wrong_type", r#"{"message":"{\"x\":\"a\"} "}"#, Some("{\"x\":\"a\"} ")),
    ];
    for (reason, log_event, payload) in cases {
        let payload = refused(reason, payload.unwrap_or(log_event));
        let text = of_log_events(&format!("[{good},{log_event} , {good}]"));
        assert_eq!(told(text.as_bytes()), (vec!["1".into(), "1".into()], vec![payload]), "{log_event}");
    }
    let mut bytes = envelope(&["{\"x\":1}", "{\"x\":2,\"t\":\"?\"}", "{\"x\":3}"]).into_bytes();
    let place = bytes.iter().position(|byte| *byte == b'?').expect("a place");
    bytes[place] = 0xFF;
    let rejects = vec![refused("invalid_utf8", b"{\"x\":2,\"t\":\"\xff\"}")];
    assert_eq!(told(&bytes), (vec!["1".into(), "3".into()], rejects));
}

#[test]
fn envelopes_in_a_row_and_what_follows_them_are_all_read() {
    let one = envelope(&["{\"x\":1}", "{\"x\":2}"]);
    let other = envelope(&["{\"x\":3}"]);
    let empty = of_log_events("[ ]");
    let twice = one.replace("\"owner\"", "\"logGroup\":\"g\",\"owner\"");
    let cases = [
        (format!("{one}{other}"), vec!["1", "2", "3"], vec![]),
        (format!("{one}\n\n {other}\n"), vec!["1", "2", "3"], vec![]),
        (format!("{other}\n{{\"x\":4}}\n{{\"x\":5"), vec!["3", "4"], vec![refused("not_json", "{\"x\":5")]),
        (format!("{other} garbage"), vec!["3"], vec![refused("not_json", "garbage")]),
        (format!("{other}{empty}{one}"), vec!["3", "1", "2"], vec![refused("empty_payload", &empty)]),
        (format!("{twice}{other}"), vec!["3"], vec![refused("duplicate_key", &twice)]),
        (empty.clone(), vec![], vec![refused("empty_payload", &empty)]),
    ];
    for (payload, events, rejects) in cases {
        let events: Vec<String> = events.map_owned();
        assert_eq!(told(payload.as_bytes()), (events.clone(), rejects.clone()), "{payload}");
        assert_eq!(told(&gzip(payload.as_bytes())), (events, rejects), "in gzip: {payload}");
    }
    let decoded = decode(&[field("x", "integer")], format!("{one}{other}").as_bytes());
    assert_eq!(shown(&decoded.events, "_index"), ["0", "1", "2"]);
}

#[test]
fn the_services_probe_is_no_event_and_no_reject() {
    let probe =
        envelope(&["CWL CONTROL MESSAGE: Checking health of destination."]).replace("DATA_MESSAGE", "CONTROL_MESSAGE");
    for payload in [probe.as_bytes(), &gzip(probe.as_bytes()), &gzip(format!("{probe}\n{probe}").as_bytes())] {
        let decoded = decode(&[field("x", "integer")], payload);
        assert_eq!((decoded.events.num_rows(), reasons(&decoded)), (0, vec![]));
    }
    let both = format!("{probe}{}{probe}", envelope(&["{\"x\":1}"]));
    assert_eq!(told(both.as_bytes()), (vec!["1".into()], vec![]));
}

#[test]
fn what_is_no_envelope_to_the_letter_is_an_event() {
    let whole = r#"{"messageType":"DATA_MESSAGE","owner":"a","logGroup":"b","logStream":"c","logEvents":[],"x":1}"#;
    let mut payloads: Vec<String> = ["messageType", "owner", "logGroup", "logStream", "logEvents"]
        .into_iter()
        .map(|key| whole.replace(key, &format!("{key}s")))
        .collect();
    payloads.extend([
        whole.replace("DATA_MESSAGE", "data_message"),
        whole.replace("\"DATA_MESSAGE\"", "7"),
        whole.replace("\"a\"", "null"),
        whole.replace("\"b\"", "[\"b\"]"),
        whole.replace("\"c\"", "3"),
        whole.replace("[]", "{}"),
        whole.replace("[]", "\"[]\""),
        r#"{"owner":"a","x":1}"#.to_owned(),
    ]);
    for payload in payloads {
        assert_eq!(told(payload.as_bytes()), (vec!["1".into()], vec![]), "{payload}");
        assert_eq!(told(&zstd(payload.as_bytes())), (vec!["1".into()], vec![]), "{payload}");
    }
    let cut = &envelope(&["{\"x\":1}"])[..100];
    assert_eq!(told(cut.as_bytes()).1, [refused("not_json", cut)]);
}

#[test]
fn a_records_bounds_count_over_all_its_messages() {
    let many = usize::try_from(payload::MAX_EVENTS).expect("small");
    let half = vec!["{}"; many / 2].join("\n");
    let text = envelope(&[&half, &half, "{\"x\":1}", "{\"x\":2}"]);
    let decoded = decode(&[field("x", "integer")], &gzip(text.as_bytes()));
    assert_eq!((decoded.events.num_rows(), reasons(&decoded)), (many, vec!["too_many_events"]));
    assert_eq!(decoded.rejects[0].payload, "{\"x\":1}\n{\"x\":2}");

    let text = envelope(&vec!["{}"; many + 3]);
    let decoded = decode(&[field("x", "integer")], text.as_bytes());
    assert_eq!((decoded.events.num_rows(), reasons(&decoded)), (many, vec!["too_many_events"]));
    assert_eq!(decoded.rejects[0].payload, "{}\n{}\n{}");

    let text = envelope(&[vec!["no"; settle::MAX_REJECTS + 2], vec!["{\"x\":7}"]].concat());
    let decoded = decode(&[field("x", "integer")], text.as_bytes());
    assert_eq!((shown(&decoded.events, "x"), decoded.rejects.len()), (vec!["7".into()], settle::MAX_REJECTS + 1));
    let last = &decoded.rejects[settle::MAX_REJECTS];
    assert_eq!((last.reason.as_str(), &last.payload[..]), ("too_many_rejects", b"no\nno".as_slice()));
}

#[test]
fn a_record_that_the_source_could_not_take_apart_is_one_reject() {
    let mut raw = batch(&[b"{\"x\":1}", b"{\"x\":2}\n{\"x\":3}", b"{\"x\":4}"]);
    let damage = Damage { reason: "damaged_aggregate", message: "its checksum is another".to_owned() };
    raw.records[1].damage = Some(Box::new(damage));
    let decoded = decode_all(&[field("x", "integer")], raw.clone());
    assert_eq!(shown(&decoded.events, "x"), ["1", "4"]);
    let [reject] = &decoded.rejects[..] else { panic!("one: {:?}", decoded.rejects) };
    assert_eq!((reject.reason.as_str(), reject.message.as_str()), ("damaged_aggregate", "its checksum is another"));
    assert_eq!((&reject.payload, reject.index), (&raw.records[1].payload, 0));
    assert_eq!((&reject.position, reject.arrived_at), (&raw.records[1].position, raw.records[1].arrived_at));
}

/// One record of these texts.
fn wrap(texts: &[String], way: u8) -> Vec<u8> {
    let lines = texts.join("\n");
    let slices: Vec<&str> = texts.iter().map(String::as_str).collect();
    match way {
        0 => lines.into_bytes(),
        1 => gzip(lines.as_bytes()),
        2 => zstd(lines.as_bytes()),
        3 => slices.iter().flat_map(|text| gzip(text.as_bytes())).collect(),
        4 => slices.iter().flat_map(|text| zstd(text.as_bytes())).collect(),
        5 => gzip(&zstd(lines.as_bytes())),
        6 => envelope(&slices).into_bytes(),
        7 => gzip(envelope(&slices).as_bytes()),
        8 => zstd(slices.iter().map(|text| envelope(&[text])).collect::<String>().as_bytes()),
        _ => gzip(envelope(&[&lines]).as_bytes()),
    }
}

proptest! {
    #[test]
    fn any_split_into_wrappers_decodes_to_the_events_of_the_plain_lines(
        records in prop::collection::vec((prop::collection::vec(any_event(), 1..5), 0_u8..10), 1..5),
    ) {
        let mut plain = Vec::new();
        let mut wrapped = Vec::new();
        for (events, way) in &records {
            let texts: Vec<String> = events.iter().map(ToString::to_string).filter(|text| fits(text)).collect();
            prop_assume!(!texts.is_empty());
            plain.push(wrap(&texts, 0));
            wrapped.push(wrap(&texts, *way));
        }
        let of = |payloads: &[Vec<u8>]| {
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            decode_all(&every_type(), batch(&slices))
        };
        let (plain, wrapped) = (of(&plain), of(&wrapped));
        account(&wrapped)?;
        prop_assert_eq!(wrapped.rejects.first(), None);
        prop_assert_eq!(&wrapped.events, &plain.events);
        let texts = |decoded: &Decoded| -> Vec<Bytes> {
            let of = |it: &crate::batch::Origin| {
                decoded.raw.records[it.record as usize].payload.slice(it.start as usize..it.end as usize)
            };
            decoded.origins.iter().map(of).collect()
        };
        prop_assert_eq!(texts(&wrapped), texts(&plain));
    }

    #[test]
    fn mutated_wrappers_never_panic_and_every_record_is_accounted_for(
        events in prop::collection::vec(any_event(), 1..5),
        way in 1_u8..10,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6),
        outer in any::<bool>(),
    ) {
        let mut payload = wrap(&events.iter().map(ToString::to_string).collect::<Vec<_>>(), way);
        for (place, kind, byte) in mutations {
            if payload.is_empty() {
                break;
            }
            let at = place.index(payload.len());
            match kind {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                2 => drop(payload.remove(at)),
                _ => payload.truncate(at),
            }
        }
        // Inside of sound gzip the mutations reach the text.
        let payload = if outer { gzip(&payload) } else { payload };
        let decoded = decode_all(&every_type(), batch(&[&payload, b"{\"id\":1}"]));
        account(&decoded)?;
        prop_assert_eq!(decoded.origins.last().map(|origin| origin.record), Some(1), "the neighbour stays");
    }
}
