//! Help texts of variables, from the table of settings.

use clap::{Arg, Command};

use super::{table, variable::Row};
use crate::screen;

/// `command` with the variables and defaults of its flags, and with all variables in the help of `config`.
pub(crate) fn with_variables(command: Command) -> Command {
    of_flags(command).mut_subcommand("config", |config| config.after_help(list()))
}

fn of_flags(command: Command) -> Command {
    command.mut_args(of_flag).mut_subcommands(of_flags)
}

/// A flag without a help text gets that of its variable.
fn of_flag(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else { return arg };
    let is_meant = |row: &&Row| row.flag.and_then(|flag| flag.strip_prefix("--")) == Some(long);
    let rows: Vec<&Row> = table::rows().filter(is_meant).collect();
    let Some(first) = rows.first() else { return arg };
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    let defaults: Vec<String> = rows.iter().filter_map(|row| row.documented_default()).collect();
    let help = arg.get_help().map_or_else(|| first.doc.trim_end_matches('.').to_owned(), ToString::to_string);
    let mut help = format!("{help} [env: {}]", names.join(", "));
    // Switches are off by default.
    if !defaults.is_empty() && arg.get_action().takes_values() {
        help += &format!(" [default: {}]", defaults.join(", "));
    }
    arg.help(help)
}

/// All variables, each with its flag, default and description.
fn list() -> String {
    let mut lines = vec!["Variables, from the environment or a .env file:".to_owned()];
    for section in table::SECTIONS {
        lines.extend([String::new(), format!("{}:", section.title)]);
        for row in section.rows() {
            let flag = row.flag.map_or_else(String::new, |flag| format!(" ({flag})"));
            let default = row.documented_default();
            let default = default.map_or_else(String::new, |default| format!(" [default: {default}]"));
            let first = format!("{}{flag}{default}", row.name);
            lines.extend(screen::wrap(&first, screen::width(), "  ", "      "));
            lines.extend(screen::wrap(row.doc, screen::width(), "      ", "      "));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use expect_test::expect_file;

    use super::*;
    use crate::{arguments::Arguments, dotenv::Sensitivity};

    /// The rows of `section` as a Markdown table.
    fn markdown(section: &table::Section) -> String {
        let mut text = "| variable | flag | default | |\n|---|---|---|---|\n".to_owned();
        for row in section.rows() {
            let flag = row.flag.map_or_else(String::new, |flag| format!("`{flag}`"));
            let default = match (row.otherwise(), row.documented_default()) {
                (None, Some(value)) => format!("`{value}`"),
                // The cell of a variable without a default is empty.
                (_, text) => text.unwrap_or_default(),
            };
            text += &format!("| `{}` | {flag} | {default} | {} |\n", row.name, row.doc);
        }
        text
    }

    /// `page` with `text` in its part `name`.
    fn with_part(page: &str, name: &str, text: &str) -> String {
        let start = format!("<!-- Generated from the table of settings: {name} -->\n");
        let (before, rest) = page.split_once(&start).expect("the page has the part");
        let (_, after) = rest.split_once("<!-- end -->").expect("the part ends");
        format!("{before}{start}\n{text}\n<!-- end -->{after}")
    }

    #[test]
    fn documentation_has_the_table() {
        let file = expect_file!["../../../../docs/reference/settings.md"];
        let mut page = file.data();
        for section in table::SECTIONS {
            page = with_part(&page, section.title, &markdown(section));
        }
        for (part, importance) in [("harmless", Sensitivity::Harmless), ("checked", Sensitivity::Checked)] {
            let rows = table::rows().filter(|row| row.importance == importance);
            let names: String = rows.map(|row| format!("- `{}`\n", row.name)).collect();
            page = with_part(&page, part, &names);
        }
        file.assert_eq(&page);
    }

    /// The help texts of the flags of `command` and all below it.
    fn flag_helps(command: &Command) -> Vec<String> {
        let own = command
            .get_arguments()
            .filter_map(|arg| Some(format!("--{} {}", arg.get_long()?, arg.get_help()?)));
        own.chain(command.get_subcommands().flat_map(flag_helps)).collect()
    }

    #[test]
    fn each_flag_of_the_table_names_its_variable() {
        let mut command = with_variables(Arguments::command());
        command.build();
        let helps = flag_helps(&command);
        for row in table::rows() {
            let Some(flag) = row.flag else { continue };
            let is_named = |help: &&String| help.starts_with(&format!("{flag} ")) && help.contains(row.name);
            assert!(helps.iter().any(|help| is_named(&help)), "{}: {helps:#?}", row.name);
        }
    }
}
