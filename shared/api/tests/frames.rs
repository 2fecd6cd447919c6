//! Cutting and reassembly: round trips at every cut, and every way a peer can get frames wrong.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use bytes::Bytes;
use proptest::prelude::*;
use unipic_api::frames::{Assembler, FrameError, FrameLimits, MAX_AXES, RawTensor, split};
use unipic_api::pb::{DType, TensorFrame, TensorHeader};

fn tensor(shape: &[u32]) -> RawTensor {
    let n_bytes = shape.iter().product::<u32>() as usize;
    let data: Vec<u8> = (0..n_bytes).map(|i| (i * 31 % 251) as u8).collect();
    RawTensor::new(DType::DtypeU8, shape.to_vec(), data.into()).unwrap()
}

fn header(dtype: DType, shape: &[u32], n_bytes: u64) -> TensorHeader {
    TensorHeader { dtype: dtype as i32, shape: shape.to_vec(), n_bytes, crc32: 0 }
}

fn first(header: TensorHeader) -> TensorFrame {
    TensorFrame { header: Some(header), data: Bytes::new() }
}

fn data(bytes: &'static [u8]) -> TensorFrame {
    TensorFrame { header: None, data: Bytes::from_static(bytes) }
}

fn assembler(max_bytes: u64) -> Assembler {
    Assembler::new(FrameLimits { max_bytes })
}

fn assemble(frames: impl IntoIterator<Item = TensorFrame>) -> Result<Vec<RawTensor>, FrameError> {
    let mut assembler = assembler(1 << 20);
    let mut tensors = Vec::new();
    for frame in frames {
        tensors.extend(assembler.push(frame)?);
    }
    assembler.finish()?;
    Ok(tensors)
}

#[test]
fn two_tensors_follow_each_other() {
    let (a, b) = (tensor(&[3, 5]), tensor(&[7]));
    let frames = split(a.header(), a.data.clone(), 4).chain(split(b.header(), b.data.clone(), 100));
    assert_eq!(assemble(frames).unwrap(), vec![a, b]);
}

#[test]
fn a_tensor_of_one_frame_is_not_copied() {
    let sent = tensor(&[64]);
    let pointer = sent.data.as_ptr();
    let got = assemble(sent.into_frames()).unwrap();
    assert_eq!(got[0].data.as_ptr(), pointer);
}

#[test]
fn a_scalar_and_an_early_header_are_fine() {
    let sent = tensor(&[]);
    let frames = [first(sent.header()), TensorFrame { header: None, data: sent.data.clone() }];
    assert_eq!(assemble(frames).unwrap(), vec![sent]);
}

#[test]
fn hostile_headers_are_refused_before_anything_is_kept() {
    let cases = [
        (header(DType::DtypeUnspecified, &[1], 1), FrameError::DType(0)),
        (TensorHeader { dtype: 77, ..header(DType::DtypeU8, &[1], 1) }, FrameError::DType(77)),
        (header(DType::DtypeU8, &[1; MAX_AXES + 1], 1), FrameError::Axes(MAX_AXES + 1)),
        (header(DType::DtypeU8, &[4, 0, 2], 0), FrameError::ZeroAxis(1)),
        (header(DType::DtypeF32, &[2], 2), FrameError::Length { declared: 2, shape_takes: 8 }),
        (header(DType::DtypeF32, &[u32::MAX; 8], 16), FrameError::Length { declared: 16, shape_takes: u64::MAX }),
        (header(DType::DtypeU8, &[101], 101), FrameError::TooLarge { n_bytes: 101, max_bytes: 100 }),
        (header(DType::DtypeU8, &[1], u64::MAX), FrameError::TooLarge { n_bytes: u64::MAX, max_bytes: 100 }),
    ];
    for (header, want) in cases {
        let mut assembler = assembler(100);
        assert_eq!(assembler.push(first(header)).unwrap_err(), want);
        assert!(assembler.header().is_none());
        assert!(assembler.finish().is_ok());
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let sent = tensor(&[4]);
    assert_eq!(assemble([data(b"abcd")]).unwrap_err(), FrameError::MissingHeader);
    assert_eq!(assemble([first(sent.header()), first(sent.header())]).unwrap_err(), FrameError::SecondHeader);
    assert_eq!(assemble([first(sent.header()), data(b"")]).unwrap_err(), FrameError::Empty);
    assert_eq!(assemble([first(sent.header()), data(b"abcde")]).unwrap_err(), FrameError::Surplus { n_bytes: 4 });
    let cut_off = assemble([first(sent.header()), data(b"abc")]).unwrap_err();
    assert_eq!(cut_off, FrameError::Incomplete { received: 3, n_bytes: 4 });
}

#[test]
fn after_an_error_a_new_tensor_can_begin() {
    let sent = tensor(&[4]);
    let mut assembler = assembler(100);
    assembler.push(first(sent.header())).unwrap();
    assembler.push(data(b"abcde")).unwrap_err();
    assert_eq!(assembler.push(sent.clone().into_frames().next().unwrap()).unwrap(), Some(sent));
}

#[test]
fn errors_name_the_field() {
    let error = FrameError::Checksum { declared: 1, computed: 2 };
    assert_eq!(error.violation("source").field, "source.header.crc32");
    let status = tonic::Status::from(error.at("source"));
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

proptest! {
    #[test]
    fn every_cut_comes_back_whole(shape in prop::collection::vec(1u32..6, 0..5), max_frame in 0usize..40) {
        let sent = tensor(&shape);
        let frames = split(sent.header(), sent.data.clone(), max_frame);
        let n_frames = frames.len();
        let frames: Vec<_> = frames.collect();
        prop_assert_eq!(frames.len(), n_frames);
        prop_assert!(frames.iter().all(|frame| frame.data.len() <= max_frame.max(1)));
        prop_assert_eq!(assemble(frames).unwrap(), vec![sent]);
    }

    #[test]
    fn one_flipped_bit_is_noticed(max_frame in 1usize..40, at in 0usize..60, bit in 0u8..8) {
        let sent = tensor(&[3, 4, 5]);
        let mut bytes = sent.data.to_vec();
        bytes[at] ^= 1 << bit;
        let error = assemble(split(sent.header(), bytes.into(), max_frame)).unwrap_err();
        let is_checksum = matches!(error, FrameError::Checksum { .. });
        prop_assert!(is_checksum);
    }

    #[test]
    fn losing_doubling_or_swapping_a_frame_is_noticed(max_frame in 1usize..20, which in 0usize..60, how in 0u8..3) {
        let sent = tensor(&[3, 4, 5]);
        let mut frames: Vec<_> = split(sent.header(), sent.data.clone(), max_frame).collect();
        let at = which % frames.len();
        match how {
            0 => { frames.remove(at); }
            1 => frames.insert(at, frames[at].clone()),
            _ => {
                let next = (at + 1) % frames.len();
                frames.swap(at, next);
            }
        }
        let intact: Vec<_> = split(sent.header(), sent.data.clone(), max_frame).collect();
        prop_assume!(frames != intact);
        // Removing every frame leaves an empty stream, which is no tensor rather than an error.
        prop_assert!(assemble(frames).map_or(true, |got| got.is_empty()));
    }

    #[test]
    fn random_frames_never_panic(
        frames in prop::collection::vec(
            (
                prop::option::of((0i32..6, prop::collection::vec(0u32..5, 0..10), 0u64..300, any::<u32>())),
                prop::collection::vec(any::<u8>(), 0..64),
            ),
            0..12,
        )
    ) {
        let mut assembler = assembler(128);
        for (header, bytes) in frames {
            let header = header.map(|(dtype, shape, n_bytes, crc32)| TensorHeader { dtype, shape, n_bytes, crc32 });
            if let Ok(Some(tensor)) = assembler.push(TensorFrame { header, data: bytes.into() }) {
                let again = RawTensor::new(tensor.dtype, tensor.shape, tensor.data);
                prop_assert!(again.is_ok());
            }
        }
    }
}
