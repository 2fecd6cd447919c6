//! Every tensor comes back bit for bit, and no value that is not finite passes.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use bytes::Bytes;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use proptest::prelude::*;
use tonic::{Code, Status};
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb::{self, TensorFrame};
use unipic_api::{ApiError, Reason};
use unipic_wire::{DecodeError, EncodeError, decode, encode, expect_shape, frames, receive, receive_raw};

const CPU: Device = Device::Cpu;

fn over_the_wire(tensor: &Tensor) -> Tensor {
    let mut assembler = Assembler::default();
    let mut received = None;
    for frame in frames(tensor).unwrap() {
        assert!(received.is_none());
        received = assembler.push(frame).unwrap();
    }
    decode(&received.unwrap(), &CPU).unwrap()
}

fn bits(tensor: &Tensor) -> Bytes {
    encode(tensor).unwrap().data
}

#[test]
fn views_come_back_in_logical_order() {
    let tensor = Tensor::arange(0f32, 24., &CPU).unwrap().reshape((2, 3, 4)).unwrap();
    let view = tensor.transpose(0, 2).unwrap().narrow(0, 1, 2).unwrap();
    let back = over_the_wire(&view);
    assert_eq!(back.to_vec3::<f32>().unwrap(), view.to_vec3::<f32>().unwrap());
}

#[test]
fn the_wire_is_little_endian() {
    let tensor = Tensor::new(&[1f32, -2.5], &CPU).unwrap();
    assert_eq!(&bits(&tensor)[..], [0, 0, 128, 63, 0, 0, 32, 192]);
    let halves = tensor.to_dtype(DType::BF16).unwrap();
    assert_eq!(&bits(&halves)[..], [128, 63, 32, 192]);
}

#[test]
fn large_tensors_take_several_frames() {
    let tensor = Tensor::arange(0f32, 600_000., &CPU).unwrap().reshape((600, 1000)).unwrap();
    assert_eq!(frames(&tensor).unwrap().len(), 3);
    assert_eq!(bits(&over_the_wire(&tensor)), bits(&tensor));
}

#[test]
fn values_that_are_not_finite_are_refused_both_ways() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let tensor = Tensor::new(&[1., 2., bad], &CPU).unwrap().to_dtype(dtype).unwrap();
            let error = encode(&tensor).unwrap_err();
            assert!(matches!(error, EncodeError::NonFinite { index: 2, .. }), "{error}");
            assert!(matches!(ApiError::from(error), ApiError::Fault(Reason::NonFinite)));
        }
        let received: [(pb::DType, Vec<u8>); 3] = [
            (pb::DType::DtypeF32, bad.to_le_bytes().to_vec()),
            (pb::DType::DtypeF16, f16::from_f32(bad).to_le_bytes().to_vec()),
            (pb::DType::DtypeBf16, bf16::from_f32(bad).to_le_bytes().to_vec()),
        ];
        for (dtype, data) in received {
            let raw = RawTensor::new(dtype, vec![1], data.into()).unwrap();
            let error = decode(&raw, &CPU).unwrap_err();
            assert!(matches!(error, DecodeError::NonFinite { index: 0 }), "{error}");
            assert_eq!(Status::from(error.at("frame")).code(), Code::InvalidArgument);
        }
    }
}

#[test]
fn other_types_and_empty_axes_are_not_sent() {
    let ids = Tensor::new(&[1u32], &CPU).unwrap();
    assert!(matches!(encode(&ids), Err(EncodeError::DType(DType::U32))));
    let empty = Tensor::zeros((2, 0), DType::F32, &CPU).unwrap();
    assert!(matches!(encode(&empty), Err(EncodeError::Shape(_))));
}

#[test]
fn a_wrong_shape_is_refused_with_both_shapes() {
    let raw = encode(&Tensor::zeros((4, 6, 3), DType::U8, &CPU).unwrap()).unwrap();
    let wanted = "u8 [height, width, 3]";
    expect_shape(&raw, pb::DType::DtypeU8, &[None, None, Some(3)], wanted).unwrap();
    for (dtype, shape) in [
        (pb::DType::DtypeU8, &[None, None, Some(4)][..]),
        (pb::DType::DtypeU8, &[None, None][..]),
        (pb::DType::DtypeF32, &[None, None, Some(3)][..]),
    ] {
        let error = expect_shape(&raw, dtype, shape, wanted).unwrap_err();
        assert_eq!(error.to_string(), "u8 [4, 6, 3] came where u8 [height, width, 3] is wanted");
    }
}

#[tokio::test]
async fn streams_bring_tensors_one_after_the_other() {
    let a = Tensor::new(&[[1f32, 2.], [3., 4.]], &CPU).unwrap();
    let b = Tensor::new(&[7u8, 8], &CPU).unwrap();
    let sent = frames(&a).unwrap().chain(frames(&b).unwrap()).map(Ok::<TensorFrame, Status>);
    let mut stream = futures::stream::iter(sent);
    let limits = FrameLimits::default();
    let got = receive(&mut stream, limits, "frame", &CPU, Ok).await.unwrap();
    assert_eq!(got.to_vec2::<f32>().unwrap(), a.to_vec2::<f32>().unwrap());
    let got = receive(&mut stream, limits, "frame", &CPU, Ok).await.unwrap();
    assert_eq!(got.to_vec1::<u8>().unwrap(), [7, 8]);
    assert!(receive_raw(&mut stream, limits, "frame", Ok).await.unwrap().is_none());
    let status = receive(&mut stream, limits, "frame", &CPU, Ok).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_that_ends_early_is_no_tensor() {
    let tensor = Tensor::zeros((600, 1000), DType::F32, &CPU).unwrap();
    let sent = frames(&tensor).unwrap().take(2).map(Ok::<TensorFrame, Status>);
    let mut stream = futures::stream::iter(sent);
    let status = receive(&mut stream, FrameLimits::default(), "source", &CPU, Ok).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(unipic_api::status::readable(&status).contains("source.data"), "{status}");
}

proptest! {
    #[test]
    fn f32_comes_back_bit_for_bit(values in prop::collection::vec(
        any::<f32>().prop_filter("finite", |value| value.is_finite()), 1..200
    )) {
        let tensor = Tensor::from_slice(&values, values.len(), &CPU).unwrap();
        let back = over_the_wire(&tensor).to_vec1::<f32>().unwrap();
        let as_bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(as_bits(&back), as_bits(&values));
    }

    #[test]
    fn every_type_and_shape_comes_back(
        shape in prop::collection::vec(1usize..5, 0..6),
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16, DType::U8]),
    ) {
        let n = shape.iter().product::<usize>();
        let tensor = Tensor::arange(0f32, n as f32, &CPU).unwrap().reshape(shape).unwrap();
        let tensor = (tensor / 8.).unwrap().to_dtype(dtype).unwrap();
        let back = over_the_wire(&tensor);
        prop_assert_eq!(back.dtype(), dtype);
        prop_assert_eq!(back.dims(), tensor.dims());
        prop_assert_eq!(bits(&back), bits(&tensor));
    }
}
