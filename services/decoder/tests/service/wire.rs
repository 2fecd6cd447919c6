//! The same over gRPC: no bit changes on the way, and a stream that breaks the protocol is refused by name.

use candle_core::{Device, Tensor};
use futures::{StreamExt, stream};
use tonic::{Code, Status, Streaming, transport::Channel};
use unipic_api::pb::decoder_client::DecoderClient;
use unipic_api::pb::segment::Piece;
use unipic_api::pb::{answer_request, answer_response, session_request, session_response};
use unipic_api::{ApiError, pb, status::readable};
use unipic_decoder::config::Config;
use unipic_decoder::{Decoder, ProbeSegment, server};
use unipic_engine::JobContext;
use unipic_models::prompt::{edit, edit_unconditional, understand};
use unipic_test_support::same_bits;
use unipic_wire::{FrameLimits, RawTensor, frames, receive};

use crate::{CONTEXT, WIDTH, rows, start};

/// The process's own server on a free port.
async fn serve(decoder: Decoder) -> DecoderClient<Channel> {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let listener = config.listen.bind().await.unwrap();
    let url = format!("http://{}", listener.address().unwrap());
    let load = std::future::ready(Ok(decoder));
    tokio::spawn(async move { server::run(&config, load, listener, Default::default(), std::future::pending()).await });
    let mut client = DecoderClient::connect(url).await.unwrap();
    while client.get_decoder_info(pb::GetDecoderInfoRequest {}).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client
}

type Message = session_request::Message;

fn template(text: &str) -> Piece {
    Piece::Template(text.into())
}

fn prompt(pieces: Vec<Piece>) -> pb::Prompt {
    pb::Prompt { segments: pieces.into_iter().map(|piece| pb::Segment { piece: Some(piece) }).collect() }
}

/// An edit around tensor `index`, in the words of the published template.
fn edit_message(index: u32, instruction: Piece) -> pb::Prompt {
    prompt(vec![
        template("<|im_start|>user\n"),
        Piece::EmbeddingsIndex(index),
        template("\n"),
        instruction,
        template("<|im_end|>\n<|im_start|>assistant\n"),
    ])
}

fn open(prompts: Vec<pb::Prompt>, n_tensors: u32) -> Message {
    Message::Open(pb::SessionOpen { prompts, n_tensors })
}

fn probe(segments: &[(u32, u32, u32)]) -> Message {
    let segment = |&(prompt, first_row, n_rows): &_| pb::ProbeSegment { prompt, first_row, n_rows };
    Message::Probe(pb::Probe { segments: segments.iter().map(segment).collect() })
}

fn tensor(x: &Tensor) -> Vec<Message> {
    frames(x).unwrap().map(Message::Frame).collect()
}

/// A tensor that our own encoder would refuse to send.
fn no_numbers() -> Vec<Message> {
    let data: Vec<u8> = vec![f32::NAN.to_le_bytes(); WIDTH].concat();
    let raw = RawTensor::new(pb::DType::DtypeF32, vec![1, WIDTH as u32], data.into()).unwrap();
    raw.into_frames().map(Message::Frame).collect()
}

async fn session(
    client: &mut DecoderClient<Channel>,
    messages: Vec<Message>,
) -> Result<Streaming<pb::SessionResponse>, Status> {
    let requests: Vec<_> = messages.into_iter().map(|m| pb::SessionRequest { message: Some(m) }).collect();
    Ok(client.session(stream::iter(requests)).await?.into_inner())
}

async fn hidden(replies: &mut Streaming<pb::SessionResponse>) -> Tensor {
    let frame = |reply: pb::SessionResponse| match reply.message {
        Some(session_response::Message::Frame(frame)) => Ok(frame),
        other => Err(ApiError::invalid("frame", format!("is missing: {other:?}"))),
    };
    receive(replies, FrameLimits::default(), "frame", &Device::Cpu, frame).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_over_the_wire_gives_the_same_bits() {
    let (decoder, context) = (start(), JobContext::current());
    // More than one frame each.
    let (image, z) = (rows(4000, 1), rows(80, 2));
    let local = [edit(&image, "make it blue"), edit_unconditional(&image, None)];
    let mut local = decoder.open(local.to_vec(), &context).await.unwrap();
    let segment = |prompt| ProbeSegment { prompt, first_row: 0, n_rows: 80 };
    let expected = local.probe(z.clone(), vec![segment(0), segment(1)], &context).await.unwrap();

    let mut client = serve(decoder).await;
    let prompts =
        vec![edit_message(0, Piece::UserText("make it blue".into())), edit_message(0, template("Repeat this image."))];
    let mut messages = vec![open(prompts, 1)];
    messages.extend(tensor(&image));
    for segments in [&[(0, 0, 80), (1, 0, 80)][..], &[(1, 0, 80)][..]] {
        messages.push(probe(segments));
        messages.extend(tensor(&z));
    }
    let mut replies = session(&mut client, messages).await.unwrap();
    let Some(session_response::Message::Opened(opened)) = replies.next().await.unwrap().unwrap().message else {
        panic!("a session opens first")
    };
    let sizes: Vec<usize> = opened.prompt_tokens.iter().map(|n| *n as usize).collect();
    assert_eq!(sizes, local.prompt_tokens().collect::<Vec<_>>());
    assert_eq!(opened.prefilled_tokens as usize, local.prefilled_tokens());
    assert!(same_bits(&hidden(&mut replies).await, &expected).unwrap());
    assert!(same_bits(&hidden(&mut replies).await, &expected.narrow(0, 80, 80).unwrap()).unwrap());
    assert!(replies.next().await.is_none(), "the session ends with the caller's side");
}

fn answer_open() -> pb::AnswerOpen {
    pb::AnswerOpen {
        prompt: Some(edit_message(0, Piece::UserText("What is it? <|im_end|>".into()))),
        n_tensors: 1,
        max_tokens: 12,
        temperature: 0.8,
        top_p: 0.9,
        seed: 5,
        stop: Vec::new(),
        candidates: Vec::new(),
    }
}

async fn answer(
    client: &mut DecoderClient<Channel>,
    open: pb::AnswerOpen,
    image: &Tensor,
) -> Result<(String, pb::AnswerDone), Status> {
    let frames = frames(image).unwrap().map(answer_request::Message::Frame);
    let messages = [answer_request::Message::Open(open)].into_iter().chain(frames);
    let requests: Vec<_> = messages.map(|m| pb::AnswerRequest { message: Some(m) }).collect();
    let mut replies = client.answer(stream::iter(requests)).await?.into_inner();
    let mut text = String::new();
    while let Some(reply) = replies.next().await {
        match reply?.message {
            Some(answer_response::Message::TextDelta(delta)) => text.push_str(&delta),
            Some(answer_response::Message::Done(done)) => return Ok((text, done)),
            None => panic!("an empty reply"),
        }
    }
    panic!("an answer without an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_the_wire_is_the_local_one() {
    let (decoder, image) = (start(), rows(30, 3));
    let spec = unipic_decoder::AnswerSpec {
        prompt: understand(&image, "What is it? <|im_end|>"),
        max_tokens: 12,
        temperature: 0.8,
        top_p: 0.9,
        seed: 5,
        stop: Vec::new(),
        candidates: Vec::new(),
    };
    let local: Vec<_> = decoder.answer(spec, JobContext::current()).await.unwrap().collect().await;
    let text = |event: &Result<_, _>| match event {
        Ok(unipic_decoder::AnswerEvent::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let local: String = local.iter().map(text).collect();
    let mut client = serve(decoder).await;
    let (remote, done) = answer(&mut client, answer_open(), &image).await.unwrap();
    assert_eq!(remote, local);
    assert!(done.completion_tokens <= 12 && done.prompt_tokens > 30 && done.first_token_ms > 0.0);
    let info = client.get_decoder_info(pb::GetDecoderInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.llm_width as usize, info.context_length as usize, info.vocab_size), (WIDTH, CONTEXT, 512));
    assert_eq!(info.weights_sha256.len(), 64);

    let wrong = pb::AnswerOpen { max_tokens: 0, temperature: -1.0, top_p: 2.0, ..answer_open() };
    let status = answer(&mut client, wrong, &image).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for field in ["open.max_tokens", "open.temperature", "open.top_p"] {
        assert!(readable(&status).contains(field), "{field}: {}", readable(&status));
    }
    let weighed = pb::AnswerOpen { candidates: vec!["yes".into(), "no".into()], ..answer_open() };
    let (text, done) = answer(&mut client, weighed, &image).await.unwrap();
    assert_eq!((text.as_str(), done.completion_tokens, done.candidate_logprobs.len()), ("", 0, 2));
    let missing = pb::AnswerOpen { prompt: None, ..answer_open() };
    let status = answer(&mut client, missing, &image).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

/// The first status that is not OK of a session of these messages.
async fn refusal(client: &mut DecoderClient<Channel>, messages: Vec<Message>) -> Status {
    let mut replies = match session(client, messages).await {
        Ok(replies) => replies,
        Err(status) => return status,
    };
    while let Some(reply) = replies.next().await {
        if let Err(status) = reply {
            return status;
        }
    }
    panic!("the session was accepted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_break_the_protocol_are_refused_by_field() {
    let mut client = serve(start()).await;
    let x = rows(3, 1);
    let opening = || vec![open(vec![edit_message(0, Piece::UserText("a".into()))], 1)];
    let opened = || [opening(), tensor(&x)].concat();
    let probed = |segments: &[(u32, u32, u32)], x: &Tensor| [opened(), vec![probe(segments)], tensor(x)].concat();
    let damaged = |damage: fn(&mut pb::TensorFrame)| {
        let mut frame = frames(&x).unwrap().next().unwrap();
        damage(&mut frame);
        [opening(), vec![Message::Frame(frame)]].concat()
    };
    let bytes = Tensor::zeros((3, WIDTH), candle_core::DType::U8, &Device::Cpu).unwrap();
    let wide = Tensor::zeros((3, WIDTH + 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let cases = [
        ("an empty stream", vec![], "open"),
        ("no opening", vec![probe(&[(0, 0, 1)])], "open"),
        ("a missing tensor", opening(), "frame of tensor 0"),
        ("another message for a tensor", [opening(), opening()].concat(), "frame of tensor 0"),
        ("a second opening", [opened(), opening()].concat(), "open"),
        ("a frame of no probe", [opened(), tensor(&x)].concat(), "frame"),
        ("a probe without rows", [opened(), vec![probe(&[(0, 0, 1)])]].concat(), "frame"),
        ("no prompts", vec![open(vec![], 0)], "open.prompts"),
        ("an empty prompt", vec![open(vec![prompt(vec![])], 0)], "open.prompts[0]"),
        (
            "a tensor that was not sent",
            [vec![open(vec![edit_message(1, template("a"))], 1)], tensor(&x)].concat(),
            "segments[1]",
        ),
        (
            "an empty segment",
            vec![open(vec![pb::Prompt { segments: vec![pb::Segment { piece: None }] }], 0)],
            "segments[0]",
        ),
        ("too many tensors", vec![open(vec![], u32::MAX)], "open.n_tensors"),
        ("too much text", vec![open(vec![prompt(vec![Piece::UserText("a".repeat(2 << 20))])], 0)], "open.prompts[0]"),
        ("an unknown prompt", probed(&[(1, 0, 1)], &x), "probe.segments[0].prompt"),
        ("rows beyond the end", probed(&[(0, 2, 2)], &x), "probe.segments[0].n_rows"),
        ("no rows", probed(&[(0, 0, 0)], &x), "probe.segments[0].n_rows"),
        ("more work than an answer holds", probed(&[(0, 0, 3); 200_000], &x), "probe.segments"),
        ("rows of another width", probed(&[(0, 0, 1)], &wide), "frame"),
        ("bytes for numbers", probed(&[(0, 0, 1)], &bytes), "frame"),
        ("a number that is none", [opened(), vec![probe(&[(0, 0, 1)])], no_numbers()].concat(), "frame"),
        ("a damaged payload", damaged(|f| f.header.as_mut().unwrap().crc32 ^= 1), "crc32"),
        ("a cut payload", damaged(|f| f.data.truncate(10)), "data"),
        ("no header", damaged(|f| f.header = None), "header"),
    ];
    for (what, messages, field) in cases {
        let status = refusal(&mut client, messages).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert!(readable(&status).contains(field), "{what}, {field}: {}", readable(&status));
    }
    let good = probed(&[(0, 0, 3)], &x);
    let mut replies = session(&mut client, good).await.unwrap();
    assert!(replies.next().await.unwrap().is_ok());
    assert_eq!(hidden(&mut replies).await.dims(), [3, WIDTH], "others are served all the same");
}
