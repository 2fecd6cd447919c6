//! The core, as the single-process node calls it.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use futures::future::join_all;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Code;
use unipic_api::{ApiError, Reason};
use unipic_decoder::{AnswerEvent, AnswerSpec, Decoder, FinishReason, JOBS_AT_ONCE, ProbeSegment};
use unipic_engine::JobContext;
use unipic_measures::measured;
use unipic_models::load::LoadOptions;
use unipic_models::prompt::{
    Piece, Prompt, PromptTokenizer, Segment, edit, edit_unconditional, generate, generate_unconditional, understand,
};
use unipic_models::qwen2::{CacheUse, Model, Run};
use unipic_models::sampling::AnswerText;
use unipic_test_support::{case, same_bits, tiny_a};
use unipic_weights::{Checkpoint, Part};

use crate::{CONTEXT, WIDTH, rows, start, start_with_room};

fn spec(prompt: Prompt, max_tokens: usize) -> AnswerSpec {
    AnswerSpec { prompt, max_tokens, temperature: 0.0, top_p: 1.0, seed: 0, stop: Vec::new(), candidates: Vec::new() }
}

fn segment(prompt: usize, first_row: usize, n_rows: usize) -> ProbeSegment {
    ProbeSegment { prompt, first_row, n_rows }
}

/// The text of an answer, and its end.
async fn collect(events: impl Stream<Item = Result<AnswerEvent, ApiError>>) -> (String, FinishReason, usize) {
    let events: Vec<AnswerEvent> = events.try_collect().await.unwrap();
    let (last, deltas) = events.split_last().unwrap();
    let AnswerEvent::Done(done) = last else { panic!("{last:?} ends an answer") };
    let text = deltas.iter().map(|event| match event {
        AnswerEvent::Text(text) if !text.is_empty() => text.as_str(),
        other => panic!("{other:?} within an answer"),
    });
    (text.collect(), done.finish_reason, done.completion_tokens)
}

async fn answer(decoder: &Decoder, spec: AnswerSpec) -> (String, FinishReason, usize) {
    collect(decoder.answer(spec, JobContext::current()).await.unwrap()).await
}

/// Hidden states of `z` behind one prompt, in a session of its own.
async fn probe_alone(decoder: &Decoder, prompt: Prompt, z: &Tensor) -> Tensor {
    let context = JobContext::current();
    let mut session = decoder.open(vec![prompt], &context).await.unwrap();
    session.probe(z.clone(), vec![segment(0, 0, z.dim(0).unwrap())], &context).await.unwrap()
}

fn language_model() -> Model {
    let checkpoint = Checkpoint::open(&tiny_a()).unwrap();
    let options = LoadOptions::cpu();
    let tensors = options.load(&checkpoint, &[Part::Llm]).unwrap();
    Model::load(&options.build(&tensors), &checkpoint.config().llm).unwrap()
}

fn tokenizer() -> PromptTokenizer {
    PromptTokenizer::from_json(&Checkpoint::open(&tiny_a()).unwrap().tokenizer().unwrap()).unwrap()
}

fn embed(model: &Model, piece: &Piece) -> Tensor {
    match piece {
        Piece::Ids(ids) => model.embed(ids).unwrap(),
        Piece::Embeddings(x) => x.clone(),
    }
}

fn ids(piece: &Piece) -> Vec<u32> {
    match piece {
        Piece::Ids(ids) => ids.clone(),
        Piece::Embeddings(_) => panic!("text alone"),
    }
}

/// The same by the model itself, uncached, in one uncut pass.
fn reference(prompt: &Prompt, z: &Tensor) -> Tensor {
    let model = language_model();
    let mut parts: Vec<Tensor> =
        tokenizer().tokenize(prompt).unwrap().iter().map(|piece| embed(&model, piece)).collect();
    parts.push(z.clone());
    let x = Tensor::cat(&parts, 0).unwrap();
    let (n, n_rows) = (x.dim(0).unwrap(), z.dim(0).unwrap());
    let hidden = model.forward(&x, &mut [Run { n_rows: n, cache: CacheUse::None }]).unwrap();
    hidden.narrow(0, n - n_rows, n_rows).unwrap()
}

#[tokio::test]
async fn answers_are_the_published_ones() {
    let decoder = start();
    let tokenizer = Arc::new(PromptTokenizer::load(&tiny_a().join("tokenizer.json")).unwrap());
    for name in ["understand_siglip2", "understand_mar"] {
        let case = case(name).unwrap();
        let expected = case["greedy"].flatten_all().unwrap().to_vec1::<i64>().unwrap();
        let mut text = AnswerText::new(Arc::clone(&tokenizer), Vec::new());
        let mut expected_text: String = expected.iter().map(|id| text.push(*id as u32).delta).collect();
        expected_text.push_str(&text.finish());
        let prompt = understand(&case["z"].squeeze(0).unwrap(), "Describe the image in detail.");
        let (text, _, n) = answer(&decoder, spec(prompt, expected.len())).await;
        assert_eq!((text, n), (expected_text, expected.len()), "{name}");
    }
}

#[tokio::test]
async fn probes_are_the_models_own_rows_bit_for_bit() {
    let decoder = start();
    let z = rows(9, 1);
    // The second takes three prefill jobs.
    for prompt in [generate("a red circle"), edit(&rows(1300, 2), "make it blue")] {
        let hidden = probe_alone(&decoder, prompt.clone(), &z).await;
        assert!(same_bits(&hidden, &reference(&prompt, &z)).unwrap());
    }
}

#[tokio::test]
async fn branches_share_their_image_and_change_nothing_by_it() {
    let (decoder, context) = (start(), JobContext::current());
    let (image, z) = (rows(40, 1), rows(12, 2));
    let prompts = vec![edit(&image, "make it blue"), edit_unconditional(&image, None)];
    let mut session = decoder.open(prompts.clone(), &context).await.unwrap();
    let sizes: Vec<usize> = session.prompt_tokens().collect();
    // `<|im_start|>user\n` is 3 tokens, the line break behind the image may merge with what follows.
    assert!(session.prefilled_tokens() <= sizes.iter().sum::<usize>() - 43, "{sizes:?}");
    // Two images of six rows in each branch.
    let segments = [segment(0, 0, 6), segment(0, 6, 6), segment(1, 0, 6), segment(1, 6, 6)];
    let hidden = session.probe(z.clone(), segments.to_vec(), &context).await.unwrap();
    let again = session.probe(z.clone(), segments.to_vec(), &context).await.unwrap();
    assert!(same_bits(&hidden, &again).unwrap(), "a probe leaves nothing behind");
    for (i, segment) in segments.iter().enumerate() {
        let z = z.narrow(0, segment.first_row, 6).unwrap();
        let alone = probe_alone(&decoder, prompts[segment.prompt].clone(), &z).await;
        assert!(same_bits(&hidden.narrow(0, 6 * i, 6).unwrap(), &alone).unwrap(), "segment {i}");
    }
}

#[tokio::test]
async fn probes_larger_than_a_job_are_cut_between_segments() {
    let (decoder, context) = (start(), JobContext::current());
    let (prompt, z) = (generate("a red circle"), rows(2000, 4));
    let mut session = decoder.open(vec![prompt.clone()], &context).await.unwrap();
    let segments = [segment(0, 0, 2000), segment(0, 1000, 1000), segment(0, 0, 2000), segment(0, 7, 5)];
    let hidden = session.probe(z.clone(), segments.to_vec(), &context).await.unwrap();
    assert_eq!(hidden.dims(), [5005, WIDTH]);
    let mut first = 0;
    for segment in segments {
        let z = z.narrow(0, segment.first_row, segment.n_rows).unwrap();
        let alone = probe_alone(&decoder, prompt.clone(), &z).await;
        let among = hidden.narrow(0, first, segment.n_rows).unwrap();
        assert!(same_bits(&among, &alone).unwrap(), "{segment:?}");
        first += segment.n_rows;
    }
}

/// However many its images: it would be refused again and again, on a device that has nothing else to do.
#[tokio::test]
async fn one_request_does_not_fill_the_queue() {
    let decoder = start_with_room(&tiny_a(), 0, JOBS_AT_ONCE);
    let (context, z) = (JobContext::current(), rows(2200, 4));
    let prompts: Vec<Prompt> = (0..2 * JOBS_AT_ONCE).map(|i| generate(&format!("{i} circles"))).collect();
    let mut session = decoder.open(prompts, &context).await.unwrap();
    // Two of them are more rows than a job has.
    let segments: Vec<_> = (0..2 * JOBS_AT_ONCE).map(|prompt| segment(prompt, 0, 2200)).collect();
    let hidden = session.probe(z, segments, &context).await.unwrap();
    assert_eq!(hidden.dims(), [2 * JOBS_AT_ONCE * 2200, WIDTH]);
}

#[tokio::test]
async fn the_unconditional_prompt_is_prefilled_once_for_all_tenants_and_users_text_is_not() {
    let (decoder, context, z) = (start(), JobContext::current(), rows(5, 3));
    let other = JobContext { tenant: "other".into(), ..JobContext::current() };
    let open = |prompts: Vec<Prompt>| decoder.open(prompts, &context);
    let both = || vec![generate("a red circle"), generate_unconditional(None)];
    let mut first = open(both()).await.unwrap();
    let mut second = decoder.open(both(), &other).await.unwrap();
    let [conditional, unconditional] = first.prompt_tokens().collect::<Vec<_>>()[..] else { panic!("two prompts") };
    assert!(first.prefilled_tokens() > conditional && first.prefilled_tokens() < conditional + unconditional);
    assert_eq!(second.prefilled_tokens(), conditional);
    assert_eq!(open(vec![generate_unconditional(None)]).await.unwrap().prefilled_tokens(), 0);
    for segments in [vec![segment(0, 0, 5)], vec![segment(1, 0, 5)]] {
        let hidden = first.probe(z.clone(), segments.clone(), &context).await.unwrap();
        assert!(same_bits(&hidden, &second.probe(z.clone(), segments, &context).await.unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_do_not_depend_on_company() {
    let decoder = start();
    let z: Vec<Tensor> = (0..4).map(|i| rows(3 + 5 * i, i)).collect();
    let prompt = |i: usize| generate(&"a red circle ".repeat(i + 1));
    let draw = |seed: u64| AnswerSpec {
        temperature: 1.5,
        top_p: 0.9,
        seed,
        ..spec(understand(&rows(20 + seed as usize, 7), "What is it?"), 12)
    };
    let (mut probed, mut answered) = (Vec::new(), Vec::new());
    for (i, z) in z.iter().enumerate() {
        probed.push(probe_alone(&decoder, prompt(i), z).await);
        answered.push(answer(&decoder, draw(i as u64)).await);
    }
    assert_ne!(answered[0], answered[1]);
    let probes = join_all(z.iter().enumerate().map(|(i, z)| probe_alone(&decoder, prompt(i), z)));
    let answers = join_all((0..4).map(|i| answer(&decoder, draw(i))));
    let (probes, answers) = tokio::join!(probes, answers);
    assert_eq!(answers, answered);
    for (among, alone) in probes.iter().zip(&probed) {
        assert!(same_bits(among, alone).unwrap());
    }
}

#[tokio::test]
async fn answers_end_at_stop_strings_and_at_the_context() {
    let decoder = start();
    let prompt = understand(&case("understand_mar").unwrap()["z"].squeeze(0).unwrap(), "Describe the image in detail.");
    let (whole, _, n) = answer(&decoder, spec(prompt.clone(), 20)).await;
    let stop: String = whole.chars().skip(whole.chars().count() / 2).take(2).collect();
    let stopped = answer(&decoder, AnswerSpec { stop: vec![stop.clone()], ..spec(prompt, 20) }).await;
    assert_eq!((stopped.0.as_str(), stopped.1), (whole.split(&stop).next().unwrap(), FinishReason::Stop));
    assert!(stopped.2 <= n);

    let most = CONTEXT - 30;
    let prompt = understand(&rows(most, 5), "Hm?");
    let prompt_tokens = decoder.open(vec![prompt.clone()], &JobContext::current()).await.unwrap().prefilled_tokens();
    let (_, reason, n) = answer(&decoder, spec(prompt, 1000)).await;
    assert_eq!((reason, prompt_tokens + n), (FinishReason::Length, CONTEXT));
}

#[tokio::test]
async fn candidates_weigh_what_the_model_itself_says_of_them() {
    let decoder = start();
    let z = case("understand_mar").unwrap()["z"].squeeze(0).unwrap();
    let prompt = understand(&z, "Is it red?");
    let candidates = ["yes", "no", "a longer answer of several tokens"].map(str::to_owned).to_vec();
    let spec = AnswerSpec { candidates: candidates.clone(), ..spec(prompt.clone(), 1) };
    let events = decoder.answer(spec, JobContext::current()).await.unwrap();
    let events: Vec<AnswerEvent> = events.try_collect().await.unwrap();
    let [AnswerEvent::Done(done)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((done.completion_tokens, done.finish_reason), (0, FinishReason::Stop));
    let (model, tokenizer) = (language_model(), tokenizer());
    for (text, found) in candidates.iter().zip(&done.candidate_logprobs) {
        let expected = logprob(&model, &tokenizer, &prompt, text);
        assert!((expected - found).abs() < 1e-4 && *found < 0.0, "{text}: {found}, expected {expected}");
    }
    assert_eq!(done.candidate_logprobs.len(), candidates.len());
}

/// ln P of an answer's beginning by one uncached pass over prompt and answer.
fn logprob(model: &Model, tokenizer: &PromptTokenizer, prompt: &Prompt, answer: &str) -> f64 {
    let said = Prompt { segments: vec![Segment::User(answer.to_owned())] };
    let ids: Vec<u32> = tokenizer.tokenize(&said).unwrap().iter().flat_map(ids).collect();
    let pieces = tokenizer.tokenize(prompt).unwrap();
    let mut parts: Vec<Tensor> = pieces.iter().map(|piece| embed(model, piece)).collect();
    parts.push(model.embed(&ids).unwrap());
    let x = Tensor::cat(&parts, 0).unwrap();
    let n = x.dim(0).unwrap();
    let hidden = model.forward(&x, &mut [Run { n_rows: n, cache: CacheUse::None }]).unwrap();
    let logits: Vec<Vec<f32>> = model.logits(&hidden).unwrap().to_vec2().unwrap();
    let of = |(i, id): (usize, &u32)| {
        let row = &logits[n - ids.len() - 1 + i];
        f64::from(row[*id as usize]) - row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln()
    };
    ids.iter().enumerate().map(of).sum()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_any_compute() {
    let (decoder, context) = (start(), JobContext::current());
    let refused = |error: ApiError, field: &str| {
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.to_string().contains(field), "{field}: {error}");
    };
    let open = |prompts| decoder.open(prompts, &context);
    let narrow = Tensor::zeros((3, WIDTH / 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    refused(open(vec![]).await.err().unwrap(), "open.prompts");
    refused(open(vec![generate("a"), Prompt::default()]).await.err().unwrap(), "open.prompts[1]");
    refused(open(vec![edit(&rows(CONTEXT, 0), "a")]).await.err().unwrap(), "open.prompts[0]");
    refused(open(vec![edit(&narrow, "a")]).await.err().unwrap(), "open.prompts[0]");
    let mut session = open(vec![generate("a")]).await.unwrap();
    for (z, segments, field) in [
        (rows(4, 0), vec![], "probe.segments"),
        (rows(4, 0), vec![segment(1, 0, 4)], "probe.segments[0].prompt"),
        (rows(4, 0), vec![segment(0, 0, 4), segment(0, 1, 4)], "probe.segments[1].n_rows"),
        (rows(4, 0), vec![segment(0, usize::MAX, 2)], "probe.segments[0].n_rows"),
        (rows(4, 0), vec![segment(0, 0, 0)], "probe.segments[0].n_rows"),
        (rows(CONTEXT, 0), vec![segment(0, 0, CONTEXT)], "probe.segments[0].n_rows"),
        (narrow, vec![segment(0, 0, 1)], "frame"),
    ] {
        refused(session.probe(z, segments, &context).await.unwrap_err(), field);
    }
    let (temperature, top_p, empty) = (f32::NAN, 0.0, vec![String::new()]);
    let wrong = AnswerSpec { temperature, top_p, stop: empty.clone(), candidates: empty, ..spec(generate("a"), 0) };
    let error = decoder.answer(wrong, context.clone()).await.err().unwrap();
    for field in ["open.max_tokens", "open.temperature", "open.top_p", "open.stop", "open.candidates"] {
        refused(error.clone(), field);
    }
    session.probe(rows(4, 0), vec![segment(0, 0, 4)], &context).await.unwrap();
}

#[tokio::test]
async fn cancelled_and_late_work_is_not_done_and_spoils_nothing() {
    let (decoder, context, z) = (start(), JobContext::current(), rows(4, 0));
    let mut session = decoder.open(vec![generate("a red circle")], &context).await.unwrap();
    let cancelled = JobContext::current();
    cancelled.cancel.cancel();
    let late = JobContext { deadline: Some(Instant::now()), ..JobContext::current() };
    let probe = vec![segment(0, 0, 4)];
    assert_eq!(session.probe(z.clone(), probe.clone(), &cancelled).await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(session.probe(z.clone(), probe.clone(), &late).await.unwrap_err().code(), Code::DeadlineExceeded);
    let hidden = session.probe(z.clone(), probe, &context).await.unwrap();
    assert!(same_bits(&hidden, &probe_alone(&decoder, generate("a red circle"), &z).await).unwrap());

    let halfway = JobContext::current();
    let mut events = Box::pin(decoder.answer(spec(generate("a"), 4000), halfway.clone()).await.unwrap());
    let first = events.next().await.unwrap();
    first.unwrap();
    halfway.cancel.cancel();
    let rest: Vec<_> = events.collect().await;
    assert!(matches!(rest.last(), Some(Err(ApiError::Cancelled))), "{rest:?}");
    measured!("words of an answer behind its cancellation", rest.len() - 1);
}

#[tokio::test]
async fn values_that_are_no_numbers_are_a_fault_of_the_model() {
    let (decoder, context) = (start(), JobContext::current());
    let mut session = decoder.open(vec![generate("a red circle")], &context).await.unwrap();
    let z = (rows(4, 0) * f64::NAN).unwrap();
    let error = session.probe(z, vec![segment(0, 0, 4)], &context).await.unwrap_err();
    assert!(matches!(error, ApiError::Fault(Reason::NonFinite)), "{error}");
    let z = (rows(4, 0) * f64::NAN).unwrap();
    let events = decoder.answer(spec(understand(&z, "Hm?"), 3), context).await.unwrap();
    let error = events.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error, ApiError::Fault(Reason::NonFinite)), "{error}");
}

#[tokio::test]
async fn an_answer_or_a_session_of_values_that_are_not_finite_is_a_fault() {
    let folder = unipic_test_support::poisoned("llm.model.norm.weight").unwrap();
    let decoder = crate::start_of(folder.path());
    let context = JobContext::current();
    let events = decoder.answer(spec(generate("a red circle"), 4), context.clone()).await.unwrap();
    let last = events.collect::<Vec<_>>().await.pop();
    let mut session = decoder.open(vec![generate("a red circle")], &context).await.unwrap();
    let probed = session.probe(rows(3, 1), vec![segment(0, 0, 3)], &context).await;
    let ends = [last.and_then(Result::err), probed.map(drop).err()];
    let n_refused = ends.iter().filter(|end| matches!(end, Some(ApiError::Fault(Reason::NonFinite)))).count();
    measured!("kinds of job refused for it", n_refused);
    assert_eq!(n_refused, ends.len(), "{ends:?}");
}
