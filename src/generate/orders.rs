//! The orders and their records.

use chrono::DateTime;

use super::mess::{Kind, Mess};
use crate::error::{Error, Result};
use crate::runtime::Dice;

/// Slots for live orders: about three quarters of them are taken, so events of a few hundred orders interleave.
const SLOTS: u32 = 400;
/// Mean time between two new orders, ms.
const BETWEEN_ORDERS: u32 = 200;
/// Each seed has its own million order ids, so streams of different seeds do not mix; the ids stay within 32 bits.
const IDS_PER_SEED: u64 = 1_000_000;
const SEEDS_WITH_IDS: u64 = 2_000;
const HOUR: i64 = 3_600_000_000;

/// What to generate.
#[derive(Debug, Clone)]
pub struct OrderSettings {
    /// Fixes every byte.
    pub seed: u64,
    /// How many records; none for no end.
    pub records: Option<u64>,
    /// Customer ids to draw from, each equally likely.
    pub customers: Vec<i64>,
    /// Restaurant ids to draw from; those at the front are liked best.
    pub restaurants: Vec<i64>,
    /// Rider ids to draw from, each equally likely.
    pub riders: Vec<i64>,
    /// When the first order is placed, µs since 1970 UTC; the others follow 200 ms apart on average.
    pub start_at: i64,
    /// How messy it is.
    pub mess: Mess,
}

/// A record for the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MockRecord {
    /// The order's id.
    pub partition_key: String,
    /// One event, or what the mess made of it.
    pub payload: Vec<u8>,
}

/// The records, one after the other.
pub struct OrderGenerator {
    settings: OrderSettings,
    dice: Dice,
    now: i64,
    next_id: i64,
    made: u64,
    live: Vec<Order>,
    /// Copies with the number of the record that they follow.
    copies: Vec<(u64, MockRecord)>,
}

struct Order {
    id: i64,
    customer: i64,
    restaurant: i64,
    rider: i64,
    date: String,
    minutes: u32,
    value_cents: i64,
    fee_cents: i64,
    tip_cents: i64,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Placed,
    Processing,
    OnTheWay,
    Delivered,
    Cancelled,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::Placed => "Placed",
            Self::Processing => "Processing",
            Self::OnTheWay => "On the way",
            Self::Delivered => "Delivered",
            Self::Cancelled => "Cancelled",
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Cancelled)
    }
}

impl OrderGenerator {
    /// A generator at its first record.
    ///
    /// # Errors
    /// Invalid where there is nothing to draw ids from, or the mess is more than all records.
    pub fn new(settings: OrderSettings) -> Result<Self> {
        for (name, ids) in
            [("customer", &settings.customers), ("restaurant", &settings.restaurants), ("rider", &settings.riders)]
        {
            if ids.is_empty() {
                return Err(Error::invalid(format!("no {name} to draw orders from")));
            }
        }
        if settings.mess.total() > 1000 {
            return Err(Error::invalid(format!("the kinds of mess add up to {} of 1000", settings.mess.total())));
        }
        Ok(Self {
            dice: Dice::seeded(settings.seed),
            now: settings.start_at,
            next_id: ((settings.seed % SEEDS_WITH_IDS) * IDS_PER_SEED) as i64 + 1,
            made: 0,
            live: Vec::new(),
            copies: Vec::new(),
            settings,
        })
    }

    /// Sets the time at which the next order is placed, µs since 1970 UTC: for records made as time goes by.
    pub fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    fn make(&mut self) -> MockRecord {
        if let Some(due) = self.copies.iter().position(|(after, _)| *after <= self.made) {
            return self.copies.swap_remove(due).1;
        }
        let draw = self.dice.below(1000);
        let kind = self.settings.mess.kind(draw);
        if kind == Some(Kind::Late) {
            let hours_back = i64::from(self.dice.below(46 * 60)) * (HOUR / 60) + 2 * HOUR;
            let mut order = self.place(self.now - hours_back);
            deliver(&mut order, &mut self.dice);
            return record(&order, &Defect::None);
        }
        let defect = self.defect(kind);
        let slot = (self.dice.below(SLOTS) as usize).min(self.live.len());
        if slot == self.live.len() {
            self.now += i64::from(self.dice.below(2 * BETWEEN_ORDERS)) * 1000;
            let order = self.place(self.now);
            self.live.push(order);
        } else {
            advance(&mut self.live[slot], &mut self.dice);
        }
        let record = record(&self.live[slot], &defect);
        if self.live[slot].status.is_final() {
            self.live.swap_remove(slot);
        }
        if kind == Some(Kind::Duplicate) {
            let after = self.made + 1 + u64::from(self.dice.below(20));
            self.copies.push((after, record.clone()));
        }
        record
    }

    fn place(&mut self, at: i64) -> Order {
        let id = self.next_id;
        self.next_id = if id >= i64::from(i32::MAX) { 1 } else { id + 1 };
        let (customers, riders) = (self.settings.customers.len() as u32, self.settings.riders.len() as u32);
        let restaurants = self.settings.restaurants.len() as u32;
        let liked = (0..3).map(|_| self.dice.below(restaurants)).min().unwrap_or_default();
        let fees = [0, 199, 299, 299, 399, 499];
        Order {
            id,
            customer: self.settings.customers[self.dice.below(customers) as usize],
            restaurant: self.settings.restaurants[liked as usize],
            rider: self.settings.riders[self.dice.below(riders) as usize],
            date: date(id, at),
            minutes: 20 + self.dice.below(20) + self.dice.below(20),
            value_cents: i64::from(800 + self.dice.below(3000) + self.dice.below(3000)),
            fee_cents: fees[self.dice.below(fees.len() as u32) as usize],
            tip_cents: 0,
            status: Status::Placed,
        }
    }

    fn defect(&mut self, kind: Option<Kind>) -> Defect {
        match kind {
            Some(Kind::MissingField) => Defect::Missing(REQUIRED[self.dice.below(REQUIRED.len() as u32) as usize]),
            Some(Kind::NullField) => Defect::Null(REQUIRED[self.dice.below(REQUIRED.len() as u32) as usize]),
            Some(Kind::NumberAsString) => Defect::Quoted(NUMBERS[self.dice.below(NUMBERS.len() as u32) as usize]),
            Some(Kind::NegativeValue) => Defect::Negative,
            Some(Kind::UnknownRider) => {
                let greatest = self.settings.riders.iter().copied().max().unwrap_or_default();
                Defect::Rider(greatest + 1 + i64::from(self.dice.below(50)))
            }
            Some(Kind::UntidyStatus) => Defect::Status(self.dice.below(5)),
            Some(Kind::BrokenJson) => Defect::Cut(self.dice.below(u32::MAX)),
            Some(Kind::Duplicate | Kind::Late) | None => Defect::None,
        }
    }
}

/// Every third order's date is as Python's `isoformat` writes one of UTC that names no zone, the others' as RFC 3339 has it.
fn date(id: i64, at: i64) -> String {
    let form = if id % 3 == 0 { "%Y-%m-%dT%H:%M:%S%.6f" } else { "%Y-%m-%dT%H:%M:%SZ" };
    DateTime::from_timestamp_micros(at).unwrap_or_default().format(form).to_string()
}

fn advance(order: &mut Order, dice: &mut Dice) {
    let is_cancelled = dice.below(1000) < 30;
    match order.status {
        Status::Delivered | Status::Cancelled => {}
        _ if is_cancelled => order.status = Status::Cancelled,
        Status::Placed => order.status = Status::Processing,
        Status::Processing => order.status = Status::OnTheWay,
        Status::OnTheWay => deliver(order, dice),
    }
}

/// The real time taken, up to 10 minutes less or 20 more than estimated, and for three of five a tip.
fn deliver(order: &mut Order, dice: &mut Dice) {
    order.status = Status::Delivered;
    order.minutes = order.minutes - 10 + dice.below(31);
    if dice.below(5) < 3 {
        order.tip_cents = order.value_cents * i64::from(5 + dice.below(21)) / 100;
    }
}

impl Iterator for OrderGenerator {
    type Item = MockRecord;

    fn next(&mut self) -> Option<MockRecord> {
        if self.settings.records.is_some_and(|records| self.made >= records) {
            return None;
        }
        let record = self.make();
        self.made += 1;
        Some(record)
    }
}

/// What is wrong with an event's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    Missing(&'static str),
    Null(&'static str),
    Quoted(&'static str),
    Negative,
    Rider(i64),
    /// One of five ways.
    Status(u32),
    /// Cut off after this fraction of its bytes, in parts of 2³².
    Cut(u32),
}

const REQUIRED: [&str; 6] = ["OrderID", "CustomerID", "RestaurantID", "OrderDate", "OrderValue", "OrderStatus"];
const NUMBERS: [&str; 8] =
    ["OrderID", "CustomerID", "RestaurantID", "RiderID", "DeliveryTime", "OrderValue", "DeliveryFee", "TipAmount"];

fn record(order: &Order, defect: &Defect) -> MockRecord {
    let mut payload = Vec::with_capacity(256);
    write_event(&mut payload, order, defect);
    if let Defect::Cut(fraction) = defect {
        let most = payload.len() as u64 - 1;
        payload.truncate(1 + ((u64::from(*fraction) * most) >> 32) as usize);
    }
    MockRecord { partition_key: order.id.to_string(), payload }
}

fn write_event(to: &mut Vec<u8>, order: &Order, defect: &Defect) {
    let rider = if let Defect::Rider(unknown) = defect { *unknown } else { order.rider };
    let value = if *defect == Defect::Negative { -order.value_cents } else { order.value_cents };
    to.push(b'{');
    field(to, defect, "OrderID", |to| write_integer(to, order.id));
    field(to, defect, "CustomerID", |to| write_integer(to, order.customer));
    field(to, defect, "RestaurantID", |to| write_integer(to, order.restaurant));
    field(to, defect, "RiderID", |to| write_integer(to, rider));
    field(to, defect, "OrderDate", |to| write_text(to, &order.date));
    field(to, defect, "DeliveryTime", |to| write_integer(to, i64::from(order.minutes)));
    field(to, defect, "OrderValue", |to| write_cents(to, value));
    field(to, defect, "DeliveryFee", |to| write_cents(to, order.fee_cents));
    field(to, defect, "TipAmount", |to| write_cents(to, order.tip_cents));
    field(to, defect, "OrderStatus", |to| match defect {
        Defect::Status(way) => write_text(to, &untidy(order.status.text(), *way)),
        _ => write_text(to, order.status.text()),
    });
    to.push(b'}');
}

fn field(to: &mut Vec<u8>, defect: &Defect, name: &'static str, write_value: impl FnOnce(&mut Vec<u8>)) {
    if *defect == Defect::Missing(name) {
        return;
    }
    if to.len() > 1 {
        to.push(b',');
    }
    write_text(to, name);
    to.push(b':');
    if *defect == Defect::Null(name) {
        to.extend_from_slice(b"null");
    } else if *defect == Defect::Quoted(name) {
        to.push(b'"');
        write_value(to);
        to.push(b'"');
    } else {
        write_value(to);
    }
}

/// The same status as a careless system writes it, as JSON: white space at the ends and case differ.
fn untidy(status: &str, way: u32) -> String {
    match way {
        0 => format!("  {status} "),
        1 => status.to_uppercase(),
        2 => status.to_lowercase(),
        3 => format!("{status}\\t"),
        _ => {
            let (head, tail) = status.split_at(1);
            head.to_lowercase() + &tail.to_uppercase()
        }
    }
}

/// None of the texts needs more escaping than it already has.
fn write_text(to: &mut Vec<u8>, text: &str) {
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

fn write_integer(to: &mut Vec<u8>, number: i64) {
    if number < 0 {
        to.push(b'-');
    }
    let (mut digits, mut rest, mut at) = ([0; 20], number.unsigned_abs(), 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[at..]);
}

fn write_cents(to: &mut Vec<u8>, cents: i64) {
    if cents < 0 {
        to.push(b'-');
    }
    write_integer(to, (cents / 100).abs());
    let rest = (cents % 100).unsigned_abs() as u8;
    to.extend_from_slice(&[b'.', b'0' + rest / 10, b'0' + rest % 10]);
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;

    const START: i64 = 1_795_168_872_000_000;

    fn settings(records: u64, mess: Mess) -> OrderSettings {
        OrderSettings {
            seed: 7,
            records: Some(records),
            customers: (1..=50).collect(),
            restaurants: (100..=119).collect(),
            riders: vec![5, 9, 12],
            start_at: START,
            mess,
        }
    }

    fn all(settings: OrderSettings) -> Vec<MockRecord> {
        OrderGenerator::new(settings).expect("settings").collect()
    }

    fn parsed(records: &[MockRecord]) -> Vec<Value> {
        records.iter().map(|record| serde_json::from_slice(&record.payload).expect("JSON")).collect()
    }

    #[test]
    fn a_seed_fixes_every_byte_and_the_number_of_records_cuts_and_nothing_else() {
        let long = all(settings(5000, Mess::default()));
        assert_eq!(long.len(), 5000);
        assert_eq!(all(settings(1700, Mess::default())), long[..1700]);
        assert_eq!(all(settings(0, Mess::default())), []);
        let endless = OrderSettings { records: None, ..settings(0, Mess::default()) };
        let endless = OrderGenerator::new(endless).expect("settings").take(5000);
        assert!(endless.eq(long.iter().cloned()));
        let other = OrderSettings { seed: 8, ..settings(5000, Mess::default()) };
        let keys = |records: &[MockRecord]| records.iter().map(|r| r.partition_key.clone()).collect::<BTreeSet<_>>();
        assert!(keys(&all(other)).is_disjoint(&keys(&long)), "orders of two seeds do not mix");
    }

    #[test]
    fn the_first_event_has_exactly_these_bytes() {
        let records = all(settings(1, Mess::NONE));
        assert_eq!(records[0].partition_key, "7000001");
        let expected = r#"{"OrderID":7000001,"CustomerID":2,"RestaurantID":103,"RiderID":12,"OrderDate":"2026-11-20T10:01:12Z","DeliveryTime":33,"OrderValue":43.10,"DeliveryFee":1.99,"TipAmount":0.00,"OrderStatus":"Placed"}"#;
        assert_eq!(String::from_utf8_lossy(&records[0].payload), expected);
    }

    #[test]
    fn tidy_orders_live_through_their_statuses_and_keep_their_facts() {
        let records = all(settings(20_000, Mess::NONE));
        let mut orders: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for (record, event) in records.iter().zip(parsed(&records)) {
            let id = event["OrderID"].as_i64().expect("an id");
            assert_eq!(record.partition_key, id.to_string());
            orders.entry(id).or_default().push(event);
        }
        let way = ["Placed", "Processing", "On the way", "Delivered"];
        let (mut cancelled, mut delivered) = (0, 0);
        for events in orders.values() {
            for (step, event) in events.iter().enumerate() {
                let status = event["OrderStatus"].as_str().expect("a status");
                assert!(status == way[step] || (step > 0 && status == "Cancelled"), "{events:?}");
                assert!(step + 1 == events.len() || !matches!(status, "Cancelled" | "Delivered"), "{events:?}");
                cancelled += usize::from(status == "Cancelled");
                delivered += usize::from(status == "Delivered");
                for fact in ["CustomerID", "RestaurantID", "RiderID", "OrderDate", "OrderValue", "DeliveryFee"] {
                    assert_eq!(event[fact], events[0][fact]);
                }
                if status != "Delivered" {
                    assert_eq!(event["DeliveryTime"], events[0]["DeliveryTime"]);
                    assert_eq!(event["TipAmount"], 0.0);
                }
            }
        }
        let live = orders.len() - cancelled - delivered;
        assert!((200..400).contains(&live), "{live} orders are under way");
        assert!(cancelled * 30 > orders.len() && cancelled * 5 < orders.len(), "{cancelled} of {}", orders.len());
    }

    #[test]
    fn ids_come_from_the_files_and_the_first_restaurants_are_liked_best() {
        let events = parsed(&all(settings(20_000, Mess::NONE)));
        let drawn = |name: &str| events.iter().map(|event| event[name].as_i64().expect(name)).collect::<Vec<_>>();
        let distinct = |ids: Vec<i64>| ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        assert_eq!(distinct(drawn("CustomerID")), (1..=50).collect::<Vec<_>>());
        assert!(drawn("RestaurantID").iter().all(|id| (100..=119).contains(id)));
        assert!(distinct(drawn("RestaurantID")).len() > 15);
        assert_eq!(distinct(drawn("RiderID")), [5, 9, 12]);
        let front = drawn("RestaurantID").iter().filter(|id| **id < 105).count();
        assert!(front * 2 > events.len(), "a quarter of the restaurants has more than half of the orders: {front}");
    }

    #[test]
    fn dates_go_on_from_the_start_and_money_has_two_digits() {
        let records = all(settings(4000, Mess::NONE));
        let (mut newest, mut without_zone) = (String::new(), 0);
        for (record, event) in records.iter().zip(parsed(&records)) {
            let date = event["OrderDate"].as_str().expect("a date");
            let second = &date[..19];
            assert!(("2026-11-20T10:01:12".."2026-11-20T12:00:00").contains(&second), "{date}");
            if event["OrderStatus"] == "Placed" {
                assert!(*second >= *newest);
                newest = second.to_owned();
                let (zone, fraction) = (date.ends_with('Z'), date.contains('.'));
                assert!(date.len() == [26, 20][usize::from(zone)] && zone != fraction, "{date}");
                without_zone += usize::from(!zone);
            }
            let text = String::from_utf8(record.payload.clone()).expect("text");
            for name in ["OrderValue", "DeliveryFee", "TipAmount"] {
                let (_, value) = text.split_once(&format!("\"{name}\":")).expect(name);
                let (whole, rest) = value.split_once('.').expect("a point");
                assert!(whole.bytes().all(|digit| digit.is_ascii_digit()), "{text}");
                assert!(rest.as_bytes()[..2].iter().all(u8::is_ascii_digit) && rest.as_bytes()[2] == b',', "{text}");
            }
        }
        assert!(without_zone > 100, "{without_zone} orders name no zone");
    }

    #[test]
    fn time_can_be_set() {
        let mut orders = OrderGenerator::new(settings(10, Mess::NONE)).expect("settings");
        orders.set_now(START + 24 * HOUR);
        let event: Value = serde_json::from_slice(&orders.next().expect("a record").payload).expect("JSON");
        assert!(event["OrderDate"].as_str().expect("a date").starts_with("2026-11-21T"));
    }

    /// What a record's reader would call the mess in it.
    fn looks(record: &MockRecord, seen: &mut BTreeSet<Vec<u8>>) -> &'static str {
        let Ok(event) = serde_json::from_slice::<Value>(&record.payload) else { return "broken" };
        let status = event["OrderStatus"].as_str().unwrap_or_default();
        let tidy = ["Placed", "Processing", "On the way", "Delivered", "Cancelled"];
        if !seen.insert(record.payload.clone()) {
            "duplicate"
        } else if REQUIRED.iter().any(|name| event.get(name).is_none()) {
            "missing"
        } else if REQUIRED.iter().any(|name| event[name].is_null()) {
            "null"
        } else if NUMBERS.iter().any(|name| event[name].is_string()) {
            "string"
        } else if event["OrderValue"].as_f64() < Some(0.0) {
            "negative"
        } else if event["RiderID"].as_i64() > Some(12) {
            "rider"
        } else if !tidy.contains(&status) {
            assert!(tidy.iter().any(|word| word.eq_ignore_ascii_case(status.trim())), "{status:?}");
            "status"
        } else if event["OrderDate"].as_str() < Some("2026-11-20T10:01:12Z") {
            "late"
        } else {
            "tidy"
        }
    }

    #[test]
    fn each_kind_of_mess_has_its_share() {
        let records = all(OrderSettings { start_at: START, ..settings(100_000, Mess::default()) });
        let (mut counts, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for record in &records {
            *counts.entry(looks(record, &mut seen)).or_insert(0) += 1;
        }
        // A late event is one that lies before the start by sight; here time goes on by about an hour and a half.
        let shares = [
            ("broken", 4),
            ("missing", 4),
            ("null", 4),
            ("string", 8),
            ("negative", 4),
            ("rider", 4),
            ("status", 12),
            ("duplicate", 5),
            ("late", 5),
            ("tidy", 950),
        ];
        for (look, share) in shares {
            let (found, expected) = (counts[look], share * 100);
            let tolerance = expected / 5;
            assert!((expected - tolerance..=expected + tolerance).contains(&found), "{look}: {found} of {expected}");
        }
    }

    #[test]
    fn what_cannot_be_generated_is_told() {
        let empty = OrderSettings { riders: Vec::new(), ..settings(1, Mess::NONE) };
        let error = OrderGenerator::new(empty).err().expect("no riders").to_string();
        assert_eq!(error, "no rider to draw orders from");
        let too_messy = OrderSettings { mess: Mess { late: 990, ..Mess::default() }, ..settings(1, Mess::NONE) };
        let error = OrderGenerator::new(too_messy).err().expect("too much").to_string();
        assert_eq!(error, "the kinds of mess add up to 1035 of 1000");
    }
}
