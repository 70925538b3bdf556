"""A decoder in plain Python, written from docs/decoding.md and from nothing else: what the records of a stream must become.

`decode(fields, payload)` gives an outcome for each event, in order: `("row", {column: value})` or
`("reject", reason, bytes)`. Wrappers, files and the bounds on many events are not in it. Decimals are Decimal, floats
are float, dates are days and instants are microseconds since 1970, everything else is what it looks like.
"""

import datetime
import decimal
import fractions
import re
import zoneinfo

JSON_BLANKS = b" \t\n\r"
TEXT_BLANKS = " \t\n\r\f"
MAX_OPEN = 64

EPOCH = datetime.datetime(1970, 1, 1)
SECOND = 1_000_000
FIRST_INSTANT = (datetime.datetime(1, 1, 1) - EPOCH) // datetime.timedelta(microseconds=1)
LAST_INSTANT = (datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999) - EPOCH) // datetime.timedelta(microseconds=1)

# Exact for any number that a record can hold.
CONTEXT = decimal.Context(prec=100_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)

# The data of the package of that name, whatever this machine has.
zoneinfo.reset_tzpath(())


class Fault(Exception):
    """Why a whole event, whose JSON is sound, is refused."""


class Broken(Exception):
    """The JSON breaks at a byte."""


class TooDeep(Exception):
    """A bracket at a byte opens one container too many."""


# --- JSON, with places. A node is (kind, value): an object's value is a list of (key, node), a string's the text or None
# for half a surrogate pair, a number's its text.


class Parser:
    def __init__(self, data, limit=MAX_OPEN):
        self.data, self.limit = data, limit

    def byte(self, at):
        return self.data[at:at + 1]

    def skip(self, at):
        while at < len(self.data) and self.data[at] in JSON_BLANKS:
            at += 1
        return at

    def value(self, at, open_now=0):
        """The node that stands at a place, and the place after it."""
        first = self.byte(at)
        if first in (b"{", b"["):
            if self.limit is not None and open_now >= self.limit:
                raise TooDeep(at)
            return (self.object if first == b"{" else self.array)(at + 1, open_now + 1)
        if first == b'"':
            text, at = self.string(at)
            return ("string", text), at
        for word, meaning in ((b"true", True), (b"false", False), (b"null", None)):
            if first == word[:1]:
                for offset, letter in enumerate(word):
                    if self.byte(at + offset) != bytes([letter]):
                        raise Broken(at + offset)
                return ("null", None) if meaning is None else ("boolean", meaning), at + len(word)
        if first == b"-" or first.isdigit():
            end = self.number(at)
            return ("number", self.data[at:end].decode()), end
        raise Broken(at)

    def number(self, at):
        at += self.byte(at) == b"-"
        if self.byte(at) == b"0":
            at += 1
            if self.byte(at).isdigit():
                raise Broken(at)
        else:
            at = self.digits(at)
        if self.byte(at) == b".":
            at = self.digits(at + 1)
        if self.byte(at) in (b"e", b"E"):
            at += 1
            at += self.byte(at) in (b"+", b"-")
            at = self.digits(at)
        return at

    def digits(self, at):
        if not self.byte(at).isdigit():
            raise Broken(at)
        while self.byte(at).isdigit():
            at += 1
        return at

    def string(self, at):
        at += 1
        units, plain = [], bytearray()

        def flush():
            units.extend(plain.decode("utf-8", errors="replace"))
            plain.clear()
        while True:
            byte = self.byte(at)
            if byte == b"" or byte < b" ":
                raise Broken(at)
            if byte == b'"':
                flush()
                return joined(units), at + 1
            if byte != b"\\":
                plain += byte
                at += 1
                continue
            flush()
            letter = self.byte(at + 1)
            simple = dict(zip(b'"\\/bfnrt', '"\\/\b\f\n\r\t'))
            if letter and letter[0] in simple:
                units.append(simple[letter[0]])
                at += 2
            elif letter == b"u":
                for offset in range(2, 6):
                    if not re.fullmatch(rb"[0-9a-fA-F]", self.byte(at + offset)):
                        raise Broken(at + offset)
                units.append(int(self.data[at + 2:at + 6], 16))
                at += 6
            else:
                raise Broken(at + 1)

    def object(self, at, open_now):
        members = []
        at = self.skip(at)
        if self.byte(at) == b"}":
            return ("object", members), at + 1
        while True:
            if self.byte(at) != b'"':
                raise Broken(at)
            key, at = self.string(at)
            at = self.skip(at)
            if self.byte(at) != b":":
                raise Broken(at)
            node, at = self.value(self.skip(at + 1), open_now)
            members.append((key, node))
            at = self.skip(at)
            if self.byte(at) == b"}":
                return ("object", members), at + 1
            if self.byte(at) != b",":
                raise Broken(at)
            at = self.skip(at + 1)

    def array(self, at, open_now):
        items = []
        at = self.skip(at)
        if self.byte(at) == b"]":
            return ("array", items), at + 1
        while True:
            node, at = self.value(at, open_now)
            items.append(node)
            at = self.skip(at)
            if self.byte(at) == b"]":
                return ("array", items), at + 1
            if self.byte(at) != b",":
                raise Broken(at)
            at = self.skip(at + 1)


def joined(units):
    """A text of characters and, as numbers, escaped UTF-16 units; None where one of these has no other half."""
    text, place = [], 0
    while place < len(units):
        unit = units[place]
        place += 1
        if isinstance(unit, str):
            text.append(unit)
        elif 0xD800 <= unit < 0xDC00 and place < len(units) and not isinstance(units[place], str) \
                and 0xDC00 <= units[place] < 0xE000:
            text.append(chr(0x10000 + ((unit - 0xD800) << 10) + units[place] - 0xDC00))
            place += 1
        elif 0xD800 <= unit < 0xE000:
            return None
        else:
            text.append(chr(unit))
    return "".join(text)


# --- From a payload to events.


class Payload:
    def __init__(self, fields, data):
        self.fields, self.data, self.outcomes = fields, data, []

    def decode(self):
        at = 3 if self.data.startswith(b"\xef\xbb\xbf") else 0
        parser = Parser(self.data)
        while (at := parser.skip(at)) < len(self.data):
            at = self.array(at) if self.data[at:at + 1] == b"[" else self.single(at)
        if not self.outcomes:
            self.outcomes = [("reject", "empty_payload", self.data)]
        rejects = [outcome for outcome in self.outcomes if outcome[0] == "reject"]
        if not is_utf8(self.data) and len(rejects) == len(self.outcomes):
            self.outcomes = rejects = rejects[:1]
        if rejects and len(self.outcomes) == 1:
            self.outcomes = [(*rejects[0][:2], self.data)]
        return self.outcomes

    def refuse(self, start, end, reason):
        data = self.data[start:end]
        self.outcomes.append(("reject", reason if is_utf8(data) else "invalid_utf8", data))

    def settle(self, start, end, node):
        """A whole event: a row, or why it is none."""
        try:
            if node[0] != "object":
                raise Fault("not_an_object")
            row = record(self.fields, node)
        except Fault as fault:
            return self.refuse(start, end, str(fault))
        if is_utf8(self.data[start:end]):
            self.outcomes.append(("row", row))
        else:
            self.refuse(start, end, "invalid_utf8")

    def line_end(self, at):
        end = self.data.find(b"\n", at)
        return len(self.data) if end < 0 else end

    def without_blanks(self, start, end):
        return start + len(self.data[start:end].rstrip(TEXT_BLANKS.encode()))

    def rest_of_line(self, at):
        """Where something stands behind an event on its line; None where nothing does, or another event."""
        while self.data[at:at + 1] in (b" ", b"\t", b"\r"):
            at += 1
        return None if self.data[at:at + 1] in (b"", b"\n", b"{", b"[") else at

    def single(self, start):
        try:
            node, end = Parser(self.data).value(start)
        except Broken as broken:
            return self.broken(start, broken.args[0], "not_json")
        except TooDeep as deep:
            try:
                node, end = None, Parser(self.data[:self.line_end(start)], None).value(start)[1]
            except Broken:
                return self.broken(start, deep.args[0], "too_deep")
        rest = self.rest_of_line(end)
        if rest is not None:
            end = self.line_end(rest)
            self.refuse(start, self.without_blanks(start, end), "not_json")
        elif node is None:
            self.refuse(start, end, "too_deep")
        else:
            self.settle(start, end, node)
        return end

    def broken(self, start, at, reason):
        end = self.next_beginning(start, at)
        self.refuse(start, self.without_blanks(start, end), reason)
        return end

    def next_beginning(self, start, at):
        own_line = self.data.rfind(b"\n", 0, start) + 1
        over_lines = b"\n" in self.data[start:at]
        line = start
        while (feed := self.data.find(b"\n", line)) >= 0:
            line = feed + 1
            first = line + self.indent(line)
            letter = self.data[first:first + 1]
            if letter in (b"", b"}", b"]", b"\n", b"\r") or self.indent(line) > self.indent(own_line):
                continue
            if letter == b"{" or not over_lines:
                return line
        return len(self.data)

    def indent(self, line):
        end = line
        while self.data[end:end + 1] in (b" ", b"\t"):
            end += 1
        return end - line

    def array(self, start):
        parser, length = Parser(self.data), len(self.data)
        at = parser.skip(start + 1)
        if self.data[at:at + 1] != b"]":
            while True:
                node, end = None, None
                if at < length:
                    try:
                        node, end = parser.value(at)
                    except Broken:
                        pass
                    except TooDeep:
                        try:
                            end = Parser(self.data, None).value(at)[1]
                        except Broken:
                            self.refuse(at, length, "too_deep")
                            return length
                if end is None:
                    self.refuse(at, length, "not_json")
                    return length
                if node is None:
                    self.refuse(at, end, "too_deep")
                else:
                    self.settle(at, end, node)
                at = parser.skip(end)
                if self.data[at:at + 1] == b"]":
                    break
                if self.data[at:at + 1] != b",":
                    self.refuse(at, length, "not_json")
                    return length
                at = parser.skip(at + 1)
        at += 1
        rest = self.rest_of_line(at)
        if rest is None:
            return at
        end = self.line_end(rest)
        self.refuse(rest, self.without_blanks(rest, end), "not_json")
        return end


def is_utf8(data):
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# --- From an event to a row.


def record(fields, node):
    """The columns of an object's fields; `fields` are dicts as in pipeline.toml."""
    row = {}
    read_members([(field.get("path", field["name"]).split("."), field) for field in fields], node, row)
    return row


def read_members(paths, node, row):
    seen = set()
    for key, value in node[1]:
        named = [(path, field) for path, field in paths if path[0] == key]
        if not named:
            continue
        if key in seen:
            raise Fault("duplicate_key")
        seen.add(key)
        for path, field in named:
            if len(path) == 1:
                row[field["name"]] = required(field, read(field, field["type"], value))
        beneath = [(path[1:], field) for path, field in named if len(path) > 1]
        if not beneath:
            continue
        if value[0] == "null":
            absent(beneath, row)
        elif value[0] == "object":
            read_members(beneath, value, row)
        else:
            raise Fault("wrong_type")
    absent([(path, field) for path, field in paths if path[0] not in seen], row)


def absent(paths, row):
    for _, field in paths:
        row[field["name"]] = required(field, None)


def required(field, value):
    if value is None and field.get("required"):
        raise Fault("missing_field")
    return value


def read(field, declared, node):
    """The value of a node for a type; None for null."""
    kind, value = node
    if kind == "null":
        return None
    if kind == "string" and value is None:
        raise Fault("lone_surrogate")
    if declared == "struct":
        if kind != "object":
            raise Fault("wrong_type")
        return record(field["fields"], node)
    if declared.startswith("list<"):
        if kind != "array":
            raise Fault("wrong_type")
        return [read(field, declared[5:-1], item) for item in value]
    if kind in ("object", "array"):
        raise Fault("wrong_type")
    if declared.startswith("string("):
        return text(int(declared[7:-1]), kind, value)
    if kind == "string":
        value = value.strip(TEXT_BLANKS)
        if not value:
            return None
    if declared == "boolean":
        return boolean(kind, value)
    if declared in ("date", "timestamp", "timestamptz"):
        return time(field, declared, kind, value)
    return number(declared, kind, value)


def text(most, kind, value):
    if kind == "boolean":
        value = "true" if value else "false"
    if len(value.encode("utf-8", errors="replace")) > most:
        raise Fault("too_long")
    if "\0" in value:
        raise Fault("nul_byte")
    return value


def boolean(kind, value):
    if kind == "boolean":
        return value
    words = {"1": True, "0": False}
    if kind == "string":
        words |= {"true": True, "false": False}
        value = "".join(letter.lower() if letter.isascii() else letter for letter in value)
    if value not in words:
        raise Fault("wrong_type")
    return words[value]


NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def exact(kind, value):
    """The text of a number as Decimal, with an exponent that is not beyond all reason."""
    if kind == "boolean" or not NUMBER.fullmatch(value):
        raise Fault("wrong_type")
    head, _, exponent = value.lower().partition("e")
    power = max(-10 ** 12, min(10 ** 12, int(exponent or 0)))
    return CONTEXT.scaleb(CONTEXT.create_decimal(head), power)


def scaled(number_, digits):
    """The number times ten to the power of digits, as a whole number; none is a fraction, too many digits overflow."""
    if not number_:
        return 0
    sign, figures, exponent = number_.as_tuple()
    figures = "".join(map(str, figures)).lstrip("0")
    stripped = figures.rstrip("0")
    exponent += len(figures) - len(stripped) + digits
    if exponent < 0:
        raise Fault("fraction")
    if len(stripped) + exponent > 60:
        raise Fault("overflow")
    return (-1 if sign else 1) * int(stripped) * 10 ** exponent


def number(declared, kind, value):
    given = exact(kind, value)
    if declared == "real":
        return nearest(given, 24, 127)
    if declared == "double":
        return nearest(given, 53, 1023)
    bits = {"smallint": 15, "integer": 31, "bigint": 63}.get(declared)
    if bits:
        whole = scaled(given, 0)
        if not -(1 << bits) <= whole < 1 << bits:
            raise Fault("overflow")
        return whole
    precision, scale = map(int, declared[8:-1].split(","))
    digits = scaled(given, scale)
    if abs(digits) >= 10 ** precision:
        raise Fault("overflow")
    return decimal.Decimal(digits).scaleb(-scale, CONTEXT)


def nearest(given, precision, greatest):
    """The nearest binary float of so many bits, to even where two are equally near."""
    sign = -1.0 if given.is_signed() else 1.0
    if not given or given.adjusted() < -400:
        return sign * 0.0
    if given.adjusted() > 400:
        raise Fault("overflow")
    size = abs(fractions.Fraction(given))
    power = size.numerator.bit_length() - size.denominator.bit_length()
    if fractions.Fraction(2) ** power > size:
        power -= 1
    unit = fractions.Fraction(2) ** (max(power, 1 - greatest) - precision + 1)
    rounded = round(size / unit) * unit
    if rounded >= fractions.Fraction(2) ** (greatest + 1):
        raise Fault("overflow")
    return sign * float(rounded)


# --- Days and instants.

DATE = re.compile(r"([+-]?)([0-9]{4,})-([0-9]{2})-([0-9]{2})")
TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?")


def time(field, declared, kind, value):
    if kind == "boolean" or (kind == "number" and declared == "date"):
        raise Fault("wrong_type")
    if kind == "number":
        return epoch(exact(kind, value))
    date = DATE.match(value)
    if not date:
        raise Fault("wrong_type")
    rest = value[date.end():]
    if declared == "date":
        if rest:
            raise Fault("wrong_type")
        return (day(date) - EPOCH).days
    clock = TIME.fullmatch(rest[1:]) if rest[:1] in ("T", "t", " ") else None
    if rest and not clock:
        raise Fault("wrong_type")
    has_zone = clock is not None and (clock[5] or clock[6])
    zone = "UTC" if declared == "timestamp" else field.get("assume_zone")
    if not has_zone and zone is None:
        raise Fault("wrong_type")
    wall, east = day(date), 0
    if clock:
        wall += time_of_day(clock)
    if has_zone and clock[6]:
        hours, minutes = int(clock[7]), int(clock[8] or 0)
        if hours > 23 or minutes > 59:
            raise Fault("out_of_range")
        east = (hours * 60 + minutes) * (-1 if clock[6] == "-" else 1)
    micros = (wall - EPOCH) // datetime.timedelta(microseconds=1)
    if has_zone or zone == "UTC":
        return in_range(micros - east * 60 * SECOND)
    zone = zoneinfo.ZoneInfo(zone)
    return in_range(instant(micros, zone) if clock else beginning(micros, zone))


def day(date):
    sign, year, month, number_ = date.groups()
    if sign or len(year) > 4:
        raise Fault("out_of_range")
    try:
        return datetime.datetime(int(year), int(month), int(number_))
    except ValueError:
        raise Fault("out_of_range") from None


def time_of_day(clock):
    hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise Fault("out_of_range")
    micros = int((clock[4] or "")[:6].ljust(6, "0"))
    return datetime.timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micros)


def in_range(micros):
    if not FIRST_INSTANT <= micros <= LAST_INSTANT:
        raise Fault("out_of_range")
    return micros


def epoch(given):
    if given and given.adjusted() > 40:
        raise Fault("out_of_range")
    if not given or given.adjusted() < -40:
        return 0
    exactly = fractions.Fraction(given)
    micros = abs(exactly) * (SECOND if abs(exactly) < 10 ** 11 else SECOND // 1000)
    return in_range(int(micros) * (-1 if exactly < 0 else 1))


def offset_of(micros, zone):
    """How far east clocks in a zone are at an instant, in microseconds."""
    try:
        utc = (EPOCH + datetime.timedelta(microseconds=micros)).replace(tzinfo=datetime.timezone.utc)
        return utc.astimezone(zone).utcoffset() // datetime.timedelta(microseconds=1)
    except OverflowError:
        return None


def instant(wall, zone):
    """The earliest instant at which clocks in a zone show this."""
    shown = EPOCH + datetime.timedelta(microseconds=wall)
    found = set()
    for fold in (0, 1):
        east = shown.replace(tzinfo=zone, fold=fold).utcoffset() // datetime.timedelta(microseconds=1)
        if offset_of(wall - east, zone) in (east, None):
            found.add(wall - east)
    if not found:
        raise Fault("skipped_time")
    return min(found)


def beginning(midnight, zone):
    """The first instant of a day: by midnight, or by the first second of that day that clocks show."""
    try:
        return instant(midnight, zone)
    except Fault:
        early, late = midnight - 30 * 3600 * SECOND, midnight + 30 * 3600 * SECOND
        while late - early > SECOND:
            middle = (early + late) // 2 // SECOND * SECOND
            early, late = (early, middle) if middle + offset_of(middle, zone) >= midnight else (middle, late)
        if late + offset_of(late, zone) >= midnight + 86_400 * SECOND:
            raise
        return late


def decode(fields, payload):
    return Payload(fields, payload).decode()
