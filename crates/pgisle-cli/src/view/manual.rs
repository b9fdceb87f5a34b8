//! The manual pages.

use clap::Command;

/// One page for each command, named and rendered; pgisle's own is the first.
pub(crate) fn pages(cli: &Command) -> Vec<(String, String)> {
    let mut cli = cli.clone().disable_help_subcommand(true);
    cli.build();
    let mut pages = Vec::new();
    collect(&cli, &mut pages);
    pages
}

fn collect(command: &Command, pages: &mut Vec<(String, String)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    // Writing to memory cannot fail; an empty page would be seen by the test that counts lines.
    let _infallible = clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).manual("pgisle").render(&mut page);
    // One dash, as everywhere; roff spells a dash that is not a hyphen `\-`.
    let page = String::from_utf8_lossy(&page).replace("\\-\\-", "\\-");
    pages.push((format!("{name}.1"), page));
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        collect(subcommand, pages);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages(&Cli::command());
        assert_eq!(pages[0].0, "pgisle.1");
        assert!(pages.iter().any(|(name, _)| name == "pgisle-explain.1"));
        for (name, page) in pages {
            assert!(page.contains(".SH NAME") && page.lines().count() > 10, "{name}: {page}");
        }
    }
}
