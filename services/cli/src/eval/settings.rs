//! From flags to the evaluation's own words.

use unipic_eval::bench::Fit;
use unipic_eval::nano::Nano;
use unipic_eval::{Run, Sampling, Schedule};

use crate::args::{self, EvalSampling, Items, Other, Target};

/// The run that the flags ask for.
pub(super) fn run(flags: &args::Run) -> Run {
    Run {
        out: flags.out.clone(),
        seed: flags.seed,
        sampling: sampling(&flags.sampling),
        in_flight: flags.in_flight,
        label: flags.label.clone(),
        limit: flags.limit,
    }
}

/// The items of the shapes world that the flags ask for.
pub(super) fn nano(items: &Items, flags: &args::Run) -> Nano {
    let Items { world_seed, difficulty, per_category, per_edit, per_question, captions, on_sheet } = items.clone();
    Nano { world_seed, difficulty, per_category, per_edit, per_question, captions, on_sheet, run: run(flags) }
}

/// How images are sampled.
pub(super) fn sampling(flags: &EvalSampling) -> Sampling {
    Sampling {
        size: flags.size,
        iterations: flags.iterations,
        head_steps: flags.head_steps,
        guidance: flags.guidance,
        schedule: flags.guidance_schedule.map(schedule),
        temperature: flags.temperature,
        negative: flags.negative.clone(),
    }
}

/// How side b is sampled: as side a, but for what is said of it.
pub(super) fn other_sampling(a: Sampling, b: &Other) -> Sampling {
    Sampling {
        iterations: b.b_iterations.or(a.iterations),
        head_steps: b.b_head_steps.or(a.head_steps),
        guidance: b.b_guidance.or(a.guidance),
        schedule: b.b_guidance_schedule.map(schedule).or(a.schedule),
        temperature: b.b_temperature.or(a.temperature),
        ..a
    }
}

/// Side b's model; none where it is side a's.
pub(super) fn other_target(a: &Target, b: &Other) -> Option<Target> {
    let mut target = a.clone();
    match (&b.b_server, &b.b_model, b.b_linear) {
        (None, None, None) => return None,
        (Some(server), ..) => target.server.url = Some(server.clone()),
        (None, model, linear) => {
            target.server.url = None;
            target.local.model = model.clone().or(target.local.model);
            target.local.linear = linear.or(target.local.linear);
        }
    }
    Some(target)
}

/// The size of an edit's result.
pub(super) fn fit(flag: args::Fit) -> Fit {
    match flag {
        args::Fit::Fixed => Fit::Fixed,
        args::Fit::FixedCropped => Fit::FixedCropped,
        args::Fit::SourceAspect => Fit::SourceAspect,
    }
}

fn schedule(flag: args::Schedule) -> Schedule {
    match flag {
        args::Schedule::Constant => Schedule::Constant,
        args::Schedule::Linear => Schedule::Linear,
    }
}
