//! The provider's reference, from its schema.

use std::fmt::Write as _;

use crate::blocks;
use crate::schema::{Attribute, Block, Given, Type};

/// The page `docs/reference/terraform.md`, without its notice.
pub(crate) fn markdown() -> String {
    let schema = blocks::schema();
    let mut page = String::from("## Provider `pgisle`\n\n");
    block(&mut page, &schema.provider);
    for (name, resource) in &schema.resources {
        let _ = write!(page, "\n## Resource `{name}`\n\n");
        block(&mut page, resource);
    }
    for (name, source) in &schema.data_sources {
        let _ = write!(page, "\n## Data source `{name}`\n\n");
        block(&mut page, source);
    }
    page
}

fn block(page: &mut String, block: &Block) {
    let _ = writeln!(page, "{}", block.description);
    for (title, wanted) in [
        ("Required", &[Given::Required][..]),
        ("Optional", &[Given::Optional, Given::OptionalComputed][..]),
        ("Read-only", &[Given::Computed][..]),
    ] {
        let attributes: Vec<&Attribute> = block.attributes.iter().filter(|attribute| wanted.contains(&attribute.given)).collect();
        let nested = block.blocks.iter().filter(|_| wanted.contains(&Given::Optional));
        let nested: Vec<_> = nested.collect();
        if attributes.is_empty() && nested.is_empty() {
            continue;
        }
        let _ = write!(page, "\n**{title}**\n\n");
        for attribute in attributes {
            line(page, attribute, "");
        }
        for nested in nested {
            let _ = writeln!(page, "- `{}` (block): {}", nested.name, nested.block.description);
            for attribute in &nested.block.attributes {
                line(page, attribute, "  ");
            }
        }
    }
}

fn line(page: &mut String, attribute: &Attribute, indent: &str) {
    let Attribute { name, kind, given: _, is_sensitive, is_write_only, description } = attribute;
    let mut words = vec![type_name(kind)];
    words.extend(is_sensitive.then(|| "sensitive".to_owned()));
    words.extend(is_write_only.then(|| "write-only".to_owned()));
    let _ = writeln!(page, "{indent}- `{name}` ({}): {description}", words.join(", "));
}

fn type_name(kind: &Type) -> String {
    match kind {
        Type::Bool => "bool".to_owned(),
        Type::Number => "number".to_owned(),
        Type::String => "string".to_owned(),
        Type::List(of) => format!("list of {}", type_name(of)),
        Type::Map(of) => format!("map of {}", type_name(of)),
        Type::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, kind)| format!("{name}: {}", type_name(kind))).collect();
            format!("object({})", fields.join(", "))
        }
    }
}
