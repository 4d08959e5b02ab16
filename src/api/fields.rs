//! The members of a JSON object, taken one by one, so that a problem names the field.
//!
//! Text in, checked values out. Nothing is allocated before a member is known: an object of a million unknown keys costs as
//! much as reading it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{FieldError, Problem, text_error};
use crate::vocabulary::ids::NotAnId;
use crate::vocabulary::text::TextError;

/// The most unknown members that a problem lists.
const UNKNOWN_LISTED_MAX: usize = 8;
/// The most characters of an unknown name that are sent back.
const NAME_CHARACTERS_MAX: usize = 64;

/// Members by the place of their name in `names`.
pub(super) struct Members<'a> {
    names: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
}

/// Why a value of a member is not acceptable.
pub(super) trait Reason {
    fn into_field_error(self, field: &'static str) -> FieldError;
}

impl Reason for TextError {
    fn into_field_error(self, field: &'static str) -> FieldError {
        text_error(field, &self)
    }
}

impl Reason for NotAnId {
    fn into_field_error(self, field: &'static str) -> FieldError {
        FieldError { field: field.into(), code: "format", detail: self.to_string().into() }
    }
}

/// For texts that are taken as they are.
impl Reason for std::convert::Infallible {
    fn into_field_error(self, _: &'static str) -> FieldError {
        match self {}
    }
}

impl<'a> Members<'a> {
    /// The members of no body at all.
    pub(super) fn none(names: &'static [&'static str]) -> Self {
        Self { names, values: vec![None; names.len()] }
    }

    /// Parses an object. A name that stands twice makes it malformed, since readers differ in which one they take.
    pub(super) fn parse(text: &'a str, names: &'static [&'static str]) -> Result<Self, Problem> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let collected = ObjectOf(names)
            .deserialize(&mut deserializer)
            .and_then(|collected| deserializer.end().map(|()| collected))
            .map_err(|error| Problem::malformed(format!("not the JSON that is expected: {error}")))?;
        if collected.unknown.is_empty() { Ok(collected.members) } else { Err(Problem::invalid_fields(collected.unknown)) }
    }

    fn raw(&self, name: &'static str) -> Option<&'a RawValue> {
        let place = self.names.iter().position(|known| *known == name)?;
        self.values.get(place).copied().flatten()
    }

    /// A text that must be there.
    pub(super) fn required<T, E: Reason>(&self, name: &'static str, parse: impl FnOnce(String) -> Result<T, E>) -> Result<T, Problem> {
        match self.raw(name) {
            Some(raw) => text(name, raw, parse),
            None => Err(Problem::invalid(name, "required", "must be there")),
        }
    }

    /// A text that may be missing or `null`.
    pub(super) fn optional<T, E: Reason>(
        &self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        Ok(self.nullable(name, parse)?.flatten())
    }

    /// A text of a merge patch: absent, `null`, or a value (RFC 7396).
    pub(super) fn nullable<T, E: Reason>(
        &self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<Option<Option<T>>, Problem> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) if raw.get() == "null" => Ok(Some(None)),
            Some(raw) => text(name, raw, parse).map(|value| Some(Some(value))),
        }
    }

    pub(super) fn optional_flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.raw(name).map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::invalid(name, "type", "must be true or false")),
        }
    }

    /// A list of texts that may be missing or `null`, of one to `items_max`.
    pub(super) fn optional_list<T, E: Reason>(
        &self,
        name: &'static str,
        items_max: usize,
        parse: impl Fn(String) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, Problem> {
        let Some(raw) = self.raw(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        let texts: Vec<String> = serde_json::from_str(raw.get())
            .map_err(|_cause: serde_json::Error| Problem::invalid(name, "type", "must be a list of texts"))?;
        if !(1..=items_max).contains(&texts.len()) {
            return Err(Problem::invalid(name, "range", format!("must have 1 to {items_max} items")));
        }
        let items = texts.into_iter().map(parse).collect::<Result<Vec<T>, E>>();
        items.map(Some).map_err(|reason| Problem::invalid_fields(vec![reason.into_field_error(name)]))
    }

    /// An object that may be missing or `null`.
    pub(super) fn optional_object<T: serde::de::DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, Problem> {
        match self.raw(name).map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some(text) if text.starts_with('{') => {
                serde_json::from_str(text).map(Some).map_err(|error| Problem::invalid(name, "type", error.to_string()))
            }
            Some(_) => Err(Problem::invalid(name, "type", "must be an object")),
        }
    }

    /// A whole number that must be there.
    pub(super) fn optional_number(&self, name: &'static str) -> Result<Option<u64>, Problem> {
        match self.raw(name).map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some(digits) => {
                digits.parse().map(Some).map_err(|_cause: std::num::ParseIntError| Problem::invalid(name, "type", "must be a whole number"))
            }
        }
    }
}

fn text<T, E: Reason>(name: &'static str, raw: &RawValue, parse: impl FnOnce(String) -> Result<T, E>) -> Result<T, Problem> {
    if !raw.get().starts_with('"') {
        return Err(Problem::invalid(name, "type", "must be a text"));
    }
    // What is a JSON string by its syntax and still no text: half of a surrogate pair.
    let text: String = serde_json::from_str(raw.get()).map_err(|error| Problem::malformed(format!("{name}: {error}")))?;
    parse(text).map_err(|reason| Problem::invalid_fields(vec![reason.into_field_error(name)]))
}

struct Collected<'a> {
    members: Members<'a>,
    unknown: Vec<FieldError>,
}

struct ObjectOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for ObjectOf {
    type Value = Collected<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Collected<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectOf {
    type Value = Collected<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Collected<'de>, A::Error> {
        let mut members = Members::none(self.0);
        let mut unknown = Vec::new();
        while let Some(name) = map.next_key_seed(NameOf(self.0))? {
            match name {
                Ok(place) => {
                    let raw: &'de RawValue = map.next_value()?;
                    let Some(slot) = members.values.get_mut(place) else { continue };
                    if slot.replace(raw).is_some() {
                        return Err(A::Error::custom("a member stands twice"));
                    }
                }
                Err(name) => {
                    let _: IgnoredAny = map.next_value()?;
                    if unknown.len() < UNKNOWN_LISTED_MAX {
                        unknown.push(FieldError { field: name.into(), code: "unknown", detail: "no such member".into() });
                    }
                }
            }
        }
        Ok(Collected { members, unknown })
    }
}

/// A name: its place among the known ones, or the name itself.
struct NameOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for NameOf {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameOf {
    type Value = Result<usize, String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name).ok_or_else(|| name.chars().take(NAME_CHARACTERS_MAX).collect()))
    }
}
