//! Declared fields: of the event, of a struct in it, of a dimension file.
//!
//! Owns `[[event.field]]`, `[[table.field]]` and the `fields` of a struct. What a type's text means is `schema`'s.

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::values::{MAX_NESTING, boolean, field_type, filled_text, name_fault, text, zone};
use crate::schema::{Field, FieldType};

/// What a field's path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// Keys of nested JSON, with dots between them.
    Keys,
    /// One heading of a file, whatever letters it has.
    Heading,
}

/// Fields as read.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The sound ones, in the file's order.
    pub(super) fields: Vec<Field>,
    /// Whether these are all that were declared, so that SQL over them can be planned.
    pub(super) complete: bool,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy)]
struct Level {
    kind: PathKind,
    depth: usize,
}

/// Reads sections of fields; `None` stands for what could not be read as sections.
pub(super) fn read_fields(sections: Option<Vec<Section<'_>>>, kind: PathKind) -> Fields {
    read_level(sections, Level { kind, depth: 1 })
}

/// The section's `name`, with a fault where it is no name.
pub(super) fn required_name(section: &mut Section<'_>) -> Option<Spanned<String>> {
    let name = section.required("name", text)?;
    if let Some(message) = name_fault(name.get_ref()) {
        section.refuse_at("name", name.span().start, &message);
    }
    Some(name)
}

fn read_level(sections: Option<Vec<Section<'_>>>, level: Level) -> Fields {
    let Some(sections) = sections else { return Fields::default() };
    let document = sections.first().map(|section| section.document);
    let declared = sections.len();
    let mut names = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    for section in sections {
        let (name, field) = read_field(section, level);
        names.extend(name);
        fields.extend(field.filter(|field| fields.iter().all(|other| other.name != field.name)));
    }
    if let Some(document) = document {
        document.refuse_twins("fields", &names);
    }
    let complete = fields.len() == declared;
    Fields { fields, complete }
}

/// The field's name, where it is readable, and the field, where all of it is sound.
fn read_field(mut section: Section<'_>, level: Level) -> (Option<Spanned<String>>, Option<Field>) {
    let name = required_name(&mut section);
    let path = match level.kind {
        PathKind::Keys => section.optional("path", keys),
        PathKind::Heading => section.optional("path", |value| filled_text(value).map(|heading| vec![heading])),
    };
    let field_type = read_type(&mut section, level);
    let field_type = read_assumed_zone(&mut section, field_type);
    let required = section.or("required", false, boolean);
    section.finish();
    let sound_name = name.as_ref().map(Spanned::get_ref).filter(|name| name_fault(name).is_none());
    let field = sound_name.zip(field_type).map(|(name, field_type)| {
        let path = path.map_or_else(|| vec![name.clone()], Spanned::into_inner);
        Field { name: name.clone(), path, field_type, required }
    });
    (name, field)
}

/// The field's `type` with the `fields` of its struct.
fn read_type(section: &mut Section<'_>, level: Level) -> Option<FieldType> {
    let declared = section.required("type", field_type);
    let nested = section.sections("fields", "fields = [{ … }]");
    let first_nested = nested.as_ref().map(|nested| nested.first().map(|first| first.offset));
    let members = match first_nested {
        Some(Some(offset)) if level.depth == MAX_NESTING => {
            section.refuse_at("fields", offset, &format!("structs nest at most {MAX_NESTING} deep"));
            Fields::default()
        }
        _ => read_level(nested, Level { depth: level.depth + 1, ..level }),
    };
    let declared = declared?;
    let refuse = |key: &str, offset: usize, message: &str| {
        section.refuse_at(key, offset, message);
        None
    };
    let type_offset = declared.span().start;
    if level.kind == PathKind::Heading && matches!(declared.get_ref(), FieldType::Struct(_) | FieldType::List(_)) {
        return refuse("type", type_offset, "a file's column holds single values, no struct and no list");
    }
    let is_struct = matches!(innermost(declared.get_ref()), FieldType::Struct(_));
    match (is_struct, first_nested) {
        (true, Some(None)) => {
            refuse("type", type_offset, "a struct needs its fields: fields = [{ name = \"a\", type = \"integer\" }]")
        }
        (false, Some(Some(offset))) => {
            refuse("fields", offset, &format!("only a struct has fields, and the type is {}", declared.get_ref()))
        }
        _ if !members.complete => None,
        (true, _) => Some(with_innermost(declared.into_inner(), FieldType::Struct(members.fields))),
        (false, _) => Some(declared.into_inner()),
    }
}

/// The type with the field's `assume_zone`, where there is one.
fn read_assumed_zone(section: &mut Section<'_>, field_type: Option<FieldType>) -> Option<FieldType> {
    let key = "assume_zone";
    let place = section.find(key).map(|node| node.span().start);
    let zone = section.optional(key, zone);
    let (Some(place), Some(declared)) = (place, &field_type) else { return field_type };
    if !matches!(innermost(declared), FieldType::Timestamptz { .. }) {
        let words = "only a timestamptz has a zone that texts without one are of, and the type is";
        section.refuse_at(key, place, &format!("{words} {declared}"));
        return None;
    }
    let assume_zone = Some(zone?.into_inner());
    Some(with_innermost(field_type?, FieldType::Timestamptz { assume_zone }))
}

/// What the lists around it hold.
fn innermost(field_type: &FieldType) -> &FieldType {
    match field_type {
        FieldType::List(item) => innermost(item),
        other => other,
    }
}

/// The type with another one inside of its lists.
fn with_innermost(field_type: FieldType, other: FieldType) -> FieldType {
    match field_type {
        FieldType::List(item) => FieldType::List(Box::new(with_innermost(*item, other))),
        _ => other,
    }
}

fn keys(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let path = filled_text(value)?;
    let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
    if keys.iter().any(String::is_empty) {
        return Err(format!("{path:?} is not a path: keys with one dot between them, such as \"Order.Item.Price\""));
    }
    Ok(keys)
}
