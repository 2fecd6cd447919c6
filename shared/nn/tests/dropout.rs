//! Dropout: what a mask depends on, and how it meets values, weights and gradients.
#![allow(clippy::unwrap_used)]

mod support;

use candle_core::{D, Tensor, Var};
use support::{assert_close, bits, random, values};
use unipic_nn::{AttentionSegment, Dropout, HeadLayout, Ops, attend_joint, attend_joint_dropping};

fn dropout(rate: f64, key: u64) -> Dropout {
    Dropout::new(rate, key).unwrap()
}

#[test]
fn a_share_is_dropped_and_the_mean_stays() {
    let x = random(1, (400, 250)).ones_like().unwrap();
    for rate in [0.1, 0.5, 0.9] {
        let y = values(&dropout(rate, 7).forward(&x).unwrap());
        let kept = y.iter().filter(|y| **y != 0.0).count() as f64 / y.len() as f64;
        assert!((kept - (1.0 - rate)).abs() < 0.01, "{kept} of 1 − {rate}");
        assert!(y.iter().all(|y| *y == 0.0 || (f64::from(*y) - 1.0 / (1.0 - rate)).abs() < 1e-3));
    }
}

#[test]
fn a_mask_follows_from_its_key_and_place_alone() {
    let x = random(1, (30, 31));
    let of = |dropout: Dropout| bits(&dropout.forward(&x).unwrap());
    assert_eq!(of(dropout(0.3, 5).at(2)), of(dropout(0.3, 5).at(2)));
    let others = [dropout(0.3, 5), dropout(0.3, 5).at(3), dropout(0.3, 6).at(2), dropout(0.3, 5).at(2).at(0)];
    assert!(others.into_iter().all(|other| of(other) != of(dropout(0.3, 5).at(2))));
}

#[test]
fn no_share_is_no_dropout() {
    assert!([0.0, -0.1, 1.0, 2.0, f64::NAN, 1e-9].into_iter().all(|rate| Dropout::new(rate, 1).is_none()));
}

#[test]
fn gradients_pass_where_values_do() {
    let x = Var::from_tensor(&random(3, (20, 10))).unwrap();
    let y = dropout(0.4, 1).forward(x.as_tensor()).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    let expected = dropout(0.4, 1).forward(&x.as_tensor().ones_like().unwrap()).unwrap();
    assert_eq!(bits(gradients.get(&x).unwrap()), bits(&expected));
}

/// softmax(q·kᵀ / √head_dim), of which the mask goes on before the product with v.
#[test]
fn attention_drops_weights_of_every_segment_apart() {
    let (n_heads, head_dim) = (3, 8);
    let layout = HeadLayout { n_heads, n_kv_heads: n_heads, head_dim };
    let qkv = random(4, (12, 3 * n_heads * head_dim));
    let segments = [7, 5].map(AttentionSegment::full);
    let ours = attend_joint_dropping(&qkv, &segments, layout, dropout(0.25, 9)).unwrap();
    let heads = |first: usize, n: usize, part: usize| {
        let columns = qkv.narrow(0, first, n).unwrap().narrow(1, part * n_heads * head_dim, n_heads * head_dim);
        columns.unwrap().reshape((n, n_heads, head_dim)).unwrap().transpose(0, 1).unwrap().contiguous().unwrap()
    };
    let expected = [(0, 7, 0), (7, 5, 1)].map(|(first, n, place)| {
        let [q, k, v] = [0, 1, 2].map(|part| heads(first, n, part));
        let scores = (q.matmul(&k.t().unwrap()).unwrap() / (head_dim as f64).sqrt()).unwrap();
        let weights = candle_nn::ops::softmax(&scores, D::Minus1).unwrap();
        let mixed = dropout(0.25, 9).at(place).forward(&weights).unwrap().matmul(&v).unwrap();
        mixed.transpose(0, 1).unwrap().reshape((n, n_heads * head_dim)).unwrap()
    });
    assert_close(&ours, &Tensor::cat(&expected, 0).unwrap(), 1e-5);
    let whole = attend_joint(Ops::Reference, &qkv, &segments, layout).unwrap();
    assert_ne!(bits(&ours), bits(&whole));
}
