//! What fits one message: prompts with their tensors named once, and probes cut at the wire's largest tensor.

use candle_core::Tensor;
use unipic_api::pb;
use unipic_api::pb::segment::Piece;
use unipic_models::prompt::{Prompt, Segment};

use crate::language::ProbeSegment;

/// Prompts as messages, and the tensors they name by position. Both branches of an edit show the same image: it is sent
/// once.
pub(super) fn prompt_messages(prompts: &[Prompt]) -> (Vec<pb::Prompt>, Vec<Tensor>) {
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut piece = |segment: &Segment| match segment {
        Segment::Template(text) => Piece::Template(text.clone()),
        Segment::User(text) => Piece::UserText(text.clone()),
        Segment::Embeddings(x) => {
            let known = tensors.iter().position(|tensor| tensor.id() == x.id());
            let index = known.unwrap_or_else(|| {
                tensors.push(x.clone());
                tensors.len() - 1
            });
            Piece::EmbeddingsIndex(index as u32)
        }
    };
    let mut message = |prompt: &Prompt| pb::Prompt {
        segments: prompt.segments.iter().map(|s| pb::Segment { piece: Some(piece(s)) }).collect(),
    };
    let messages = prompts.iter().map(&mut message).collect();
    (messages, tensors)
}

/// A probe of rows that lie together.
#[derive(Debug, PartialEq)]
pub(super) struct Parcel {
    /// First row of the whole probe that is in it.
    pub(super) first_row: usize,
    /// How many are.
    pub(super) n_rows: usize,
    /// Its segments, counting rows from `first_row`.
    pub(super) segments: Vec<ProbeSegment>,
    /// Where their results belong among those of the whole probe.
    pub(super) positions: Vec<usize>,
}

/// Cuts a probe so that neither its rows nor its results are more than `max_rows` a parcel, where segments allow it.
/// Segments of the same rows stay together as long as they fit, so that those rows are sent once.
pub(super) fn pack(segments: &[ProbeSegment], max_rows: usize) -> Vec<Parcel> {
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(|&i| segments[i].first_row);
    let mut parcels: Vec<Parcel> = Vec::new();
    for position in order {
        let segment = segments[position];
        let end = segment.first_row + segment.n_rows;
        let fits = |parcel: &Parcel| {
            let results: usize = parcel.segments.iter().map(|s| s.n_rows).sum();
            end - parcel.first_row <= max_rows && results + segment.n_rows <= max_rows
        };
        match parcels.last_mut().filter(|parcel| fits(parcel)) {
            Some(parcel) => {
                parcel.n_rows = parcel.n_rows.max(end - parcel.first_row);
                parcel.segments.push(ProbeSegment { first_row: segment.first_row - parcel.first_row, ..segment });
                parcel.positions.push(position);
            }
            None => parcels.push(Parcel {
                first_row: segment.first_row,
                n_rows: segment.n_rows,
                segments: vec![ProbeSegment { first_row: 0, ..segment }],
                positions: vec![position],
            }),
        }
    }
    parcels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 10 rows behind two prompts, branch by branch.
    fn guided() -> Vec<ProbeSegment> {
        let segment = |prompt, first_row| ProbeSegment { prompt, first_row, n_rows: 10 };
        vec![segment(0, 0), segment(0, 10), segment(1, 0), segment(1, 10)]
    }

    #[test]
    fn a_probe_that_fits_is_one_parcel() {
        let parcels = pack(&guided(), 40);
        assert_eq!(parcels.len(), 1);
        assert_eq!((parcels[0].first_row, parcels[0].n_rows), (0, 20));
        assert_eq!(parcels[0].positions, [0, 2, 1, 3]);
    }

    #[test]
    fn a_larger_one_is_cut_between_images_and_branches_stay_together() {
        let parcels = pack(&guided(), 25);
        let shape: Vec<_> = parcels.iter().map(|p| (p.first_row, p.n_rows, p.positions.clone())).collect();
        assert_eq!(shape, [(0, 10, vec![0, 2]), (10, 10, vec![1, 3])]);
        assert_eq!(parcels[1].segments[1], ProbeSegment { prompt: 1, first_row: 0, n_rows: 10 });
    }

    #[test]
    fn an_image_too_large_for_both_branches_is_sent_for_each() {
        assert_eq!(pack(&guided(), 12).len(), 4);
        assert_eq!(pack(&guided(), 1).len(), 4, "a segment is never cut");
    }

    #[test]
    fn a_tensor_of_two_prompts_is_named_once() {
        let x = Tensor::zeros((3, 2), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let prompts = [unipic_models::prompt::edit(&x, "a"), unipic_models::prompt::edit_unconditional(&x, None)];
        let (messages, tensors) = prompt_messages(&prompts);
        assert_eq!(tensors.len(), 1);
        let named = messages.iter().flat_map(|m| &m.segments).filter(|s| s.piece == Some(Piece::EmbeddingsIndex(0)));
        assert_eq!(named.count(), 2);
    }
}
