//! Figures of tests that have a goal, as the scorecard says.

use std::fmt;

use unipic_measures::Figure;

/// How far a figure may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// What a test has to measure.
#[derive(Debug)]
pub(super) struct Goal {
    /// The test, as the scorecard names it.
    pub(super) test: &'static str,
    /// The figure's name.
    pub(super) figure: &'static str,
    /// How far it may go.
    pub(super) bound: Bound,
}

impl Goal {
    /// What is missed, if the figures do not reach it.
    pub(super) fn miss(&self, figures: &[Figure]) -> Option<String> {
        let Self { figure: name, bound, .. } = self;
        let mut values = figures.iter().filter(|figure| figure.name == *name).map(|figure| &figure.value).peekable();
        if values.peek().is_none() {
            return Some(format!("states no figure `{name}`, goal {bound}"));
        }
        // What is not a number reaches nothing.
        let wrong = values.find(|value| !value.parse().is_ok_and(|value| bound.holds(value)))?;
        Some(format!("{name}: {wrong}, goal {bound}"))
    }
}

/// The goals of a test.
pub(super) fn of_test(test: &str) -> impl Iterator<Item = &'static Goal> {
    GOALS.iter().filter(move |goal| goal.test == test)
}

const fn at_least(test: &'static str, figure: &'static str, least: f64) -> Goal {
    Goal { test, figure, bound: Bound::AtLeast(least) }
}

const fn at_most(test: &'static str, figure: &'static str, most: f64) -> Goal {
    Goal { test, figure, bound: Bound::AtMost(most) }
}

/// By rows of the scorecard.
const GOALS: &[Goal] = &[
    // 6
    at_least(LATE, "late requests", 1.0),
    at_most(LATE, "permits held afterwards", 0.0),
    at_most(LATE, BEHIND, 1.0),
    at_least(LEFT, "callers that left", 1.0),
    at_most(LEFT, "permits held afterwards", 0.0),
    at_most(LEFT, BEHIND, 1.0),
    at_least(CANCELLED_CALL, "calls in which a request was cancelled", 5.0),
    at_most(CANCELLED_CALL, "iterations behind one, at most", 1.0),
    at_least(LATE_CALL, "calls in which a deadline passed", 5.0),
    at_most(LATE_CALL, "iterations behind one, at most", 1.0),
    at_least(LATE_ANSWER, "answers late before their first word", 1.0),
    at_least(LATE_ANSWER, "answers late amid their words", 1.0),
    at_most(LATE_ANSWER, BEHIND, 1.0),
    at_least(LEFT_ANSWER, "callers that left", 1.0),
    at_most(LEFT_ANSWER, BEHIND, 1.0),
    at_most(CANCELLED_ANSWER, "words of an answer behind its cancellation", 1.0),
    at_least(FLOWS, "stages with a deadline", 7.0),
    at_least(FLOWS, "stages with a caller that left", 7.0),
    at_most(FLOWS, "running or waiting afterwards", 0.0),
    at_most(CROWD, "running or waiting afterwards", 0.0),
    at_least(ACROSS, "late requests across four processes", 12.0),
    // 7
    at_least(ROLLING, "processes restarted", 8.0),
    at_most(ROLLING, "longest exit, s", 30.0),
    at_least(ROLLING, "requests meanwhile", 8.0),
    at_most(ROLLING, "requests failed", 0.0),
    // 8
    at_most("shared/serving/tests/server.rs::peers_that_stop_in_the_middle_are_closed", CLOSED, 10.0),
    at_most("shared/serving/tests/web.rs::peers_that_stop_in_the_middle_are_closed", CLOSED, 10.0),
    at_most("shared/serving/tests/ops.rs::whoever_says_nothing_is_sent_away_and_connections_are_few", CLOSED, 10.0),
    at_most("shared/client/tests/tls.rs::slow_handshakes_are_closed_and_hold_nobody_up", CLOSED, 10.0),
    // 9
    at_least(IMAGES, "files", 500.0),
    at_least(IMAGES, "kinds", 12.0),
    at_most(IMAGES, "decoders that panicked", 0.0),
    at_most(IMAGES, "most memory, MiB", 64.0),
    // 10
    at_least(CHECKPOINTS, "files", 200.0),
    at_most(CHECKPOINTS, "loaded", 0.0),
    at_most(CHECKPOINTS, "refused for another reason", 0.0),
    // 11
    at_least(PROMPTS, "tokens", 23.0),
    at_least(PROMPTS, "contexts of each", 1000.0),
    at_most(PROMPTS, "ids injected", 0.0),
    // 15
    at_most("services/gateway/tests/auth.rs::every_method_needs_a_key_but_a_closed_list", "methods open", 2.0),
    at_most(
        "services/gateway/tests/http_auth.rs::every_route_needs_a_key_but_the_probes_and_the_page",
        "routes open, the page aside",
        2.0,
    ),
    // 16
    at_least(CLIENTS, "refused with no, a foreign and an expired certificate", 3.0),
    at_least(CLIENTS, "refused with another identity", 1.0),
    at_least(ROTATION, "handshakes and calls during the rotation", 48.0),
    at_most(ROTATION, "failed", 0.0),
    // 17
    at_most("tests/integration/tests/secrets.rs::keys_are_in_no_help_log_or_answer_of_a_process", "sightings", 0.0),
    at_most("services/gateway/tests/auth_log.rs::keys_are_nowhere_to_be_read", "sightings", 0.0),
    at_most("services/gateway/tests/auth.rs::bad_keys_are_refused_by_name_and_never_repeated", "sightings", 0.0),
    // 19
    at_most("services/trainer/tests/short_run.rs::a_full_disk_leaves_the_last_state", "half states", 0.0),
    at_most(DISK_IMAGES, "half files", 0.0),
    at_least(DISK_IMAGES, "outputs tried", 1.0),
    at_least(DISK_FOLDERS, "outputs tried", 1.0),
    at_least(DISK_STREAMS, "outputs tried", 1.0),
    // 20
    at_least(STARTS, "starts refused, no port opened, the key named", 60.0),
    // 21
    at_least(OVERFLOWS, "parts made to overflow", 7.0),
    at_most(OVERFLOWS, "pictures made", 0.0),
    at_most(NAN_PROBES, "pictures made of it", 0.0),
    at_most(
        "services/understanding/tests/service.rs::embeddings_that_are_not_finite_are_a_fault",
        "embeddings handed on",
        0.0,
    ),
];

const BEHIND: &str = "steps computed behind one, at most";
const CLOSED: &str = "closed after, s";

const LATE: &str =
    "services/synthesis/tests/deadlines.rs::whatever_a_request_is_at_its_deadline_ends_it_and_nothing_is_left";
const LEFT: &str =
    "services/synthesis/tests/deadlines.rs::whatever_a_request_is_at_when_its_caller_leaves_nothing_is_left";
const CANCELLED_CALL: &str =
    "services/synthesis/tests/deadlines.rs::nothing_is_computed_behind_the_call_in_which_a_request_is_cancelled";
const LATE_CALL: &str =
    "services/synthesis/tests/deadlines.rs::nothing_is_computed_behind_the_call_in_which_a_deadline_passes";
const LATE_ANSWER: &str =
    "services/decoder/tests/service/deadlines.rs::whatever_an_answer_is_at_its_deadline_ends_it_and_nothing_waits_on";
const LEFT_ANSWER: &str =
    "services/decoder/tests/service/deadlines.rs::whatever_an_answer_is_at_when_its_caller_leaves_nothing_waits_on";
const CANCELLED_ANSWER: &str =
    "services/decoder/tests/service/core.rs::cancelled_and_late_work_is_not_done_and_spoils_nothing";
const FLOWS: &str =
    "services/gateway/tests/lifecycle.rs::whatever_a_flow_waits_for_a_deadline_or_a_caller_that_leaves_ends_it";
const CROWD: &str = "services/gateway/tests/lifecycle.rs::places_are_all_free_again_after_a_crowd";
const ACROSS: &str =
    "tests/integration/tests/failover.rs::a_deadline_is_told_as_such_across_processes_and_leaves_nothing_behind";
const ROLLING: &str = "tests/integration/tests/failover.rs::a_rolling_restart_under_load_fails_no_request";
const IMAGES: &str = "shared/imaging/tests/hostile.rs::no_file_panics_or_takes_more_memory_than_allowed";
const CHECKPOINTS: &str = "shared/weights/tests/checkpoints/hostile.rs::no_bad_checkpoint_loads";
const PROMPTS: &str = "shared/models/src/prompt/tests.rs::user_text_yields_no_control_token";
const CLIENTS: &str = "shared/client/tests/tls.rs::only_clients_of_the_authority_with_a_known_identity_are_let_in";
const ROTATION: &str =
    "shared/client/tests/tls.rs::authorities_and_certificates_change_under_load_without_a_failed_call";
const DISK_IMAGES: &str = "tests/integration/tests/full_disk.rs::a_full_disk_leaves_no_half_image_and_the_one_before";
const DISK_FOLDERS: &str =
    "tests/integration/tests/full_disk.rs::a_full_disk_leaves_no_half_dataset_checkpoint_or_evaluation";
const DISK_STREAMS: &str = "tests/integration/tests/full_disk.rs::standard_output_that_takes_no_more_is_a_failure";
const STARTS: &str = "tests/integration/tests/refused_starts.rs::a_wrong_configuration_is_refused_with_its_key";
const OVERFLOWS: &str = "services/synthesis/tests/faults.rs::a_part_that_overflows_makes_no_image";
const NAN_PROBES: &str =
    "services/synthesis/tests/loop.rs::values_that_are_not_finite_fail_their_own_request_and_make_no_image";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorecard::CHECKS;

    #[test]
    fn goals_are_of_tests_of_the_scorecard_and_have_their_figures_in_the_report() {
        let named = |goal: &Goal| CHECKS.iter().any(|check| check.tests.contains(&goal.test));
        let report = include_str!("../../REPORT.md");
        for goal in GOALS {
            assert!(named(goal), "{} is not in the scorecard", goal.test);
            let (figure, bound) = (goal.figure, goal.bound);
            let row = CHECKS.iter().position(|check| check.tests.contains(&goal.test)).unwrap() + 1;
            let figures = crate::checks::reported(report, row, goal.test).unwrap_or_default();
            assert!(figures.contains(&format!("{figure}: ")), "{}: no `{figure}` in the report", goal.test);
            assert!(figures.contains(&format!("(goal {bound})")), "{}: {figure} is told without {bound}", goal.test);
        }
    }

    #[test]
    fn a_figure_is_held_against_its_goal() {
        let figure =
            |value: &str| Figure { file: "a.rs".into(), test: "b".into(), name: "files".into(), value: value.into() };
        let goal = at_least("a.rs::b", "files", 500.0);
        assert_eq!(goal.miss(&[figure("500")]), None);
        assert_eq!(goal.miss(&[figure("614"), figure("9")]).unwrap(), "files: 9, goal ≥ 500");
        assert!(goal.miss(&[]).unwrap().contains("states no figure"));
        assert!(goal.miss(&[figure("many")]).is_some() && goal.miss(&[figure("NaN")]).is_some());
        let goal = at_most("a.rs::b", "files", 0.0);
        assert_eq!((goal.miss(&[figure("0")]), goal.miss(&[figure("0.1")]).is_some()), (None, true));
    }
}
