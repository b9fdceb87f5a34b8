//! The boundary as a picture: a Graphviz graph with a box for each service and an arrow for each thing that crosses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::boundary::{Crossing, CrossingKind};
use super::plan::SplitPlan;
use crate::name::ServiceName;

/// What stands for what nobody claims.
const SHARED: &str = "(stays shared)";

/// Draws the plan in Graphviz's language: `dot -Tsvg` makes a picture of it.
#[must_use]
pub fn dot(plan: &SplitPlan) -> String {
    let mut text = String::from(
        "digraph split {\n  rankdir = LR;\n  node [shape = box, fontname = \"sans-serif\"];\n  edge [fontname = \"sans-serif\", fontsize = 10];\n",
    );
    // Writing to a String cannot fail, here and below.
    for service in &plan.services {
        let tables = service.moves.iter().filter(|(kind, _)| kind.ends_with("table")).flat_map(|(_, names)| names);
        let lines: Vec<String> = tables.map(|name| escaped(name)).collect();
        let _infallible = writeln!(
            text,
            "  {} [label = \"{}\\n\\n{}\\l\"];",
            quoted(service.service.as_str()),
            escaped(service.service.as_str()),
            lines.join("\\l")
        );
    }
    let mut edges: BTreeMap<(String, String, bool, bool), Vec<String>> = BTreeMap::new();
    for crossing in &plan.crossings {
        for (from, to) in ends(crossing) {
            let is_key = crossing.kind == CrossingKind::ForeignKey;
            edges.entry((from, to, is_key, crossing.is_grave)).or_default().push(crossing.name.clone());
        }
    }
    if edges.keys().any(|(from, to, ..)| from == SHARED || to == SHARED) {
        let _infallible = writeln!(text, "  {} [style = dashed];", quoted(SHARED));
    }
    for ((from, to, is_key, is_grave), names) in edges {
        let label: Vec<String> = names.iter().map(|name| escaped(name)).collect();
        let style = if is_key { "solid" } else { "dashed, dir = none" };
        let colour = if is_grave { ", color = red" } else { "" };
        let _infallible =
            writeln!(text, "  {} -> {} [label = \"{}\", style = {style}{colour}];", quoted(&from), quoted(&to), label.join("\\n"));
    }
    text.push_str("}\n");
    text
}

/// Between whom a crossing is drawn: a foreign key points, anything else joins its sides in a row.
fn ends(crossing: &Crossing) -> Vec<(String, String)> {
    let name = |side: &Option<ServiceName>| side.as_ref().map_or(SHARED.to_owned(), |service| service.as_str().to_owned());
    match (&crossing.target, crossing.source.first()) {
        (Some(target), Some(source)) => vec![(name(source), name(target))],
        _ => crossing.source.windows(2).map(|pair| (name(&pair[0]), name(&pair[1]))).collect(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}
