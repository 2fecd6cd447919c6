//! Masks: which pixels of an image are to be redrawn.
//!
//! A mask is black or white and nothing between: softness at the seam is asked for by width ([`crate::Blend`]), because a
//! grey pixel, or the noise that JPEG leaves beside an edge, cannot say whether its place is to be drawn.

use image::GrayAlphaImage;

use crate::CropBox;

/// How the pixels of a mask file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskConvention {
    /// Pixels brighter than middle grey are marked; what is transparent counts as black.
    White,
    /// Pixels less than half opaque are marked, whatever their colour.
    Transparent,
}

/// Marked pixels of an image.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    /// `height · width` pixels, rows from the top.
    marked: Vec<bool>,
}

impl Mask {
    /// The mask of which `is_marked` holds at `(x, y)`. A side of zero counts as 1.
    #[must_use]
    pub fn new(width: u32, height: u32, is_marked: impl Fn(u32, u32) -> bool) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let row = |y| (0..width).map(move |x| (x, y));
        let marked = (0..height).flat_map(row).map(|(x, y)| is_marked(x, y)).collect();
        Self { width, height, marked }
    }

    /// The mask that a decoded file is.
    pub(crate) fn of_luma_alpha(pixels: &GrayAlphaImage, convention: MaskConvention) -> Self {
        let is_marked = |&[luma, alpha]: &[u8; 2]| match convention {
            MaskConvention::White => u32::from(luma) * u32::from(alpha) > 127 * 255,
            MaskConvention::Transparent => alpha < 128,
        };
        let (samples, _) = pixels.as_raw().as_chunks::<2>();
        Self { width: pixels.width(), height: pixels.height(), marked: samples.iter().map(is_marked).collect() }
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Whether no pixel is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.marked.contains(&true)
    }

    /// Whether each pixel is marked, rows from the top.
    #[must_use]
    pub fn pixels(&self) -> &[bool] {
        &self.marked
    }

    /// The mask of a larger image in which this one's lies with its corner at `(left, top)`: all around it is marked.
    #[must_use]
    pub fn on_canvas(&self, (left, top): (u32, u32), width: u32, height: u32) -> Self {
        let inside = |at: u32, first: u32, side: u32| at.checked_sub(first).filter(|at| *at < side);
        Self::new(width, height, |x, y| {
            let at = inside(x, left, self.width).zip(inside(y, top, self.height));
            at.is_none_or(|(x, y)| self.marked[y as usize * self.width as usize + x as usize])
        })
    }

    /// The part `area` at another size. A pixel of the result is marked when any part of it is: what is not marked shows
    /// nothing of what was. The part of `area` beyond the mask is not marked.
    #[must_use]
    pub fn fit(&self, area: CropBox, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let columns: Vec<_> = (0..width).map(|x| under(x, area.x, area.width, width, self.width)).collect();
        let row = |y| {
            let rows = under(y, area.y, area.height, height, self.height);
            let lines = &self.marked[rows.start * self.width as usize..rows.end * self.width as usize];
            columns
                .iter()
                .map(|span| lines.chunks_exact(self.width as usize).any(|line| line[span.clone()].contains(&true)))
        };
        let mut marked = Vec::with_capacity(width as usize * height as usize);
        (0..height).for_each(|y| marked.extend(row(y)));
        Self { width, height, marked }
    }

    /// The squares of `side` pixels that hold a marked pixel, by their raster numbers in rising order. A side of zero
    /// counts as 1.
    #[must_use]
    pub fn squares(&self, side: u32) -> Vec<u32> {
        let side = side.max(1);
        let (rows, cols) = (self.height.div_ceil(side), self.width.div_ceil(side));
        let mut is_hit = vec![false; rows as usize * cols as usize];
        for (y, line) in self.marked.chunks_exact(self.width as usize).enumerate() {
            let first = y / side as usize * cols as usize;
            for (square, pixels) in line.chunks(side as usize).enumerate() {
                is_hit[first + square] |= pixels.contains(&true);
            }
        }
        (0..rows * cols).zip(is_hit).filter_map(|(square, is_hit)| is_hit.then_some(square)).collect()
    }
}

impl std::fmt::Debug for Mask {
    /// The size only: pixels are never logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({}x{})", self.width, self.height)
    }
}

/// The positions below `limit` that output position `at` of `to` covers of the `from` positions that begin at `first`.
fn under(at: u32, first: u32, from: u32, to: u32, limit: u32) -> std::ops::Range<usize> {
    let [at, first, from, to, limit] = [at, first, from, to, limit].map(u64::from);
    let start = (first + at * from / to).min(limit);
    let end = (first + ((at + 1) * from).div_ceil(to)).min(limit);
    start as usize..end.max(start) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rgb8;

    fn one(width: u32, height: u32, at: (u32, u32)) -> Mask {
        Mask::new(width, height, |x, y| (x, y) == at)
    }

    fn whole(width: u32, height: u32) -> CropBox {
        CropBox { x: 0, y: 0, width, height }
    }

    fn marked(mask: &Mask) -> Vec<(u32, u32)> {
        let at = |i: usize| (i as u32 % mask.width(), i as u32 / mask.width());
        mask.pixels().iter().enumerate().filter(|(_, is)| **is).map(|(i, _)| at(i)).collect()
    }

    #[test]
    fn a_pixel_marks_whatever_it_is_a_part_of() {
        assert_eq!(marked(&one(8, 8, (5, 2)).fit(whole(8, 8), 4, 4)), [(2, 1)]);
        // 3 to 2: the middle pixel is half of either.
        assert_eq!(marked(&one(3, 1, (1, 0)).fit(whole(3, 1), 2, 1)), [(0, 0), (1, 0)]);
        assert_eq!(marked(&one(2, 2, (1, 0)).fit(whole(2, 2), 4, 4)), [(2, 0), (3, 0), (2, 1), (3, 1)]);
        assert_eq!(marked(&one(5, 5, (3, 3)).fit(whole(5, 5), 5, 5)), [(3, 3)]);
    }

    #[test]
    fn what_is_cut_away_marks_nothing() {
        let right = CropBox { x: 4, y: 0, width: 4, height: 8 };
        assert_eq!(marked(&one(8, 8, (4, 7)).fit(right, 4, 8)), [(0, 7)]);
        assert!(one(8, 8, (3, 7)).fit(right, 4, 8).is_empty());
        assert!(one(8, 8, (3, 7)).fit(CropBox { x: 7, y: 0, width: 9, height: 9 }, 9, 9).is_empty());
    }

    #[test]
    fn a_canvas_is_marked_around_the_mask() {
        let canvas = one(2, 2, (1, 0)).on_canvas((1, 0), 4, 3);
        let expected = [(0, 0), (2, 0), (3, 0), (0, 1), (3, 1), (0, 2), (1, 2), (2, 2), (3, 2)];
        assert_eq!(marked(&canvas), expected);
        let image = Rgb8::new(2, 2, (0..12).collect()).unwrap();
        let canvas = crate::on_canvas(&image, (1, 0), 4, 3);
        let reds: Vec<u8> = canvas.data.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(reds, [0, 0, 3, 3, 6, 6, 9, 9, 6, 6, 9, 9]);
    }

    #[test]
    fn squares_are_numbered_row_by_row() {
        assert_eq!(one(32, 32, (15, 16)).squares(16), [2]);
        assert_eq!(Mask::new(48, 32, |x, y| y == 0 || x == 47).squares(16), [0, 1, 2, 5]);
        assert_eq!(one(17, 1, (16, 0)).squares(16), [1]);
        assert!(Mask::new(9, 9, |_, _| false).squares(4).is_empty());
    }
}
