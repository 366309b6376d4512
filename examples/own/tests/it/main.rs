//! The programs as their users start them.

mod kafka;
mod operated;

use std::fs;

use own_models::Program;

const OWN_FUNCTION: &str = env!("CARGO_BIN_EXE_own_function");
const COUNTRIES: &str = "{\"BR\": 0.25, \"NL\": 0.125}";

fn own_function(arguments: &[&str]) -> Program {
    Program::start(OWN_FUNCTION, arguments)
}

#[test]
fn a_result_is_the_payment_as_it_came_with_its_risk_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let program = own_function(&["--countries", countries.to_str().unwrap()]);
    // 0.125 + 1250 / 10,000; twice 0.25 by night + 0.5, from which on a person looks at it.
    let output = program.answer(
        "{\"amount\": 1250.00, \"country\": \"NL\",  \"hour\": 12, \"id\": 7}\n\
         {\"hour\":23,\"country\":\"BR\",\"amount\":5e3}\n",
    );
    assert_eq!(
        output.stdout,
        "{\"amount\": 1250.00, \"country\": \"NL\",  \"hour\": 12, \"id\": 7,\
         \"risk\":{\"score\":0.25,\"review\":false}}\n\
         {\"hour\":23,\"country\":\"BR\",\"amount\":5e3,\"risk\":{\"score\":1.0,\"review\":true}}\n"
    );
    assert_eq!((output.code, output.dead_letters()), (Some(0), vec![]));
}

#[test]
fn a_record_that_cannot_be_read_or_scored_is_a_dead_letter_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let program = own_function(&["--countries", countries.to_str().unwrap()]);
    let payment = |amount: u32, country| {
        format!("{{\"amount\":{amount},\"country\":\"{country}\",\"hour\":12}}\n")
    };
    let mut input: String = (0..100).map(|amount| payment(amount, "NL")).collect();
    input.insert_str(0, "not JSON\n");
    input.push_str(&payment(1, "XX"));
    let output = program.answer(&input);
    let unread = "dead letter stdin/0 at DECODE: expected ident at line 1 column 2: not JSON";
    let unknown = "dead letter stdin/101 at INFER: input 0: country \"XX\" is not in the table: \
                   {\"amount\":1,\"country\":\"XX\",\"hour\":12}";
    assert_eq!(output.dead_letters(), [unread, unknown]);
    let answered: Vec<_> =
        output.stdout.lines().map(|line| line.split_once(',').unwrap().0).collect();
    let expected: Vec<_> = (0..100).map(|amount| format!("{{\"amount\":{amount}")).collect();
    assert_eq!(answered, expected);
    assert_eq!(output.code, Some(0));
}

#[test]
fn while_its_table_is_away_the_model_waits_and_loses_and_dead_letters_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    let mut program = own_function(&["--countries", countries.to_str().unwrap()]);
    let payment = "{\"amount\":0,\"country\":\"NL\",\"hour\":12}\n";
    program.send(&payment.repeat(50));
    assert!(program.says("No such file").contains("the model can't answer"));
    fs::write(&countries, &COUNTRIES[..9]).unwrap();
    assert!(program.says("EOF while parsing").contains("the model can't answer"));
    // Whole at once, as who replaces a file should.
    let whole = folder.path().join("new");
    fs::write(&whole, COUNTRIES).unwrap();
    fs::rename(whole, &countries).unwrap();
    let output = program.answer("");
    let answer = "{\"amount\":0,\"country\":\"NL\",\"hour\":12,\"risk\":{\"score\":0.125,\"review\":false}}\n";
    assert_eq!(output.stdout, answer.repeat(50));
    assert_eq!((output.code, output.dead_letters()), (Some(0), vec![]));
}

#[cfg(unix)]
#[test]
fn what_a_signal_leaves_of_a_pipe_is_an_error_and_says_how_many_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = own_function(&["--countries", folder.path().join("none").to_str().unwrap()]);
    program.send("{\"amount\":0,\"country\":\"NL\",\"hour\":12}\n");
    program.says("the model can't answer");
    program.terminate();
    let output = program.answer("");
    assert_eq!((output.code, &*output.stdout), (Some(1), ""));
    assert!(output.stderr.contains("1 lines that were read have no answer"), "{}", output.stderr);
}

#[test]
fn help_has_examples_and_topics_without_brokers_are_refused() {
    let help = own_function(&["--help"]).answer("");
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("--kafka <HOST:PORT>"));
    let refused = own_function(&["--countries", "x", "--topic", "payments"]).answer("");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--kafka <HOST:PORT>"), "{}", refused.stderr);
}
