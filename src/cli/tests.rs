//! Tests of the command line: the tree is consistent, the help has examples, and mistakes get an answer.

use clap::{CommandFactory as _, Parser as _};

use super::*;

/// The tree passes the consistency checks of clap.
#[test]
fn the_tree_is_consistent() {
    Cli::command().debug_assert();
}

/// Every command has examples, and each example uses a command that exists.
#[test]
fn help_teaches_by_example() {
    let tree = Cli::command();
    let names: Vec<String> = tree
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for command in tree.get_subcommands() {
        let help = command.clone().render_long_help().to_string();
        assert!(
            help.contains("Example"),
            "`weir {}` has no example:\n{help}",
            command.get_name()
        );
        let examples = help.split("Example").nth(1).unwrap_or_default();
        for line in examples
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("weir "))
        {
            let mut words = line.split_whitespace();
            assert!(
                words.any(|word| names.iter().any(|name| name == word)),
                "no command in `weir {line}`"
            );
        }
    }
}

/// `--state-dir` is accepted before and after the name of the command.
#[test]
fn the_state_directory_may_stand_anywhere() {
    for line in [
        ["weir", "--state-dir", "x", "token"],
        ["weir", "token", "--state-dir", "x"],
    ] {
        let cli = Cli::try_parse_from(line).expect("valid");
        assert_eq!(cli.state_dir, PathBuf::from("x"));
    }
}

/// All arguments after `--` belong to the program, also flags.
#[test]
fn the_program_of_run_keeps_its_flags() {
    let cli = Cli::try_parse_from(["weir", "run", "--source-id", "a", "--", "ls", "-l", "--state-dir"]).expect("valid");
    let Command::Run(args) = cli.command else {
        panic!("not run")
    };
    assert_eq!(args.command, ["ls", "-l", "--state-dir"]);
    assert_eq!(args.source_id.as_deref(), Some("a"));
}

/// A misspelt command is answered with the nearest one.
#[test]
fn a_misspelt_command_is_answered_with_the_nearest() {
    let error = Cli::try_parse_from(["weir", "tial"])
        .expect_err("no such command")
        .to_string();
    assert!(error.contains("tail"), "{error}");
}
