//! The declared fields as a tree of keys: what the event reader walks along.
//!
//! Owns the tree and its numbering. It is made once per decoder and never changes; what changes while reading is the
//! reader's scratch, which the slots index.

use crate::schema::{Field, FieldType};

/// How a declared value is called in sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The column's name, with the structs around it: `items[].price`.
    pub(super) name: String,
    /// The keys to it, with points between.
    pub(super) path: String,
    /// The declared type.
    pub(super) field_type: String,
}

/// The whole tree.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    /// How many slots the tree numbers.
    pub(super) slots: usize,
    /// What a row takes in the declared columns whatever it holds, in bytes.
    pub(super) width: usize,
}

/// The keys of one object that matter.
#[derive(Debug)]
pub(super) struct Shape {
    /// In the order in which fields name them first.
    pub(super) keys: Vec<Key>,
    /// The slot that stands for "before the first key".
    pub(super) start: usize,
    /// Indexes into `keys`, by length and bytes of the name.
    sorted: Vec<usize>,
}

/// A key, and what is to be read from its value.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// Whether JSON can only write the name as itself (or with needless escapes).
    pub(super) plain: bool,
    pub(super) slot: usize,
    /// The fields whose path ends here; usually one.
    pub(super) targets: Vec<Target>,
    /// The fields whose paths go on from here.
    pub(super) inner: Option<Shape>,
}

/// A field: its value, and its column among those of the relation or struct.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) column: usize,
    pub(super) required: bool,
    pub(super) value: Value,
}

/// A declared value.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) label: Label,
    pub(super) kind: Kind,
    /// What it takes in its column whatever it is, in bytes.
    pub(super) width: usize,
}

/// What a value is made of; the scalars' details are in their columns.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar,
    Text,
    Struct(Shape),
    List(Box<Value>),
}

impl Plan {
    pub(super) fn new(fields: &[Field]) -> Self {
        let mut slots = 0;
        let shape = Shape::new(top(fields), "", &mut slots);
        Self { shape, slots, width: fields.iter().map(|field| width(&field.field_type)).sum() }
    }
}

/// What a value of this type takes in an Arrow column whatever it is, in bytes: its fixed part, an offset, and for a
/// struct all its members, also where it is null. The bits that say which are null are left out.
fn width(field_type: &FieldType) -> usize {
    match field_type {
        FieldType::Boolean => 1,
        FieldType::Smallint => 2,
        FieldType::Integer | FieldType::Real | FieldType::Date => 4,
        FieldType::Bigint | FieldType::Double | FieldType::Timestamp | FieldType::Timestamptz { .. } => 8,
        FieldType::Decimal { .. } => 16,
        FieldType::String { .. } | FieldType::List(_) => 4,
        FieldType::Struct(fields) => 1 + fields.iter().map(|field| width(&field.field_type)).sum::<usize>(),
    }
}

impl Label {
    pub(super) fn new(name: String, path: String, field_type: &FieldType) -> Self {
        Self { name, path, field_type: field_type.to_string() }
    }
}

/// A field with its column and the part of its path that is still to go.
type Rest<'f> = (usize, &'f [String], &'f Field);

fn top(fields: &[Field]) -> Vec<Rest<'_>> {
    let path = |field| -> &[String] { keys_of(field) };
    fields.iter().enumerate().map(|(column, field)| (column, path(field), field)).collect()
}

/// The field's path; its own name where it has none.
pub(super) fn keys_of(field: &Field) -> &[String] {
    if field.path.is_empty() { std::slice::from_ref(&field.name) } else { &field.path }
}

impl Shape {
    fn new(fields: Vec<Rest<'_>>, prefix: &str, slots: &mut usize) -> Self {
        let start = take_slot(slots);
        let mut groups: Vec<(&str, Vec<Rest<'_>>)> = Vec::new();
        for (column, path, field) in fields {
            let Some((name, rest)) = path.split_first() else { continue };
            match groups.iter_mut().find(|(known, _)| known == name) {
                Some((_, group)) => group.push((column, rest, field)),
                None => groups.push((name, vec![(column, rest, field)])),
            }
        }
        let keys: Vec<Key> = groups.into_iter().map(|(name, group)| Key::new(name, group, prefix, slots)).collect();
        let mut sorted: Vec<usize> = (0..keys.len()).collect();
        sorted.sort_by_key(|index| sort_key(keys[*index].name.as_bytes()));
        Self { keys, start, sorted }
    }

    /// The index of the key of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let compared = |index: &usize| sort_key(self.keys[*index].name.as_bytes()).cmp(&sort_key(name));
        self.sorted.binary_search_by(compared).ok().map(|place| self.sorted[place])
    }
}

/// Shorter names first: most comparisons end at the length.
fn sort_key(name: &[u8]) -> (usize, &[u8]) {
    (name.len(), name)
}

impl Key {
    fn new(name: &str, group: Vec<Rest<'_>>, prefix: &str, slots: &mut usize) -> Self {
        let slot = take_slot(slots);
        let (ending, going_on): (Vec<_>, Vec<_>) = group.into_iter().partition(|(_, rest, _)| rest.is_empty());
        let inner = (!going_on.is_empty()).then(|| Shape::new(going_on, prefix, slots));
        let targets = ending.into_iter().map(|(column, _, field)| Target::new(column, field, prefix, slots)).collect();
        let plain = name.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        Self { name: name.to_owned(), plain, slot, targets, inner }
    }
}

impl Target {
    fn new(column: usize, field: &Field, prefix: &str, slots: &mut usize) -> Self {
        let label_name = format!("{prefix}{}", field.name);
        let value = Value::new(label_name, &keys_of(field).join("."), &field.field_type, slots);
        Self { column, required: field.required, value }
    }
}

impl Value {
    fn new(name: String, path: &str, field_type: &FieldType, slots: &mut usize) -> Self {
        let kind = match field_type {
            FieldType::Struct(fields) => Kind::Struct(Shape::new(top(fields), &format!("{name}."), slots)),
            FieldType::List(item) => Kind::List(Box::new(Self::new(format!("{name}[]"), path, item, slots))),
            FieldType::String { .. } => Kind::Text,
            _ => Kind::Scalar,
        };
        Self { label: Label::new(name, path.to_owned(), field_type), kind, width: width(field_type) }
    }
}

fn take_slot(slots: &mut usize) -> usize {
    *slots += 1;
    *slots - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, path: &[&str], field_type: FieldType) -> Field {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        Field { name: name.to_owned(), path, field_type, required: false }
    }

    #[test]
    fn paths_that_share_keys_share_the_way() {
        let fields = [
            field("code", &["Data", "Item", "Code"], FieldType::Integer),
            field("price", &["Data", "Item", "Price"], FieldType::Double),
            field("store", &["Data", "Store"], FieldType::Integer),
            field("raw", &["Data"], FieldType::Struct(vec![field("x", &[], FieldType::Date)])),
        ];
        let plan = Plan::new(&fields);
        assert_eq!(plan.shape.keys.len(), 1);
        let data = &plan.shape.keys[0];
        assert_eq!(data.targets.iter().map(|target| target.column).collect::<Vec<_>>(), [3]);
        let inner = data.inner.as_ref().expect("fields beneath");
        assert_eq!(inner.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["Item", "Store"]);
        assert_eq!(inner.keys[0].inner.as_ref().expect("fields beneath").keys.len(), 2);
        let Kind::Struct(shape) = &data.targets[0].value.kind else { panic!("a struct") };
        assert_eq!(shape.keys[0].name, "x");
        assert_eq!(shape.keys[0].targets[0].value.label.name, "raw.x");
        assert_eq!(plan.slots, 10, "each key and each shape's start has its own");
    }

    #[test]
    fn keys_are_found_by_exact_bytes() {
        let names = ["id", "ID", "order_id", "é", "", "a\"b"];
        let fields: Vec<Field> = names.iter().map(|name| field(name, &[name], FieldType::Integer)).collect();
        let shape = Plan::new(&fields).shape;
        for (index, name) in names.iter().enumerate() {
            assert_eq!(shape.find(name.as_bytes()), Some(index), "{name}");
            assert_eq!(shape.keys[index].plain, *name != "a\"b");
        }
        assert_eq!(shape.find(b"Id"), None);
        assert_eq!(shape.find(b"order_id "), None);
    }
}
