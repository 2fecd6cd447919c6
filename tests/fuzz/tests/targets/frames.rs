//! The latent exchange: messages of a decoder session as they come off the wire, their frames assembled and made tensors.

use std::time::Duration;

use candle_core::Device;
use fuzz::{Bounds, Outcome, Target};
use prost::Message;
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb::{DType, Probe, ProbeSegment, SessionOpen, SessionRequest, session_request};

const MAX_TENSOR: u64 = 1 << 20;

const TARGET: Target = Target {
    name: "frames",
    // The frames' bytes, the assembled payload and the tensor of it: three times what may come, and the messages.
    bounds: Bounds { bytes: 8 << 20, time: Duration::from_secs(5) },
    rounds: 300,
    words: &[],
};

fn judge(mut input: &[u8]) -> Outcome {
    let mut assembler = Assembler::new(FrameLimits { max_bytes: MAX_TENSOR });
    while !input.is_empty() {
        let message = match SessionRequest::decode_length_delimited(&mut input) {
            Ok(message) => message.message,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let Some(session_request::Message::Frame(frame)) = message else { continue };
        match assembler.push(frame) {
            Ok(None) => {}
            Ok(Some(raw)) => {
                let (shape, n_bytes) = (raw.shape.clone(), raw.data.len());
                match unipic_wire::decode(&raw, &Device::Cpu) {
                    Ok(tensor) => {
                        let same = tensor.dims().iter().zip(&shape).all(|(a, b)| *a == *b as usize);
                        if !same || tensor.elem_count() * tensor.dtype().size_in_bytes() != n_bytes {
                            return Outcome::Broken(format!("{:?} came of {shape:?}, {n_bytes} bytes", tensor.shape()));
                        }
                    }
                    Err(error) => return Outcome::Refused(error.to_string()),
                }
            }
            Err(error) => return Outcome::Refused(error.to_string()),
        }
    }
    Outcome::of(assembler.finish())
}

fn session(tensors: &[RawTensor], frame_bytes: usize) -> Vec<u8> {
    let open = SessionOpen { prompts: Vec::new(), n_tensors: 1 };
    let probe = Probe { segments: vec![ProbeSegment { prompt: 0, first_row: 0, n_rows: 2 }] };
    let mut messages = vec![session_request::Message::Open(open)];
    for (number, tensor) in tensors.iter().enumerate() {
        if number > 0 {
            messages.push(session_request::Message::Probe(probe.clone()));
        }
        let frames = unipic_api::frames::split(tensor.header(), tensor.data.clone(), frame_bytes);
        messages.extend(frames.map(session_request::Message::Frame));
    }
    let encode = |message| SessionRequest { message: Some(message) }.encode_length_delimited_to_vec();
    messages.into_iter().flat_map(encode).collect()
}

fn tensor(dtype: DType, shape: &[u32], bytes: Vec<u8>) -> RawTensor {
    RawTensor::new(dtype, shape.to_vec(), bytes.into()).expect("a tensor")
}

/// Sessions of every element type, cut in different places.
fn seeds() -> Vec<Vec<u8>> {
    let floats: Vec<u8> = (0..24).flat_map(|i| (i as f32 / 7.0).to_le_bytes()).collect();
    let wide = tensor(DType::DtypeF32, &[2, 3, 4], floats);
    let halves = |dtype| tensor(dtype, &[4, 2], (0..8u16).flat_map(|i| (i * 0x0101).to_le_bytes()).collect());
    let pixels = tensor(DType::DtypeU8, &[2, 2, 3], (0..12).collect());
    vec![
        session(&[wide.clone(), pixels.clone()], 1 << 20),
        session(&[halves(DType::DtypeF16), halves(DType::DtypeBf16), wide], 7),
        session(&[pixels], 1),
    ]
}

#[test]
fn frames_are_tensors_or_refused() -> anyhow::Result<()> {
    stated!(TARGET.replay(&seeds(), judge)?)
}
