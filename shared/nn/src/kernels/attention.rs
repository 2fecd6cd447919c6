//! Attention over key tiles with a running softmax: scores never stand in memory beyond one tile.
//!
//! Keys and values are packed once into tiles at absolute positions. A tile gives a block of query rows its own maximum,
//! sum and weighted values, and tiles are merged in order of position. So a row's result depends neither on the other
//! rows, nor on how the past is chunked, nor on whether tiles ran one after the other (many query rows) or at the same
//! time (text decoding).

use rayon::prelude::*;

use super::aligned::Aligned;
use super::lanes::Lanes;
use super::panel::{self, Panels, padded, position, product};
use super::softmax::soften;
use super::tensor::Shared;
use super::{Kernel, dispatch};
use crate::{HeadLayout, Mask};

/// Query rows times heads of a group that share a block; a multiple of the six rows of a register block.
const BLOCK_ROWS: usize = 48;

/// Keys of a tile: a function of the head's width alone, so that tile borders are the same in every call. Where one tile
/// holds all keys it is only as wide as they are: the packing differs, the sums do not.
fn tile_keys(head_dim: usize, n_keys: usize) -> usize {
    let keys = if head_dim <= 160 { 256 } else { 64 };
    keys.min(n_keys.next_multiple_of(panel::PANEL).max(panel::PANEL))
}

/// One segment's operands.
pub(crate) struct Segment<'a> {
    /// First row of the segment in the packed matrix.
    pub(crate) first_row: usize,
    /// Rows of the segment.
    pub(crate) n_rows: usize,
    /// Keys and values in order of position, the segment's own rows last: `[len, n_kv_heads·head_dim]` each.
    pub(crate) chunks: Vec<(&'a [f32], &'a [f32])>,
    /// Which keys its rows see.
    pub(crate) mask: Mask,
}

/// Attention of every segment: `q` and `out` are the packed `[T, n_heads·head_dim]`.
pub(crate) fn attend(q: &[f32], segments: &[Segment<'_>], layout: HeadLayout, out: &mut [f32]) {
    let shared = Shared::new(out);
    segments.par_iter().for_each(|segment| {
        let shape = Shape::of(segment, layout);
        if shape.n_rows == 0 || shape.n_keys == 0 {
            return;
        }
        let blocks = shape.n_rows.div_ceil(shape.block_rows);
        let attention = Attention { q, segment, shape, out: shared };
        // With few blocks of query rows there is little to share, and the tiles are what runs in parallel.
        if blocks * layout.n_kv_heads < 2 * rayon::current_num_threads() && shape.n_tiles > 1 {
            attention.by_tiles();
        } else {
            attention.by_blocks();
        }
    });
}

/// The sizes of one segment's attention.
#[derive(Clone, Copy)]
struct Shape {
    layout: HeadLayout,
    group: usize,
    n_rows: usize,
    n_keys: usize,
    /// Query rows of a block; with `group` heads each.
    block_rows: usize,
    tile_keys: usize,
    n_tiles: usize,
    /// Head width as it is stored in tiles.
    columns: usize,
}

impl Shape {
    fn of(segment: &Segment<'_>, layout: HeadLayout) -> Self {
        let width = layout.n_kv_heads * layout.head_dim;
        let n_keys = segment.chunks.iter().map(|(k, _)| k.len() / width).sum::<usize>();
        let (group, tile_keys) = (layout.n_heads / layout.n_kv_heads, tile_keys(layout.head_dim, n_keys));
        Self {
            layout,
            group,
            n_rows: segment.n_rows,
            n_keys,
            block_rows: (BLOCK_ROWS / group).max(1),
            tile_keys,
            n_tiles: n_keys.div_ceil(tile_keys),
            columns: padded(layout.head_dim),
        }
    }

    /// Keys that a row of the segment sees.
    fn visible(&self, mask: Mask, row: usize) -> usize {
        match mask {
            Mask::Full => self.n_keys,
            Mask::Causal => self.n_keys - self.n_rows + row + 1,
        }
    }

    /// Keys of a tile that count, of those visible.
    fn inside(&self, tile: usize, visible: usize) -> usize {
        visible.saturating_sub(tile * self.tile_keys).min(self.tile_keys)
    }

    /// Values of one packed tile: keys, then values.
    fn tile_len(&self) -> (usize, usize) {
        (self.layout.head_dim * self.tile_keys, self.tile_keys * self.columns)
    }
}

#[derive(Clone, Copy)]
struct Attention<'a> {
    q: &'a [f32],
    segment: &'a Segment<'a>,
    shape: Shape,
    out: Shared<'a>,
}

impl Attention<'_> {
    /// One task for every block of query rows; all tiles are packed first.
    fn by_blocks(self) {
        let Shape { layout, n_tiles, block_rows, n_rows, .. } = self.shape;
        let (keys, values) = self.shape.tile_len();
        let mut tiles = Aligned::zeros(layout.n_kv_heads * n_tiles * (keys + values));
        tiles.par_chunks_mut(keys + values).enumerate().for_each(|(i, packed)| {
            let (keys, values) = packed.split_at_mut(keys);
            self.pack(i / n_tiles, i % n_tiles, keys, values);
        });
        let (blocks, head_tiles) = (n_rows.div_ceil(block_rows), n_tiles * (keys + values));
        (0..layout.n_kv_heads * blocks).into_par_iter().for_each(|i| {
            let (head, first) = (i / blocks, i % blocks * block_rows);
            let block = Block { attention: self, head, rows: (first, (first + block_rows).min(n_rows)) };
            dispatch(WholeBlock { block, tiles: &tiles[head * head_tiles..][..head_tiles] });
        });
    }

    /// One task for every tile, then one merge for every block of query rows.
    fn by_tiles(self) {
        let Shape { layout, n_tiles, block_rows, n_rows, .. } = self.shape;
        let (keys, values) = self.shape.tile_len();
        let blocks: Vec<Block<'_>> = (0..layout.n_kv_heads)
            .flat_map(|head| {
                (0..n_rows).step_by(block_rows).map(move |first| Block {
                    attention: self,
                    head,
                    rows: (first, (first + block_rows).min(n_rows)),
                })
            })
            .collect();
        let parts: Vec<Vec<Part>> = (0..layout.n_kv_heads * n_tiles)
            .into_par_iter()
            .map_init(Aligned::default, |packed, task| {
                let (head, tile) = (task / n_tiles, task % n_tiles);
                packed.resize(keys + values);
                let (keys, values) = packed.split_at_mut(keys);
                self.pack(head, tile, keys, values);
                let own = blocks.iter().filter(|block| block.head == head);
                own.map(|block| dispatch(OneTile { block, tile, keys, values })).collect()
            })
            .collect();
        blocks.par_iter().enumerate().for_each(|(i, block)| {
            let per_head = blocks.len() / layout.n_kv_heads;
            let parts = parts[block.head * n_tiles..][..n_tiles].iter().map(|parts| &parts[i % per_head]);
            dispatch(Merge { block, parts });
        });
    }

    /// Packs one tile of one key-value head: keys transposed `[head_dim, tile_keys]`, values `[tile_keys, columns]`, both
    /// as panels. Keys beyond the last are zeros, and so are the columns that fill up the values.
    fn pack(&self, head: usize, tile: usize, keys: &mut [f32], values: &mut [f32]) {
        let Shape { layout: HeadLayout { n_kv_heads, head_dim, .. }, n_keys, tile_keys, columns, .. } = self.shape;
        let (width, zeros) = (n_kv_heads * head_dim, vec![0.0; head_dim]);
        let (start, end) = (tile * tile_keys, ((tile + 1) * tile_keys).min(n_keys));
        let mut rows: Vec<&[f32]> = Vec::with_capacity(tile_keys);
        let mut first = 0;
        for (k, v) in &self.segment.chunks {
            let len = k.len() / width;
            for position in start.max(first)..end.min(first + len) {
                let from = (position - first) * width + head * head_dim;
                rows.push(&k[from..from + head_dim]);
                pack_value(&v[from..from + head_dim], position - start, tile_keys, columns, values);
            }
            first += len;
        }
        for (i, rows) in rows.chunks(panel::ROUND).enumerate() {
            let rows: [&[f32]; panel::ROUND] = std::array::from_fn(|j| rows.get(j).copied().unwrap_or(&zeros));
            let (start, _) = position(head_dim, tile_keys, 0, i * panel::ROUND);
            pack_keys(rows, panel::PANEL.min(tile_keys), &mut keys[start..]);
        }
        // Products run over whole panels of keys and stop at the last key within values.
        for i in rows.len().div_ceil(panel::ROUND)..rows.len().next_multiple_of(panel::PANEL) / panel::ROUND {
            let (start, _) = position(head_dim, tile_keys, 0, i * panel::ROUND);
            pack_keys([&zeros; panel::ROUND], panel::PANEL.min(tile_keys), &mut keys[start..]);
        }
    }
}

/// Transposes keys into the columns at the start of `to`, a matrix of rows of `stride` values.
fn pack_keys(keys: [&[f32]; panel::ROUND], stride: usize, to: &mut [f32]) {
    let depth = keys[0].len();
    let keys = keys.map(|key| &key[..depth]);
    for (k, to) in to.chunks_mut(stride).take(depth).enumerate() {
        for (to, key) in to.iter_mut().zip(&keys) {
            *to = key[k];
        }
    }
}

fn pack_value(value: &[f32], at: usize, tile_keys: usize, columns: usize, values: &mut [f32]) {
    for (i, part) in value.chunks(panel::PANEL).enumerate() {
        let (start, width) = position(tile_keys, columns, at, i * panel::PANEL);
        let (to, fill) = values[start..start + width].split_at_mut(part.len());
        to.copy_from_slice(part);
        fill.fill(0.0);
    }
}

/// Query rows `rows` of a segment, with all heads of one group.
struct Block<'a> {
    attention: Attention<'a>,
    head: usize,
    rows: (usize, usize),
}

/// What one tile gives a block: per row the maximal score, the sum of weights and the weighted values.
#[derive(Default)]
struct Part {
    max: Vec<f32>,
    sum: Vec<f32>,
    values: Aligned,
}

impl Part {
    fn new(rows: usize, columns: usize) -> Self {
        Self { max: vec![f32::NEG_INFINITY; rows], sum: vec![0.0; rows], values: Aligned::zeros(rows * columns) }
    }
}

impl Block<'_> {
    /// Rows of the block's matrices: query row major, heads of the group within.
    fn len(&self) -> usize {
        (self.rows.1 - self.rows.0) * self.attention.shape.group
    }

    /// Where row `row` of the block's matrices stands in q and out.
    fn offset(&self, row: usize) -> usize {
        let Shape { layout, group, .. } = self.attention.shape;
        let packed_row = self.attention.segment.first_row + self.rows.0 + row / group;
        (packed_row * layout.n_heads + self.head * group + row % group) * layout.head_dim
    }

    fn visible(&self, row: usize) -> usize {
        let Attention { shape, segment, .. } = self.attention;
        shape.visible(segment.mask, self.rows.0 + row / shape.group)
    }

    /// The queries, scaled by 1/√head_dim: `[len, head_dim]`.
    fn queries(&self) -> Vec<f32> {
        let head_dim = self.attention.shape.layout.head_dim;
        let scale = (head_dim as f32).sqrt().recip();
        let mut queries = vec![0.0; self.len() * head_dim];
        for (row, query) in queries.chunks_exact_mut(head_dim).enumerate() {
            let values = &self.attention.q[self.offset(row)..][..head_dim];
            query.iter_mut().zip(values).for_each(|(query, value)| *query = value * scale);
        }
        queries
    }

    /// Scores, weights and weighted values of one tile.
    #[inline(always)]
    fn tile<L: Lanes>(
        &self,
        queries: &[f32],
        tile: usize,
        keys: &[f32],
        values: &[f32],
        weights: &mut [f32],
        part: &mut Part,
    ) {
        let Shape { layout: HeadLayout { head_dim, .. }, tile_keys, columns, .. } = self.attention.shape;
        let shape = self.attention.shape;
        let (rows, seen) = (self.len(), shape.inside(tile, self.visible(self.len() - 1)));
        // Packed keys have the full width of a tile; the panels beyond the last visible key are left out.
        let used = seen.next_multiple_of(panel::PANEL);
        let right = Panels { values: &keys[..used * head_dim], stride: head_dim, columns: used };
        product::<L>((queries, head_dim), (rows, head_dim), right, (weights, tile_keys), false);
        for row in 0..rows {
            let weights = &mut weights[row * tile_keys..][..used];
            let visible = shape.inside(tile, self.visible(row));
            (part.max[row], part.sum[row]) = soften::<L>(weights, visible);
        }
        let right = Panels { values, stride: tile_keys, columns };
        product::<L>((weights, tile_keys), (rows, seen), right, (&mut part.values, columns), false);
    }

    /// Merges a later tile into what came before it.
    #[inline(always)]
    fn merge(&self, total: &mut Part, part: &Part) {
        let columns = self.attention.shape.columns;
        for row in 0..self.len() {
            if part.max[row] == f32::NEG_INFINITY && part.sum[row] == 0.0 {
                continue;
            }
            let max = total.max[row].max(part.max[row]);
            let (before, now) = ((total.max[row] - max).exp(), (part.max[row] - max).exp());
            total.max[row] = max;
            total.sum[row] = total.sum[row] * before + part.sum[row] * now;
            let parts = &part.values[row * columns..][..columns];
            for (total, part) in total.values[row * columns..][..columns].iter_mut().zip(parts) {
                *total = *total * before + part * now;
            }
        }
    }

    /// Divides by the sums and writes the block's rows of out.
    #[inline(always)]
    fn finish(&self, total: &Part) {
        let Shape { layout: HeadLayout { head_dim, .. }, columns, .. } = self.attention.shape;
        for row in 0..self.len() {
            // SAFETY: blocks differ in query rows or heads.
            let out = unsafe { self.attention.out.slice(self.offset(row), head_dim) };
            for (out, value) in out.iter_mut().zip(&total.values[row * columns..]) {
                *out = value / total.sum[row];
            }
        }
    }
}

/// A block over all tiles, one after the other.
struct WholeBlock<'a> {
    block: Block<'a>,
    tiles: &'a [f32],
}

impl Kernel for WholeBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (block, shape) = (&self.block, self.block.attention.shape);
        let (keys, values) = shape.tile_len();
        let queries = block.queries();
        let mut weights = Aligned::zeros(block.len() * shape.tile_keys);
        let (mut total, mut part) = (Part::new(block.len(), shape.columns), Part::new(block.len(), shape.columns));
        for tile in 0..block.visible(block.len() - 1).div_ceil(shape.tile_keys) {
            let (keys, values) = self.tiles[tile * (keys + values)..][..keys + values].split_at(keys);
            block.tile::<L>(&queries, tile, keys, values, &mut weights, &mut part);
            block.merge(&mut total, &part);
        }
        block.finish(&total);
    }
}

/// A block over one tile.
struct OneTile<'a> {
    block: &'a Block<'a>,
    tile: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

impl Kernel for OneTile<'_> {
    type Output = Part;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Part {
        let (block, shape) = (self.block, self.block.attention.shape);
        let mut part = Part::new(block.len(), shape.columns);
        if shape.inside(self.tile, block.visible(block.len() - 1)) > 0 {
            let mut weights = Aligned::zeros(block.len() * shape.tile_keys);
            block.tile::<L>(&block.queries(), self.tile, self.keys, self.values, &mut weights, &mut part);
        }
        part
    }
}

/// The tiles of a block, in order of position.
struct Merge<'a, I> {
    block: &'a Block<'a>,
    parts: I,
}

impl<'a, I: Iterator<Item = &'a Part>> Kernel for Merge<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let mut total = Part::new(self.block.len(), self.block.attention.shape.columns);
        for part in self.parts {
            self.block.merge(&mut total, part);
        }
        self.block.finish(&total);
    }
}
