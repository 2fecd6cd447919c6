//! The fields of a request: which there are, and how they are read.
//!
//! A request's fields stand in a table, which the reader and the API's description share, so that they cannot drift apart.
//! Everything that is wrong is collected and told at once, each with its field's name. A field that no table names is
//! refused: a misspelt option that silently does nothing costs its user more than an error.

use serde_json::{Map, Value};
use unipic_api::{ApiError, FieldViolation};

/// A field of a request.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it is for, as the API's description tells it.
    pub(super) about: &'static str,
}

/// What a field takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A whole number from 0 to 2^64 - 1.
    Whole,
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// One of some strings.
    Choice(&'static [&'static str]),
    /// A string, or a list of strings.
    Texts,
    /// The turns of a conversation.
    Messages,
    /// How a stream is told.
    StreamOptions,
    /// A file of a form.
    File,
    /// One of some values, written as JSON, of which none changes anything. Others would, and are refused with a reason.
    Only(&'static [&'static str], &'static str),
    /// Taken from clients that send it always, without effect.
    Ignored,
}

/// A table of fields; a request may have several.
pub(super) type Table = &'static [Field];

/// Finds a field by its name.
fn field(tables: &[Table], name: &str) -> Option<&'static Field> {
    tables.iter().flat_map(|table| table.iter()).find(|field| field.name == name)
}

/// The fields of one request, being read.
#[derive(Debug)]
pub(super) struct Fields {
    given: Map<String, Value>,
    wrong: Vec<FieldViolation>,
}

impl Fields {
    /// Takes a request's fields. Null is as good as not there.
    pub(super) fn new(mut given: Map<String, Value>, tables: &[Table]) -> Self {
        given.retain(|_, value| !value.is_null());
        let mut fields = Self { given: Map::new(), wrong: Vec::new() };
        for (name, value) in &given {
            match field(tables, name).map(|field| field.kind) {
                None => fields.wrong(name, "is not a field of this request"),
                Some(Kind::Only(values, why)) if !is_one_of(value, values) => {
                    fields.wrong(name, format!("must be {}: {why}", values.join(" or ")));
                }
                Some(_) => {}
            }
        }
        fields.given = given;
        fields
    }

    /// The same from the texts of a form.
    pub(super) fn of_form(texts: Vec<(String, String)>, tables: &[Table]) -> Self {
        let (mut given, mut twice) = (Map::new(), Vec::new());
        for (name, text) in texts {
            let value = value(&text, field(tables, &name).map(|field| field.kind));
            if given.insert(name.clone(), value).is_some() {
                twice.push(name);
            }
        }
        let mut fields = Self::new(given, tables);
        for name in twice {
            fields.wrong(&name, "is there more than once");
        }
        fields
    }

    /// Notes what is wrong with a field.
    pub(super) fn wrong(&mut self, name: &str, what: impl Into<String>) {
        self.wrong.push(FieldViolation::new(name, what));
    }

    /// Takes a field out, to be read otherwise.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.given.remove(name)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => self.none(name, "must be a string"),
        }
    }

    pub(super) fn whole(&mut self, name: &str) -> Option<u64> {
        let number = self.take(name)?.as_u64();
        number.or_else(|| self.none(name, format!("must be a whole number from 0 to {}", u64::MAX)))
    }

    /// A whole number that fits 32 bits.
    pub(super) fn count(&mut self, name: &str) -> Option<u32> {
        let number = self.take(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
        number.or_else(|| self.none(name, format!("must be a whole number from 0 to {}", u32::MAX)))
    }

    pub(super) fn number(&mut self, name: &str) -> Option<f32> {
        let number = self.take(name)?.as_f64();
        number.map(|number| number as f32).or_else(|| self.none(name, "must be a number"))
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let flag = self.take(name)?.as_bool();
        flag.or_else(|| self.none(name, "must be true or false"))
    }

    /// Whether a stream is to tell what OpenAI's API has no events for.
    pub(super) fn progress(&mut self, is_streamed: bool) -> bool {
        let is_told = self.flag("progress").unwrap_or(false);
        if is_told && !is_streamed {
            self.wrong("progress", "needs \"stream\": true");
        }
        is_told
    }

    /// The value that stands for the given word.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let given = self.take(name)?;
        let found = choices.iter().find(|(word, _)| given.as_str() == Some(word)).map(|(_, meaning)| *meaning);
        found.or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.none(name, format!("must be {}", words.join(" or ")))
        })
    }

    fn none<T>(&mut self, name: &str, what: impl Into<String>) -> Option<T> {
        self.wrong(name, what);
        None
    }

    /// Ends the reading.
    pub(super) fn finish(self) -> Faults {
        Faults(self.wrong)
    }
}

/// What reading found wrong: nothing of a request that is to be judged and started.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FieldViolation>);

impl Faults {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The refusal of a request that was judged only to tell everything in one round. Of a field that could not be read,
    /// what was judged is its stand-in: such violations are left out.
    pub(super) fn and<T>(self, judged: Result<T, ApiError>) -> ApiError {
        let Self(mut wrong) = self;
        match judged {
            Err(ApiError::Invalid(violations)) => {
                let n_read = wrong.len();
                for violation in violations {
                    let is_read = |read: &FieldViolation| outermost(&read.field) == outermost(&violation.field);
                    if !wrong.iter().take(n_read).any(is_read) {
                        wrong.push(violation);
                    }
                }
                ApiError::Invalid(wrong)
            }
            Err(other) if wrong.is_empty() => other,
            _ => ApiError::Invalid(wrong),
        }
    }
}

/// The field of the request in which a violation's field is.
fn outermost(field: &str) -> &str {
    field.split(['.', '[']).next().unwrap_or(field)
}

/// True for a value that is written like one of `values`.
fn is_one_of(value: &Value, values: &[&str]) -> bool {
    // A form's text has no quotes, and zero may be written as 0.0.
    let is = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) => value.as_f64() == number.as_f64(),
        Ok(allowed) => *value == allowed,
        Err(_) => false,
    };
    values.iter().any(|text| is(text))
}

/// A form's text as the value that its field takes; as a string where it is no such value, so that the reader refuses it.
fn value(text: &str, kind: Option<Kind>) -> Value {
    let parsed = match kind {
        Some(Kind::Whole | Kind::Number | Kind::Flag) => serde_json::from_str(text).ok(),
        _ => None,
    };
    parsed.filter(|value: &Value| value.is_number() || value.is_boolean()).unwrap_or_else(|| text.into())
}
