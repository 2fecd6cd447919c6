//! What has to be computed so that every prompt of a session has its keys and values, and nothing twice.
//!
//! Prompts are compared position by position. Ids are equal by value; embeddings by identity: the branches of an edit
//! carry the same tensor, and comparing 4,160 × 1,536 values to find that out would be waste. The result is a tree of
//! stretches, each prefilled once behind its parent's.

use candle_core::Tensor;
use unipic_models::prompt::Piece;

use crate::worker::Rows;

/// One position of text, or one block of embeddings, which is never divided between prompts.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    Id(u32),
    Embeddings(Tensor),
}

impl Unit {
    pub(crate) fn n_positions(&self) -> usize {
        match self {
            Self::Id(_) => 1,
            Self::Embeddings(x) => x.dims().first().copied().unwrap_or(0),
        }
    }
}

impl PartialEq for Unit {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Id(a), Self::Id(b)) => a == b,
            (Self::Embeddings(a), Self::Embeddings(b)) => a.id() == b.id(),
            _ => false,
        }
    }
}

/// The units of a tokenized prompt.
pub(crate) fn units(pieces: &[Piece]) -> Vec<Unit> {
    let of_piece = |piece: &Piece| match piece {
        Piece::Ids(ids) => ids.iter().map(|id| Unit::Id(*id)).collect(),
        Piece::Embeddings(x) => vec![Unit::Embeddings(x.clone())],
    };
    pieces.iter().flat_map(of_piece).collect()
}

/// Positions that units take.
pub(crate) fn n_positions(units: &[Unit]) -> usize {
    units.iter().map(Unit::n_positions).sum()
}

/// Positions behind every block of embeddings: where a prompt may be continued in other words.
pub(crate) fn image_ends(units: &[Unit]) -> Vec<usize> {
    let mut position = 0;
    let end = |unit: &Unit| {
        position += unit.n_positions();
        matches!(unit, Unit::Embeddings(_)).then_some(position)
    };
    units.iter().filter_map(end).collect()
}

/// Positions that two prompts have in common from the first on.
pub(crate) fn n_common(a: &[Unit], b: &[Unit]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a.n_positions()).sum()
}

/// A stretch of units that is prefilled once.
#[derive(Debug, PartialEq)]
pub(crate) struct Stretch {
    /// The stretch it stands behind; always an earlier one.
    pub(crate) parent: Option<usize>,
    /// Stretches on the way to it. Those of equal depth can share a pass.
    pub(crate) depth: usize,
    pub(crate) units: Vec<Unit>,
    /// The prompts that end with it.
    pub(crate) prompts: Vec<usize>,
}

/// The tree for these prompts; `prompts` gives each its number. An empty prompt is not in it.
pub(crate) fn stretches(prompts: &[(usize, Vec<Unit>)]) -> Vec<Stretch> {
    let mut done = Vec::new();
    let mut open: Vec<Group<'_>> = split(prompts.iter().map(|(i, units)| (*i, &units[..])).collect(), None, 0);
    while let Some(Group { parent, depth, members }) = open.pop() {
        let common = common_beginning(&members);
        let (ended, rest): (Vec<_>, Vec<_>) =
            members.iter().map(|(i, units)| (*i, &units[common..])).partition(|(_, units)| units.is_empty());
        let units = members.first().map_or_else(Vec::new, |(_, units)| units[..common].to_vec());
        done.push(Stretch { parent, depth, units, prompts: ended.into_iter().map(|(i, _)| i).collect() });
        open.extend(split(rest, Some(done.len() - 1), depth + 1));
    }
    done
}

/// Prompts that begin alike.
struct Group<'a> {
    parent: Option<usize>,
    depth: usize,
    members: Vec<(usize, &'a [Unit])>,
}

/// Divides prompts by their first unit.
fn split<'a>(members: Vec<(usize, &'a [Unit])>, parent: Option<usize>, depth: usize) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (i, units) in members.into_iter().filter(|(_, units)| !units.is_empty()) {
        match groups.iter_mut().find(|group| group.members[0].1[0] == units[0]) {
            Some(group) => group.members.push((i, units)),
            None => groups.push(Group { parent, depth, members: vec![(i, units)] }),
        }
    }
    groups
}

fn common_beginning(members: &[(usize, &[Unit])]) -> usize {
    let Some(((_, first), others)) = members.split_first() else { return 0 };
    let with = |units: &[Unit]| first.iter().zip(units).take_while(|(a, b)| a == b).count();
    others.iter().map(|(_, units)| with(units)).min().unwrap_or(first.len())
}

/// Cuts units into rows of at most `limit` positions each; blocks of embeddings are cut too.
///
/// # Errors
/// When a block is no matrix.
pub(crate) fn chunks(units: &[Unit], limit: usize) -> candle_core::Result<Vec<Vec<Rows>>> {
    let mut cutter = Cutter { limit: limit.max(1), done: Vec::new(), current: Vec::new(), n_current: 0 };
    for unit in units {
        match unit {
            Unit::Id(id) => cutter.push_id(*id),
            Unit::Embeddings(x) => cutter.push_embeddings(x)?,
        }
    }
    Ok(cutter.finish())
}

struct Cutter {
    limit: usize,
    done: Vec<Vec<Rows>>,
    current: Vec<Rows>,
    n_current: usize,
}

impl Cutter {
    fn push_id(&mut self, id: u32) {
        match self.current.last_mut() {
            Some(Rows::Ids(ids)) => ids.push(id),
            _ => self.current.push(Rows::Ids(vec![id])),
        }
        self.grown_by(1);
    }

    fn push_embeddings(&mut self, x: &Tensor) -> candle_core::Result<()> {
        let (mut first, n) = (0, x.dim(0)?);
        while first < n {
            let len = (n - first).min(self.limit - self.n_current);
            self.current.push(Rows::Embeddings(x.narrow(0, first, len)?));
            self.grown_by(len);
            first += len;
        }
        Ok(())
    }

    fn grown_by(&mut self, n: usize) {
        self.n_current += n;
        if self.n_current == self.limit {
            self.done.push(std::mem::take(&mut self.current));
            self.n_current = 0;
        }
    }

    fn finish(mut self) -> Vec<Vec<Rows>> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn block(n: usize) -> Tensor {
        Tensor::zeros((n, 4), DType::F32, &Device::Cpu).unwrap()
    }

    fn prompt(text: &str, image: Option<&Tensor>) -> Vec<Unit> {
        let unit = |c: char| match image {
            Some(x) if c == '*' => Unit::Embeddings(x.clone()),
            _ => Unit::Id(u32::from(c)),
        };
        text.chars().map(unit).collect()
    }

    /// Every stretch as (parent, text, prompts), blocks as `*`.
    fn planned(prompts: Vec<Vec<Unit>>) -> Vec<(Option<usize>, String, Vec<usize>)> {
        let prompts: Vec<_> = prompts.into_iter().enumerate().collect();
        let text = |units: &[Unit]| {
            let of = |unit: &Unit| if let Unit::Id(id) = unit { char::from_u32(*id).unwrap() } else { '*' };
            units.iter().map(of).collect()
        };
        stretches(&prompts).into_iter().map(|s| (s.parent, text(&s.units), s.prompts)).collect()
    }

    #[test]
    fn common_beginnings_are_planned_once() {
        let (image, other) = (block(3), block(3));
        let p = |text| prompt(text, Some(&image));
        assert_eq!(planned(vec![p("abc")]), [(None, "abc".into(), vec![0])]);
        assert_eq!(planned(vec![p("abc"), p("abc")]), [(None, "abc".into(), vec![0, 1])]);
        assert_eq!(
            planned(vec![p("u*xy"), p("u*z")]),
            [(None, "u*".into(), vec![]), (Some(0), "z".into(), vec![1]), (Some(0), "xy".into(), vec![0])]
        );
        assert_eq!(
            planned(vec![p("u*x"), prompt("u*x", Some(&other))]),
            [(None, "u".into(), vec![]), (Some(0), "*x".into(), vec![1]), (Some(0), "*x".into(), vec![0])],
            "equal values are not the same image"
        );
        assert_eq!(
            planned(vec![p("ab"), p("abcd"), p("abce"), p("q")]),
            [
                (None, "q".into(), vec![3]),
                (None, "ab".into(), vec![0]),
                (Some(1), "c".into(), vec![]),
                (Some(2), "e".into(), vec![2]),
                (Some(2), "d".into(), vec![1]),
            ]
        );
    }

    #[test]
    fn chunks_hold_every_position_once_in_order() {
        let image = Tensor::arange(0f32, 28.0, &Device::Cpu).unwrap().reshape((7, 4)).unwrap();
        let units = prompt("ab*cdefg", Some(&image));
        assert_eq!(n_positions(&units), 14);
        for limit in 1..=20 {
            let chunks = chunks(&units, limit).unwrap();
            let sizes: Vec<usize> = chunks.iter().map(|rows| rows.iter().map(Rows::len).sum()).collect();
            assert!(sizes.iter().rev().skip(1).all(|n| *n == limit), "{sizes:?}");
            assert_eq!(sizes.iter().sum::<usize>(), 14);
            let (mut text, mut embeddings) = (String::new(), Vec::new());
            for rows in chunks.iter().flatten() {
                match rows {
                    Rows::Ids(ids) => text.extend(ids.iter().map(|id| char::from_u32(*id).unwrap())),
                    Rows::Embeddings(x) => embeddings.push(x.clone()),
                }
            }
            assert_eq!(text, "abcdefg");
            let whole = Tensor::cat(&embeddings, 0).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(whole, image.to_vec2::<f32>().unwrap());
        }
    }
}
