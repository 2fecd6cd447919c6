//! Attention: the fused form against the composed one, and what a row's bits may depend on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candle_core::Tensor;
use proptest::prelude::*;
use support::{assert_close, bits, random};
use unipic_nn::{AttentionSegment, HeadLayout, Mask, Ops, attend, attend_joint, attend_joint_asked};

/// One sequence: its rows stand behind `n_past` positions of the same sequence.
#[derive(Clone, Debug)]
struct Sequence {
    n_past: usize,
    n_rows: usize,
    mask: Mask,
}

struct Packed {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: Vec<AttentionSegment>,
}

/// Tensors of a batch; `splits` are borders at which the past is cut into chunks.
fn pack(sequences: &[Sequence], layout: HeadLayout, splits: &[usize]) -> Packed {
    let width = layout.n_kv_heads * layout.head_dim;
    let (mut q, mut k, mut v, mut segments) = (vec![], vec![], vec![], vec![]);
    for (i, sequence) in sequences.iter().enumerate() {
        let Sequence { n_past, n_rows, mask } = *sequence;
        let seed = 10 * i as u64;
        q.push(random(seed, (n_past + n_rows, layout.n_heads * layout.head_dim)).narrow(0, n_past, n_rows).unwrap());
        let (keys, values) = (random(seed + 1, (n_past + n_rows, width)), random(seed + 2, (n_past + n_rows, width)));
        k.push(keys.narrow(0, n_past, n_rows).unwrap());
        v.push(values.narrow(0, n_past, n_rows).unwrap());
        let mut borders: Vec<usize> = splits.iter().map(|s| s % (n_past + 1)).chain([0, n_past]).collect();
        borders.sort_unstable();
        let chunk = |t: &Tensor, w: &[usize]| t.narrow(0, w[0], w[1] - w[0]).unwrap();
        let past = borders.windows(2).filter(|w| w[0] < w[1]);
        let past = past.map(|w| (chunk(&keys, w), chunk(&values, w))).collect();
        segments.push(AttentionSegment { n_rows, past, mask });
    }
    let cat = |parts: &[Tensor]| Tensor::cat(parts, 0).unwrap();
    Packed { q: cat(&q), k: cat(&k), v: cat(&v), segments }
}

fn run(ops: Ops, packed: &Packed, layout: HeadLayout) -> Tensor {
    attend(ops, &packed.q, &packed.k, &packed.v, &packed.segments, layout).unwrap()
}

fn sequences() -> impl Strategy<Value = Vec<Sequence>> {
    let sequence = (0_usize..600, 1_usize..70, any::<bool>()).prop_map(|(n_past, n_rows, causal)| Sequence {
        n_past,
        n_rows,
        mask: if causal { Mask::Causal } else { Mask::Full },
    });
    prop::collection::vec(sequence, 1..4)
}

fn layouts() -> impl Strategy<Value = HeadLayout> {
    let sizes = (1_usize..4, 1_usize..4, prop::sample::select(vec![4, 8, 16, 24, 32, 80, 128, 200]));
    sizes.prop_map(|(n_kv_heads, group, head_dim)| HeadLayout { n_heads: n_kv_heads * group, n_kv_heads, head_dim })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn fused_equals_composed(sequences in sequences(), layout in layouts(), splits in prop::collection::vec(0_usize..600, 0..4)) {
        let packed = pack(&sequences, layout, &splits);
        assert_close(&run(Ops::Inference, &packed, layout), &run(Ops::Reference, &packed, layout), 1e-5);
    }

    #[test]
    fn company_and_chunks_change_no_bit(sequences in sequences(), layout in layouts(), splits in prop::collection::vec(0_usize..600, 0..4)) {
        let together = run(Ops::Inference, &pack(&sequences, layout, &splits), layout);
        let mut first = 0;
        for (i, sequence) in sequences.iter().enumerate() {
            let mut padded = vec![Sequence { n_past: 0, n_rows: 1, mask: Mask::Full }; i];
            padded.push(sequence.clone());
            let alone = run(Ops::Inference, &pack(&padded, layout, &[]), layout);
            let rows = |t: &Tensor, first| bits(&t.narrow(0, first, sequence.n_rows).unwrap());
            prop_assert_eq!(rows(&together, first), rows(&alone, i));
            first += sequence.n_rows;
        }
    }
}

/// Rows taken one pass at a time have the bits of one pass over all.
#[test]
fn stepped_equals_whole() {
    let layout = HeadLayout { n_heads: 6, n_kv_heads: 2, head_dim: 32 };
    let whole = |n_past, n_rows| pack(&[Sequence { n_past, n_rows, mask: Mask::Causal }], layout, &[]);
    let all = run(Ops::Inference, &whole(0, 530), layout);
    for (n_past, n_rows) in [(529, 1), (0, 1), (255, 1), (256, 1), (257, 2), (100, 400), (520, 10), (200, 130)] {
        let rows = |t: &Tensor| t.narrow(0, n_past, n_rows).unwrap();
        let (q, k, v) = (whole(0, 530).q, whole(0, 530).k, whole(0, 530).v);
        let past =
            if n_past == 0 { vec![] } else { vec![(k.narrow(0, 0, n_past).unwrap(), v.narrow(0, 0, n_past).unwrap())] };
        let segment = AttentionSegment { n_rows, past, mask: Mask::Causal };
        let part = attend(Ops::Inference, &rows(&q), &rows(&k), &rows(&v), &[segment], layout).unwrap();
        assert_eq!(bits(&part), bits(&rows(&all)), "{n_past}+{n_rows}");
    }
}

/// Rows that are asked for alone have the bits that they have among all.
#[test]
fn asked_rows_equal_those_of_all() {
    let layout = HeadLayout { n_heads: 3, n_kv_heads: 3, head_dim: 16 };
    let (lengths, asked): (_, [&[u32]; 3]) = ([72, 300, 5], [&[0, 3, 71], &[], &[1, 2]]);
    let qkv = random(1, (377, 3 * 48));
    let segments = lengths.map(AttentionSegment::full);
    let rows = Tensor::new(&[0_u32, 3, 71, 373, 374], qkv.device()).unwrap();
    let counts: Vec<_> = asked.iter().zip(lengths).map(|(asked, length)| (asked.len(), length)).collect();
    for ops in [Ops::Inference, Ops::Reference] {
        let all = attend_joint(ops, &qkv, &segments, layout).unwrap().index_select(&rows, 0).unwrap();
        let alone = attend_joint_asked(ops, &qkv, &rows, &counts, layout).unwrap();
        match ops {
            Ops::Inference => assert_eq!(bits(&alone), bits(&all)),
            _ => assert_close(&alone, &all, 1e-6),
        }
    }
    assert!(attend_joint_asked(Ops::Inference, &qkv, &rows, &[(4, 72), (0, 300), (2, 5)], layout).is_err());
    assert!(attend_joint_asked(Ops::Inference, &qkv, &rows, &[(5, 72)], layout).is_err());
}

#[test]
fn threads_change_no_bit() {
    let layout = HeadLayout { n_heads: 4, n_kv_heads: 2, head_dim: 16 };
    let packed = pack(&[Sequence { n_past: 700, n_rows: 120, mask: Mask::Causal }], layout, &[300]);
    let in_pool = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| bits(&run(Ops::Inference, &packed, layout)))
    };
    assert_eq!(in_pool(1), in_pool(2));
    assert_eq!(in_pool(1), in_pool(7));
}

#[test]
fn not_a_number_is_not_hidden() {
    let layout = HeadLayout { n_heads: 1, n_kv_heads: 1, head_dim: 16 };
    let x = random(1, (20, 16));
    let broken = (random(2, (20, 16)) * f64::NAN).unwrap();
    let segments = [AttentionSegment::full(20)];
    for (q, k, v) in [(&broken, &x, &x), (&x, &broken, &x), (&x, &x, &broken)] {
        let y = attend(Ops::Inference, q, k, v, &segments, layout).unwrap();
        assert!(support::values(&y).iter().all(|v| v.is_nan()));
    }
}

#[test]
fn misfits_are_refused() {
    let layout = HeadLayout { n_heads: 2, n_kv_heads: 1, head_dim: 16 };
    let (q, k) = (random(1, (5, 32)), random(2, (5, 16)));
    let segments = [AttentionSegment::full(4)];
    for ops in [Ops::Reference, Ops::Inference] {
        assert!(attend(ops, &q, &k, &k, &segments, layout).is_err());
        assert!(attend(ops, &q, &q, &k, &[AttentionSegment::full(5)], layout).is_err());
        let past = vec![(random(3, (3, 16)), random(4, (2, 16)))];
        let segment = AttentionSegment { n_rows: 5, past, mask: Mask::Full };
        assert!(attend(ops, &q, &k, &k, &[segment], layout).is_err());
    }
}

/// Other dtypes take the composed form, row blocks and all; bf16 has three significant digits.
#[test]
fn half_precision_falls_back() {
    let layout = HeadLayout { n_heads: 6, n_kv_heads: 2, head_dim: 16 };
    let sequences =
        [Sequence { n_past: 5, n_rows: 30, mask: Mask::Causal }, Sequence { n_past: 0, n_rows: 9, mask: Mask::Full }];
    let packed = pack(&sequences, layout, &[]);
    let exact = run(Ops::Reference, &packed, layout);
    let half = |t: &Tensor| t.to_dtype(candle_core::DType::BF16).unwrap();
    let segments = packed.segments.iter().map(|segment| AttentionSegment {
        past: segment.past.iter().map(|(k, v)| (half(k), half(v))).collect(),
        ..segment.clone()
    });
    let packed = Packed { q: half(&packed.q), k: half(&packed.k), v: half(&packed.v), segments: segments.collect() };
    let y = run(Ops::Inference, &packed, layout);
    assert_eq!(y.dtype(), candle_core::DType::BF16);
    assert_close(&y.to_dtype(candle_core::DType::F32).unwrap(), &exact, 3e-2);
}
