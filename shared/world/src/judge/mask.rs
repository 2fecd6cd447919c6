//! Sets of pixels and the few morphological steps that the judge needs.

/// A set of pixels of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mask {
    pub(super) width: usize,
    pub(super) height: usize,
    bits: Vec<bool>,
}

impl Mask {
    /// The pixels (x, y) for which a test holds.
    pub(super) fn new(width: usize, height: usize, test: impl Fn(usize, usize) -> bool) -> Self {
        let mut bits = Vec::with_capacity(width * height);
        for y in 0..height {
            bits.extend((0..width).map(|x| test(x, y)));
        }
        Self { width, height, bits }
    }

    pub(super) fn has(&self, x: usize, y: usize) -> bool {
        self.bits[y * self.width + x]
    }

    pub(super) fn count(&self) -> usize {
        self.bits.iter().filter(|&&bit| bit).count()
    }

    /// The indices (y · width + x) of its pixels.
    pub(super) fn pixels(&self) -> impl Iterator<Item = usize> {
        self.bits.iter().enumerate().filter(|&(_, &bit)| bit).map(|(at, _)| at)
    }

    pub(super) fn inverted(&self) -> Self {
        Self { bits: self.bits.iter().map(|&bit| !bit).collect(), ..*self }
    }

    /// Adds every pixel within so many steps, diagonal ones included.
    pub(super) fn dilated(&self, steps: usize) -> Self {
        let (width, height) = (self.width, self.height);
        let mut wide = vec![false; self.bits.len()];
        for row in 0..height {
            spread(&self.bits, &mut wide, (row * width, 1, width), steps);
        }
        let mut bits = vec![false; self.bits.len()];
        for column in 0..width {
            spread(&wide, &mut bits, (column, width, height), steps);
        }
        Self { bits, ..*self }
    }

    /// Takes away every pixel within so many steps of one that is not in the set; what is outside the image counts as
    /// in the set, so that objects at the border keep their edge.
    pub(super) fn eroded(&self, steps: usize) -> Self {
        self.inverted().dilated(steps).inverted()
    }

    /// Left, top, and right and bottom plus one, in pixels.
    pub(super) fn bounds(&self) -> Option<[usize; 4]> {
        let mut bounds: Option<[usize; 4]> = None;
        for at in self.pixels() {
            let (x, y) = (at % self.width, at / self.width);
            let [left, top, right, bottom] = bounds.unwrap_or([x, y, x + 1, y + 1]);
            bounds = Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]);
        }
        bounds
    }

    /// The parts that hang together by common pixel edges and have so many pixels, largest first.
    pub(super) fn components(&self, least: usize) -> Vec<Self> {
        let mut left = self.bits.clone();
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for start in 0..left.len() {
            if std::mem::take(&mut left[start]) {
                let part = self.flood(start, &mut left);
                if part.len() >= least {
                    parts.push(part);
                }
            }
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        let mask = |part: Vec<usize>| {
            let mut bits = vec![false; self.bits.len()];
            part.into_iter().for_each(|at| bits[at] = true);
            Self { bits, ..*self }
        };
        parts.into_iter().map(mask).collect()
    }

    /// The pixels of `left` that hang together with one, which are taken out of it.
    fn flood(&self, start: usize, left: &mut [bool]) -> Vec<usize> {
        let mut part = vec![start];
        let mut next = 0;
        while let Some(&at) = part.get(next) {
            next += 1;
            let (x, y) = (at % self.width, at / self.width);
            let neighbours = [
                (x > 0).then(|| at - 1),
                (x + 1 < self.width).then(|| at + 1),
                (y > 0).then(|| at - self.width),
                (y + 1 < self.height).then(|| at + self.width),
            ];
            part.extend(neighbours.into_iter().flatten().filter(|&at| std::mem::take(&mut left[at])));
        }
        part
    }
}

/// Sets every bit within so many steps of a set one along a line (first index, stride, length): forwards, then backwards.
fn spread(from: &[bool], to: &mut [bool], (start, stride, length): (usize, usize, usize), steps: usize) {
    let mut left = 0;
    for at in (0..length).map(|place| start + place * stride) {
        left = if from[at] { steps + 1 } else { left };
        to[at] |= left > 0;
        left = left.saturating_sub(1);
    }
    left = 0;
    for at in (0..length).rev().map(|place| start + place * stride) {
        left = if from[at] { steps + 1 } else { left };
        to[at] |= left > 0;
        left = left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_grown_and_shrunk() {
        let two = Mask::new(12, 8, |x, y| (1..4).contains(&x) && (1..4).contains(&y) || x >= 8 && y >= 4);
        let parts = two.components(1);
        assert_eq!(parts.iter().map(Mask::count).collect::<Vec<_>>(), [16, 9]);
        assert_eq!(parts[1].bounds(), Some([1, 1, 4, 4]));
        assert_eq!(parts[1].eroded(1).count(), 1);
        assert_eq!(parts[1].dilated(1).bounds(), Some([0, 0, 5, 5]));
        // The border does not erode.
        assert_eq!(parts[0].eroded(1).bounds(), Some([9, 5, 12, 8]));
        assert_eq!(two.components(10).len(), 1);
        assert_eq!(Mask::new(3, 3, |_, _| false).bounds(), None);
    }
}
