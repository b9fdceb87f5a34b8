//! Values as Terraform knows them: of a declared type, and each possibly null or not yet known.

use std::collections::BTreeMap;

/// A value, without its type; [`crate::schema::Type`] says which of these it may be.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Not given.
    Null,
    /// Not known before something else is applied.
    Unknown,
    /// A truth.
    Bool(bool),
    /// A number. All that are used here are whole and far below 2^53.
    Number(f64),
    /// A text.
    String(String),
    /// A list, or a set, whose order means nothing.
    List(Vec<Value>),
    /// A map, or an object, whose keys are those of its type: every one, and no other.
    Map(BTreeMap<String, Value>),
}

/// Where in a value something is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(pub Vec<Step>);

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An attribute or a nested block, by its name.
    Attribute(String),
    /// An element of a map.
    Key(String),
    /// An element of a list.
    Index(i64),
}

impl std::fmt::Debug for Value {
    /// Shows the shape alone: any text may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Unknown => "unknown",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        })
    }
}

impl Path {
    /// The path of an attribute at the top.
    pub fn attribute(name: &str) -> Self {
        Self(vec![Step::Attribute(name.to_owned())])
    }

    /// One step further.
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}
