//! What a provider's blocks may say, as values: Terraform asks for it, and the documentation is made from it.

use std::collections::BTreeMap;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A text.
    String,
    /// Values of one type, in order.
    List(Box<Type>),
    /// Values of one type, by name.
    Map(Box<Type>),
    /// These attributes.
    Object(BTreeMap<String, Type>),
}

/// Who says what an attribute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// The configuration must.
    Required,
    /// The configuration may.
    Optional,
    /// The configuration may; otherwise the provider does.
    OptionalComputed,
    /// The provider does.
    Computed,
}

/// One attribute.
#[derive(Debug, Clone)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: Type,
    /// Who says what it is.
    pub given: Given,
    /// True for what Terraform must not show.
    pub is_sensitive: bool,
    /// True for what never gets into the plan or the state.
    pub is_write_only: bool,
    /// One paragraph, Markdown.
    pub description: String,
}

/// A nested block.
#[derive(Debug, Clone)]
pub struct Nested {
    /// Its name.
    pub name: String,
    /// What it may say.
    pub block: Block,
}

/// What a block may say. Nested blocks are single (one at most) and are null when they are not there.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// Attributes, in the order in which they are documented.
    pub attributes: Vec<Attribute>,
    /// Blocks inside.
    pub blocks: Vec<Nested>,
    /// One paragraph, Markdown.
    pub description: String,
}

/// Everything that a provider has.
#[derive(Debug, Clone, Default)]
pub struct ProviderSchema {
    /// The provider's own block.
    pub provider: Block,
    /// Resources by type name, all of schema version 0.
    pub resources: BTreeMap<String, Block>,
    /// Data sources by type name.
    pub data_sources: BTreeMap<String, Block>,
}

impl Block {
    /// The type of a value of this block.
    pub fn value_type(&self) -> Type {
        let attributes = self.attributes.iter().map(|attribute| (attribute.name.clone(), attribute.kind.clone()));
        let blocks = self.blocks.iter().map(|nested| (nested.name.clone(), nested.block.value_type()));
        Type::Object(attributes.chain(blocks).collect())
    }
}
