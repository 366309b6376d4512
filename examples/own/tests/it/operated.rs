//! Configuration, checks, probes and metrics of a program of one's own.

use std::fs;

use own_models::{Program, get};
use serde_json::Value;

use crate::{COUNTRIES, OWN_FUNCTION, own_function};

#[test]
fn its_topics_have_its_own_name_and_its_variables_their_prefix() {
    let arguments = ["--countries", "x", "--print-config"];
    let variables = [("PAYMENTS_BATCH__MAX_MESSAGES", "7"), ("FMNIST_KAFKA__TOPIC", "INFERENCE")];
    let output = Program::start_with(OWN_FUNCTION, &arguments, &variables).answer("");
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let config: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&config["kafka"]["topic"], &config["kafka"]["group_id"]),
        (&"payments".into(), &"payments".into())
    );
    assert_eq!(config["kafka"]["results_topic"], "payments-results");
    assert_eq!(
        (&config["batch"]["max_messages"], &config["model"]),
        (&7.into(), &serde_json::json!({}))
    );
    assert!(output.stderr.contains("batch.max_messages = 7  # PAYMENTS_BATCH__MAX_MESSAGES\n"));

    let variables = [("PAYMENTS_KAFKA__TOPICS", "x")];
    let output = Program::start_with(OWN_FUNCTION, &arguments, &variables).answer("");
    assert_eq!(output.code, Some(1));
    let wrong = "there is no key \"kafka.topics\" (did you mean \"kafka.topic\"?)";
    assert!(output.stderr.contains(wrong), "{}", output.stderr);
}

#[test]
fn a_check_says_what_was_found_and_what_is_missing() {
    let output = own_function(&["--countries", "x", "--check"]).answer("");
    assert_eq!((output.code, &*output.stdout), (Some(0), "model payment-risk 1\n"));
    let nobody = ["--countries", "x", "--check", "--kafka", "127.0.0.1:1"];
    let output = own_function(&nobody).answer("");
    assert_eq!((output.code, &*output.stdout), (Some(1), ""));
    assert!(output.stderr.contains("127.0.0.1:1"), "{}", output.stderr);
}

#[test]
fn an_argument_that_would_change_nothing_is_refused() {
    for (arguments, reason) in [
        (&["--until-end"][..], "--from and --until-end are for Kafka"),
        (&["--from", "beginning"], "--from and --until-end are for Kafka"),
        (&["--create"], "say --kafka HOST:PORT or --broker"),
        (
            &["--broker", "stdin", "--kafka", "127.0.0.1:1"],
            "--kafka and what goes with it is for Kafka",
        ),
        (
            &["--broker", "pubsub", "--kafka", "127.0.0.1:1"],
            "--kafka and what goes with it is for Kafka",
        ),
        (&["--check", "redrive", "--dry-run"], "stands behind that word"),
        (&["--from", "beginning", "redrive"], "stands behind that word"),
        (&["--broker", "pubsub", "redrive"], "stands behind that word"),
    ] {
        let output = own_function(&[&["--countries", "x"][..], arguments].concat()).answer("{}\n");
        assert_eq!((output.code, &*output.stdout), (Some(1), ""), "{arguments:?}");
        assert!(output.stderr.contains(reason), "{}", output.stderr);
    }
}

#[test]
fn brokers_that_were_forgotten_are_no_empty_stdin() {
    let arguments = ["--countries", "x"];
    for variable in [("PAYMENTS_KAFKA__TOPIC", "pay"), ("PAYMENTS_PUBSUB__PROJECT_ID", "proj")] {
        let output = Program::start_with(OWN_FUNCTION, &arguments, &[variable]).answer("");
        assert_eq!(output.code, Some(1), "{variable:?}");
        assert!(
            output.stderr.contains("nothing says where messages come from"),
            "{}",
            output.stderr
        );
    }
    // Of the machine, for whatever runs there.
    let machine = [("GOOGLE_CLOUD_PROJECT", "proj")];
    assert_eq!(Program::start_with(OWN_FUNCTION, &arguments, &machine).answer("").code, Some(0));
}

#[test]
fn a_check_sees_what_the_start_would_refuse_of_a_route() {
    let broker = ["--countries", "x", "--kafka", "127.0.0.1:1", "--topic", "SAME"];
    let output = own_function(&[&broker[..], &["--check", "--review-topic", "SAME"]].concat());
    let output = output.answer("");
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("the topics that the codec names"), "{}", output.stderr);
}

#[test]
fn on_stdin_every_result_is_a_line_whatever_its_topic() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let arguments = ["--countries", countries.to_str().unwrap(), "--review-topic", "reviews"];
    let output =
        own_function(&arguments).answer("{\"amount\":9000,\"country\":\"NL\",\"hour\":12}\n");
    assert_eq!((output.code, output.stdout.lines().count()), (Some(0), 1), "{}", output.stderr);
}

#[cfg(unix)]
#[test]
fn a_stdout_that_nobody_empties_holds_up_neither_the_probes_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let arguments = ["--countries", countries.to_str().unwrap()];
    let port = [("PAYMENTS_SERVER__HEALTH_PORT", "0")];
    let mut program = Program::start_with(OWN_FUNCTION, &arguments, &port);
    let line = program.says("probes and metrics on http://");
    let address = line.rsplit("http://").next().unwrap().to_owned();
    program.send(&"{\"amount\":0,\"country\":\"NL\",\"hour\":12}\n".repeat(3_000));
    // Then there are more results than a pipe holds.
    let answered = || {
        let metrics = get(&address, "/metrics");
        let sample = metrics.lines().find_map(|line| line.strip_prefix("payments_inputs_total"))?;
        sample.rsplit(' ').next()?.parse::<u32>().ok()
    };
    while answered().unwrap_or_default() < 1_200 {
        std::thread::yield_now();
    }
    program.terminate();
    while !get(&address, "/readyz").contains("it drains") {
        std::thread::yield_now();
    }
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    // Nobody reads its stdout until it has ended by itself.
    assert!(program.says("lines that were read have no answer").starts_with("error: "));
    assert_eq!(program.answer("").code, Some(1));
}

#[test]
fn its_probes_bear_an_outage_of_the_model_and_its_metrics_have_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    let arguments = ["--countries", countries.to_str().unwrap()];
    let port = [("PAYMENTS_SERVER__HEALTH_PORT", "0")];
    let mut program = Program::start_with(OWN_FUNCTION, &arguments, &port);
    let line = program.says("probes and metrics on http://");
    let address = line.rsplit("http://").next().unwrap().to_owned();
    program.send("{\"amount\":0,\"country\":\"NL\",\"hour\":12}\n");
    program.says("the model can't answer");
    // Red is what lasts a minute; a restart would not mend it at any time.
    for probe in ["/livez", "/readyz"] {
        assert!(get(&address, probe).starts_with("HTTP/1.1 200"), "{probe}");
    }
    let metrics = get(&address, "/metrics");
    for name in [
        "payments_build_info{",
        "payments_stalled{transport=\"stdin\"} 0",
        "payments_batch_inputs_bucket{",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    assert!(!metrics.contains("fmnist"), "{metrics}");
    fs::write(folder.path().join("new"), COUNTRIES).unwrap();
    fs::rename(folder.path().join("new"), &countries).unwrap();
    let output = program.answer("");
    assert_eq!((output.code, output.stdout.lines().count()), (Some(0), 1));
}

#[cfg(unix)]
#[test]
fn a_watched_file_and_sighup_bring_a_new_model_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let countries = folder.path().join("countries.json");
    fs::write(&countries, COUNTRIES).unwrap();
    let arguments = ["--countries", countries.to_str().unwrap()];
    let variables = [
        ("PAYMENTS_SERVER__HEALTH_PORT", "0"),
        ("PAYMENTS_SLOT__WATCH", countries.to_str().unwrap()),
        ("PAYMENTS_SLOT__WATCH_MS", "100"),
    ];
    let mut program = Program::start_with(OWN_FUNCTION, &arguments, &variables);
    let line = program.says("probes and metrics on http://");
    let address = line.rsplit("http://").next().unwrap().to_owned();
    let payments = "{\"amount\":0,\"country\":\"NL\",\"hour\":12}\n".repeat(500);
    program.send(&payments);
    // It is no file of the model's identity, and so the first look takes it.
    program.says("the model is exchanged");
    program.send(&payments);
    program.hang_up();
    program.says("SIGHUP");
    program.says("the model is exchanged");
    let told = get(&address, "/metrics");
    assert!(told.contains("payments_model_changes_total{change=\"swapped\"} 2"), "{told}");
    assert!(get(&address, "/model").contains("\"version\":\"1\""));
    let output = program.answer(&payments);
    assert_eq!((output.code, output.stdout.lines().count()), (Some(0), 1_500), "{}", output.stderr);
}
