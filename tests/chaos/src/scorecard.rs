//! The table of checks that the system is to hold, each with what holds it: tests, or a run whose section stands in the
//! report. What the tests measured is a section of its own, `checks`. Tests of this crate look every named test up, in the
//! sources and in that section, so that the table cannot outlive what it names.

use std::fmt::Write;

use crate::Section;

/// A check and what holds it.
#[derive(Debug)]
pub struct Check {
    /// What is checked, with its goal.
    pub what: &'static str,
    /// Tests, as `file::function`, the file from the root of the repository.
    pub tests: &'static [&'static str],
    /// The run of this crate that measures it beside its tests; without one, its tests measure it.
    pub run: Option<&'static str>,
    /// What of the goal nothing holds; empty where all of it is held.
    pub gap: &'static str,
}

const fn held(what: &'static str, tests: &'static [&'static str]) -> Check {
    Check { what, tests, run: None, gap: "" }
}

const fn measured(what: &'static str, run: &'static str, tests: &'static [&'static str]) -> Check {
    Check { what, tests, run: Some(run), gap: "" }
}

const fn in_part(check: Check, gap: &'static str) -> Check {
    Check { gap, ..check }
}

/// All checks, in the order of their numbers.
pub const CHECKS: [Check; 22] = [
    measured("10,000 requests under mixed faults: none lost, doubled or without an end", "faults", &[SHORT]),
    in_part(
        measured(
            "simulated network: thousands of seeds, latency, partition, crash: no invariant broken, a seed replays",
            "simulate",
            &[
                "tests/simulation/tests/seeds.rs::no_fault_of_the_network_breaks_an_invariant",
                "tests/simulation/tests/seeds.rs::a_seed_gives_the_same_trace_every_time",
                "tests/simulation/tests/seeds.rs::every_mutant_is_caught",
            ],
        ),
        "the device's part of a generation is scripted",
    ),
    in_part(
        measured(
            "five times too many requests for 60 s: goodput 90 %, refusals in 50 ms with the time to come back",
            "overload",
            &["services/gateway/tests/lifecycle.rs::a_full_queue_refuses_with_the_time_to_come_back"],
        ),
        "goodput was between 0.84 and 0.95 of the peak in six runs, with the clients on the same two cores, whose own speed differs from minute to minute",
    ),
    measured(
        "SIGKILL of every service: a request goes on or has a typed status within 1 s, ready again within 5 s",
        "faults",
        &[
            SHORT,
            "services/gateway/tests/remote.rs::a_replica_that_dies_in_an_image_is_replaced",
            "tests/integration/tests/failover.rs::a_lone_replica_that_is_killed_and_comes_back_costs_a_delay",
        ],
    ),
    measured(
        "a frozen peer is noticed within 5 s both ways, and heals alone",
        "faults",
        &["shared/client/tests/calls.rs::a_silent_server_is_noticed"],
    ),
    held(
        "deadlines and disconnects at every stage",
        &[
            "services/synthesis/tests/deadlines.rs::whatever_a_request_is_at_its_deadline_ends_it_and_nothing_is_left",
            "services/synthesis/tests/deadlines.rs::whatever_a_request_is_at_when_its_caller_leaves_nothing_is_left",
            "services/synthesis/tests/deadlines.rs::nothing_is_computed_behind_the_call_in_which_a_request_is_cancelled",
            "services/synthesis/tests/deadlines.rs::nothing_is_computed_behind_the_call_in_which_a_deadline_passes",
            "services/understanding/tests/service.rs::late_and_unwanted_encodings_are_not_made_and_spoil_nothing",
            "services/decoder/tests/service/deadlines.rs::whatever_an_answer_is_at_its_deadline_ends_it_and_nothing_waits_on",
            "services/decoder/tests/service/deadlines.rs::whatever_an_answer_is_at_when_its_caller_leaves_nothing_waits_on",
            "services/decoder/tests/service/core.rs::cancelled_and_late_work_is_not_done_and_spoils_nothing",
            "services/gateway/tests/lifecycle.rs::whatever_a_flow_waits_for_a_deadline_or_a_caller_that_leaves_ends_it",
            "services/gateway/tests/lifecycle.rs::places_are_all_free_again_after_a_crowd",
            "tests/integration/tests/failover.rs::a_deadline_is_told_as_such_across_processes_and_leaves_nothing_behind",
        ],
    ),
    held(
        "a rolling restart under load fails nothing; every process ends in 30 s",
        &["tests/integration/tests/failover.rs::a_rolling_restart_under_load_fails_no_request"],
    ),
    measured(
        "silent and slow peers are closed; healthy clients' p99 beside them, resets and floods is at most doubled",
        "peers",
        &[
            "shared/serving/tests/server.rs::peers_that_stop_in_the_middle_are_closed",
            "shared/serving/tests/web.rs::peers_that_stop_in_the_middle_are_closed",
            "shared/serving/tests/ops.rs::whoever_says_nothing_is_sent_away_and_connections_are_few",
            "shared/client/tests/tls.rs::slow_handshakes_are_closed_and_hold_nobody_up",
            "tests/chaos/tests/node.rs::healthy_clients_are_served_beside_slow_and_hasty_peers",
        ],
    ),
    held(
        "bad images: at least 500 files of 12 kinds, 64 MiB each at most",
        &[
            "shared/imaging/tests/hostile.rs::no_file_panics_or_takes_more_memory_than_allowed",
            "shared/imaging/tests/hostile.rs::every_lying_file_is_refused",
            "shared/imaging/tests/hostile.rs::stated_rules_hold",
            "shared/imaging/tests/hostile.rs::exif_rotation_is_applied_in_every_format_that_has_it",
        ],
    ),
    held(
        "bad checkpoints: at least 200 files",
        &[
            "shared/weights/tests/checkpoints/hostile.rs::no_bad_checkpoint_loads",
            "shared/weights/tests/checkpoints/hostile.rs::one_error_names_every_tensor_at_fault",
            "shared/weights/tests/checkpoints/hostile.rs::surplus_tensors_are_reported",
        ],
    ),
    held(
        "special tokens typed by users, all of them in 1,000 contexts",
        &["shared/models/src/prompt/tests.rs::user_text_yields_no_control_token"],
    ),
    measured(
        "random parameters: no panic, nothing internal",
        "random",
        &["services/gateway/tests/random.rs::ten_thousand_random_requests_are_answered_or_refused"],
    ),
    held(
        "a corpus of hostile bytes, and damaged copies of it, for all that reads a stranger's bytes",
        &[
            "tests/fuzz/tests/targets/frames.rs::frames_are_tensors_or_refused",
            "tests/fuzz/tests/targets/images.rs::images_are_pixels_or_refused",
            "tests/fuzz/tests/targets/checkpoints.rs::headers_are_understood_or_refused",
            "tests/fuzz/tests/targets/checkpoints.rs::model_configurations_are_understood_or_refused",
            "tests/fuzz/tests/targets/pickles.rs::pickles_are_indexed_or_refused",
            "tests/fuzz/tests/targets/http.rs::bodies_are_answered_or_refused",
            "tests/fuzz/tests/targets/configs.rs::configurations_are_understood_or_refused",
            "tests/fuzz/tests/targets/prompts.rs::no_text_yields_a_control_token",
        ],
    ),
    measured(
        "tenants: nothing of another's caches; a noisy one costs a quiet one 1.5 times its p99",
        "neighbours",
        &[
            "services/gateway/tests/flows.rs::an_image_is_encoded_once_for_a_tenant",
            "services/decoder/tests/service/prefixes.rs::no_tenant_is_served_from_what_another_sent",
            "shared/engine/tests/tenants.rs::whoever_comes_last_with_one_job_waits_for_none_of_a_crowds",
            "services/gateway/src/admission.rs::tenants_take_turns_and_a_crowd_keeps_nobody_out",
            "services/gateway/src/admission.rs::a_tenant_has_its_own_limits_and_gets_back_what_it_holds",
        ],
    ),
    held(
        "routes and methods without credentials",
        &[
            "services/gateway/tests/auth.rs::every_method_needs_a_key_but_a_closed_list",
            "services/gateway/tests/http_auth.rs::every_route_needs_a_key_but_the_probes_and_the_page",
        ],
    ),
    held(
        "mutual TLS: no, wrong, expired and foreign certificates; rotation under load",
        &[
            "shared/client/tests/tls.rs::only_clients_of_the_authority_with_a_known_identity_are_let_in",
            "shared/client/tests/tls.rs::a_server_that_is_not_who_it_must_be_is_not_called",
            "shared/client/tests/tls.rs::authorities_and_certificates_change_under_load_without_a_failed_call",
            "services/gateway/tests/tls.rs::the_http_api_is_behind_the_same_certificates_and_keys",
        ],
    ),
    held(
        "secrets and internals in logs, errors and help",
        &[
            "tests/integration/tests/secrets.rs::keys_are_in_no_help_log_or_answer_of_a_process",
            "services/gateway/tests/auth_log.rs::keys_are_nowhere_to_be_read",
            "services/gateway/tests/auth.rs::bad_keys_are_refused_by_name_and_never_repeated",
            "shared/api/tests/status.rs::a_backend_s_words_stay_inside",
            "shared/api/tests/status.rs::whose_certificate_is_wrong_stays_inside",
        ],
    ),
    measured("a collector that is dead, deaf, refusing or slow: p99 within 5 %", "collector", &[]),
    held(
        "a full disk for outputs: no half file, no false success",
        &[
            "services/trainer/tests/short_run.rs::a_full_disk_leaves_the_last_state",
            "tests/integration/tests/full_disk.rs::a_full_disk_leaves_no_half_image_and_the_one_before",
            "tests/integration/tests/full_disk.rs::a_full_disk_leaves_no_half_dataset_checkpoint_or_evaluation",
            "tests/integration/tests/full_disk.rs::a_batch_on_a_full_disk_says_so_and_goes_on_from_whole_rows",
            "tests/integration/tests/full_disk.rs::standard_output_that_takes_no_more_is_a_failure",
        ],
    ),
    held(
        "at least 60 bad configurations are refused before a port is bound, naming the key",
        &[
            "shared/serving/tests/config.rs::bad_files_are_refused_naming_the_key",
            "services/gateway/tests/validation.rs::wrong_configurations_are_refused_with_their_keys",
            "tests/integration/tests/refused_starts.rs::a_wrong_configuration_is_refused_with_its_key",
        ],
    ),
    held(
        "activations that are not finite",
        &[
            "services/synthesis/tests/faults.rs::a_part_that_overflows_makes_no_image",
            "services/synthesis/tests/loop.rs::values_that_are_not_finite_fail_their_own_request_and_make_no_image",
            "services/decoder/tests/service/core.rs::an_answer_or_a_session_of_values_that_are_not_finite_is_a_fault",
            "services/understanding/tests/service.rs::embeddings_that_are_not_finite_are_a_fault",
        ],
    ),
    measured("soak of two hours: memory and descriptors", "soak", &[]),
];

const SHORT: &str = "tests/chaos/tests/short.rs::every_request_is_accounted_for";

/// The table.
#[must_use]
pub fn section() -> Section {
    let mut text = String::from("| # | check | held by | gap |\n| --- | --- | --- | --- |\n");
    let mut misses = Vec::new();
    for (number, check) in (1..).zip(&CHECKS) {
        let tests = check.tests.iter().map(|test| format!("`{}`", test.rsplit("::").next().unwrap_or(test)));
        let measured = (!check.tests.is_empty()).then_some("checks");
        let runs = check.run.into_iter().chain(measured).map(|run| format!("run `{run}` below"));
        let held: Vec<String> = runs.chain(tests).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {number} | {} | {} | {} |", check.what, held.join(", "), check.gap);
        if !check.gap.is_empty() {
            misses.push(format!("{number}: {}", check.gap));
        }
    }
    Section { name: "scorecard", title: "Scorecard", text, misses }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const REPORT: &str = include_str!("../REPORT.md");
    const REMEDY: &str = "REPORT.md: run `cargo run -p unipic-chaos -- checks`";

    #[test]
    fn every_named_test_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for test in CHECKS.iter().flat_map(|check| check.tests) {
            let (file, function) = test.split_once("::").unwrap();
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert!(source.contains(&format!("fn {function}(")), "{test} is not there");
        }
    }

    #[test]
    fn every_row_is_held_and_measured() {
        for (number, check) in (1..).zip(&CHECKS) {
            assert!(check.run.is_some() || !check.tests.is_empty(), "nothing holds row {number}");
            for test in check.tests {
                let figures = crate::checks::reported(REPORT, number, test);
                let figures =
                    figures.unwrap_or_else(|| panic!("{REMEDY}: {number}: {test} did not run or did not pass"));
                assert!(check.run.is_some() || !figures.is_empty(), "{REMEDY}: {number}: {test} states no figure");
            }
        }
    }

    #[test]
    fn every_named_run_has_its_section() {
        let report = REPORT;
        for run in CHECKS.iter().filter_map(|check| check.run).chain(["checks"]) {
            let n_sections = report.matches(&format!("<!-- begin {run} -->")).count();
            assert_eq!(n_sections, 1, "REPORT.md has to have one run of {run}");
        }
        assert!(report.contains(&section().markdown()), "REPORT.md: run `cargo run -p unipic-chaos -- scorecard`");
    }
}
